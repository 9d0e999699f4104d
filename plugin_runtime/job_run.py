"""One run of a job, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from plugin_runtime import outcome
from plugin_runtime.control import ControlChannel
from plugin_runtime.inbox import Listener
from plugin_runtime.interruption import MainThread
from plugin_runtime.joining import tell_imports
from plugin_runtime.protocol import ExitCode, Ready, Stop
from plugin_runtime.task_protocol import Outcome


class JobRun:
    """Calls the function once, on the main thread, and says how that ended.

    A run that was asked to stop says nothing: what it returns while it is interrupted is no success, and why it was
    stopped is known to the supervisor.
    """

    def __init__(self, run: str, function: Callable[[], Any], channel: ControlChannel) -> None:
        self._run = run
        self._function = function
        self._channel = channel
        self._main = MainThread(self._terminated)
        self._stopped = False
        self._code = ExitCode.FAILED

    def run(self) -> int:
        """Return the exit code: 0 where it succeeded, else 1."""
        self._main.watch_signals()
        # No loop is watched: a function may keep its thread busy for as long as its job's timeout allows.
        self._channel.attach(Listener(None, self._received, self._lost))
        self._channel.beat()
        self._channel.send(Ready(), standing=True)
        error = self._main.run(self._function)
        self._channel.beat()  # its memory peak, whenever that was since the last beat
        if self._stopped:
            return self._code
        tell_imports(self._channel)  # what the function itself imported, too
        finished = outcome.finished(self._run, error)
        self._channel.send(finished, standing=True)
        self._channel.deliver()
        if finished.traceback:
            sys.stderr.write(finished.traceback)
        return ExitCode.OK if finished.outcome == Outcome.SUCCEEDED.value else ExitCode.FAILED

    # --- called by the control thread, or in a signal handler ---

    def _received(self, message: Any) -> None:
        if isinstance(message, Stop):
            self._stop()

    def _lost(self, code: ExitCode) -> None:
        self._code = code
        self._stop()

    def _stop(self) -> None:
        self._stopped = True
        self._main.interrupt()

    def _terminated(self) -> bool:
        self._stopped = True
        return True
