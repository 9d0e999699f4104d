"""A template: the process that those of one environment are forked from, its modules already imported.

Who is forked from it are its owners: one, or several that are alike, see pool.py.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from plugin_runtime.protocol import ENV_DATA_DIR, Cause, Failed, Kind, State
from plugin_runtime.template_protocol import (
    TASK_PROGRAM,
    UNSAFE,
    WORKER_PROGRAM,
    Fork,
    Forked,
    NotForked,
    NotImported,
    TemplateSettings,
)
from plugin_runtime.views import ExitView
from plugin_runtime.wire import Envelope, to_wire
from supervisor.channels.questions import NoAnswerError
from supervisor.errors import SpawnError
from supervisor.preparation.worker_spec import NO_NATIVE_THREADS
from supervisor.processes.spawn import Process, claim, make_pipes, marking
from supervisor.spec import ChildSpec
from supervisor.state_folder import StateFolder
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import SUPERVISOR, Hung, RestartRequested, StartRequested, StopRequested
from supervisor.supervision.origin import Birth
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree
from supervisor.templates.module_list import ModuleList

logger = logging.getLogger(__name__)

FORK_TIMEOUT = 2.0
"""Seconds for the answer to Fork. It takes milliseconds; whoever waits is held up for as long as this."""
PROGRAMS = {
    Kind.VALIDATOR: WORKER_PROGRAM,
    Kind.WORKER: WORKER_PROGRAM,
    Kind.TASK: TASK_PROGRAM,
    Kind.JOB: TASK_PROGRAM,
}
"""What a child of each kind runs once it is forked."""
PATIENCE = 15.0
"""Seconds that others wait for its imports; after that they are better off on their own."""
QUIET = 1.0
"""Seconds without anything new to learn, and without a fork, until it is renewed.

