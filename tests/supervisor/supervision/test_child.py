"""A child of the process table with real processes: from spawn to the exit record."""

import asyncio
import logging
import os
import signal

import pytest

from plugin_runtime.protocol import Beat, Cause, Progress, State
from plugin_runtime.wire import Envelope
from supervisor.spec import Limits, LivenessPolicy, RestartPolicy, RestartWhen
from supervisor.supervision.child_events import (
    BecameReady,
    HurryRequested,
    Recovered,
    RestartRequested,
    Spawned,
    StopRequested,
)
from tests.fakes.moved_clock import MovedClock
from tests.fakes.process_table import with_timeouts
from tests.fakes.processes import exists
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]

STOP = StopRequested(Cause.OPERATOR, "token:ci")


async def running(child):
    await until(lambda: child.state is State.RUNNING, f"{child.spec.id} is running, not {child.state}")
    return child


def test_it_is_ready_when_it_says_so(run):
    """Started means that the child said so; its settings are those of this incarnation."""

    async def scenario(table):
        child = table.start("hello", "ready", "serve")
        assert child.state is State.STARTING
        await running(child)
        assert table.owner.states == [State.STARTING, State.RUNNING]
        assert table.owner.connections == 1
        assert child.python == "3.11.0"
        assert exists(child.pid)
        assert not child.settled.is_set()
        child.post(STOP)
        await child.settled.wait()
        record = await table.exit_number(1)
        assert (record.cause, record.exit_code, record.actor, record.instance) == ("operator", 0, "token:ci", "guest.1")
        assert child.pid is None
        assert table.owner.disconnections == 1

    run(scenario)


def test_a_crash_is_restarted_at_once_and_then_backs_off(run, tmp_path):
    """First crash for free; each incarnation has a token of its own."""

    async def scenario(table):
        child = table.start("hello", "ready", "exit:3", restart=RestartPolicy(delay=30.0))
        await until(lambda: child.state is State.BACKOFF, "it backs off")
        assert [record.cause for record in table.owner.exits] == ["crash", "crash"]
        assert [record.exit_code for record in table.owner.exits] == [3, 3]
        assert len(set(table.owner.tokens)) == 2
        child.post(STOP)
        assert child.settled.is_set()

    run(scenario)


def test_each_process_has_a_key_from_before_it_begins_until_it_is_dead(run):
    """It is known when it can be used, and worth nothing when nobody has it."""

    async def scenario(table):
        callers = table.around.callers
        child = table.start("hello", "ready", "exit:3", restart=RestartPolicy(delay=30.0))
        assert list(callers.known) == table.owner.tokens
        await until(lambda: child.state is State.BACKOFF, "it backs off")
        assert [caller.plugin for caller in callers.ever] == ["guest", "guest"]
        assert [caller.key.partition(":")[0] for caller in callers.ever] == table.owner.tokens
        assert callers.known == {}

    run(scenario)


def test_a_process_that_cannot_be_started_keeps_no_key(run):
    """It was known before anybody could know that there would be no process."""

    async def scenario(table):
        table.start(restart=RestartPolicy(RestartWhen.NEVER), command=("/nowhere",))
        await table.exit_number(1)
        assert len(table.around.callers.ever) == 1
        assert table.around.callers.known == {}

    run(scenario)


def test_back_off_ends_in_another_start(run, tmp_path):
    """By itself, when the timer elapses."""

    async def scenario(table):
        child = table.start("hello", f"once:{tmp_path}/a", "kill", restart=RestartPolicy(delay=0.05))
        await table.exit_number(1)
        await until(lambda: child.state is State.STARTING and child.incarnation.connection, "it is back")
        assert table.owner.exits[0].signal == signal.SIGKILL
        assert table.owner.exits[0].cause == "signal"

    run(scenario)


def test_a_child_that_is_never_ready_is_killed(run):
    """start_timeout, cause set before the signal."""

    async def scenario(table):
        table.start("hello", "pause", timeouts=with_timeouts(start=0.2), restart=RestartPolicy(RestartWhen.NEVER))
        record = await table.exit_number(1)
        assert (record.cause, record.signal) == ("start_timeout", signal.SIGKILL)

    run(scenario)


