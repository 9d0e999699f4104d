"""ServiceManager: all background tasks, found in their directory, followed as it changes, acted on by name."""

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

from plugin_runtime.protocol import Cause, Kind, PluginState
from plugin_runtime.task_views import TaskView
from supervisor.changes import within
from supervisor.channels.operations import Operation
from supervisor.config.configuration import Configuration
from supervisor.config.unknown_names import warn_of_unknown_names
from supervisor.errors import ConflictError, StoreError, UnknownNameError
from supervisor.monitoring.log_files import MOST_LINES, LogFiles
from supervisor.store.exits import ExitLog
from supervisor.store.tasks import TaskRow
from supervisor.supervision.child_events import CONFIGURATION
from supervisor.tasks.discovery import look
from supervisor.tasks.service import TaskServices
from supervisor.tasks.task import Task
from supervisor.tasks.view import metadata_of, task_view
from supervisor.watching.directory_look import Difference
from supervisor.watching.folder_watch import FolderWatch
from supervisor.watching.followed_directory import FollowedDirectory
from supervisor.works import Works

logger = logging.getLogger(__name__)

RETRY_INTERVAL = 0.5
"""Seconds between two looks at whether something is to be tried again."""

_ON_THE_WAY = {PluginState.PENDING, PluginState.INSTALLING, PluginState.STARTING, PluginState.BACKOFF}


