"""What is seen of a run: what was done to processes, what clients and writers were answered, what was left at the end.

Moments are seconds of one monotonic clock. Kinds are those of ``plugin_runtime.protocol.Kind``, by value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.faults.plan import Blow


@dataclass(frozen=True)
class Hit:
    """A fault that was carried out on a process."""

    blow: Blow
    at: float
    until: float | None = None
    """When a stopped one was told to go on; None: never, or not stopped."""


@dataclass
class Life:
    """One process that was on record. ``gone``: when it ended; None while it lives."""

    id: str
    kind: str
    name: str
    pid: int
    hits: list[Hit] = field(default_factory=list)
    gone: float | None = None

    def took(self, *blows: Blow) -> bool:
        return any(hit.blow in blows for hit in self.hits)


@dataclass(frozen=True)
class Absence:
    """No supervisor from ``begin`` on; at ``reached`` the next one listened to its children, at ``end`` it answered.

    ``ordered``: it was told to stop, with everything. ``doorless``: since when there was no gateway either.
    """

    begin: float
    end: float
    ordered: bool = False
    doorless: float | None = None
    reached: float | None = None

    @property
    def length(self) -> float:
        return (self.reached or self.end) - self.begin


@dataclass(frozen=True)
class Failure:
    """A request that was not answered as it should have been."""

    plugin: str
    method: str
    begin: float
    end: float
    what: str
    """refused: no connection; broken: closed without a byte of an answer; incomplete: closed within it; timeout;
    wrong: the answer to something else; else the status."""
    instance: str = ""
    """The worker that the error names."""
    cause: str = ""
    reused: bool = False
    """Its connection had been used before."""
    message: str = ""


@dataclass(frozen=True)
class Write:
    """What a writer wanted a value to be. ``acknowledged``: None where nobody knows: no answer, or a 5xx."""

    value: object
    acknowledged: bool | None


@dataclass
class Register:
    """One thing that a writer changes, and what it was at the end."""

    name: str
    initial: object
    writes: list[Write] = field(default_factory=list)
    final: object = None


@dataclass(frozen=True)
class ExitRow:
    """An exit record, as far as it is judged."""

    kind: str
    instance: str
    pid: int | None
    cause: str
    signal: int | None


@dataclass(frozen=True)
class Observations:
    """All of one run."""

    grace: float
    """``adopt_grace`` of the project."""
    lives: Sequence[Life] = ()
    absences: Sequence[Absence] = ()
    requests: int = 0
    failures: Sequence[Failure] = ()
    posts: Mapping[str, int] = field(default_factory=dict)
    """How often each POST reached its plugin."""
    answered_posts: frozenset[str] = frozenset()
    registers: Sequence[Register] = ()
    exits: Sequence[ExitRow] = ()
    doubles: Sequence[str] = ()
    """Where two processes were one too many."""
    problems: Sequence[str] = ()
    """What was not as it should be at the end, or on the way."""