def test_a_child_that_ignores_everything_is_killed_at_its_stop_timeout(run):
    """Row 12: SIGTERM is not obeyed, SIGKILL is."""

    async def scenario(table):
        timeouts = with_timeouts(stop=0.4, term=0.2)
        child = await running(table.start("deaf", "hello", "ready", "serve", timeouts=timeouts))
        began = asyncio.get_running_loop().time()
        child.post(STOP)
        await child.settled.wait()
        took = asyncio.get_running_loop().time() - began
        record = await table.exit_number(1)
        assert (record.cause, record.signal) == ("operator", signal.SIGKILL)
        assert 0.4 <= took < 0.9

    run(scenario)


def test_hurrying_takes_the_next_rung(run):
    """Twice: SIGTERM, SIGKILL; nobody waits for the timeouts."""

    async def scenario(table):
        timeouts = with_timeouts(stop=60.0, term=20.0)
        child = await running(table.start("deaf", "hello", "ready", "serve", timeouts=timeouts))
        child.post(STOP)
        assert child.state is State.DRAINING
        child.post(HurryRequested())
        assert child.state is State.STOPPING
        child.post(HurryRequested())
        await child.settled.wait()
        assert (await table.exit_number(1)).signal == signal.SIGKILL

    run(scenario)


def test_its_last_words_come_before_its_death(run):
    """Failed, then gone: the record says start_failed with the message, though the death may be noticed first."""

    async def scenario(table):
        for number in range(1, 6):
            name = f"guest.{number}"
            child = table.start("hello", "fail:no module named flask", "kill", id=name, restart=RestartPolicy("never"))
            await child.settled.wait()
        causes = {(record.cause, record.message) for record in table.owner.exits}
        assert causes == {("start_failed", "no module named flask")}

    run(scenario)


def test_an_exit_is_reported_though_a_descendant_holds_the_channel_open(run, monkeypatch):
    """LAST_WORDS is all that a dead child's open connection can delay; then the owner learns that it is closed."""
    monkeypatch.setattr("supervisor.supervision.child.LAST_WORDS", 0.1)

    async def scenario(table):
        child = await running(table.start("hello", "ready", "serve", restart=RestartPolicy("never")))
        connection = child.incarnation.connection
        # What a copy of the descriptor in another process does: the kernel does not close it with the death.
        connection._transport.pause_reading()
        os.kill(child.pid, signal.SIGKILL)
        await child.settled.wait()
        assert (table.owner.exits[0].cause, table.owner.disconnections) == ("signal", 1)
        assert connection._transport.is_closing()

    run(scenario)


def test_a_second_connection_takes_the_place_of_the_first(run):
    """A fork may hold the first one open: it must not go on speaking for the child, or for the next incarnation."""

    async def scenario(table):
        child = await running(table.start("hello", "again", "ready", "serve"))
        assert table.owner.connections == 2
        assert len(table.around.control._connections) == 1
        assert table.owner.disconnections == 0
        child.post(STOP)
        await child.settled.wait()
        assert table.owner.exits[0].exit_code == 0

    run(scenario)


def test_words_of_a_dead_incarnation_are_not_heard(run):
    """Whatever is still in a closed connection says nothing about the process that follows."""

    async def scenario(table):
        child = table.start("hello", "ready", "kill", restart=RestartPolicy("never"))
        await child.settled.wait()
        child.received(Envelope(Beat(0.0)))
        child.received(Envelope(Progress("import")))
        assert (table.owner.received_messages, child.state) == ([], State.FAILED)

    run(scenario)


def test_an_unknown_message_goes_to_the_owner(run):
    """What a child means to its plugin is not the child's affair."""

    async def scenario(table):
        await running(table.start("hello", "description", "ready", "serve"))
        assert [type(message).__name__ for message in table.owner.received_messages] == ["Description"]

    run(scenario)


