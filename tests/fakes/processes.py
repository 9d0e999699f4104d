"""What tests with real processes share: specs of the nasty programs in tests/children, waiting, and a leak check."""

import asyncio
import ctypes
import gc
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from plugin_runtime.protocol import Kind
from supervisor.processes.process_stat import read_process_stat
from supervisor.processes.reaper import become_subreaper
from supervisor.spec import ChildSpec
from supervisor.state_folder import StateFolder

CHILDREN = Path(__file__).parent.parent / "children"
DEADLINE = 10.0
"""Seconds; generous, since it is only used up by a failing test."""


def command(script: str, *arguments: object) -> tuple[str, ...]:
    """Command line of a program in tests/children; ``-S``: they need nothing of site-packages and start faster."""
    return (sys.executable, "-I", "-S", str(CHILDREN / script), *map(str, arguments))


def nasty_spec(folder: StateFolder, script: str, *arguments: object, **fields: object) -> ChildSpec:
    settings = {"id": "nasty.1", "name": "nasty", "kind": Kind.WORKER, "working_directory": folder.root, **fields}
    return ChildSpec(command=command(script, *arguments), **settings)


def state_folder(root: Path) -> StateFolder:
    folder = StateFolder(root)
    folder.run.mkdir(mode=0o700)
    folder.logs.mkdir()
    return folder


def exists(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    stat = read_process_stat(pid)
    return stat is not None and not stat.is_zombie


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"still waiting until {what}"
        time.sleep(0.002)


async def until(condition: Callable[[], object], what: str) -> None:
    """wait_until that lets the event loop run."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"still waiting until {what}"
        await asyncio.sleep(0.002)


@contextmanager
def descriptors_below(limit: int) -> Iterator[None]:
    """Let no descriptor of that number or above be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Fail if a process or a descriptor more exists at the end than at the start.

    Meanwhile this process is a subreaper, so that whatever the test leaves behind ends up as a child of it.
    """
    become_subreaper()
    children, descriptors = _children(), _descriptors()
    gc.freeze()  # what was there before is passed over at the end: a tenth of a second for each test
    try:
        yield
        gc.collect()
        wait_until(lambda: not _more_than(children), "all processes are gone")
        wait_until(lambda: _descriptors() <= descriptors, "all descriptors are closed")
    finally:
        gc.unfreeze()
        for process in _more_than(children):
            with suppress(psutil.NoSuchProcess, ChildProcessError):
                process.kill()
                os.waitpid(process.pid, 0)
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _children() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def _more_than(before: set[int]) -> list[psutil.Process]:
    """Those that came since, but for what others forked that were there: a database server of other tests does that."""
    more = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.pid not in before and before.isdisjoint(parent.pid for parent in process.parents()):
                more.append(process)
    return more


def _descriptors() -> set[str]:
    return {f"{fd.name} {_target(fd)}" for fd in Path("/proc/self/fd").iterdir() if _target(fd)}


def _target(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:  # that of the listing itself
        return ""
