"""From what was seen to a verdict: which failures can be excused, and what was lost. Pure.

A failure that no rule of EXCUSES covers could have been kept from the client.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.faults.observed import Absence, Failure, Life, Observations, Register
from bench.faults.plan import Blow

SLACK = 0.2
"""Seconds between what happens and when it is noticed here."""
NOTICED = 1.0
"""Seconds after the death of a gateway until its clients have seen that their connections are closed."""
RECORDED = 1.0
"""Seconds that a supervisor has to live on after a death so that its record is safe."""
DIED = "502"

ORDERS = frozenset(
    {"scale_down", "operator", "disabled", "shutdown", "reload", "overlap", "job_timeout", "parent_lost"}
)
"""Causes that stand, whatever happens to the process afterwards: it was being ended already."""


@dataclass(frozen=True)
class Verdict:
    """``excused``: failures by excuse. ``charges``: everything that must not be."""

    excused: dict[str, int]
    charges: list[str]
    unrecorded: int
    """Deaths whose record died with the supervisor."""

    @property
    def acquitted(self) -> bool:
        return not self.charges


def judge(seen: Observations) -> Verdict:
    """Judge a run."""
    excused: Counter[str] = Counter()
    charges = []
    for failure in seen.failures:
        excuse = excuse_of(failure, seen)
        if excuse is None:
            charges.append(f"could have been kept: {describe(failure)}")
        else:
            excused[excuse] += 1
    records = RecordJudge(seen)
    charges += _charges_of_posts(seen)
    charges += [charge for register in seen.registers for charge in _charges_of(register)]
    charges += records.charges()
    charges += [f"doubled: {double}" for double in seen.doubles]
    charges += seen.problems
    return Verdict(dict(excused), charges, records.unrecorded)


def describe(failure: Failure) -> str:
    told = " ".join(word for word in (failure.instance, failure.cause, failure.message) if word)
    connection = "a used" if failure.reused else "a fresh"
    lasted = failure.end - failure.begin
    return (
        f"{failure.method} to {failure.plugin} on {connection} connection at {failure.begin:.3f},"
        f" {lasted:.3f} s: {failure.what} {told}".rstrip()
    )


# --- requests ---


def excuse_of(failure: Failure, seen: Observations) -> str | None:
    """Return the name of the rule that excuses a failure; None: it could have been kept."""
    return next((name for name, rule in EXCUSES.items() if rule(failure, seen)), None)


def _stopped_by_order(failure: Failure, seen: Observations) -> bool:
    return any(absence.ordered and _overlaps(failure, absence.begin, absence.end) for absence in seen.absences)


def _grace_over(failure: Failure, seen: Observations) -> bool:
    """Everything ends itself, a little before the grace is over by our clock."""
    return any(
        absence.length > seen.grace - NOTICED and _overlaps(failure, absence.begin + seen.grace - NOTICED, absence.end)
        for absence in seen.absences
    )


def _nobody_at_the_door(failure: Failure, seen: Observations) -> bool:
    return failure.what in {"refused", "broken"} and any(
        absence.doorless is not None and _overlaps(failure, absence.doorless, absence.end) for absence in seen.absences
    )


def _gateway_killed(failure: Failure, seen: Observations) -> bool:
    """In flight in a gateway at the moment of its death, or between connect(2) and accept(2) in its queue."""
    return failure.what in {"broken", "incomplete", "refused"} and any(
        failure.begin - SLACK <= death <= failure.end + SLACK and failure.end <= death + NOTICED
        for death in _deaths(seen, "gateway", Blow.KILL, Blow.STOP)
    )


def _connection_closed(failure: Failure, seen: Observations) -> bool:
    """HTTP lets a server close an idle connection while the next request is on its way (RFC 9112, 9.5)."""
    return (
        failure.what == "broken"
        and failure.reused
        and any(
            hit.at - SLACK <= failure.end <= (life.gone or failure.end) + NOTICED
            for life in seen.lives
            if life.kind == "gateway"
            for hit in life.hits
            if hit.blow is Blow.TERM
        )
    )


def _accepted_by_killed_worker(failure: Failure, seen: Observations) -> bool:
    """What is not idempotent is not sent twice."""
    return (
        failure.what == DIED
        and failure.method == "POST"
        and any(life.id == failure.instance for life in _workers_killed_under(failure, seen, Blow.KILL, Blow.STOP))
    )


def _two_workers_killed(failure: Failure, seen: Observations) -> bool:
    """It is sent again once."""
    return failure.what == DIED and len(_workers_killed_under(failure, seen, Blow.KILL)) > 1


def _worker_hung(failure: Failure, seen: Observations) -> bool:
    """The request may be the cause, so it is not sent again."""
    return (
        failure.what == DIED
        and failure.cause == "hang"
        and any(life.id == failure.instance for life in _workers_killed_under(failure, seen, Blow.STOP))
    )


def _answer_cut_off(failure: Failure, seen: Observations) -> bool:
    """The head of the answer was sent already."""
    return failure.what == "incomplete" and bool(_workers_killed_under(failure, seen, Blow.KILL, Blow.STOP))


EXCUSES: dict[str, Callable[[Failure, Observations], bool]] = {
    "xcore was stopped by order": _stopped_by_order,
    "no supervisor for longer than the grace": _grace_over,
    "neither supervisor nor gateway": _nobody_at_the_door,
    "in flight in a killed gateway": _gateway_killed,
    "sent while a gateway that ends closed the idle connection": _connection_closed,
    "not idempotent, accepted by a killed worker": _accepted_by_killed_worker,
    "sent again, and that worker was killed too": _two_workers_killed,
    "its worker was stopped until it hung": _worker_hung,
    "its worker was killed within the answer": _answer_cut_off,
}
"""First match counts. Documented in docs/benchmarks.md."""


def _overlaps(failure: Failure, begin: float, end: float) -> bool:
    return failure.begin <= end + SLACK and failure.end >= begin - SLACK


def _deaths(seen: Observations, kind: str, *blows: Blow) -> Iterator[float]:
    return (life.gone for life in seen.lives if life.kind == kind and life.gone is not None and life.took(*blows))


def _workers_killed_under(failure: Failure, seen: Observations, *blows: Blow) -> list[Life]:
    return [
        life
        for life in seen.lives
        if (life.kind, life.name) == ("worker", failure.plugin)
        and life.took(*blows)
        and life.gone is not None
        and failure.begin - SLACK <= life.gone <= failure.end + SLACK
    ]


def _charges_of_posts(seen: Observations) -> list[str]:
    twice = sorted(nonce for nonce, times in seen.posts.items() if times > 1)
    never = sorted(seen.answered_posts - seen.posts.keys())
    return [f"delivered twice: POST {nonce}" for nonce in twice] + [
        f"answered and never delivered: POST {nonce}" for nonce in never
    ]


# --- what was acknowledged ---


def possible_values(register: Register) -> list[object]:
    """What it may be: as acknowledged last, or as anybody wanted since who was not told whether it was done."""
    possible = [register.initial]
    for write in register.writes:
        if write.acknowledged:
            possible = [write.value]
        elif write.acknowledged is None:
            possible.append(write.value)
    return possible


def _charges_of(register: Register) -> list[str]:
    possible = possible_values(register)
    if register.final in possible:
        return []
    return [f"lost: {register.name} is {register.final!r}, and may only be one of {possible!r}"]


# --- exit records ---


class RecordJudge:
    """Holds exit records against what was done."""

    def __init__(self, seen: Observations) -> None:
        self._seen = seen
        self.unrecorded = 0

    def charges(self) -> list[str]:
        return [charge for life in self._seen.lives if (charge := self._charge(life))]

    def _charge(self, life: Life) -> str | None:
        if life.gone is None or not _died_of_it(life):
            return None
        records = [record for record in self._seen.exits if (record.pid, record.instance) == (life.pid, life.id)]
        title = (
            f"{life.id} (pid {life.pid}), {', '.join(hit.blow.value for hit in life.hits)} at {life.hits[-1].at:.3f}"
        )
        undisturbed = not any(_disturbs(absence, life) for absence in self._seen.absences)
        if len(records) == 0 and life.kind == "guard" and any(a.begin <= life.gone for a in self._seen.absences):
            return None  # that of a supervisor before: it is told to leave, and nobody's child
        if len(records) == 0 and any(life.gone - SLACK <= a.begin <= life.gone + RECORDED for a in self._seen.absences):
            self.unrecorded += 1
            return None
        if len(records) != 1:
            return f"{len(records)} exit records instead of one: {title}"
        record = records[0]
        if undisturbed and record.cause not in causes_of(life):
            return f"exit record says {record.cause}: {title}"
        if undisturbed and record.cause == "signal" and record.signal not in {9, 15}:
            return f"exit record says signal {record.signal}: {title}"
        return None


def _disturbs(absence: Absence, life: Life) -> bool:
    """There was no supervisor to see what happened, or not for long enough to write it down."""
    return absence.begin <= (life.gone or 0.0) + RECORDED and absence.end >= life.hits[0].at - SLACK


def _died_of_it(life: Life) -> bool:
    last = life.hits[-1] if life.hits else None
    if last is None or life.gone is None:
        return False
    return life.took(Blow.KILL) or (last.blow is Blow.STOP and (last.until is None or last.until > life.gone))


def causes_of(life: Life) -> frozenset[str]:
    """Causes that are right for a process that was hit, with a supervisor to see it."""
    causes = set(ORDERS)
    if life.took(Blow.KILL):
        causes.add("signal")
    if life.took(Blow.STOP):
        causes |= {"hang", "start_timeout"}
    if life.took(Blow.TERM):
        causes |= {"finished", "signal", "crash"}
    return frozenset(causes)
