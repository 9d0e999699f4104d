"""bench/faults/judge.py: from what was seen of a run to a verdict."""

from dataclasses import replace

import pytest

from bench.faults.judge import EXCUSES, causes_of, excuse_of, judge, possible_values
from bench.faults.observed import Absence, ExitRow, Failure, Hit, Life, Observations, Register, Write
from bench.faults.plan import Blow
from tests.source_code import ROOT

GRACE = 10.0
GET = Failure("one", "GET", 100.0, 100.5, "broken")
DIED = replace(GET, what="502", instance="one.1", cause="signal")
POST = replace(DIED, method="POST")


def life(id_="one.1", kind="worker", blow=Blow.KILL, at=100.2, gone=100.2, **more):
    return Life(id_, kind, id_.partition(".")[0], 4711, [Hit(blow, at, **more)], gone)


def seen(*lives, absences=(), **more):
    return Observations(grace=GRACE, lives=lives, absences=absences, **more)


GATEWAY = life("gateway.1", "gateway")
OTHER = life("one.2", gone=100.4)

EXCUSED = [
    pytest.param(GET, seen(GATEWAY), "in flight in a killed gateway", id="gateway killed"),
    pytest.param(
        replace(GET, what="incomplete"), seen(GATEWAY), "in flight in a killed gateway", id="killed within the answer"
    ),
    pytest.param(
        GET,
        seen(life("gateway.1", "gateway", Blow.STOP, at=95.0)),
        "in flight in a killed gateway",
        id="gateway stopped until it was killed",
    ),
    pytest.param(
        replace(GET, reused=True),
        seen(life("gateway.1", "gateway", Blow.TERM, at=100.4, gone=101.0)),
        "sent while a gateway that ends closed the idle connection",
        id="gateway ends",
    ),
    pytest.param(POST, seen(life()), "not idempotent, accepted by a killed worker", id="POST"),
    pytest.param(DIED, seen(life(), OTHER), "sent again, and that worker was killed too", id="two workers"),
    pytest.param(
        replace(DIED, cause="hang"),
        seen(life(blow=Blow.STOP, at=97.0)),
        "its worker was stopped until it hung",
        id="hang",
    ),
    pytest.param(
        replace(GET, what="incomplete"), seen(life()), "its worker was killed within the answer", id="cut off"
    ),
    pytest.param(
        replace(GET, what="refused"),
        seen(absences=[Absence(99.0, 101.0, doorless=99.5)]),
        "neither supervisor nor gateway",
        id="nobody there",
    ),
    pytest.param(
        replace(GET, what="refused"),
        seen(absences=[Absence(88.0, 103.0)]),
        "no supervisor for longer than the grace",
        id="grace over",
    ),
    pytest.param(
        replace(GET, what="503"), seen(absences=[Absence(99.0, 102.0, ordered=True)]), "xcore was stopped by order",
        id="stopped",
    ),
]  # fmt: skip