class ServiceManager:
    """Owns every Task and what is being done with them. None of them ever waits for another."""

    def __init__(self, services: TaskServices, watch: FolderWatch, logs: LogFiles, exits: ExitLog) -> None:
        """``watch``: of the task directory."""
        self._services = services
        self._watch = watch
        self._logs = logs
        self._exits = exits
        self._tasks: dict[str, Task] = {}
        self._rows: dict[str, TaskRow] = {}
        """Records of those that are not here, as last known."""
        self._files = FollowedDirectory(watch, look, "task")
        self._looking = asyncio.Lock()
        self._works = Works()
        self._owners: dict[asyncio.Task[None], Task] = {}
        """Of what is done with a task whose file is there."""
        self._leaving: dict[str, asyncio.Task[None]] = {}
        """Those that end tasks whose files are gone; the next one of the name waits for it."""
        self._closing = False
        self._retrying: asyncio.TimerHandle | None = None

    # --- life ---

    async def discover(self) -> None:
        """Find the tasks and begin to bring up each; returns before they are up. From now on changes are followed.

        Raises:
            StoreError: it is not known which tasks are disabled.
        """
        self._rows = {row.module: row for row in await self._services.repository.get_all()}
        await self.look()
        warn_of_unknown_names("tasks", self._services.live.current.tasks, self._tasks, self._watch.folder)
        self._services.live.subscribe(self._apply)
        self._watch.start(self.look)
        self._retry()

    async def close(self) -> None:
        """End what is being done with tasks, and begin nothing more; their processes are the tree's to stop."""
        self._closing = True
        if self._retrying is not None:
            self._retrying.cancel()
        await self._watch.close()
        await self._works.close()

    def foundations(self) -> Iterator[str]:
        """What processes of tasks are started with, whenever that is: words, variables, folders."""
        for task in self._tasks.values():
            if task.prepared is not None:
                build = task.prepared.build
                yield from build.command
                yield from build.ground.variables.values()
                if build.ground.plugin is not None:
                    yield str(build.ground.plugin.generation.folder)

    # --- the directory ---

    async def look(self) -> None:
        """Find out what has changed in the directory, and begin to follow it."""
        async with self._looking:
            difference = await self._files.difference()
            if self._closing:
                return
            self._follow(difference)
            for name in difference.changed:
                task = self._tasks[name]
                if task.note_change() and not task.is_refused:
                    self._spawn(task, task.follow_change())

    async def reload_all(self, actor: str) -> None:
        """Read the modules of all tasks again, and follow what changed; return when that is done."""
        async with self._looking:
            difference = await self._files.difference()
            if self._closing:
                raise ConflictError("cannot read the tasks again: xcore is stopping")
            if self._tasks and self._files.trouble:
                raise ConflictError(
                    f"cannot read the tasks again: {self._files.trouble}", hint="they go on as they are"
                )
            others = set(self._owners)
            self._follow(difference)
            unread = {*difference.new, *self._files.seen.missing}
            for name, task in self._tasks.items():
                if name not in unread and not task.is_refused:
                    self._spawn(task, task.reload(actor))
            works = self._owners.keys() - others
        if works:
            await asyncio.wait(works)  # not gather: who asked may give up, and the work goes on

    def _follow(self, difference: Difference) -> None:
        for name in difference.removed:
            self._remove(name)
        for name in difference.new:
            self._add(name)

    def _add(self, name: str) -> None:
        file = self._files.entries[name].path
        task = self._tasks[name] = Task(name, file, self._services, self._rows.get(name))
        if task.error is not None:
            logger.error("Task %s refused: %s; %s", name, task.error.message, task.error.hint)
        else:
            self._spawn(task, self._bring_up(task, self._leaving.get(name)))
        self._services.changed()

    async def _bring_up(self, task: Task, former: "asyncio.Task[None] | None") -> None:
        if former is not None:
            # Two processes of one name never run at once.
            await asyncio.wait([former])
        try:
            records = await self._exits.exits(task.name, limit=1, kind=Kind.TASK.value)
            task.last_exit = records[0] if records else None
        except StoreError as error:
            logger.warning("Cannot read the last exit of task %s: %s", task.name, error)
        await task.bring_up()

    def _remove(self, name: str) -> None:
        task = self._tasks.pop(name)
        logger.info("The file of task %s is gone: the task ends", name)
        if task.row is not None:
            self._rows[name] = task.row
        leaving = self._works.begin(self._retire(task, self._leaving.get(name)), f"retire-task-{name}")
        self._leaving[name] = leaving
        leaving.add_done_callback(lambda done: self._has_left(name, done))
        self._services.changed()

    async def _retire(self, task: Task, former: "asyncio.Task[None] | None") -> None:
        works = [work for work, owner in self._owners.items() if owner is task]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, *([former] if former else []), return_exceptions=True)
        await task.retire()

    def _has_left(self, name: str, leaving: "asyncio.Task[None]") -> None:
        if self._leaving.get(name) is leaving:
            del self._leaving[name]

    def _retry(self) -> None:
        """Prepare again what could not be prepared for a reason that may heal."""
        self._retrying = asyncio.get_running_loop().call_later(RETRY_INTERVAL, self._retry)
        for task in self._tasks.values():
            if task.is_due and task not in self._owners.values():
                self._spawn(task, task.try_again())

    # --- the configuration ---

    def _apply(self, before: Configuration, after: Configuration) -> list[str]:
        """Follow a change: policies at once, a task's own keys by a restart; returns the tasks that are restarted."""
        self._watch.interval = after.manager.tasks.interval
        restarted = []
        for name, task in self._tasks.items():
            task.follow_policy()
            if before.task_keys(name) != after.task_keys(name) and not (task.is_refused or self._closing):
                self._spawn(task, task.restart(Cause.RELOAD, CONFIGURATION))
                restarted += [name] if task.enabled else []
        if before.tasks != after.tasks:
            warn_of_unknown_names("tasks", after.tasks, self._tasks, self._watch.folder)
        return restarted

    # --- work ---

    def _spawn(self, task: Task, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        spawned = self._works.begin(work, f"task-{task.name}")
        self._owners[spawned] = task
        spawned.add_done_callback(self._owners.pop)
        return spawned

    # --- what is known ---

    @property
    def is_settled(self) -> bool:
        return all(state not in _ON_THE_WAY for state in self.states.values())

    @property
    def states(self) -> dict[str, PluginState]:
        """Of all tasks, by name."""
        return {name: self._tasks[name].state for name in sorted(self._tasks)}

    def named(self, name: str) -> Task:
        """Raises UnknownNameError where there is no such task."""
        try:
            return self._tasks[name]
        except KeyError:
            raise UnknownNameError("task", name, list(self._tasks)) from None

    def _view(self, task: Task) -> TaskView:
        return task_view(task, self._services.resources.latest)

    def _for_order(self, name: str, verb: str) -> Task:
        """The task of this name, if it can be given an order now."""
        task = self.named(name)
        if task.is_refused and task.error is not None:
            raise ConflictError(f"cannot {verb} task {name!r}: {task.error.message}", hint=task.error.hint)
        if self._closing:
            # A gateway may still hand in orders while it drains: what is started now would never be stopped.
            raise ConflictError(f"cannot {verb} task {name!r}: xcore is stopping")
        return task

    async def _carry_out(self, task: Task, order: Coroutine[Any, Any, None], wait: float, what: str) -> None:
        """Begin with an order; with ``wait`` return when it is seen what came of it."""
        if wait <= 0:
            self._spawn(task, order)
            return
        try:
            await within(wait, self._spawn(task, _proven(task, order)), what)
        except ConflictError:
            self.named(task.name)  # given up since its file is gone
            raise

    # --- operations ---

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "tasks.list": self.list_tasks,
            "tasks.show": self.show,
            "tasks.start": self.start,
            "tasks.stop": self.stop,
            "tasks.restart": self.restart,
            "tasks.meta": self.meta,
            "tasks.logs": self.read_logs,
        }

    async def list_tasks(self) -> list[TaskView]:
        """By name."""
        return [self._view(self._tasks[name]) for name in sorted(self._tasks)]

    async def show(self, name: str) -> TaskView:
        return self._view(self.named(name))

    async def start(self, name: str, actor: str, wait: float = 0.0) -> TaskView:
        """Begin to start it, now and at every boot; return when it runs or does not, or as ``restart`` does."""
        task = self._for_order(name, "start")
        await task.enable()
        if self._for_order(name, "start") is task:  # it may be gone, or xcore be stopping, by now
            logger.info("Task %s is started (%s)", name, actor)
            await self._carry_out(task, task.start(actor), wait, f"the start of task {name!r}")
        return self._view(task)

    async def stop(self, name: str, actor: str) -> TaskView:
        """Stop it until it is started again; returns when its process is gone. Its jobs stay scheduled."""
        task = self._for_order(name, "stop")
        logger.info("Task %s is stopped (%s)", name, actor)
        await task.stop(actor)
        return self._view(task)

    async def restart(self, name: str, actor: str, wait: float = 0.0) -> TaskView:
        """Begin to replace its process; return when that is done, or after ``wait`` seconds with TookTooLongError."""
        task = self._for_order(name, "restart")
        if not task.enabled:
            raise ConflictError(
                f"cannot restart task {name!r}: it is stopped", hint=f"start it with xcore task start {name}"
            )
        work = task.restart(Cause.OPERATOR, actor)
        await self._carry_out(task, work, wait, f"the restart of task {name!r}")
        return self._view(task)

    async def meta(self, name: str) -> dict[str, Any]:
        """Its metadata as the module declares it, of its last good version."""
        task = self.named(name)
        if task.prepared is None:
            why = task.error.message if task.error else "it is being read"
            raise ConflictError(f"the metadata of task {name!r} is not known: {why}")
        return metadata_of(name, task.prepared)

    async def read_logs(self, name: str, tail: int = 100) -> list[str]:
        """What it and the runs of its jobs printed last, oldest first."""
        self.named(name)
        return await asyncio.to_thread(self._logs.read_tail, name, max(0, min(tail, MOST_LINES)))


async def _proven(task: Task, order: Coroutine[Any, Any, None]) -> None:
    await order
    await task.prove()
