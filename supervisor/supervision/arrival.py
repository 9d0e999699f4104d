"""How a child comes to a process: one that outlived its supervisor is taken over, or another one begins."""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from supervisor.errors import SpawnError
from supervisor.processes.process_records import ProcessRecord
from supervisor.processes.spawn import Process, take_over
from supervisor.spec import ChildSpec
from supervisor.state_folder import TOKEN_BYTES
from supervisor.supervision.local_key import caller_of, with_key
from supervisor.supervision.origin import Birth, CurrentBirth
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.trust import BirthOutcome

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arrived:
    """A process that is there. ``former``: what the supervisor before knew of it, where it is taken over."""

    token: str
    nonce: str
    settings: Mapping[str, Any]
    process: Process
    former: ProcessRecord | None = None


class Arrival:
    """Of one child; owns the birth that is under way."""

    def __init__(self, around: Surroundings, arrived: Callable[[Arrived], None], failed: Callable[[str], None]) -> None:
        """``arrived``: has to hand the process to the reaper before the loop turns again; ``failed``: told why."""
        self._around = around
        self._arrived = arrived
        self._failed = failed
        self._birth = CurrentBirth(around.origin)
        self._coming = ""
        """Token of the newest one that was asked for."""
        self._awaited: object | None = None
        """Stands for the end of one that has to be gone first."""

    def begin(self, spec: Callable[[], ChildSpec], settings: Callable[[str], Mapping[str, Any]]) -> None:
        """Bring it a process, at once or after a while.

        ``spec``: as it is at any moment; ``settings``: of a new process, given its token, which may change the spec.
        """
        survivors = self._around.survivors
        former = survivors.claim(spec())
        if former is not None and (process := self._take_over(former)) is not None:
            self._admit(spec(), former.settings)
            self._arrived(Arrived(former.token, former.nonce, former.settings, process, former))
            return
        if spec().alone and (rival := survivors.rival(spec())) is not None:
            self._awaited = object()
            survivors.dismiss(rival, partial(self._gone, self._awaited, spec, settings))
            return
        token, nonce = secrets.token_hex(TOKEN_BYTES), secrets.token_hex(16)
        try:
            told = with_key(settings(token), spec().kind, token, self._around.folder)
        except SpawnError as error:  # no other process is wanted
            self._fail(str(error))
            return
        except Exception as error:  # a mistake of ours; without settings there is no process
            logger.exception("%s: its owner has no settings for it", spec().id)
            self._fail(f"no settings: {error}")
            return
        self._admit(spec(), told)
        birth = Birth(
            spec(),
            token,
            nonce,
            born=lambda process: self._arrived(Arrived(token, nonce, told, process)),
            failed=lambda error: self._never_born(token, str(error)),
        )
        self._coming = token
        self._birth.begin(birth)

    def cancel(self) -> bool:
        """Prevent it; whether that was still possible."""
        is_waiting, self._awaited = self._awaited is not None, None
        is_prevented = self._birth.cancel()
        if is_prevented:
            self._around.callers.dismiss_caller(self._coming)
        return is_waiting or is_prevented

    def conclude(self, outcome: BirthOutcome) -> None:
        """It is ready, or gone."""
        self._birth.conclude(outcome)

    def _gone(
        self, awaited: object, spec: Callable[[], ChildSpec], settings: Callable[[str], Mapping[str, Any]]
    ) -> None:
        """Whoever had the place before is gone."""
        if self._awaited is awaited:
            self._awaited = None
            self.begin(spec, settings)

    def _take_over(self, former: ProcessRecord) -> Process | None:
        """None where it died meanwhile."""
        try:
            return take_over(former, self._around.folder)
        except SpawnError as error:
            logger.warning("%s is not taken over: %s", former.id, error)
            self._around.callers.dismiss_caller(former.token)
            self._around.survivors.lost(former)
            return None

    def _admit(self, spec: ChildSpec, told: Mapping[str, Any]) -> None:
        caller = caller_of(spec, told)
        if caller is not None:
            self._around.callers.admit_caller(caller)

    def _never_born(self, token: str, reason: str) -> None:
        self._around.callers.dismiss_caller(token)
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        self._birth.conclude(BirthOutcome.OTHER)
        self._failed(reason)
