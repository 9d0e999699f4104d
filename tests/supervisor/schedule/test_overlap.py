"""The rules of overlap, cell by cell."""

import pytest

from plugin_runtime.task_protocol import Overlap
from supervisor.schedule.overlap import Verdict, decide


@pytest.mark.parametrize("overlap", Overlap)
def test_a_run_with_nothing_in_its_way_begins(overlap):
    """Whatever the rule."""
    assert decide(overlap, running=False, queued=False) is Verdict.BEGIN


@pytest.mark.parametrize(
    ("overlap", "queued", "verdict"),
    [
        (Overlap.SKIP, False, Verdict.SKIP),
        (Overlap.SKIP, True, Verdict.SKIP),
        (Overlap.QUEUE, False, Verdict.WAIT),
        (Overlap.QUEUE, True, Verdict.SKIP),
        (Overlap.KILL_OLD, False, Verdict.REPLACE),
        (Overlap.KILL_OLD, True, Verdict.REPLACE),
    ],
)
def test_a_run_meets_another(overlap, queued, verdict):
    """At most one waits; of those that are to replace the old one the newest counts."""
    assert decide(overlap, running=True, queued=queued) is verdict
