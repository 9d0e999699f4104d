"""When a plugin that nobody asks for stops: stage by stage, on a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_runtime.protocol import Beat
from supervisor.plugins.idleness import Idleness, Order, Seen, Stage, look, switched, wake

IDLE_STOP = 10.0


def worker(requests=0, in_flight=0, incarnation="a"):
    """As its last beat has it; each call makes another beat."""
    return Seen(incarnation, Beat(0.0, in_flight, requests))


def in_stage(stage, seen=()):
    return Idleness(stage, None if stage is Stage.ASLEEP else 0.0, tuple(seen))


QUIET = [worker(5)]
"""At the beginning of a stage."""
AGAIN = [worker(5)]
"""The same figures in a later beat."""
A, W, P, S = Stage.AWAKE, Stage.WITHDRAWN, Stage.PROVING, Stage.ASLEEP


@pytest.mark.parametrize(
    ("stage", "seen", "idle_stop", "held", "following", "order"),
    [
        (A, QUIET, IDLE_STOP, False, W, Order.WITHDRAW),
        (A, AGAIN, IDLE_STOP, False, W, Order.WITHDRAW),
        (A, [worker(6)], IDLE_STOP, False, A, None),
        (A, [worker(5, in_flight=1)], IDLE_STOP, False, A, None),
        (A, QUIET, IDLE_STOP, True, A, None),
        (A, QUIET, 11.0, False, A, None),
        (A, QUIET, 0.0, False, A, None),
        (A, None, IDLE_STOP, False, A, None),
        (A, [Seen("a", None)], IDLE_STOP, False, A, None),
        (A, [worker(5), worker(0, incarnation="b")], IDLE_STOP, False, W, Order.WITHDRAW),
        (A, [worker(5), worker(1, incarnation="b")], IDLE_STOP, False, A, None),
        (W, AGAIN, IDLE_STOP, False, W, None),
        (W, AGAIN, IDLE_STOP, True, A, Order.RESTORE),
        (W, AGAIN, 0.0, False, A, Order.RESTORE),
        (W, None, IDLE_STOP, False, A, Order.RESTORE),
        (P, QUIET, IDLE_STOP, False, P, None),
        (P, AGAIN, IDLE_STOP, False, S, Order.STOP),
        (P, [worker(6)], IDLE_STOP, False, A, Order.RESTORE),
        (P, [worker(5, in_flight=1)], IDLE_STOP, False, A, Order.RESTORE),
        (P, AGAIN, IDLE_STOP, True, A, Order.RESTORE),
        (P, AGAIN, 0.0, False, A, Order.RESTORE),
        (P, None, IDLE_STOP, False, A, Order.RESTORE),
        (P, [worker(0, incarnation="b")], IDLE_STOP, False, S, Order.STOP),
        (S, None, IDLE_STOP, False, S, None),
        (S, None, IDLE_STOP, True, S, None),
        (S, None, 0.0, False, A, Order.START),
    ],
)
def test_every_look_leads_where_the_table_says(stage, seen, idle_stop, held, following, order):
    """``now`` is 10, it has been quiet since 0, and QUIET is what was seen before."""
    after, ordered = look(in_stage(stage, QUIET), seen, idle_stop, 10.0, held=held)
    assert (after.stage, ordered) == (following, order)


@pytest.mark.parametrize(
    ("stage", "seen", "following", "order"),
    [
        (A, QUIET, A, None),
        (W, QUIET, P, None),
        (W, AGAIN, P, None),
        (W, [worker(6)], A, Order.RESTORE),
        (W, None, A, Order.RESTORE),
        (P, QUIET, P, None),
        (S, None, S, None),
    ],
)
def test_when_no_gateway_sends_it_any_more_the_proof_begins(stage, seen, following, order):
    """Unless it was asked for meanwhile."""
    after, ordered = switched(in_stage(stage, QUIET), seen)
    assert (after.stage, ordered) == (following, order)


@pytest.mark.parametrize(("stage", "order"), [(A, None), (W, Order.RESTORE), (P, Order.RESTORE), (S, Order.START)])
def test_whoever_wants_it_gets_it_in_every_stage(stage, order):
    """And it counts anew from there."""
    assert wake(in_stage(stage, QUIET)) == (Idleness(), order)


def test_it_counts_from_the_end_of_the_last_request():
    """Which is when it was last seen; not from its beginning, which may be long ago."""
    idleness = Idleness()
    for now, seen in [(0, worker(1, 1)), (50, worker(1, 1)), (51, worker(1)), (59, worker(1))]:
        idleness, order = look(idleness, [seen], IDLE_STOP, now)
        assert order is None
    assert look(idleness, [worker(1)], IDLE_STOP, 60)[1] is Order.WITHDRAW


def test_a_worker_that_takes_the_place_of_another_is_no_request():
    """One with max_age would never be idle otherwise; while they are being replaced it does not stop."""
    idleness = Idleness()
    idleness, _ = look(idleness, [worker(7)], IDLE_STOP, 0)
    idleness, order = look(idleness, [worker(7), worker(0, incarnation="b")], IDLE_STOP, 20, held=True)
    assert order is None
    assert look(idleness, [worker(0, incarnation="b")], IDLE_STOP, 21)[1] is Order.WITHDRAW


STEPS = st.one_of(
    st.tuples(st.just("look"), st.booleans(), st.integers(0, 1), st.sampled_from([0.0, 1.0])),
    st.tuples(st.just("switched"), st.booleans(), st.integers(0, 1), st.just(1.0)),
    st.tuples(st.just("wake"), st.booleans(), st.integers(0, 1), st.just(1.0)),
)


@given(st.lists(STEPS, max_size=30))
def test_it_never_stops_without_a_new_proof_that_it_has_nothing_left(steps):
    """Whatever happens in whatever order: STOP comes after a beat that is younger than the gateways' last word."""
    idleness, requests, beats_since_switch, switched_once = Idleness(), 0, 0, False
    for now, (step, new_beat, asked, idle_stop) in enumerate(steps):
        requests += asked if idleness.stage in {A, W} else 0
        known = idleness.seen[0].beat if idleness.seen and not new_beat else None
        seen = [Seen("a", known or Beat(0.0, 0, requests))]
        if step == "wake":
            idleness, order = wake(idleness)
        elif step == "switched":
            before = idleness.stage
            idleness, order = switched(idleness, seen)
            if before is W and idleness.stage is P:
                beats_since_switch, switched_once = 0, True
        else:
            beats_since_switch += known is None
            idleness, order = look(idleness, seen, idle_stop, now)
        if order is Order.STOP:
            assert switched_once
            assert beats_since_switch
