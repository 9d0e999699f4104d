"""Who may be taken over as what."""

from dataclasses import replace
from pathlib import Path

import pytest

from plugin_runtime.protocol import Kind
from supervisor.processes.process_records import ProcessRecord
from supervisor.processes.survivors import Remains, Survivors
from supervisor.spec import ChildSpec

WORKER = ProcessRecord("aa", "n", "hello.1", "hello", Kind.WORKER, "g", ("python",), 100, 1, "boot", 0, {})
SPEC = ChildSpec("hello.1", "hello", Kind.WORKER, ("python",), Path("/"), generation="g")


def test_the_one_that_is_wanted_is_handed_over_once():
    """Two of the same never run."""
    survivors = Survivors([WORKER])
    assert survivors.claim(SPEC) == WORKER
    assert survivors.claim(SPEC) is None
    assert not survivors


def test_of_two_the_newest_is_handed_over():
    """In the middle of a replacement: the successor. The other stays, to be ended."""
    newer = replace(WORKER, token="bb", start_ticks=2)
    survivors = Survivors([WORKER, newer])
    assert survivors.claim(SPEC) == newer
    assert survivors.records == [WORKER]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "hello.2"},
        {"kind": Kind.TASK},
        {"generation": "h"},
        {"command": ("python3",)},
        {"leaving": True},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_one_that_differs_is_not_handed_over(fields):
    """It is not what is wanted, or it is going."""
    survivors = Survivors([replace(WORKER, **fields)])
    assert survivors.claim(SPEC) is None
    assert survivors.pids == {100}


@pytest.mark.parametrize("kind", [Kind.TEMPLATE, Kind.VALIDATOR, Kind.INSTALLER, Kind.GUARD])
def test_who_serves_nobody_is_not_handed_over(kind):
    """A template's forks would not become ours, what others find was for the supervisor that asked."""
    survivors = Survivors([replace(WORKER, kind=kind)])
    assert survivors.claim(replace(SPEC, kind=kind)) is None


def test_it_is_known_who_may_still_be_taken_over():
    """Until then their hello waits for its answer."""
    survivors = Survivors([WORKER])
    assert survivors.includes("hello.1", "n")
    assert not survivors.includes("hello.1", "m")
    assert not survivors.includes("hello.2", "n")
    survivors.take_all()
    assert not survivors.includes("hello.1", "n")


def test_those_of_a_task_or_plugin_are_found_by_kind():
    """Runs of jobs by their owner; those that are leaving are not to be gone on with."""
    run = replace(WORKER, id="hello.cleanup.ff", kind=Kind.JOB)
    leaving = replace(run, id="hello.cleanup.ee", leaving=True)
    survivors = Survivors([WORKER, run, leaving])
    assert survivors.of("hello", Kind.JOB) == [run]
    survivors.take(run)
    assert survivors.of("hello", Kind.JOB) == []


def test_the_dead_are_told_from_the_living(monkeypatch):
    """By the kernel's word."""
    monkeypatch.setattr(
        "supervisor.processes.process_records.ProcessRecord.is_alive", property(lambda self: self.pid == 100)
    )
    dead = replace(WORKER, pid=101)
    assert Remains.of([WORKER, dead]) == Remains([WORKER], [dead])
