"""A worker's life: import, start-up, serving, and an orderly end."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Optional

from plugin_runtime import contracts, event_loop, local_side, validator
from plugin_runtime.contracts import LoadedPlugin
from plugin_runtime.contracts.served import ServedApp
from plugin_runtime.control import ControlChannel
from plugin_runtime.failure import FailureReport, StartFailedError, author_traceback, exception_line
from plugin_runtime.inbox import Activity, Listener
from plugin_runtime.joining import report_failure, take_part, tell_imports
from plugin_runtime.lifespan import Lifespan, LifespanFailedError
from plugin_runtime.link import LinkServer
from plugin_runtime.own_job import OwnJob
from plugin_runtime.protocol import (
    ExitCode,
    Failed,
    MakeSchema,
    Notes,
    Phase,
    Progress,
    Ready,
    Stop,
    WorkerSettings,
)
from plugin_runtime.schema import make_schema

IMPORTS_INTERVAL = 30.0
"""Seconds between two looks at what was imported."""
TERM_DRAIN = 30.0
"""Seconds for requests in flight after a SIGTERM that nobody announced: the default of ``stop_timeout``."""
LOST_DRAIN = 3.0
"""Seconds for them when the supervisor is lost; less than the control thread waits before it ends the process."""
SHUTDOWN_SHARE = 0.2
"""Part of the time to stop that is kept for the lifespan shutdown."""
HURRIED_SHUTDOWN = 2.0
"""Seconds for the lifespan shutdown when time is up; the supervisor's SIGKILL follows ``term`` (5 s) after SIGTERM."""


@dataclass(frozen=True)
class _StopRequest:
    drain: float
    code: ExitCode