Many may have imported something at the same time, and those that start now are ready sooner without a new template.
"""
MOST_RENEWALS = 3
"""Since somebody joined. What is learned after so many is for the next start: imports that are new each time must not
renew it for ever."""
MOST_UNSAFE = 5
"""Modules that are left to the forked processes; an environment with more of them is not made for forking."""

_OWN = frozenset({ENV_DATA_DIR, *NO_NATIVE_THREADS})
"""Variables that may differ between a template and what is forked from it: no library reads them when imported."""


class CannotForkError(Exception):
    """There is no new process; the message says why."""


@dataclass(frozen=True)
class TemplateServices:
    """What templates work with; the same for all of them."""

    around: Surroundings
    tree: Tree
    recorded: Callable[[ExitView], None]
    """Takes every exit record."""


class Template:
    """Owns the template's process; implements ChildOwner for it."""

    def __init__(self, spec: ChildSpec, preload: Iterable[str], adopt_grace: float, services: TemplateServices) -> None:
        """``preload``: those of its modules that authors have asked for."""
        self.child = Child(spec, self, services.around)
        self.owners: list[str] = []
        """Whose processes are forked from it."""
        self.changed_state: Callable[[], None] = lambda: None
        """Called when it may have become ready, or is not coming any more."""
        self.notes: dict[str, str] = {}
        """What does not work with it and stops nothing: sentences for people, by what they are about."""
        self._common = _common(spec)
        self._modules = ModuleList(())
        self._preload = frozenset(preload)
        self._told: list[str] | None = None
        """The modules of the present process, or of the last."""
        self._renewals = 0
        self._renewal: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._asking = asyncio.Lock()
        self._adopt_grace = adopt_grace
        self._services = services

    @property
    def interpreter(self) -> str:
        """Path of the Python that it runs on, which is that of its environment."""
        return self.child.spec.command[0]

    @property
    def packages(self) -> frozenset[str]:
        """Of its modules, without Python's own."""
        return self._modules.packages

    def suits(self, spec: ChildSpec) -> bool:
        """Whether what is forked for ``spec`` finds itself as in a fresh interpreter: libraries read variables, too."""
        return self.interpreter == spec.command[0] and self._common == _common(spec)

    def is_for(self, spec: ChildSpec, preload: Iterable[str]) -> bool:
        """Whether a template made of these would be the same but for its name and modules."""
        ours = self.child.spec
        return replace(spec, id=ours.id, name=ours.name) == ours and self._preload == frozenset(preload)

    @property
    def is_ready(self) -> bool:
        incarnation = self.child.incarnation
        return self.child.state is State.RUNNING and incarnation is not None and incarnation.connection is not None

    @property
    def is_coming(self) -> bool:
        """Whether it is worth waiting for: it is about to be started, imports, or is replaced on purpose."""
        record = self.child.record
        if record.state is State.STARTING:
            return record.wanted and record.failure is None and self.child.uptime < PATIENCE
        return record.restart_requested and record.state in {State.DRAINING, State.STOPPING}

    # --- what is done with it ---

    def start(self) -> None:
        """One that has its name is about to be retired."""
        self._services.tree.supersede(self.child)
        self.child.post(StartRequested(SUPERVISOR))

    async def retire(self, cause: Cause, actor: str) -> None:
        """Stop it and take it out of the process table; what it has forked is not touched."""
        for timer in (self._renewal, self._patience):
            if timer is not None:
                timer.cancel()
        await self._services.tree.remove(self.child, cause, actor)

    def stop_unless_needed(self) -> None:
        """Without owners there is nothing to fork."""
        if not self.owners:
            self.child.post(StopRequested(Cause.SCALE_DOWN, SUPERVISOR))

    def note(self, about: str, sentence: str, level: int = logging.WARNING) -> None:
        """Say what does not work with it: once, however often it is started."""
        if self.notes.get(about) != sentence:
            self.notes[about] = sentence
            logger.log(level, "%s: %s", self.child, sentence)

    def join(self, owner: str, modules: Sequence[str]) -> None:
        """Fork for ``owner``, too, whose processes import ``modules``."""
        self.owners.append(owner)
        self._renewals = 0
        self._add(modules)

    def part(self, owner: str) -> None:
        """Fork for ``owner`` no more; it is the caller's to stop the process, or to retire it."""
        self.owners.remove(owner)

    def learn(self, modules: Sequence[str]) -> None:
        """A process had to import these itself: its successors shall find them, in another process of the template.

        Where others share it, only what is Python's, or of packages that all of them have.
        """
        self._add(self._modules.of_same_packages(modules) if len(set(self.owners)) > 1 else modules)

    def _add(self, modules: Sequence[str]) -> None:
        if self._modules.add(modules):
            self._renew_soon()

    @property
    def _is_outdated(self) -> bool:
        return self._told is not None and self._told != self._modules.names

    def _renew_soon(self) -> None:
        """Wait until nothing new has come for a while, from whomever."""
        if self._is_outdated and self._renewals < MOST_RENEWALS:
            if self._renewal is not None:
                self._renewal.cancel()
            self._renewal = asyncio.get_running_loop().call_later(QUIET, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        if self.is_ready and self._is_outdated:  # otherwise it is looked at again when it is ready
            self._renewals += 1
            self.child.post(RestartRequested(Cause.RECYCLE, SUPERVISOR))

    async def fork(self, birth: Birth, folder: StateFolder) -> Process:
        """Have a process forked; the caller hands it to the reaper before the loop turns again.

        Raises:
            CannotForkError: it was not to be had.
        """
        if not self.is_ready:  # any more: nobody would answer
            raise CannotForkError("it is gone")
        try:
            pipes = make_pipes(folder, birth.token)
        except OSError as error:
            raise CannotForkError(f"no pipes for its output: {error.strerror}") from error
        with ExitStack() as on_failure:
            for pipe in pipes:
                on_failure.callback(pipe.close)
            try:
                async with self._asking:  # it does one after the other: the time of each is to be counted from its turn
                    forked = await self._ask(birth, marking(folder), [str(pipe.path) for pipe in pipes])
                process = claim(birth.spec, forked.pid, forked.start_ticks, pipes)
            except (SpawnError, ValueError, OverflowError) as error:
                # ValueError: an environment that no message can hold, since it is no UTF-8 or too large.
                raise CannotForkError(str(error)) from error
            on_failure.pop_all()
            if self._renewal is not None:
                self._renew_soon()
            return process

    async def _ask(self, birth: Birth, mark: Mapping[str, str], pipes: Sequence[str]) -> Forked:
        spec = birth.spec
        order = Fork(spec.id, birth.nonce, PROGRAMS[spec.kind], {**spec.environment, **mark}, *pipes)
        asked = self.child.incarnation
        try:
            answer = await self.child.questions.ask(self.child.send, order, FORK_TIMEOUT)
        except NoAnswerError as error:
            if self.is_ready and self.child.incarnation is asked:
                self.child.post(Hung())
            raise CannotForkError(str(error)) from error
        match answer:
            case Forked(pid) if not self._services.around.reaper.watches(pid):
                return answer
            case NotForked(reason):
                raise CannotForkError(reason)
            case _:  # what runs there is foreign code, and may say anything
                raise CannotForkError(f"it answered {answer}")

    # --- ChildOwner ---

    def settings_for(self, child: Child, token: str) -> Mapping[str, Any]:
        self._told = self._modules.names.copy()
        wire: Mapping[str, Any] = to_wire(TemplateSettings(child.spec.name, self._told, self._adopt_grace))
        return wire

    def adopted(self, child: Child, token: str, settings: Mapping[str, Any]) -> None:
        """Never: what it forks would not become our child."""

    def changed(self, child: Child) -> None:
        if child.state is State.FAILED and child.record.failure is not None:
            self._leave_out(child.record.failure)
        if child.record.is_being_born and self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(PATIENCE, self._lose_patience)
        if self.is_ready and self._renewal is None:
            self._renew_soon()
        self.changed_state()

    def _lose_patience(self) -> None:
        self._patience = None
        self.changed_state()

    def _leave_out(self, failure: Failed) -> None:
        """Try again without the module that cannot be forked, which is left to the processes themselves."""
        module = failure.location
        if failure.type != UNSAFE or module not in self._modules.names or len(self._modules.left_out) >= MOST_UNSAFE:
            self.note(module, f"{failure.message}; its processes start without it")
            return
        self.note(module, f"{failure.message}; it goes on without that")
        self._modules.leave_out(module)
        asyncio.get_running_loop().call_soon(self.child.post, StartRequested(SUPERVISOR))

    def connected(self, child: Child) -> None:
        """It is told all in its Welcome."""

    def disconnected(self, child: Child) -> None:
        """Its exit follows, or it comes back."""

    def received(self, child: Child, envelope: Envelope) -> None:
        match envelope.message:
            case NotImported(reasons):
                for module in sorted(self._preload.intersection(reasons)):
                    self.note(module, self._why_not_preloaded(module, reasons[module]))
            case other:
                logger.warning("%s sent an unexpected %s", child, type(other).__name__)

    def _why_not_preloaded(self, module: str, reason: str) -> str:
        plugins = " and ".join(map(repr, self.owners))
        problem = f"cannot import {module!r}, which the key preload of plugin {plugins} names: {reason}"
        return f"{problem}; name modules of Python or of its environment, or take it out"

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        done()

    def used_up(self, child: Child, cause: Cause) -> bool:
        return False

    def exited(self, child: Child, record: ExitView) -> None:
        self._services.recorded(record)


def _common(spec: ChildSpec) -> dict[str, str]:
    return {name: value for name, value in spec.environment.items() if name not in _OWN}
