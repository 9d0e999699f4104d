"""What our pages tell people to type and to write, for the tests that do it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
FIRST_PLUGIN = ROOT / "docs" / "how-to" / "first-plugin.md"
TASKS_AND_JOBS = ROOT / "docs" / "how-to" / "tasks-and-jobs.md"


def commands(page: Path) -> list[str]:
    """Every command of the page's ``sh`` blocks, in order; each is one line and runs in the root of a clone."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def files(page: Path) -> dict[str, str]:
    """Every file that the page tells people to write: path in the clone, content."""
    blocks = re.findall(r"`([\w./-]+)`:\n\n```\w+\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return dict(blocks)


def readme_commands() -> list[str]:
    """Those of README.md; ``scripts/up`` is among them and stays in the foreground."""
    return commands(README)


def readme_plugin() -> tuple[str, str]:
    """Path and content of README's smallest plugin."""
    (plugin,) = (written for written in files(README).items() if written[0].startswith("plugins/"))
    return plugin
