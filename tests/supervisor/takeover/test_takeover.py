"""What a supervisor finds of the one before it."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from plugin_runtime.protocol import Cause, Kind, State
from supervisor.processes.process_records import ProcessRecord, ProcessRecords, boot_id
from supervisor.spec import Timeouts
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import StartRequested
from supervisor.takeover import takeover as takeover_module
from supervisor.takeover.takeover import Takeover
from tests.fakes.process_table import guest_spec, process_table
from tests.fakes.processes import exists, nothing_left_behind, state_folder
from tests.fakes.waiting import until

RECORD = ProcessRecord(
    token="ab12",
    nonce="n",
    id="hello.1",
    name="hello",
    kind=Kind.WORKER,
    generation="g",
    command=("python", "-I"),
    pid=os.getpid(),
    start_ticks=1,  # not ours: who had our pid then is dead
    boot_id=boot_id(),
    restarts=0,
    settings={},
)


@pytest.fixture
def folder(tmp_path):
    return state_folder(tmp_path)


def test_who_died_is_reported_and_forgotten(folder):
    """Nobody saw how."""
    ProcessRecords(folder).write(RECORD)
    reported = []
    Takeover(folder).begin(None, None, reported.append)
    assert [(view.instance, view.pid, view.cause) for view in reported] == [("hello.1", RECORD.pid, Cause.UNKNOWN)]
    assert not list(folder.run.iterdir())


def test_a_supervisor_that_is_killed_before_it_reports_a_death_leaves_that_to_the_next(folder):
    """The database is opened after the folder was looked at: a kill in between loses no record."""
    ProcessRecords(folder).write(RECORD)
    folder.process_record("ab12").with_suffix(".out").touch()
    Takeover(folder)
    assert [path.name for path in folder.run.iterdir()] == ["ab12.process"]
    reported = []
    Takeover(folder).begin(None, None, reported.append)
    assert len(reported) == 1


SERVICE = ("hello", "ready", "stay")


class Scene:
    """A supervisor that has found what the one before it left; ``exits``: what it put on record of that."""

    def __init__(self, takeover, table):
        self.table = table
        self.exits = []
        self.takeover = takeover
        self.around = replace(table.around, survivors=self.takeover.survivors, records=self.takeover.records)
        self.takeover.begin(self.around, table.tree, self.exits.append)

    def start(self, **fields) -> Child:
        """What is wanted now."""
        child = Child(guest_spec(self.table.folder, *SERVICE, **fields), self.table.owner, self.around)
        self.table.tree.add(child)
        child.post(StartRequested("test"))
        return child


@pytest.fixture
def play(folder):
    """Have a supervisor start a process and die; then the scenario, with the next one and the pid."""

    def play(scenario, change=lambda record: record, **fields):
        async def main():
            async with process_table(folder) as table:
                child = table.start(*SERVICE, **fields)
                await until(lambda: child.state is State.RUNNING, "it runs")
                pid = child.pid
                table.is_abandoned = True
            records = ProcessRecords(folder)
            for record in records.read_all():
                records.write(change(record))
            takeover = Takeover(folder)  # clears the folder before anything listens there
            async with process_table(folder) as table:
                await scenario(Scene(takeover, table), pid)

        with nothing_left_behind():
            asyncio.run(main())

    return play


@pytest.mark.process
@pytest.mark.slow
def test_whom_nobody_wants_is_asked_to_end_and_is_in_nobodys_way(play):
    """Another one of its id may begin beside it, and be replaced, however long it takes to leave."""

    async def scenario(at, pid):
        wanted = at.start(generation="b")
        assert wanted.pid != pid
        at.takeover.end_rest()
        assert at.table.tree.pids == {"guest.1": wanted.pid}
        successor = Child(wanted.spec, at.table.owner, at.around)
        at.table.tree.add(successor, beside=wanted)
        await until(lambda: at.exits, "the old one has ended")
        assert [(view.pid, view.cause, view.exit_code) for view in at.exits] == [(pid, "reload", 0)]
        await until(lambda: set(at.table.tree.children) == {wanted, successor}, "it is forgotten")
        await until(lambda: wanted.state is State.RUNNING, "the new one runs")

    play(scenario)


@pytest.mark.process
@pytest.mark.slow
def test_whoever_is_found_may_call_until_it_is_dead(play):
    """Also one that nobody has taken over yet, or ever will: it finishes what it has begun."""

    async def scenario(at, pid):
        known = at.around.callers.known
        assert list(known.values()) == ["guest"]
        at.takeover.end_rest()
        await until(lambda: at.exits, "it has ended")
        assert known == {}

    play(scenario)


@pytest.mark.process
@pytest.mark.slow
def test_one_that_must_be_alone_begins_when_the_old_one_is_gone(play):
    """A service, an exclusive worker: two of them would hold the same file, or do the same work."""

    async def scenario(at, pid):
        wanted = at.start(generation="b", alone=True)
        assert (wanted.pid, wanted.state) == (None, State.STARTING)
        await until(lambda: wanted.pid is not None, "it begins")
        assert not exists(pid)
        assert [view.pid for view in at.exits] == [pid]
        await until(lambda: wanted.state is State.RUNNING, "it runs")

    play(scenario)


@pytest.mark.process
@pytest.mark.slow
def test_one_that_was_told_to_end_before_is_not_told_again(play, monkeypatch):
    """A gateway takes the second time for hurry, and cuts off what it has promised. Signals come in the end."""
    monkeypatch.setattr(takeover_module, "FAREWELL", Timeouts(start=20.0, stop=0.6, term=0.3))

    async def scenario(at, pid):
        at.takeover.end_rest()
        await until(lambda: at.exits, "it has ended")
        assert [(view.pid, view.signal) for view in at.exits] == [(pid, signal.SIGTERM)]

    play(scenario, change=lambda record: replace(record, leaving=True))


@pytest.mark.process
@pytest.mark.slow
def test_one_that_died_before_it_was_taken_over_is_on_record(play, folder):
    """Nobody watched it between the look at the folder and its turn; nothing of it stays."""

    async def scenario(at, pid):
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not at.takeover.survivors.records[0].is_alive, "it is dead")
        (former,) = at.takeover.survivors.records
        wanted = at.start()
        assert [(view.pid, view.cause) for view in at.exits] == [(pid, "unknown")]
        assert list(folder.run.glob(f"{former.token}.*")) == []
        await until(lambda: wanted.state is State.RUNNING, "another one runs")
        os.waitpid(pid, 0)  # in the product it is init's child

    play(scenario)
