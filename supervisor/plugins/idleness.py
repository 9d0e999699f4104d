"""When a plugin that nobody asks for stops, and what a request does that comes meanwhile. Pure: time is an argument.

    stage      its workers    gateways                        until
    AWAKE      serve          send them requests              quiet for idle_stop seconds
    WITHDRAWN  serve          are told to send none           all have acknowledged that
    PROVING    serve          send none, and park             each worker has said that it has none left
    ASLEEP     are stopped    park, and wake it               a request, an operator, or idle_stop = 0

Between the last sign of quiet and the stop there is always a moment in which a request may come. So none is sent any
more before it is looked at again, and a worker that turns out to have one, a stream or an upload of hours perhaps, is
given back to the gateways as it is. A request that comes then is parked; what it waits for is the same worker, until
that is told to stop, or the next one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from plugin_runtime.protocol import Beat


class Stage(Enum):
    """How far a plugin is on its way to being idle."""

    AWAKE = "awake"
    WITHDRAWN = "withdrawn"
    PROVING = "proving"
    ASLEEP = "asleep"


class Order(Enum):
    """What is to be done."""

    WITHDRAW = "withdraw"
    """Have gateways park its requests."""
    RESTORE = "restore"
    """Have them send its workers requests again."""
    STOP = "stop"
    """End its workers."""
    START = "start"
    """Start them."""


@dataclass(frozen=True)
class Seen:
    """One worker as it is now. Beats are compared by identity: another one is a later one."""

    incarnation: str
    beat: Beat | None
    """The last one; None: it has sent none, or does not serve."""


@dataclass(frozen=True)
class Idleness:
    """What is known of one plugin; ``quiet_since`` is monotonic, None while it is not quiet."""

    stage: Stage = Stage.AWAKE
    quiet_since: float | None = None
    seen: tuple[Seen, ...] = ()
    """At the last look; where PROVING, at its beginning."""


Outcome = tuple[Idleness, Order | None]


def look(
    idleness: Idleness, seen: Sequence[Seen] | None, idle_stop: float, now: float, *, held: bool = False
) -> Outcome:
    """Decide anew; to be called every second or so.

    ``seen``: all of its workers; None where there are none, or one is not ready. ``idle_stop``: seconds, 0 = it never
    stops. ``held``: workers are being replaced, or are leaving: it does not stop now.
    """
    if idleness.stage is Stage.ASLEEP:
        return (idleness, None) if idle_stop else wake(idleness)
    if seen is None or not idle_stop or (held and idleness.stage is not Stage.AWAKE):
        return wake(idleness)
    match idleness.stage:
        case Stage.WITHDRAWN:
            return idleness, None
        case Stage.PROVING:
            return _prove(idleness, tuple(seen))
        case _:
            return _count(idleness, tuple(seen), math.inf if held else idle_stop, now)


def switched(idleness: Idleness, seen: Sequence[Seen] | None) -> Outcome:
    """No gateway sends it requests any more, since WITHDRAW."""
    if idleness.stage is not Stage.WITHDRAWN:
        return idleness, None
    if seen is None or not _is_quiet(idleness.seen, seen):
        return wake(idleness)
    return replace(idleness, stage=Stage.PROVING, seen=tuple(seen)), None


def wake(idleness: Idleness) -> Outcome:
    """Somebody wants it, or it is no longer known to be quiet."""
    match idleness.stage:
        case Stage.AWAKE:
            return Idleness(), None
        case Stage.ASLEEP:
            return Idleness(), Order.START
        case _:
            return Idleness(), Order.RESTORE


def _count(idleness: Idleness, workers: tuple[Seen, ...], idle_stop: float, now: float) -> Outcome:
    quiet_since = idleness.quiet_since
    if quiet_since is None or not _is_quiet(idleness.seen, workers):
        quiet_since = now
    if now - quiet_since < idle_stop:
        return Idleness(quiet_since=quiet_since, seen=workers), None
    return Idleness(Stage.WITHDRAWN, quiet_since, workers), Order.WITHDRAW


def _prove(idleness: Idleness, workers: tuple[Seen, ...]) -> Outcome:
    if not _is_quiet(idleness.seen, workers):
        return wake(idleness)
    former = [worker.beat for worker in idleness.seen]
    if any(worker.beat is beat for worker in workers for beat in former):
        return idleness, None
    return Idleness(Stage.ASLEEP), Order.STOP


def _is_quiet(before: Sequence[Seen], after: Sequence[Seen]) -> bool:
    """Whether no worker has a request, or has had one since ``before``. One that is new since then has had none yet."""
    counted = {worker.incarnation: worker.beat.requests for worker in before if worker.beat is not None}
    return all(
        worker.beat is not None
        and worker.beat.in_flight == 0
        and worker.beat.requests <= counted.get(worker.incarnation, 0)
        for worker in after
    )