class Worker:
    """One plugin in one process, from import to shutdown. Made in the event loop, run once."""

    def __init__(self, settings: WorkerSettings, channel: ControlChannel) -> None:
        self._settings = settings
        self._channel = channel
        self._link: Optional[LinkServer] = None
        self._lifespan: Optional[Lifespan] = None
        self._served: Optional[ServedApp] = None
        """Once it is ready."""
        self._own_job: Optional[OwnJob] = None
        self._stop_request: Optional[_StopRequest] = None
        self._stop_asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._newest_told = ""

    async def run(self) -> ExitCode:
        """Serve until asked to stop.

        Raises:
            StartFailedError: the plugin cannot be served.
        """
        loop = asyncio.get_running_loop()
        self._channel.attach(Listener(loop, self._received, self._ask_to_end, self._activity))
        start = loop.create_task(self._start(), name="start")
        asked = loop.create_task(self._stop_asked.wait(), name="stop asked")
        try:
            await asyncio.wait({start, asked}, return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                start.result()
                await asked
        finally:
            await event_loop.cancel(start, asked)
            await self._end()
        return self._stop_request.code if self._stop_request else ExitCode.OK

    # --- start ---

    async def _start(self) -> None:
        local_side.reach_over(self._settings.local_path, self._settings.local_key)
        report = contracts.prepare(self._settings)
        self._channel.send(Progress(Phase.IMPORT.value))
        loaded = contracts.load(self._settings, report)
        served = loaded.served
        if self._settings.describe:
            self._channel.send(validator.description_of(loaded), standing=True)
        self._watch_signals()
        await asyncio.sleep(0)  # an import may have taken long: hear first what was said meanwhile
        await self._start_up(served.app, report)
        await self._listen(served, report)
        self._channel.send(Progress(Phase.READY.value))
        self._announce(served)
        self._start_own_job(loaded)

    def _watch_signals(self) -> None:
        # Not before the plugin is imported: until then there is nothing to end in order, and a handler of the loop
        # would only keep SIGTERM from working. A handler that the plugin has set is replaced.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminated)

    async def _start_up(self, app: Any, report: FailureReport) -> None:
        self._channel.send(Progress(Phase.LIFESPAN.value))
        self._lifespan = Lifespan(app)
        try:
            await self._lifespan.startup(self._settings.lifespan_timeout)
        except LifespanFailedError as error:
            # Databases and other services come back: worth another start, whatever the app raised.
            raise StartFailedError([report.of_lifespan(error)]) from error

    async def _listen(self, served: ServedApp, report: FailureReport) -> None:
        link = LinkServer(
            served.app,
            path=self._settings.link_path,
            secret=self._settings.link_secret,
            prefix=served.root_path,
            path_mode=served.path_mode,
            lifespan_state=self._lifespan.state if self._lifespan else None,
            explain=partial(report.of_request, plugin=self._settings.plugin),
        )
        await link.start()
        self._link = link

    def _announce(self, served: ServedApp) -> None:
        self._served = served
        self._channel.beat()
        ready = Ready(served.framework, served.path_mode, has_schema=served.schema is not None)
        self._channel.send(ready, standing=True)
        self._tell_imports()

    def _tell_imports(self) -> None:
        """Now and, where there is more, later: the first requests import, too."""
        newest = next(reversed(sys.modules))
        if newest != self._newest_told:
            self._newest_told = newest
            tell_imports(self._channel)
        asyncio.get_running_loop().call_later(IMPORTS_INTERVAL, self._tell_imports)

    def _start_own_job(self, loaded: LoadedPlugin) -> None:
        if loaded.find_concured is not None and self._settings.concured_lock:
            self._own_job = OwnJob(loaded.find_concured, self._settings.concured_lock, self._own_job_failed)
            self._own_job.start()

    def _own_job_failed(self, error: BaseException) -> None:
        cause = f"Plugin.concured has failed: {exception_line(error)}"
        hint = "its traceback is in the plugin's log, and it is started again with the next start of the process"
        self._channel.send(Notes([f"{cause}; {hint}"]), standing=True)
        with suppress(OSError, ValueError):  # the plugin may have closed stderr
            sys.stderr.write(f"{author_traceback(error)}{cause}\n")

    # --- what the control channel and signals say ---

    def _activity(self) -> Activity:
        link = self._link
        return Activity(link.in_flight, link.requests) if link else Activity()

    def _received(self, message: Any) -> None:
        if isinstance(message, Stop):
            self._ask_to_stop(_StopRequest(message.drain, ExitCode.OK))
        elif isinstance(message, MakeSchema):
            self._make_schema()

    def _make_schema(self) -> None:
        produce = self._served.schema if self._served else None
        if produce is not None and (schema := make_schema(produce)) is not None:
            self._channel.send(schema)

    def _ask_to_end(self, code: ExitCode) -> None:
        self._ask_to_stop(_StopRequest(LOST_DRAIN, code))

    def _terminated(self) -> None:
        if self._stop_request is None:
            self._ask_to_stop(_StopRequest(TERM_DRAIN, ExitCode.OK))
        else:
            self._hurry.set()

    def _ask_to_stop(self, request: _StopRequest) -> None:
        if self._stop_request is None:
            self._stop_request = request
            self._stop_asked.set()

    # --- end ---

    async def _end(self) -> None:
        """Undo what was started, in reverse; SIGTERM cuts it short."""
        drain = self._stop_request.drain if self._stop_request else 0.0
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain
        if self._link is not None:
            await self._unless_hurried(self._finish(self._link, drain * (1 - SHUTDOWN_SHARE)))
            await self._link.close()
        if self._lifespan is not None:
            rest = 0.0 if self._hurry.is_set() else deadline - loop.time()
            await self._lifespan.shutdown(max(rest, HURRIED_SHUTDOWN))

    async def _finish(self, link: LinkServer, drain: float) -> None:
        jobs = [self._own_job.stop(drain)] if self._own_job else []
        await asyncio.gather(link.drain(drain), *jobs)

    async def _unless_hurried(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({task, hurry}, return_when=asyncio.FIRST_COMPLETED)
        await event_loop.cancel(task, hurry)


def main() -> int:
    """Join the supervisor and do what it wants of this process; return its exit code."""
    return take_part(WorkerSettings, _carry_out)


def _carry_out(settings: WorkerSettings, channel: ControlChannel) -> ExitCode:
    """Validate or serve, in an event loop: apps are imported inside a running one, as uvicorn does it."""
    try:
        return event_loop.run(_validate(settings, channel) if settings.validate_only else _serve(settings, channel))
    except StartFailedError as failure:
        return report_failure(failure.failed, channel)
    except OSError as error:  # the working directory or the link: the machine's trouble, not the plugin's
        message = f"cannot start plugin {settings.plugin!r}: {error}"
        return report_failure(Failed(Phase.READY.value, type(error).__name__, message), channel)


async def _serve(settings: WorkerSettings, channel: ControlChannel) -> ExitCode:
    return await Worker(settings, channel).run()


async def _validate(settings: WorkerSettings, channel: ControlChannel) -> ExitCode:
    description = validator.describe(settings)
    channel.send(description)
    return ExitCode.INVALID if description.errors else ExitCode.OK
