"""How the function of a job ended, for people to read."""

from __future__ import annotations

from typing import Optional

from plugin_runtime.failure import author_traceback, exception_line
from plugin_runtime.task_protocol import Outcome, RunFinished


def finished(run: str, error: Optional[BaseException]) -> RunFinished:
    """What is said of a run; ``error``: what its function raised, if anything."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return RunFinished(run, Outcome.SUCCEEDED.value)
    return RunFinished(run, Outcome.FAILED.value, exception_line(error), author_traceback(error))
