"""Where processes come from: forked from a template where there is one, else executed; a few at a time.

To start and to import is all CPU. Where many are to start at once, one after the other is ready sooner than all of
them together, and none later. A child that is forked waits for its template, which takes no longer than to import all
that itself, and holds no place meanwhile. In every other state of the template, and where a fork fails, the program is
executed as if there were none: a template saves time, nothing depends on it. What does not survive a fork is found out,
see trust.py.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence

from plugin_runtime.protocol import Kind
from supervisor.channels.control import ControlServer
from supervisor.errors import SpawnError
from supervisor.processes.reaper import Reaper
from supervisor.processes.spawn import Process, spawn
from supervisor.spec import ChildSpec
from supervisor.state_folder import StateFolder
from supervisor.supervision.origin import Birth
from supervisor.supervision.trust import BirthOutcome, Trust
from supervisor.templates.member import Member
from supervisor.templates.template import CannotForkError, Template
from supervisor.works import Works

logger = logging.getLogger(__name__)

LONGEST_PLACE = 3.0
"""Seconds after which another may start though this one is not ready: it waits for something else than the CPU."""
ADMITTED = frozenset({Kind.TEMPLATE, Kind.WORKER, Kind.TASK})
"""Those that wait for a place. The door does not, validators and runs of jobs are counted where they are begun."""


class Births:
    """Implements Origin for all children. Owns the forks under way, and knows who has which template."""

    def __init__(self, folder: StateFolder, reaper: Reaper, control: ControlServer, limit: int) -> None:
        """``limit``: of those that start at once."""
        self._folder = folder
        self._reaper = reaper
        self._control = control
        self._limit = limit
        self._members: dict[str, Member] = {}
        """By the names of owners of templates."""
        self._waiting: list[Birth] = []
        self._starting: dict[Birth, asyncio.TimerHandle] = {}
        self._forks = Works()
        self._forked: set[Birth] = set()
        """Those whose process came from a template, as long as they start."""
        self._trust: defaultdict[tuple[str, str], Trust] = defaultdict(Trust)
        """By owner and interpreter, which is that of an environment."""
        self._pumping = False
        self._pump_again = False

    def enter(self, member: Member) -> None:
        """Fork from its template whatever bears the owner's name as ``template``, and suits it."""
        self._members[member.owner] = member
        member.template.changed_state = self._pump

    def leave(self, owner: str) -> None:
        """Fork nothing more for ``owner``."""
        self._members.pop(owner, None)
        self._pump()

    def can_use(self, member: Member) -> bool:
        """Whether anything may be forked for it; else it says so, and no template is worth its memory."""
        if self._trust_in(member).lost:
            member.note("fork", "nothing is forked: its processes have died of it in this environment")
        return not (member.is_patching or self._trust_in(member).lost)

    # --- Origin ---

    def begin(self, birth: Birth) -> None:
        self._waiting.append(birth)
        self._pump()

    def abandon(self, birth: Birth) -> bool:
        if birth not in self._waiting:
            return False
        self._waiting.remove(birth)
        return True

    def conclude(self, birth: Birth, outcome: BirthOutcome) -> None:
        self._judge(birth, outcome)
        self._give_place_back(birth)

    def learn(self, spec: ChildSpec, modules: Sequence[str]) -> None:
        member = self._member_of(spec)
        if member is not None:
            member.learn(modules)

    # --- inside ---

    def _judge(self, birth: Birth, outcome: BirthOutcome) -> None:
        forked = birth in self._forked
        self._forked.discard(birth)
        member = self._member_of(birth.spec)
        if member is None:
            return
        trust = self._trust_in(member)
        trust.judge(birth.spec, outcome, forked=forked)
        if trust.lost:
            self.leave(member.owner)
            member.give_up(birth.spec.id)

    def _trust_in(self, member: Member) -> Trust:
        return self._trust[member.owner, member.template.interpreter]

    def _give_place_back(self, birth: Birth) -> None:
        timer = self._starting.pop(birth, None)
        if timer is not None:
            timer.cancel()
            self._pump()

    def _pump(self) -> None:
        """Start those that can be. What that leads to may pump again: in a loop, however many fail at once."""
        self._pump_again = True
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._pump_again:
                self._pump_again = False
                self._start_some()
        finally:
            self._pumping = False

    def _start_some(self) -> None:
        for birth in self._by_turn():
            member = self._member_of(birth.spec)
            is_coming = member is not None and member.template.is_coming
            if birth in self._waiting and not is_coming and self._has_room_for(birth):
                self._waiting.remove(birth)
                self._start(birth, member)

    def _by_turn(self) -> list[Birth]:
        """Those first whose owner has the fewest that start, so that no plugin's many hold up another's only one.

        Among equals the longest waiting is first.
        """
        starting = Counter(birth.spec.name for birth in self._starting)
        return sorted(self._waiting, key=lambda birth: starting[birth.spec.name])

    def _member_of(self, spec: ChildSpec) -> Member | None:
        member = self._members.get(spec.template)
        return member if member and member.suits(spec) else None

    def _has_room_for(self, birth: Birth) -> bool:
        return birth.spec.kind not in ADMITTED or len(self._starting) < self._limit

    def _start(self, birth: Birth, member: Member | None) -> None:
        if birth.spec.kind in ADMITTED:
            loop = asyncio.get_running_loop()
            self._starting[birth] = loop.call_later(LONGEST_PLACE, self._give_place_back, birth)
        if member is None or not member.template.is_ready or not self._trust_in(member).allows(birth.spec):
            self._execute(birth)
            return
        self._forks.begin(self._fork(birth, member.template), f"fork-{birth.spec.id}")

    def _execute(self, birth: Birth) -> None:
        try:
            process = spawn(birth.spec, birth.token, birth.nonce, self._folder)
        except SpawnError as error:
            birth.failed(error)
        else:
            birth.born(process)

    async def _fork(self, birth: Birth, template: Template) -> None:
        # The new process is ours before we know of it: a sweep would take it for an orphan, and it may speak already.
        with self._reaper.birth(), self._control.birth(birth.spec.id, birth.nonce):
            process = await self._process_of(birth, template)
            if process is not None:
                self._forked.add(birth)
                birth.born(process)
        if process is None:
            self._execute(birth)

    async def _process_of(self, birth: Birth, template: Template) -> Process | None:
        try:
            return await template.fork(birth, self._folder)
        except CannotForkError as error:
            logger.warning("%s cannot fork %s: %s; executing it instead", template.child, birth.spec.id, error)
        except Exception:  # a mistake of ours; without a process the child would wait for ever
            logger.exception("%s cannot fork %s; executing it instead", template.child, birth.spec.id)
        return None
