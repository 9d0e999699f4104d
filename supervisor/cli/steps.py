"""Tells the steps of a build while a command waits for its end: a line for each on stderr, terminal or not."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from supervisor.cli.options import Target
from supervisor.errors import XcoreError
from supervisor.printable import one_line

INTERVAL = 0.5
"""Seconds between two looks; a step takes seconds."""


@contextmanager
def steps_told(target: Target, plugin: str) -> Iterator[None]:
    """Look at ``plugin`` every now and then, beside what is done in the block."""
    done = threading.Event()
    thread = threading.Thread(target=_tell, args=(target, plugin, done), name="steps", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _tell(target: Target, plugin: str, done: threading.Event) -> None:
    told = ""
    while not done.wait(INTERVAL):
        try:
            view: dict[str, Any] = target.call("plugins.show", name=plugin)
        except XcoreError:  # whoever waits for the end is told what is wrong
            return
        step = (view.get("progress") or {}).get("step", "")
        if step and step != told:
            sys.stderr.write(f"{one_line(step)}\n")
        told = step
