"""How commands print: one JSON document with --json, else tables for people."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from supervisor.printable import one_line

T = TypeVar("T")

NARROWEST = 20
"""Characters that the last column of a table keeps on however narrow a terminal."""


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_answer(answer: T, for_people: Callable[[T], None], *, json: bool) -> None:
    """As JSON, or as ``for_people`` prints it."""
    (print_json if json else for_people)(answer)


def print_lines(lines: Iterable[str]) -> None:
    """As they are."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Aligned columns; on a terminal in colour, and the last one is cut to the width that is left."""
    cells = [[_text(value) for value in row] for row in rows]
    if not cells:
        sys.stderr.write(f"{empty}\n")
        return
    if sys.stdout.isatty():
        _print_rich(columns, cells)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in [list(columns), *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def this_program() -> str:
    """What to type for it here: its path where it is of an environment that is not activated."""
    return "xcore" if shutil.which("xcore") else str(Path(sys.argv[0]).absolute())


def duration(seconds: float | None) -> str:
    """The largest two units: "3 h 5 min"."""
    if seconds is None:
        return "-"
    for size, unit, part_size, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // part_size)} {part}"
    return f"{seconds:.1f} s"


def moment(epoch: float | None) -> str:
    """Local time."""
    return "-" if epoch is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else one_line(str(value))  # much of it was said by plugins


def _print_rich(columns: Sequence[str], cells: list[list[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - a tenth of a second that scripts need not wait
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    taken = sum(max(map(len, column)) + 2 for column in list(zip(columns, *cells, strict=True))[:-1])
    for row in cells:
        texts = [Text(cell) for cell in row]
        texts[-1].truncate(max(console.width - taken, NARROWEST), overflow="ellipsis")
        table.add_row(*texts)
    console.print(table)
