"""Runs short programs to their end: installers, interpreters asked for their version. The Runner of environments."""

import asyncio
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from plugin_runtime.protocol import Cause, Kind
from plugin_runtime.views import ExitView
from supervisor.environments.runner import MAX_LINE, Completed
from supervisor.processes.output import Output, Sink
from supervisor.processes.process_records import ProcessRecords
from supervisor.processes.reaper import Reaper
from supervisor.processes.spawn import Process, spawn
from supervisor.spec import ChildSpec, ExitStatus
from supervisor.state_folder import TOKEN_BYTES, StateFolder
from supervisor.supervision.exits import exit_record
from supervisor.supervision.incarnation import record_of_process


class Programs:
    """Starts programs outside of supervision: nobody restarts them, somebody awaits them."""

    def __init__(self, reaper: Reaper, folder: StateFolder, recorded: Callable[[ExitView], None]) -> None:
        self._reaper = reaper
        self._folder = folder
        self._recorded = recorded
        self._records = ProcessRecords(folder)
        self.given_up_for = Cause.DISABLED
        """Cause of the end of a program that nobody waits for any more."""

    async def run(
        self,
        command: Sequence[str],
        *,
        name: str,
        cwd: Path,
        environment: Mapping[str, str],
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """See environments.Runner; ``name``: of the plugin it is for, under which its exit is recorded.

        Raises:
            SpawnError: the operating system did not start it.
        """
        spec = ChildSpec(f"{name}.installer", name, Kind.INSTALLER, tuple(command), cwd, environment)
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        token, nonce = secrets.token_hex(TOKEN_BYTES), secrets.token_hex(16)
        process = spawn(spec, token, nonce, self._folder)
        ended: asyncio.Future[ExitStatus] = loop.create_future()
        self._reaper.watch(process, ended.set_result)
        output = Output(loop, process.pipes, spec.id, _sink(on_line))
        output.start()
        self._records.write(record_of_process(spec, token, nonce, process))
        cause: Cause | None = None
        try:
            cause = await _end_in_time(process, ended, timeout)
        except asyncio.CancelledError:
            cause = self.given_up_for
            raise
        finally:
            output.finish()
            self._records.remove(token)
            status = ended.result() if ended.done() else ExitStatus()
            uptime = time.monotonic() - started
            self._recorded(
                exit_record(
                    spec, process.pid, cause or status.natural_cause, status, uptime=uptime, log_tail=output.tail
                )
            )
        timed_out = cause is Cause.START_TIMEOUT
        return Completed(status.exit_code, status.signal, tuple(output.tail), timed_out=timed_out)


def _sink(on_line: Callable[[str], None] | None) -> Sink:
    def pass_on(_instance: str, _stream: str, lines: Sequence[str]) -> None:
        if on_line is not None:
            for line in lines:
                on_line(line[:MAX_LINE])

    return pass_on


async def _end_in_time(process: Process, ended: "asyncio.Future[ExitStatus]", timeout: float) -> Cause | None:
    """Why the program was ended, None where it ended by itself. Whatever happens, its group is dead after this."""
    try:
        done, _ = await asyncio.wait([ended], timeout=timeout)
    except asyncio.CancelledError:
        process.signal_group(signal.SIGKILL)
        await asyncio.wait([ended])
        raise
    if done:
        return None
    process.signal_group(signal.SIGKILL)
    await asyncio.wait([ended])
    return Cause.START_TIMEOUT
