"""One check, and how all of them are carried out: side by side, each within its own time, none at another's cost."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from errno import EAGAIN, EMFILE, ENFILE, ENOMEM
from functools import partial

from supervisor.doctor.finding import Finding, NotExaminedError, Result, warning
from supervisor.errors import SpawnError
from supervisor.printable import one_line

LIMIT = 5.0
"""Seconds for a probe. Each takes some hundredths on a healthy machine; a loaded one is slow, not ill."""
_END = 1.0
"""Seconds for the programs of a probe to be killed when its time is up; then it is left alone."""

Probe = Callable[[], Awaitable[Finding]]

_NO_ROOM = {EAGAIN, ENOMEM, EMFILE, ENFILE}
"""Errors of starting a program that say nothing about the program."""


class Group(StrEnum):
    """What a check is about, in the order of the report."""

    PROJECT = "project"
    KERNEL = "kernel"
    FOLDER = "state folder"
    LIMITS = "limits"
    INSTALLERS = "installers"
    MACHINE = "machine"


@dataclass(frozen=True)
class Check:
    """``meaning`` and ``advice`` hold wherever the finding brings none of its own, so also for a probe that failed."""

    name: str
    group: Group
    probe: Probe
    meaning: str
    advice: str
    otherwise: Result = Result.MISSING
    """The result where the probe failed or took too long."""
    limit: float = LIMIT


@dataclass(frozen=True)
class Examined:
    """One check that was carried out. The JSON of ``xcore doctor``; docs/reference/cli.md describes each key."""

    name: str
    group: str
    result: str
    found: str
    meaning: str
    advice: str


async def examine_all(checks: Sequence[Check]) -> list[Examined]:
    """Carry out all checks; the answers are in the order of ``checks``."""
    return list(await asyncio.gather(*map(examine, checks)))


async def examine(check: Check) -> Examined:
    """Carry out one check, whatever its probe does."""
    finding = await _finding(check)
    found = one_line(finding.found)  # errors of libraries may have several
    if finding.result is Result.OK:
        return Examined(check.name, check.group, finding.result, found, "", "")
    meaning, advice = finding.meaning or check.meaning, finding.advice or check.advice
    return Examined(check.name, check.group, finding.result, found, meaning, advice)


def in_thread(probe: Callable[..., Finding], *arguments: object) -> Probe:
    """Make a probe of a function that may wait for a disk or a network.

    Its thread is a daemon and of no pool: one that never comes back keeps neither the others nor the end waiting.
    """

    async def run() -> Finding:
        future: Future[Finding] = Future()
        try:
            threading.Thread(target=_fulfil, args=(future, partial(probe, *arguments)), daemon=True).start()
        except RuntimeError:  # no more threads to be had: other checks say so
            return probe(*arguments)
        return await asyncio.wrap_future(future)

    return run


def _fulfil(future: Future[Finding], probe: Callable[[], Finding]) -> None:
    future.set_running_or_notify_cancel()
    try:
        future.set_result(probe())
    except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
        future.set_exception(error)


async def _finding(check: Check) -> Finding:
    task = asyncio.ensure_future(check.probe())
    try:
        await asyncio.wait({task}, timeout=check.limit)
        if not task.done():
            return Finding(check.otherwise, f"no answer within {check.limit:g} s")
    finally:
        if task.cancel():  # out of time, or the whole examination is ended
            await asyncio.wait({task}, timeout=_END)
    try:
        return task.result()
    except NotExaminedError as error:
        return _not_examined(str(error))
    except SpawnError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_ROOM:
            return _not_examined(str(NotExaminedError(error)))
        return Finding(check.otherwise, str(error))
    except Exception as error:  # noqa: BLE001 - the boundary: a probe that fails in whatever way is a finding
        return Finding(check.otherwise, _text(error))


def _not_examined(found: str) -> Finding:
    return warning(found, "whether it works is not known", "mend what is missing, then run 'xcore doctor' again")


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__