def test_it_is_asked_to_stop_only_when_nobody_sends_it_requests_any_more(run):
    """The owner withdraws it first; a process that died meanwhile leaves nobody to be asked."""

    async def scenario(table):
        table.owner.hold = True
        child = await running(table.start("hello", "ready", "serve"))
        child.post(RestartRequested(Cause.RELOAD, "watcher"))
        assert child.state is State.DRAINING
        former = child.pid
        os.kill(former, signal.SIGKILL)
        await table.exit_number(1)
        await running(child)
        (ask,) = table.owner.withdrawn
        ask()
        assert (child.state, table.owner.exits[0].cause) == (State.RUNNING, "reload")
        assert child.pid != former
        table.owner.hold = False

    run(scenario)


def test_a_program_that_is_not_there_backs_off_with_a_record(run):
    """Row 33 in small: the operating system refused; nothing is left behind."""

    async def scenario(table):
        child = table.add(command=("/does/not/exist",))
        child.post(RestartRequested(Cause.OPERATOR, "test"))
        assert child.state is State.BACKOFF
        (record,) = table.owner.exits
        assert (record.cause, record.pid) == ("start_failed", None)
        assert "/does/not/exist" in record.message
        assert list(table.folder.run.iterdir()) == [table.folder.control_socket]

    run(scenario)


def test_an_owner_without_settings_means_a_failed_start_not_a_lost_child(run, caplog):
    """Otherwise the child would stay in starting, with nobody to be started."""

    async def scenario(table):
        def settings_for(child, token):
            raise RuntimeError("no settings yet")

        table.owner.settings_for = settings_for
        child = table.start("hello", "ready", "serve")
        assert child.state is State.BACKOFF
        assert table.owner.exits[0].message == "no settings: no settings yet"

    run(scenario)
    assert "has no settings for it" in caplog.text


def test_an_owner_that_raises_does_not_stop_the_machine(run, caplog, tmp_path):
    """RecordExit and Spawn come in one go: an exception in the first must not lose the second."""

    async def scenario(table):
        def exited(child, record):
            raise ZeroDivisionError

        table.owner.exited = exited
        child = table.start("hello", f"once:{tmp_path}/a", "exit:1", "ready", "serve")
        await until(lambda: len(table.owner.tokens) == 2, "it is spawned again")
        child.post(STOP)
        await child.settled.wait()

    run(scenario)
    assert "guest.1: its owner failed in exited" in caplog.text


def test_an_impossible_event_is_passed_over_and_seen(run, caplog):
    """A mistake of ours is logged; the events behind it, and whoever posted it, go on."""

    async def scenario(table):
        child = table.add("hello", "ready", "serve")
        table.owner.changed = lambda c: c.post(Recovered()) if c.state is State.STARTING else None
        child.post(Spawned())
        child.post(RestartRequested(Cause.OPERATOR, "test"))
        table.owner.changed = lambda _: None
        await running(child)

    run(scenario)
    assert "cannot handle Spawned() in state pending" in caplog.text


def test_events_that_arise_meanwhile_wait_for_their_turn(run):
    """No transition starts inside another one: the owner that reacts to a change sees every state once."""

    async def scenario(table):
        def changed(child):
            if child.state is State.STARTING and child.incarnation:
                child.post(BecameReady())
            table.owner.states.append(child.state)

        table.owner.changed = changed
        child = table.start("hello", "serve")
        assert child.state is State.RUNNING
        assert table.owner.states == [State.STARTING, State.STARTING, State.RUNNING]

    run(scenario)


def test_a_loop_that_is_silent_for_too_long_is_hung(run):
    """The watchdog thread still beats: stacks are dumped, then SIGKILL; cause hang, stacks in the record."""

    async def scenario(table):
        policy = LivenessPolicy(stalled=5.0, hung=20.0)
        child = await running(table.start("hello", "ready", "beats:60", "pause", liveness=policy))
        loop = asyncio.get_running_loop()
        child.check_liveness(loop.time())
        child.incarnation.beat = None
        await until(lambda: child.incarnation.beat, "it beats")
        child.check_liveness(loop.time())
        record = await table.exit_number(1)
        assert (record.cause, record.signal) == ("hang", signal.SIGKILL)
        assert "guest.py" in record.stacks
        assert "most recent call first" in record.stacks

    run(scenario)


