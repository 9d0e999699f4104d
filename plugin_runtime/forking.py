"""A fork whose parent is the supervisor.

The new process is forked by one in between, which ends at once: then the kernel gives it to the nearest subreaper, and
that is the supervisor, prctl(2). So the supervisor reaps it and learns how it ended like any process that it started
itself, whatever becomes of the template. The template says that it exists only when all of that is true.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NoReturn, Optional, Union

from plugin_runtime.process_facts import start_ticks
from plugin_runtime.template_protocol import Fork, Forked, NotForked


def fork(order: Fork) -> Optional[Union[Forked, NotForked]]:
    """Return what became of it; None in the new process, which has its streams, and a session of its own."""
    try:
        reader, writer = os.pipe()
    except OSError as error:
        return NotForked(f"cannot make a pipe: {error.strerror}")
    try:
        between = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return NotForked(f"cannot fork: {error.strerror}")
    if between == 0:
        os.close(reader)
        _be_born(order, writer)
        return None
    os.close(writer)
    words = _read_all(reader)
    # Once it is reaped its child has another parent: the kernel gives children away before it tells of a death.
    with suppress(ChildProcessError):  # an import has set SIGCHLD to SIG_IGN: then the kernel reaps, wait(2)
        os.waitpid(between, 0)
    return _understand(words)


def _be_born(order: Fork, writer: int) -> None:
    """Return in the new process alone."""
    try:
        _take_stream(order.stdout, 1)
        _take_stream(order.stderr, 2)
        if os.fork():
            os._exit(0)
    except OSError as error:
        _end(writer, f"cannot fork: {error}")
    os.setsid()
    os.write(writer, f"{os.getpid()} {start_ticks()}".encode())
    os.close(writer)


def _take_stream(path: str, number: int) -> None:
    """Open for reading, too, so that no print ever breaks, see supervisor/processes/spawn.py."""
    opened = os.open(path, os.O_RDWR | os.O_NOCTTY)
    os.dup2(opened, number)
    os.close(opened)


def _end(writer: int, reason: str) -> NoReturn:
    os.write(writer, reason.encode(errors="backslashreplace"))
    os._exit(1)


def _read_all(reader: int) -> bytes:
    words = b""
    while more := os.read(reader, 4096):
        words += more
    os.close(reader)
    return words


def _understand(words: bytes) -> Union[Forked, NotForked]:
    text = words.decode(errors="backslashreplace")
    pid, _, ticks = text.partition(" ")
    if pid.isdigit() and ticks.isdigit():
        return Forked(int(pid), int(ticks))
    return NotForked(text or "it died at once")
