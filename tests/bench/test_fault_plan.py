"""bench/faults/plan.py: which faults come when."""

from itertools import islice

from bench.faults.plan import LONGEST_ABSENCE, LONGEST_HOLD, WEIGHTS, Blow, plan
from plugin_runtime.protocol import Kind


def drawn(seed, count=3000):
    return list(islice(plan(seed), count))


def test_a_seed_gives_the_same_faults_each_time():
    """A run that found something can be told by its seed."""
    assert drawn(7, 200) == drawn(7, 200)
    assert drawn(7, 200) != drawn(8, 200)


def test_every_kind_gets_every_blow():
    """Nothing is spared."""
    assert {(fault.kind, fault.blow) for fault in drawn(1)} == {(kind, blow) for kind in WEIGHTS for blow in Blow}


def test_most_blows_kill():
    """A stop lasts; many at once would leave nobody to be killed."""
    blows = [fault.blow for fault in drawn(1)]
    assert blows.count(Blow.KILL) > len(blows) / 2


def test_durations_stay_within_their_limits():
    """What a run takes, and whether a supervisor comes in time, follows from them."""
    for fault in drawn(1):
        assert 0 <= fault.choice < 1
        assert 0 <= fault.hold <= LONGEST_HOLD
        assert 0 <= fault.absence <= LONGEST_ABSENCE


def test_a_supervisor_is_rarely_told_to_stop():
    """Everything stops with it, and nothing is tried meanwhile."""
    blows = [fault.blow for fault in drawn(1) if fault.kind is Kind.SUPERVISOR]
    assert 0 < blows.count(Blow.TERM) < len(blows) / 10
