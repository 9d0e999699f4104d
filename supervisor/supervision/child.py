"""One child of the process table: executes what the pure core decides and reports back what happens.

The only state kept here is the handle of the running process; everything else is the ChildRecord, which only
``_advance`` replaces. Events that arise while instructions are carried out wait in the child's own queue, so that no
transition ever starts inside another one.
"""

import asyncio
import logging
import random
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from plugin_runtime.protocol import Beat, Cause, Failed, Ready, State, Stop
from plugin_runtime.template_protocol import Imported
from plugin_runtime.views import ExitView
from plugin_runtime.wire import Envelope
from supervisor.channels.control import Connection, Expected
from supervisor.channels.questions import Questions
from supervisor.processes.output import Output
from supervisor.spec import ChildSpec, ExitStatus
from supervisor.supervision import child_events as events
from supervisor.supervision.arrival import Arrival, Arrived
from supervisor.supervision.child_record import SERVING, ChildRecord, Policy
from supervisor.supervision.child_timer import ChildTimer
from supervisor.supervision.exits import explain
from supervisor.supervision.incarnation import Incarnation, record_of_exit
from supervisor.supervision.lifecycle import IllegalTransitionError, advance
from supervisor.supervision.limits import exceeded
from supervisor.supervision.liveness import Verdict
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.trust import outcome_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

LAST_WORDS = 0.5
"""Seconds that a dead child's control channel may take to close; a descendant that escaped may hold it open."""

_DOWN = {State.EXITED, State.FAILED}


class ChildOwner(Protocol):
    """Who a child belongs to: a plugin, the gateways. Called in the event loop's thread, never concurrently.

    An exception of an owner's is logged and ends there: half of what was to be done is no state for a child.
    """

    def settings_for(self, child: "Child", token: str) -> Mapping[str, Any]:
        """Settings of the next incarnation, sent in its Welcome, its key beside them; called before each spawn."""

    def adopted(self, child: "Child", token: str, settings: Mapping[str, Any]) -> None:
        """A process of a supervisor before goes on as its own; ``settings``: those that this process was told."""

    def changed(self, child: "Child") -> None:
        """Its record is another one now."""

    def connected(self, child: "Child") -> None:
        """Its process opened the control channel, for the first time or again."""

    def disconnected(self, child: "Child") -> None:
        """The control channel closed."""

    def received(self, child: "Child", envelope: Envelope) -> None:
        """A message that the child itself does not understand."""

    def withdraw(self, child: "Child", done: Callable[[], None]) -> None:
        """It shall get no new requests; call ``done`` when nobody sends it any."""

    def used_up(self, child: "Child", cause: Cause) -> bool:
        """It serves, and reached a limit that has it replaced in order. False: it shall end, and another one follow."""

    def exited(self, child: "Child", record: ExitView) -> None:
        """One of its processes is gone and reaped, or could not be started."""


