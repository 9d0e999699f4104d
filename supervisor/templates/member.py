"""One owner of processes that are forked from a template, which others may share: what concerns nobody but it."""

import logging
from collections.abc import Callable, Iterable, Sequence

from supervisor.spec import ChildSpec
from supervisor.templates.module_list import ModuleList
from supervisor.templates.template import Template

logger = logging.getLogger(__name__)

PATCHING = frozenset({"gevent", "eventlet"})
"""Libraries that patch others, and want to be imported before them: by the plugin, not by a template."""


class Member:
    """A plugin, or the tasks of the core."""

    def __init__(
        self, owner: str, template: Template, modules: Iterable[str], learned: Callable[[list[str]], None]
    ) -> None:
        """``modules``: that its processes import. ``learned``: gets those that are found out later."""
        self.owner = owner
        self.template = template
        self._modules = ModuleList(modules)
        self._learned = learned
        self._notes: dict[str, str] = {}
        self._has_joined = False
        self._look_for_patching()

    @property
    def notes(self) -> list[str]:
        """What does not work and stops nothing: sentences for people."""
        return [*self.template.notes.values(), *self._notes.values()]

    @property
    def is_patching(self) -> bool:
        """Whether its processes patch what they import; then nothing is to be forked for it."""
        return not PATCHING.isdisjoint(self._modules.packages)

    @property
    def is_forked(self) -> bool:
        """Whether its processes are forked where the template is ready."""
        return self._has_joined and not self.is_patching

    def suits(self, spec: ChildSpec) -> bool:
        """Whether a process of its ``spec`` may be forked from the template."""
        return not self.is_patching and self.template.suits(spec)

    def note(self, about: str, sentence: str, level: int = logging.WARNING) -> None:
        """Say what does not work: once, however often it is found."""
        if self._notes.get(about) != sentence:
            self._notes[about] = sentence
            logger.log(level, "%s: %s", self.owner, sentence)

    def join(self) -> None:
        """Have the template import what its processes need."""
        self._has_joined = True
        self.template.join(self.owner, self._modules.names)

    def leave(self) -> None:
        """Need the template no more."""
        if self._has_joined:
            self._has_joined = False
            self.template.part(self.owner)

    def give_up(self, child: str) -> None:
        """Leave: ``child`` comes to grief when it is forked, and does not when it is executed."""
        problem = f"{child} dies before it is ready where it is forked, and does not where it is started from nothing"
        self.note("fork", f"{problem}; nothing is forked in this environment any more")
        self.leave()
        self.template.stop_unless_needed()

    def learn(self, modules: Sequence[str]) -> None:
        """A process of it had to import these itself: the next ones shall find them, from this template or another."""
        new = self._modules.add(modules)
        if new:
            self._learned(new)
            self._look_for_patching()
        self._teach(modules)

    def renew(self, modules: Sequence[str], learned: Callable[[list[str]], None]) -> None:
        """Its processes are of another generation, which imports ``modules``."""
        self._learned = learned
        self._modules.add(modules)
        self._teach(modules)

    def _teach(self, modules: Sequence[str]) -> None:
        if self.is_forked:
            self.template.learn(modules)

    def _look_for_patching(self) -> None:
        if self.is_patching:
            libraries = ", ".join(sorted(PATCHING & self._modules.packages))
            self.note("patching", f"nothing is forked: its processes import {libraries}", logging.INFO)