def test_a_process_that_stops_beating_is_stalled_recovers_and_hangs(run):
    """On a clock that the test moves: no beat, no CPU time."""
    clock = MovedClock()

    async def scenario(table):
        child = await running(table.start("hello", "ready", "serve"))

        def look_for(seconds):
            for _ in range(seconds):
                clock.advance(1.0)
                child.check_liveness(clock.monotonic())

        look_for(9)
        assert child.state is State.RUNNING
        look_for(3)
        assert child.state is State.STALLED
        child.received(Envelope(Beat(0.0)))
        look_for(1)
        assert child.state is State.RUNNING
        look_for(31)
        assert child.state is State.STOPPING
        assert (await table.exit_number(1)).cause == "hang"

    run(scenario, clock)


def test_max_requests_replaces_it_in_order(run):
    """A soft limit: asked to stop, exit code 0, another one takes its place."""

    async def scenario(table):
        limits = Limits(max_requests=100)
        child = await running(table.start("hello", "ready", "requests:100", "serve", limits=limits))
        await until(lambda: child.incarnation.beat, "it has said how many requests it had")
        child.check_limits()
        record = await table.exit_number(1)
        assert (record.cause, record.exit_code, record.actor) == ("recycle", 0, "supervisor")
        assert (record.peak_memory_mb, record.in_flight) == (2.0, 2)
        await running(child)

    run(scenario)


def test_one_that_is_used_up_is_replaced_in_order_though_its_owner_raises(run, caplog):
    """The owner's mistake is logged and ends there; the limit holds all the same."""

    async def scenario(table):
        def used_up(child, cause):
            raise RuntimeError("a mistake of the owner")

        table.owner.used_up = used_up
        child = await running(table.start("hello", "ready", "serve", limits=Limits(max_requests=100)))
        child.received(Envelope(Beat(0.0, requests=100)))
        child.check_limits()
        record = await table.exit_number(1)
        assert (record.cause, record.exit_code) == ("recycle", 0)
        assert "its owner failed in used_up" in caplog.text

    run(scenario)


def test_max_age_counts_from_its_spawn(run):
    """On a clock that the test moves."""
    clock = MovedClock()

    async def scenario(table):
        limits = Limits(max_age=3600.0)
        child = await running(table.start("hello", "ready", "serve", limits=limits))
        clock.advance(3000.0)
        child.check_limits()
        assert child.state is State.RUNNING
        clock.advance(600.0)
        child.check_limits()
        assert child.state is State.DRAINING
        assert (await table.exit_number(1)).cause == "recycle"

    run(scenario, clock)


def test_a_hard_memory_limit_kills(run):
    """Also while it starts; a soft one would meet every successor there and is passed over."""

    async def scenario(table):
        limits = Limits(memory_soft_mb=50, memory_hard_mb=100)
        child = table.start("hello", "pause", limits=limits, restart=RestartPolicy("never"))
        child.check_limits(memory_mb=60.0)
        assert child.state is State.STARTING
        child.check_limits(memory_mb=160.0)
        await child.settled.wait()
        assert (table.owner.exits[0].cause, table.owner.exits[0].signal) == ("memory_limit", signal.SIGKILL)
        child.check_limits(memory_mb=160.0)

    run(scenario)


def test_what_it_prints_is_logged_and_kept(run, caplog):
    """The last lines are in the record; every death is one line in our log, with the pid."""
    caplog.set_level(logging.INFO)

    async def scenario(table):
        child = table.start("hello", "print:disk on fire", "exit:0", restart=RestartPolicy("never"))
        pid = child.pid
        await child.settled.wait()
        assert table.owner.exits[0].log_tail == ["disk on fire"]
        assert f"guest.1 (pid {pid}) ended after" in caplog.text

    run(scenario)