class Child:
    """A slot of the process table: at most one process at a time, restarted by policy."""

    def __init__(self, spec: ChildSpec, owner: ChildOwner, around: Surroundings, restarts: int = 0) -> None:
        """``restarts``: of the slot so far, where it takes the place of another child."""
        self.spec = spec
        self.record = ChildRecord(restarts=restarts)
        self.incarnation: Incarnation | None = None
        self.questions = Questions()
        self.settled = asyncio.Event()
        """Set while there is no process and none will come by itself: exited, or failed for good."""
        self._owner = owner
        self._around = around
        self._arrival = Arrival(around, self._arrived, self._not_born)
        self._policy = Policy(spec.restart, spec.timeouts)
        self._queue: deque[events.Event] = deque()
        self._advancing = False
        self._timer = ChildTimer(self.post)

    def __str__(self) -> str:
        """As log lines name it."""
        return self.spec.id if self.pid is None else f"{self.spec.id} (pid {self.pid})"

    @property
    def state(self) -> State:
        return self.record.state

    @property
    def pid(self) -> int | None:
        return self.incarnation.process.pid if self.incarnation and self.incarnation.is_alive else None

    @property
    def python(self) -> str:
        """The version it runs on, in its own words; "" before it said so."""
        connection = self.incarnation.connection if self.incarnation else None
        return connection.hello.python if connection and connection.hello else ""

    @property
    def uptime(self) -> float:
        """Seconds since its process was spawned; 0 without one."""
        spawned = self.record.spawned_at
        return self._around.clock.monotonic() - spawned if self.incarnation and spawned is not None else 0.0

    def respecify(self, spec: ChildSpec) -> None:
        """Follow other settings: policies and limits from now on, what a process is started with from the next one."""
        self.spec = spec
        self._policy = Policy(spec.restart, spec.timeouts)

    def post(self, event: events.Event) -> None:
        """Let the child react to ``event``: now, or after what it is reacting to."""
        self._queue.append(event)
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._queue:
                self._advance(self._queue.popleft())
        finally:
            self._advancing = False

    def send(self, message: object, request_id: int = 0) -> None:
        """Send over the control channel; nothing is sent while it is closed."""
        if self.incarnation and self.incarnation.connection:
            self.incarnation.connection.send(message, request_id)

    def send_frame(self, frame: bytes) -> None:
        """Send what is encoded already."""
        if self.incarnation and self.incarnation.connection:
            self.incarnation.connection.send_frame(frame)

    def let_go(self) -> None:
        """Do nothing more with its process, for which somebody else comes."""
        self._timer.set(events.Disarm())
        if self.incarnation is not None:
            self.incarnation.output.let_go()

    def check_liveness(self, now: float) -> None:
        """Compare the last sign of life with the policy; called about once a second."""
        incarnation, policy = self.incarnation, self.spec.liveness
        if incarnation is None or not incarnation.is_alive or policy is None or self.state not in SERVING:
            return
        match incarnation.judge(policy, now):
            case Verdict.HUNG:
                self.post(events.Hung())
            case Verdict.STALLED | Verdict.BUSY if self.state is State.RUNNING:
                self.post(events.Stalled())
            case Verdict.FINE if self.state is State.STALLED:
                self.post(events.Recovered())

    def check_limits(self, memory_mb: float | None = None) -> None:
        """Compare what its process has used with its limits; ``memory_mb``: None where it was not measured now."""
        incarnation = self.incarnation
        if incarnation is None or not incarnation.is_alive:
            return
        requests = incarnation.beat.requests if incarnation.beat else 0
        event = exceeded(
            self.spec.limits, memory_mb=memory_mb, requests=requests, age=self.uptime, jitter=incarnation.jitter
        )
        if event is None:
            return
        if event.graceful and self.state in SERVING and self._tell(self._owner.used_up, event.cause):
            return
        self.post(event)

    # --- ChildListener: what its process says ---

    def connected(self, connection: Connection) -> None:
        incarnation = self.incarnation
        if incarnation is None:
            return
        former, incarnation.connection = incarnation.connection, connection
        if former is not None:
            # A fork of the process may hold it open; left open it would go on speaking, for the next incarnation too.
            former.close()
        self._tell(self._owner.connected)

    def disconnected(self, connection: Connection) -> None:
        if self.incarnation is not None and self.incarnation.connection is connection:
            self.incarnation.connection = None
            self.questions.abandon()
            self._tell(self._owner.disconnected)
            self._report_exit(self.incarnation)

    def received(self, envelope: Envelope) -> None:
        if self.incarnation is None:
            return
        match envelope.message:
            case Beat() as beat:
                self.incarnation.take_beat(beat, self._around.clock.monotonic())
            case Ready() as ready:
                self.incarnation.ready = ready
                self.post(events.BecameReady())
            case Failed() as failure:
                self.post(events.StartFailed(failure))
            case Imported(modules):
                self._around.origin.learn(self.spec, modules)
            case _ if not self.questions.answer(envelope):
                self._tell(self._owner.received, envelope)

    # --- the machine ---

    def _advance(self, event: events.Event) -> None:
        before = self.record
        try:
            self.record, instructions = advance(before, event, self._around.clock.monotonic(), self._policy)
        except IllegalTransitionError:
            # A mistake of ours, and to be seen; but neither the events behind it nor who reported it are to suffer.
            logger.exception("%s: passing over what cannot be", self)
            return
        if before.state is not self.record.state:
            logger.debug("%s: %s, %s -> %s", self, type(event).__name__, before.state, self.record.state)
        if self.record.state is not State.STARTING or (before.is_being_born and not self.record.is_being_born):
            # It may leave the state without being born in it: told to stop while its template forked.
            self._arrival.conclude(outcome_of(before, event))
        if before.ending is None and self.record.ending is not None:
            self._write_down()  # before it is told: the next supervisor must not take it for one that serves
        for instruction in instructions:
            self._execute(instruction)
        self._update_settled()
        if before != self.record:
            self._tell(self._owner.changed)

    def _tell(self, callback: Callable[..., T], *arguments: object) -> T | None:
        """Call the owner. The boundary to it: what it gets wrong must not stop the machine between two instructions.

        Return what it says; None where it failed.
        """
        try:
            return callback(self, *arguments)
        except Exception:
            logger.exception("%s: its owner failed in %s", self, callback.__name__)
            return None

    def _update_settled(self) -> None:
        is_settled = self.incarnation is None and not self._timer.is_armed and self.state in _DOWN
        (self.settled.set if is_settled else self.settled.clear)()

    def _execute(self, instruction: events.Instruction) -> None:
        match instruction:
            case events.Spawn():
                self._arrival.begin(lambda: self.spec, partial(self._owner.settings_for, self))
            case events.CancelSpawn() if self._arrival.cancel():
                self.post(events.SpawnCancelled())
            case events.AskToStop():
                self._ask_to_stop(instruction)
            case events.SignalGroup(number):
                logger.info("%s: sending %s to its process group", self, number.name)
                self._signal(number)
            case events.KillGroup():
                logger.info("%s: sending SIGKILL to its process group", self)
                self._signal(signal.SIGKILL)
            case events.DumpStacks() if self.incarnation is not None:
                self.incarnation.dump_stacks()
            case events.Arm() | events.Disarm():
                self._timer.set(instruction)
            case events.RecordExit():
                self._record_exit(instruction)
            case events.ReportUnkillable():
                logger.error("%s outlives SIGKILL: it waits inside the kernel", self)

    def _arrived(self, arrived: Arrived) -> None:
        """Hear, watch and await the process that is there."""
        process, former = arrived.process, arrived.former
        output = Output(asyncio.get_running_loop(), process.pipes, self.spec.id, self._log)
        self.incarnation = Incarnation(arrived.token, arrived.nonce, process, output, arrived.settings)
        output.start()
        self._around.reaper.watch(process, self._exited)
        expected = Expected(process.pid, process.start_ticks, arrived.nonce, arrived.settings, listener=self)
        self._around.control.expect(self.spec.id, expected)
        if former is None:
            self._write_down()
            logger.info("%s: started", self)
            self.post(events.Spawned())
        else:
            self._tell(self._owner.adopted, arrived.token, arrived.settings)
            logger.info("%s: taken over, it has been running for %.1f s", self, former.age)
            self.post(events.Adopted(former.age, former.restarts))

    def _write_down(self) -> None:
        """Let whoever comes after this supervisor know of the process."""
        if self.incarnation is not None:
            self._around.records.write(self.incarnation.on_record(self.spec, self.record))

    def _not_born(self, reason: str) -> None:
        self.post(events.SpawnFailed(reason, random.random()))  # noqa: S311 - jitter is no secret

    def _ask_to_stop(self, instruction: events.AskToStop) -> None:
        incarnation = self.incarnation
        if incarnation is None or incarnation.connection is None:
            self.post(events.Drained())
            return

        def ask() -> None:
            if self.incarnation is incarnation:
                self.send(Stop(instruction.cause.value, instruction.drain))

        self._tell(self._owner.withdraw, ask)

    def _signal(self, number: signal.Signals) -> None:
        if self.incarnation is not None:
            self.incarnation.process.signal_group(number)

    def _log(self, instance: str, stream: str, lines: Sequence[str]) -> None:
        self._around.logs.write(self.spec.name, instance, stream, lines)
        if stream == "err" and self.incarnation is not None:
            self.incarnation.keep_stacks(lines)

    def _exited(self, status: ExitStatus) -> None:
        """Its last words may still be in the control channel's buffer: they come before its death."""
        incarnation = self.incarnation
        if incarnation is None:
            return
        incarnation.status = status
        if incarnation.connection is None:
            self._report_exit(incarnation)
        else:
            asyncio.get_running_loop().call_later(LAST_WORDS, self._report_exit, incarnation)

    def _report_exit(self, incarnation: Incarnation) -> None:
        if self.incarnation is incarnation and incarnation.status is not None:
            status, incarnation.status = incarnation.status, None
            self.post(events.Exited(status, random.random()))  # noqa: S311 - jitter is no secret

    def _record_exit(self, instruction: events.RecordExit) -> None:
        incarnation = self.incarnation
        if incarnation is not None:
            self._bury(incarnation)
        record = record_of_exit(self.spec, incarnation, instruction)
        logger.info("%s", explain(record))
        self._tell(self._owner.exited, record)

    def _bury(self, incarnation: Incarnation) -> None:
        incarnation.output.finish()
        self.incarnation = None
        self._around.forget(incarnation.token)
        self.questions.abandon()
        self._around.control.forget(self.spec.id, incarnation.nonce)
        if incarnation.connection is not None:
            incarnation.connection.close()
            self._tell(self._owner.disconnected)


def is_replaced(child: Child, former: Incarnation | None) -> bool:
    """Another process than ``former`` is ready, or it is certain that none will be for now."""
    if child.state in {State.FAILED, State.EXITED, State.BACKOFF}:
        return True
    return child.incarnation is not former and child.state is State.RUNNING
