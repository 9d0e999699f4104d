"""Processes that outlived their supervisor, until somebody takes each of them over or has it ended."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from plugin_runtime.protocol import Kind
from supervisor.processes.process_records import ProcessRecord
from supervisor.spec import ChildSpec

ADOPTED = frozenset({Kind.GATEWAY, Kind.WORKER, Kind.TASK, Kind.JOB})
"""Those that do something for somebody. A template serves nobody, and what it forks would not become our child; what a
validator or an installer finds is of use only to who asked."""


@dataclass(frozen=True)
class Remains:
    """What a supervisor left behind: who lives, and who died while there was none."""

    living: list[ProcessRecord]
    dead: list[ProcessRecord]

    @classmethod
    def of(cls, records: Iterable[ProcessRecord]) -> "Remains":
        remains = cls([], [])
        for record in records:
            (remains.living if record.is_alive else remains.dead).append(record)
        return remains


def is_what_is_wanted(record: ProcessRecord, spec: ChildSpec) -> bool:
    """Whether it is of the same program and generation: another would be neither what it was nor what is wanted."""
    return (
        not record.leaving
        and record.kind in ADOPTED
        and (record.id, record.kind, record.generation, record.command)
        == (spec.id, spec.kind, spec.generation, spec.command)
    )


class Survivors:
    """Those that nobody has taken over yet."""

    def __init__(
        self,
        records: Iterable[ProcessRecord] = (),
        suits: Callable[[ProcessRecord, ChildSpec], bool] = is_what_is_wanted,
    ) -> None:
        """``suits``: whether a process may be what a child asks for."""
        self._records = list(records)
        self._suits = suits
        self.lost: Callable[[ProcessRecord], None] = lambda _record: None
        """Called with one that turns out to have died before anybody had it."""
        self.dismiss: Callable[[ProcessRecord, Callable[[], None]], None] = lambda _record, gone: gone()
        """Has one ended that was handed over, and calls back when it is gone."""

    @property
    def records(self) -> list[ProcessRecord]:
        return list(self._records)

    @property
    def pids(self) -> set[int]:
        return {record.pid for record in self._records}

    def __bool__(self) -> bool:
        return bool(self._records)

    def includes(self, child: str, nonce: str) -> bool:
        """Whether it may still be taken over, as this child."""
        return any(record.id == child and record.nonce == nonce for record in self._records)

    def of(self, name: str, kind: Kind) -> list[ProcessRecord]:
        """What there is of a plugin or task, fit to be adopted."""
        return [record for record in self._records if (record.name, record.kind) == (name, kind) and not record.leaving]

    def claim(self, spec: ChildSpec) -> ProcessRecord | None:
        """Hand over the process that is what ``spec`` asks for, if there is one; the newest, if there are several."""
        for record in reversed(self._records):
            if self._suits(record, spec):
                self._records.remove(record)
                return record
        return None

    def rival(self, spec: ChildSpec) -> ProcessRecord | None:
        """Hand over one that has the place of ``spec`` and is not what it asks for."""
        for record in self._records:
            if (record.id, record.kind) == (spec.id, spec.kind) and not self._suits(record, spec):
                self._records.remove(record)
                return record
        return None

    def take(self, record: ProcessRecord) -> None:
        """Hand over this one, to whoever has found it here."""
        self._records.remove(record)

    def take_all(self) -> list[ProcessRecord]:
        """Hand over whoever is left: nobody wants them."""
        left, self._records = self._records, []
        return left
