"""What becomes of a run that is asked for while another of its job has not ended. Pure."""

from enum import Enum

from plugin_runtime.task_protocol import Overlap


class Verdict(Enum):
    """A job has at most one run at a time, begun or about to, and at most one that waits for its end."""

    BEGIN = "begin"
    """Nothing is in its way."""
    WAIT = "wait"
    """It begins when the one before has ended."""
    REPLACE = "replace"
    """The one before is killed, and it begins when that is gone. If one waits already, this one takes its place."""
    SKIP = "skip"
    """It never begins."""


def decide(overlap: Overlap, *, running: bool, queued: bool) -> Verdict:
    """``running``: a run of the job has begun, or is about to; ``queued``: another one waits for its end."""
    if not running:
        return Verdict.BEGIN
    match overlap:
        case Overlap.SKIP:
            return Verdict.SKIP
        case Overlap.QUEUE:
            return Verdict.SKIP if queued else Verdict.WAIT
        case Overlap.KILL_OLD:
            return Verdict.REPLACE
