"""docs/reference/state-folder.md says where everything lies."""

import re
from pathlib import Path

from supervisor.state_folder import StateFolder
from tests.source_code import ROOT

PAGE = (ROOT / "docs" / "reference" / "state-folder.md").read_text()


def documented() -> set[str]:
    """Paths of the table's first column, without the parts that stand for names, and without the slash at the end."""
    rows = re.findall(r"^\| (`[^|]+`) \|", PAGE, re.MULTILINE)
    paths = {path for row in rows for path in re.findall(r"`([^`]+)`", row)}
    return {path.replace("<token>", "t").partition("/<")[0].rstrip("/") for path in paths}


def test_every_path_of_the_layout_is_documented():
    """Whoever backs up, watches disks or looks for a token finds it here."""
    folder = StateFolder(Path())
    names = [name for name, value in vars(StateFolder).items() if isinstance(value, property)]
    paths = {getattr(folder, name) for name in names}
    paths |= {
        folder.link_socket("t"),
        folder.door_socket("t"),
        *(folder.output_fifo("t", stream) for stream in ("out", "err")),
    }
    assert {str(path) for path in paths} - documented() == set()