NOT_EXCUSED = [
    pytest.param(GET, seen(), id="nothing happened"),
    pytest.param(GET, seen(life("gateway.1", "gateway", gone=90.0)), id="another time"),
    pytest.param(GET, seen(life("gateway.1", "gateway", gone=101.0)), id="failed before the gateway died"),
    pytest.param(
        replace(GET, end=103.0), seen(GATEWAY), id="failed long after the gateway died"
    ),
    pytest.param(GET, seen(life("gateway.1", "gateway", Blow.TERM)), id="fresh connection, gateway ends in order"),
    pytest.param(replace(GET, what="503"), seen(GATEWAY), id="503 because of a gateway"),
    pytest.param(DIED, seen(life()), id="GET of one dead worker"),
    pytest.param(POST, seen(life("one.2")), id="POST of another worker"),
    pytest.param(POST, seen(life(blow=Blow.TERM)), id="POST of a worker that ends in order"),
    pytest.param(replace(POST, what="500"), seen(life()), id="500"),
    pytest.param(replace(DIED, plugin="three"), seen(life(), OTHER), id="workers of another plugin"),
    pytest.param(replace(GET, what="wrong"), seen(GATEWAY, life()), id="wrong answer"),
    pytest.param(replace(GET, what="timeout"), seen(life()), id="no answer"),
    pytest.param(replace(GET, what="503"), seen(absences=[Absence(99.0, 102.0)]), id="within the grace"),
    pytest.param(
        replace(GET, what="refused"), seen(absences=[Absence(99.0, 102.0)]), id="refused though a gateway was there"
    ),
    pytest.param(
        replace(GET, what="timeout"), seen(absences=[Absence(88.0, 103.0, reached=90.0)]), id="slow, but in the grace"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("failure", "observations", "excuse"), EXCUSED)
def test_a_failure_that_nobody_could_have_kept_is_excused(failure, observations, excuse):
    """By the first rule that fits."""
    assert excuse_of(failure, observations) == excuse


def test_every_excuse_is_tried():
    """A rule without a case may excuse anything."""
    assert {case.values[2] for case in EXCUSED} == set(EXCUSES)


@pytest.mark.parametrize(("failure", "observations"), NOT_EXCUSED)
def test_any_other_failure_is_a_charge(failure, observations):
    """Near misses of each rule."""
    assert excuse_of(failure, observations) is None
    [charge] = judge(replace(observations, failures=[failure], exits=rows_of(observations))).charges
    assert charge.startswith("could have been kept")


def rows_of(observations):
    """A right record for each death."""
    return [
        ExitRow(death.kind, death.id, death.pid, "hang" if death.took(Blow.STOP) else "signal", 9)
        for death in observations.lives
    ]


def test_excuses_are_documented():
    """Whoever reads a verdict has to know what was excused."""
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    assert [excuse for excuse in EXCUSES if f"| {excuse} |" not in text] == []


@pytest.mark.parametrize(
    ("writes", "possible"),
    [
        pytest.param([], [0], id="nothing"),
        pytest.param([Write(1, True)], [1], id="acknowledged"),
        pytest.param([Write(1, False)], [0], id="refused"),
        pytest.param([Write(1, None)], [0, 1], id="unknown"),
        pytest.param([Write(1, None), Write(2, True)], [2], id="acknowledged after unknown"),
        pytest.param([Write(1, True), Write(2, None), Write(3, False)], [1, 2], id="unknown after acknowledged"),
    ],
)
def test_what_was_acknowledged_has_to_be_there(writes, possible):
    """And nothing but that, or what nobody was told of since."""
    register = Register("it", 0, writes)
    assert possible_values(register) == possible
    for value in range(4):
        charges = judge(seen(registers=[replace(register, final=value)])).charges
        assert bool(charges) == (value not in possible)


def test_posts_are_held_against_what_was_answered():
    """Delivered twice, or answered by nobody who had it."""
    charges = judge(seen(posts={"a": 1, "b": 2}, answered_posts=frozenset({"a", "c"}))).charges
    assert charges == ["delivered twice: POST b", "answered and never delivered: POST c"]


RECORD = ExitRow("worker", "one.1", 4711, "signal", 9)


@pytest.mark.parametrize(
    ("death", "exits", "charge"),
    [
        pytest.param(life(), [RECORD], "", id="right"),
        pytest.param(life(), [], "0 exit records", id="none"),
        pytest.param(life(), [replace(RECORD, instance="one.2")], "0 exit records", id="of another"),
        pytest.param(life(), [RECORD, RECORD], "2 exit records", id="two"),
        pytest.param(life(), [replace(RECORD, cause="unknown", signal=None)], "says unknown", id="cause"),
        pytest.param(life(), [replace(RECORD, signal=11)], "says signal 11", id="signal"),
        pytest.param(life(blow=Blow.STOP), [replace(RECORD, cause="hang")], "", id="hung"),
        pytest.param(life(blow=Blow.STOP, until=100.1), [], "", id="went on before it died"),
        pytest.param(life(blow=Blow.TERM), [], "", id="ended in order"),
        pytest.param(life(gone=None), [], "", id="lives"),
    ],
)
def test_every_kill_has_one_record_that_says_what_it_was(death, exits, charge):
    """Where a supervisor saw it."""
    charges = judge(seen(death, exits=exits)).charges
    assert len(charges) == bool(charge)
    assert charge in "".join(charges)


def test_a_death_without_a_supervisor_may_be_unknown():
    """But it is on record, by the next one."""
    unknown = replace(RECORD, cause="unknown", signal=None)
    absences = [Absence(99.0, 102.0)]
    assert judge(seen(life(), absences=absences, exits=[unknown])).acquitted
    assert not judge(seen(life(), absences=absences)).acquitted


def test_a_record_may_die_with_the_supervisor_that_made_it():
    """It was killed in the second after the death, and that is counted."""
    verdict = judge(seen(life(), absences=[Absence(100.3, 102.0)]))
    assert verdict.acquitted
    assert verdict.unrecorded == 1


def test_a_process_that_was_being_ended_keeps_the_cause_it_had():
    """Set before the signal that ends it, it stands."""
    assert {"scale_down", "operator", "signal"} <= causes_of(life())
    assert "hang" not in causes_of(life())


def test_doubles_and_problems_are_charges():
    """They are seen, not judged."""
    assert judge(seen(doubles=["worker one.1"], problems=["a run without an outcome"])).charges == [
        "doubled: worker one.1",
        "a run without an outcome",
    ]
