"""A child under every order of events that a world of processes can bring about: what must hold in all of them."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from plugin_runtime.protocol import Cause, Failed, Phase, State
from supervisor.spec import ExitStatus, RestartPolicy, RestartWhen, Timeouts
from supervisor.supervision import child_events as events
from supervisor.supervision.child_record import ChildRecord, Policy
from supervisor.supervision.lifecycle import advance

STATUSES = [
    ExitStatus(exit_code=0),
    ExitStatus(exit_code=1),
    ExitStatus(exit_code=70),
    ExitStatus(exit_code=78),
    ExitStatus(signal=11),
    ExitStatus(),
]
MAX_STEPS_DOWN = 8
"""A stop takes fewer rungs than this."""


class World:
    """One child's operating system: at most one process, at most one timer, requests that are always carried out."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.child = ChildRecord()
        self.now = 0.0
        self.spawning = self.cancellable = False
        self.process = False
        self.killed = False
        self.timer: events.Arm | None = None
        self.lived = False
        self.exits = 0
        self.records = 0
        self.signalled_without_cause = False

    def happens(self, event: events.Event, after: float = 0.01) -> None:
        self.now += after
        self.child, instructions = advance(self.child, event, self.now, self.policy)
        for instruction in instructions:
            self.carry_out(instruction)

    def carry_out(self, instruction: events.Instruction) -> None:
        match instruction:
            case events.Spawn():
                assert not self.process, "spawned a second process"
                assert not self.spawning, "spawned twice"
                self.spawning, self.cancellable = True, False
            case events.CancelSpawn():
                assert self.spawning, "cancelled nothing"
                self.cancellable = True
            case events.KillGroup():
                assert self.process, "killed nobody"
                self.killed = True
                self.check_cause()
            case events.SignalGroup() | events.AskToStop() | events.DumpStacks():
                assert self.process, "signalled nobody"
                self.check_cause()
            case events.Arm():
                self.timer = instruction
            case events.Disarm():
                assert self.timer is not None, "disarmed nothing"
                self.timer = None
            case events.RecordExit():
                self.records += 1

    def check_cause(self) -> None:
        self.signalled_without_cause |= self.child.ending is None

    def spawns(self, *, succeeds: bool) -> None:
        self.spawning = False
        if succeeds:
            self.process, self.killed, self.lived = True, False, True
            self.happens(events.Spawned())
        else:
            self.exits += 1
            self.happens(events.SpawnFailed("no more processes", jitter=0.5))

    def spawn_is_cancelled(self) -> None:
        self.spawning = False
        self.happens(events.SpawnCancelled())

    def dies(self, status: ExitStatus) -> None:
        self.process = False
        self.exits += 1
        self.happens(events.Exited(ExitStatus(signal=9) if self.killed else status, jitter=0.5))

    def timer_elapses(self) -> None:
        assert self.timer is not None
        arm, self.timer = self.timer, None
        self.happens(arm.event, after=arm.seconds)


class ChildMachine(RuleBasedStateMachine):
    """Whatever happens, in whatever order."""

    world: World

    @initialize(
        when=st.sampled_from(RestartWhen),
        limit=st.integers(1, 4),
        probe=st.sampled_from([None, 300.0]),
        stop=st.sampled_from([0.0, 4.0, 30.0]),
    )
    def begin(self, when, limit, probe, stop):
        self.world = World(Policy(RestartPolicy(when=when, limit=limit, probe=probe), Timeouts(stop=stop)))

    # --- requests, at any time ---

    @rule()
    def start(self):
        self.world.happens(events.StartRequested("operator"))
        assert self.world.child.wanted

    @rule(cause=st.sampled_from([Cause.OPERATOR, Cause.SHUTDOWN, Cause.DISABLED]))
    def stop(self, cause):
        self.world.happens(events.StopRequested(cause, "operator"))
        assert not self.world.child.wanted

    @rule()
    def restart(self):
        self.world.happens(events.RestartRequested(Cause.RELOAD, "watcher"))
        assert self.world.child.wanted

    @rule()
    def hurry(self):
        self.world.happens(events.HurryRequested())

    # --- the operating system ---

    @precondition(lambda self: self.world.spawning and self.world.cancellable)
    @rule()
    def spawn_is_cancelled(self):
        self.world.spawn_is_cancelled()

    @precondition(lambda self: self.world.spawning)
    @rule(succeeds=st.sampled_from([True, True, True, False]))
    def spawn(self, succeeds):
        self.world.spawns(succeeds=succeeds)

    @precondition(lambda self: self.world.process)
    @rule(status=st.sampled_from(STATUSES))
    def die(self, status):
        self.world.dies(status)

    @precondition(lambda self: self.world.timer is not None)
    @rule()
    def time_passes(self):
        self.world.timer_elapses()

    # --- the child; also late, from a process that is dead ---

    @precondition(lambda self: self.world.lived and not self.world.spawning)
    @rule(
        event=st.sampled_from(
            [
                events.BecameReady(),
                events.StartFailed(Failed(Phase.IMPORT.value, "SyntaxError", "invalid syntax", permanent=True)),
                events.StartFailed(Failed(Phase.LIFESPAN.value, "OSError", "address in use")),
                events.Stalled(),
                events.Recovered(),
                events.Hung(),
                events.LimitExceeded(Cause.RECYCLE, graceful=True),
                events.LimitExceeded(Cause.MEMORY_LIMIT, graceful=False),
                events.Drained(),
            ]
        )
    )
    def child_says(self, event):
        self.world.happens(event)

    # --- what always holds ---

    @invariant()
    def a_wanted_child_has_a_future(self):
        """A process, one on its way, or a timer; unless its policy or a permanent failure ended it."""
        world = self.world
        if world.child.wanted and world.child.state is not State.FAILED:
            assert world.process or world.spawning or world.timer

    @invariant()
    def an_unwanted_child_without_process_is_at_rest(self):
        world = self.world
        if not (world.child.wanted or world.process or world.spawning):
            assert world.timer is None
            assert world.child.state in {State.PENDING, State.EXITED}

    @invariant()
    def the_record_knows_the_process_and_the_timer(self):
        world = self.world
        assert (world.child.spawned_at is not None) == world.process
        assert world.child.armed == (world.timer.event if world.timer else None)

    @invariant()
    def the_state_tells_whether_there_is_a_process(self):
        world = self.world
        down = world.child.state in {State.PENDING, State.BACKOFF, State.EXITED, State.FAILED}
        assert down != (world.process or world.spawning)

    @invariant()
    def every_death_is_recorded_exactly_once(self):
        assert self.world.records == self.world.exits

    @invariant()
    def no_signal_without_a_cause(self):
        """The cause stands in the record before the signal is sent."""
        assert not self.world.signalled_without_cause

    @invariant()
    def what_is_being_ended_ends(self):
        """Draining and stopping always have a timer or a SIGKILL under way."""
        world = self.world
        if world.child.state in {State.DRAINING, State.STOPPING}:
            assert world.timer or world.killed

    def teardown(self):
        """A stopped child always ends, however deaf its process is: only SIGKILL works on it."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.happens(events.StopRequested(Cause.SHUTDOWN, "operator"))
        for _ in range(MAX_STEPS_DOWN):
            if world.spawning:
                world.spawns(succeeds=True)
            elif world.process and world.killed:
                world.dies(ExitStatus(signal=9))
            elif world.timer:
                world.timer_elapses()
        assert world.child.state is State.EXITED
        assert not world.process
        assert not world.spawning
        assert world.timer is None


TestChildMachine = pytest.mark.slow(ChildMachine.TestCase)
TestChildMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
