"""``xcore doctor``: whether this machine and this project have what xcore needs."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from plugin_runtime.protocol import ExitCode
from supervisor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from supervisor.cli.output import print_json, print_table
from supervisor.printable import one_line

if TYPE_CHECKING:
    from supervisor.doctor.check import Examined

MISSING = "missing"
OK = "ok"


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Examine this machine and this project, and say what to do about what is wrong. Nothing is changed."""
    from supervisor.doctor.checklist import diagnose  # noqa: PLC0415 - brings the database and Poetry's parser

    examined = diagnose(_project(config), os.environ)
    healthy = all(check.result != MISSING for check in examined)
    if json:
        print_json({"ok": healthy, "checks": [asdict(check) for check in examined]})
    else:
        _print(examined)
    if not healthy:
        raise typer.Exit(ExitCode.FAILED)


def _project(config: Path) -> Path | None:
    """None: nobody has named a project, and there is none here."""
    return None if config == DEFAULT_CONFIG and not config.exists() else config


def _print(examined: Sequence["Examined"]) -> None:
    rows = [(check.result, check.group, check.name, check.found) for check in examined]
    print_table(("RESULT", "GROUP", "CHECK", "FOUND"), rows, "There is nothing to examine.")
    troubles = [check for check in examined if check.result != OK]
    for check in troubles:
        sys.stdout.write(
            f"\n{check.result}: {check.name}: {one_line(check.found)}\n"
            f"  means: {one_line(check.meaning)}\n"
            f"  do: {one_line(check.advice)}\n"
        )
    missing = sum(check.result == MISSING for check in troubles)
    sys.stdout.write(f"\nchecks: {len(examined)}, warnings: {len(troubles) - missing}, missing: {missing}\n")
