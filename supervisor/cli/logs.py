"""The log of a plugin or task: its end, and what comes from then on."""

import os
import select
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import typer

from supervisor.cli.options import Target, state_folder
from supervisor.cli.output import print_answer, print_lines
from supervisor.errors import XcoreError
from supervisor.monitoring.log_files import Rotation
from supervisor.monitoring.log_follower import LogFollower
from supervisor.printable import one_line

LOOK_INTERVAL = 0.2
"""Seconds between looks for new lines: what somebody who reads along does not notice."""


def print_log(target: Target, operation: str, name: str, tail: int, *, follow: bool, json: bool) -> None:
    """Print the last lines; with ``follow`` go on with what comes, until ^C or until nobody reads it any more.

    ``operation`` has the last lines.

    Raises:
        XcoreError: there is none of that name, or its log cannot be read.
    """
    if not follow:
        print_answer(target.call(operation, name=name, tail=tail), print_lines, json=json)
        return
    if json:
        raise typer.BadParameter("a log that is followed never becomes one document", param_hint="--json")
    if target.url:
        raise typer.BadParameter("a log can be followed on the machine itself only", param_hint="--url")
    with suppress(KeyboardInterrupt):
        target.call(operation, name=name, tail=1)  # knows whether there is one of that name
        try:
            _follow(Rotation().paths(state_folder(target.config).logs, name), tail)
        except BrokenPipeError:
            _discard_stdout()
        except OSError as error:
            raise XcoreError(f"cannot follow the log of {one_line(name)}: {error}") from error


def _follow(paths: Sequence[Path], tail: int) -> None:
    """Return when nobody reads stdout any more, also where nothing is written to it."""
    stdout = select.poll()
    stdout.register(sys.stdout.fileno(), 0)  # told all the same: its reader is gone
    with LogFollower(paths, tail) as log:
        while not stdout.poll(LOOK_INTERVAL * 1000):
            while lines := log.read():
                print_lines(lines)
            sys.stdout.flush()


def _discard_stdout() -> None:
    """Python writes what is left in its buffer when it ends, and would complain."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
