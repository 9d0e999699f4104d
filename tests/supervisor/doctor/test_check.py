"""How checks are carried out: each in its own time, and whatever a probe does."""

import asyncio
import threading
from errno import EAGAIN, ENOENT

import pytest

from supervisor.doctor.check import Check, Examined, Group, examine_all, in_thread
from supervisor.doctor.finding import NotExaminedError, Result, missing, ok, warning
from supervisor.errors import SpawnError, XcoreError


def check(probe, name="x", **fields):
    return Check(name, Group.KERNEL, probe, "it matters", "mend it", **fields)


def examine(*checks):
    return asyncio.run(examine_all(checks))


def finds(finding):
    async def probe():
        return finding

    return probe


def fails(error):
    async def probe():
        raise error

    return probe


async def never():
    await asyncio.Event().wait()


def test_what_a_finding_leaves_open_the_check_says():
    """And where nothing is wrong, nothing is said."""
    assert examine(check(finds(missing("nothing")))) == [
        Examined("x", "kernel", "missing", "nothing", "it matters", "mend it")
    ]
    assert examine(check(finds(warning("little", "this", "that")))) == [
        Examined("x", "kernel", "warning", "little", "this", "that")
    ]
    assert examine(check(finds(ok("all")))) == [Examined("x", "kernel", "ok", "all", "", "")]


def test_a_probe_that_never_answers_takes_no_other_one_along():
    """Its time is up, and the report has all the others, in their order."""
    found = examine(check(never, "a", limit=0.02), check(finds(ok("fine")), "b"))
    assert [(one.name, one.result, one.found) for one in found] == [
        ("a", "missing", "no answer within 0.02 s"),
        ("b", "ok", "fine"),
    ]


def test_a_thread_that_never_comes_back_keeps_nobody_waiting():
    """A disk that is away holds a process for ever; it must not hold the report."""
    release = threading.Event()

    def stuck():
        release.wait()
        return ok("late")

    (found,) = examine(check(in_thread(stuck), limit=0.02, otherwise=Result.WARNING))
    assert (found.result, found.found) == ("warning", "no answer within 0.02 s")
    release.set()


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (XcoreError("cannot do it", hint="do that"), "cannot do it; do that"),
        (OSError(ENOENT, "No such file", "/x"), "No such file: /x"),
        (ValueError(), "ValueError"),
        (ValueError("two\nlines"), "two\\nlines"),
        (SpawnError("a.1", "/x", OSError(ENOENT, "No such file")), "cannot start 'a.1' with /x: No such file"),
    ],
)
def test_a_probe_that_fails_is_a_finding(error, found):
    """With its cause, on one line."""
    (examined,) = examine(check(fails(error)))
    assert (examined.result, examined.found, examined.advice) == ("missing", found, "mend it")


def test_what_could_not_be_tried_is_not_said_to_be_missing():
    """With too few processes nothing can be tried; one check says that, the others do not blame what is well."""

    async def no_room():
        cause = BlockingIOError(EAGAIN, "Resource temporarily unavailable")
        raise SpawnError("a.1", "/x", cause) from cause

    found = examine(check(no_room), check(fails(NotExaminedError("no room"))))
    assert [one.result for one in found] == ["warning", "warning"]
    assert [one.found for one in found] == [
        "not examined: cannot start 'a.1' with /x: Resource temporarily unavailable",
        "not examined: no room",
    ]
    assert {one.meaning for one in found} == {"whether it works is not known"}


def test_without_a_thread_a_probe_runs_where_it_is(monkeypatch):
    """It may block there, but it finds something."""

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert examine(check(in_thread(lambda: ok("fine"))))[0].found == "fine"
