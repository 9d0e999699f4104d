"""A template: the process that those of one environment are forked from, its modules already imported."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from plugin_runtime.protocol import Cause, Kind, State
from plugin_runtime.template_protocol import Fork, Forked, NotForked, TemplateSettings
from plugin_runtime.views import ExitView
from plugin_runtime.wire import Envelope, to_wire
from supervisor.child import Child, Surroundings
from supervisor.child_events import Hung, RestartRequested, StartRequested
from supervisor.errors import SpawnError
from supervisor.origin import Birth
from supervisor.questions import NoAnswerError
from supervisor.spawn import Process, claim, make_pipes
from supervisor.spec import ChildSpec
from supervisor.state_folder import StateFolder
from supervisor.tree import Tree

logger = logging.getLogger(__name__)

FORK_TIMEOUT = 2.0
"""Seconds for the answer to Fork. It takes milliseconds; whoever waits is held up for as long as this."""
PROGRAMS = {Kind.WORKER: "worker", Kind.TASK: "task", Kind.JOB: "task"}
"""What a child of each kind runs once it is forked."""


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

    def __init__(
        self,
        spec: ChildSpec,
        modules: Sequence[str],
        adopt_grace: float,
        services: TemplateServices,
        learned: Callable[[list[str]], None] = lambda _modules: None,
    ) -> None:
        """``modules``: to be imported, in this order; ``learned``: gets those that are added to them later."""
        self.child = Child(spec, self, services.around)
        self.changed_state: Callable[[], None] = lambda: None
        """Called when it may have become ready, or is not coming any more."""
        self._modules = list(modules)
        self._adopt_grace = adopt_grace
        self._services = services
        self._learned = learned

    @property
    def owner(self) -> str:
        """Whose processes it is for."""
        return self.child.spec.name

    @property
    def interpreter(self) -> str:
        """Path of the Python that it runs on, which is that of its environment."""
        return self.child.spec.command[0]

    @property
    def is_ready(self) -> bool:
        incarnation = self.child.incarnation
        return self.child.state is State.RUNNING and incarnation is not None and incarnation.connection is not None

    @property
    def is_coming(self) -> bool:
        """Whether it is worth waiting for: it is about to be started, imports, or is replaced on purpose."""
        record = self.child.record
        if record.state is State.STARTING:
            return record.wanted and record.failure is None
        return record.restart_requested and record.state in {State.DRAINING, State.STOPPING}

    # --- what is done with it ---

    def start(self, instead_of: "Template | None" = None) -> None:
        """``instead_of``: the one of the same owner that is about to be retired."""
        self._services.tree.add(self.child, beside=instead_of.child if instead_of else None)
        self.child.post(StartRequested("supervisor"))

    async def retire(self, cause: Cause, actor: str) -> None:
        """Stop it and take it out of the process table; what it has forked is not touched."""
        await self._services.tree.remove(self.child, cause, actor)

    def learn(self, modules: Sequence[str]) -> None:
        """A process had to import these itself: its successors shall find them, in another process of the template."""
        known = set(self._modules)
        new = [module for module in modules if module not in known]
        if new:
            self._modules += new
            self._learned(new)
            if self.is_ready or self.is_coming:  # one that failed is not to fail again
                self.child.post(RestartRequested(Cause.RECYCLE, "supervisor"))

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
            forked = await self._ask(birth.spec, birth.nonce, [str(pipe.path) for pipe in pipes])
            try:
                process = claim(birth.spec, forked.pid, forked.start_ticks, pipes)
            except SpawnError as error:
                raise CannotForkError(str(error)) from error
            on_failure.pop_all()
            return process

    async def _ask(self, spec: ChildSpec, nonce: str, pipes: Sequence[str]) -> Forked:
        order = Fork(spec.id, nonce, PROGRAMS[spec.kind], dict(spec.environment), *pipes)
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
        wire: Mapping[str, Any] = to_wire(TemplateSettings(self.owner, self._modules, self._adopt_grace))
        return wire

    def changed(self, child: Child) -> None:
        failure = child.record.failure
        if failure is not None and failure.permanent and child.state is State.STARTING:
            logger.warning("%s: %s; its processes start without it", child, failure.message)
        self.changed_state()

    def connected(self, child: Child) -> None:
        """It is told all in its Welcome."""

    def disconnected(self, child: Child) -> None:
        """Its exit follows, or it comes back."""

    def received(self, child: Child, envelope: Envelope) -> None:
        logger.warning("%s sent an unexpected %s", child, type(envelope.message).__name__)

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        done()

    def used_up(self, child: Child, cause: Cause) -> bool:
        return False

    def exited(self, child: Child, record: ExitView) -> None:
        self._services.recorded(record)
