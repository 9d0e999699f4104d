"""The supervisor: makes its parts, starts them in order and stops them in reverse.

Only this module and workshop.py make adapters.
"""

import asyncio
import logging
import os
import socket
from contextlib import AsyncExitStack
from dataclasses import replace

from plugin_runtime.protocol import Cause, ExitCode, Health, Kind
from supervisor.channels.command import CommandServer
from supervisor.channels.control import ControlServer
from supervisor.channels.operations import AUDITED, Operations
from supervisor.clock import Clock, SystemClock
from supervisor.config.configuration import Configuration
from supervisor.config.live import LiveConfiguration
from supervisor.course import Course
from supervisor.errors import StoreError
from supervisor.folder_lock import FolderLock
from supervisor.gateways.door import url_of
from supervisor.gateways.gateway_processes import GatewayProcesses
from supervisor.gateways.gateway_spec import gateway_spec
from supervisor.gateways.gateways import Gateways
from supervisor.gateways.health_news import HealthNews
from supervisor.jobs.manager import TaskManager
from supervisor.mode import Mode
from supervisor.monitoring.log_files import LogFiles, LogWriter
from supervisor.monitoring.recorder import Recorder
from supervisor.monitoring.resources import OURSELVES, Resources
from supervisor.monitoring.sampler import Sampler
from supervisor.monitoring.threads import ThreadCensus
from supervisor.order_to_end import End, OrderToEnd
from supervisor.own_log import configure_logging, let_go_of_output
from supervisor.plugins.directory import PluginDirectory
from supervisor.plugins.operations import PluginOperations
from supervisor.plugins.plugins import Plugins
from supervisor.plugins.services import PluginServices
from supervisor.plugins.state import health_of
from supervisor.preparation.prefixes import Claims
from supervisor.preparation.pruning import Pruning
from supervisor.preparation.validation import Validator
from supervisor.preparation.workshop import Workshop, make_workshop
from supervisor.processes.reaper import Reaper, become_subreaper
from supervisor.processes.tree_mark import tree_mark
from supervisor.reconfiguration import Reconfiguration
from supervisor.run_folder import make_state_folder
from supervisor.schedule.scheduler import machine_zone
from supervisor.signals import hold_signals, signals_followed
from supervisor.spec import ChildSpec
from supervisor.standing_threads import standing_threads
from supervisor.state_folder import StateFolder
from supervisor.store.audit import AuditEntry
from supervisor.store.engine import database_url, sqlite_url
from supervisor.store.store import Store
from supervisor.supervision.child_events import SUPERVISOR
from supervisor.supervision.local_key import Callers
from supervisor.supervision.programs import Programs
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree
from supervisor.system import System
from supervisor.takeover.guarding import Guarding, guard_spec
from supervisor.takeover.strays import Strays
from supervisor.takeover.takeover import Takeover
from supervisor.takeover.upgrade import Upgrade, execute_anew
from supervisor.tasks.base_template import BaseTemplate
from supervisor.tasks.discovery import is_no_task
from supervisor.tasks.ground import Grounds
from supervisor.tasks.module_copy import ModuleCopies
from supervisor.tasks.preparation import TaskPreparation
from supervisor.tasks.service import TaskServices
from supervisor.tasks.services import ServiceManager
from supervisor.templates.births import Births
from supervisor.templates.pool import TemplatePool
from supervisor.templates.template import TemplateServices
from supervisor.tokens import Tokens
from supervisor.watching.folder_watch import FolderWatch

logger = logging.getLogger(__name__)

STARTS = os.cpu_count() or 1
"""Processes that start at once, and validating ones at once: imports are all CPU."""
THREADS = STARTS + 4
"""For what blocks, which is short; as many as asyncio would start, at most."""


def run(configuration: Configuration, mode: Mode) -> int:
    """Run everything until it is told to stop; return the exit code. Never returns where an upgrade is asked for.

    Raises:
        XcoreError: it cannot start; nothing that it began is left running. What a supervisor before has left is its
            guard's, which waits for another one.
    """
    configure_logging(configuration)
    become_subreaper()
    if asyncio.run(_supervise(configuration, mode)) is End.UPGRADE:
        execute_anew()
    let_go_of_output()
    return ExitCode.OK


async def _supervise(configuration: Configuration, mode: Mode) -> End:
    folder = StateFolder(configuration.state_dir)
    asyncio.get_running_loop().set_default_executor(standing_threads(THREADS))
    async with AsyncExitStack() as stack:
        make_state_folder(folder)
        lock = FolderLock(folder.lock_file)
        lock.acquire(_waits_for_guard)
        stack.callback(lock.release)
        folder = replace(folder, mark=tree_mark(folder.mark_file))
        supervisor = Supervisor(configuration, folder, Takeover(folder), mode)
        try:
            await supervisor.start(stack)
            end = await supervisor.serve_until_stopped()
        except BaseException:
            supervisor.leave_to_guard()
            raise
        if end is End.UPGRADE:
            hold_signals()
            await supervisor.let_go()
    return end


def _waits_for_guard(pid: int | None) -> None:
    logger.info("Waiting for the guard (pid %s) of a dead supervisor: it ends what that one has left", pid)


async def make_surroundings(
    folder: StateFolder,
    logs: LogFiles,
    clock: Clock,
    takeover: Takeover,
    strays: Strays,
    callers: Callers,
    stack: AsyncExitStack,
) -> tuple[Surroundings, Births]:
    writer = LogWriter(logs, clock)
    writer.start()
    stack.callback(writer.close)
    survivors = takeover.survivors
    reaper = Reaper(asyncio.get_running_loop(), spared=takeover.spared, bereaved=strays.look_soon)
    reaper.start()
    stack.callback(reaper.close)
    control = ControlServer(folder.control_socket, may_be_expected=survivors.includes)
    await control.start()
    stack.push_async_callback(control.close)
    births = Births(folder, reaper, control, STARTS)
    around = Surroundings(clock, folder, control, reaper, writer, births, takeover.records, survivors, callers)
    return around, births


def make_resources(
    tree: Tree, live: LiveConfiguration, clock: Clock, recorder: Recorder, stack: AsyncExitStack
) -> Resources:
    def interval() -> float:
        return live.current.supervisor.sample_interval

    sampler = Sampler(lambda: {OURSELVES: os.getpid(), **tree.pids}, clock, interval())
    resources = Resources(tree, sampler, interval, recorder.put_all)
    resources.start()
    stack.callback(resources.close)
    return resources


class Supervisor:
    """Everything that runs in the supervisor's process. ``start`` makes the parts and registers their end."""

    def __init__(self, configuration: Configuration, folder: StateFolder, takeover: Takeover, mode: Mode) -> None:
        self._configuration = configuration
        self._live = LiveConfiguration(configuration)
        self._reconfiguration = Reconfiguration(self._live, configuration.path, os.environ)
        self._folder = folder
        self._takeover = takeover
        self._mode = mode
        recorder = self._recorder = Recorder()
        self._clock = SystemClock()
        self._operations = Operations(self._record_action, self._clock)
        self._draining = False
        self._news = HealthNews(self._health, lambda health: self._gateways.set_health(health))  # noqa: PLW0108 - made below
        perform, development = self._operations.perform, mode.development
        self._gateways = Gateways(folder, perform, self._news.changed, recorder.put, development=development)
        self._guarding = Guarding(takeover.guards, self._recorder.put)
        self._tree = Tree(self._clock)
        self._order = OrderToEnd(self._tree.hurry)
        self._ends = AsyncExitStack()
        """How that which runs comes to its end."""
        self._store: Store
        self._jobs: TaskManager
        self._tasks: ServiceManager
        self._plugins: Plugins
        self._plugin_operations: PluginOperations
        self._programs: Programs
        self._pruning: Pruning
        self._gateway_processes: GatewayProcesses
        self._around: Surroundings
        self._births: Births
        self._system: System
        self._doors: tuple[socket.socket, socket.socket]
        self._url: str

    # --- start ---

    async def start(self, stack: AsyncExitStack) -> None:
        """Begin to run; ``stack`` ends what was begun, in reverse order, also when a later step fails."""
        stack.callback(self._reconfiguration.close)
        stack.enter_context(signals_followed(stop=self._order.stop, reload=self._reconfiguration.reload_soon))
        stack.push_async_callback(self._close_store)
        # Whatever runs waits for somebody to listen, and ends where that takes too long; else there is no hurry.
        is_awaited = bool(self._takeover.survivors)
        if not is_awaited:
            await self._open_store()
        logs = LogFiles(self._folder.logs)
        strays = Strays(self._folder.mark, lambda: self._tree.living | self._takeover.spared())
        stack.push_async_callback(strays.close)
        self._around, self._births = await make_surroundings(
            self._folder, logs, self._clock, self._takeover, strays, self._gateways, stack
        )
        self._guarding.start(guard_spec(self._configuration, self._folder), self._tree, self._around)
        stack.push_async_callback(self._guarding.stop)
        if is_awaited:
            await self._open_store()
        self._takeover.begin(self._around, self._tree, self._recorder.put)
        if self._takeover.predecessor_died:
            strays.look_soon()
        await self._open_doors(stack)
        resources = make_resources(self._tree, self._live, self._clock, self._recorder, stack)
        workshop = self._make_supervised(logs, resources)
        stack.push_async_callback(workshop.preparation.close)
        await self._start_supervised(stack)
        await self._make_operations(resources)
        await self._open_command_socket(strays, stack)
        self._tree.start()
        stack.callback(self._tree.close)

    async def _open_store(self) -> None:
        url = self._configuration.data_url
        self._store = await Store.open(
            sqlite_url(self._folder.database)
            if url is None
            else database_url(url, relative_to=self._configuration.folder),
            clock=self._clock,
            on_health=self._database_health_changed,
        )
        self._recorder.use(self._store)

    async def _close_store(self) -> None:
        """As the last of all: what ends is put on record."""
        if self._recorder.is_in_use:
            await self._store.close()

    async def _open_doors(self, stack: AsyncExitStack) -> None:
        self._doors = await self._takeover.open_doors(self._configuration)
        for door in self._doors:
            stack.callback(door.close)
        self._url = url_of(self._doors[0], tls=self._configuration.ssl_certfile is not None)

    async def _open_command_socket(self, strays: Strays, stack: AsyncExitStack) -> None:
        commands = CommandServer(self._folder.command_socket, self._operations.perform, strays.is_ours)
        await commands.start()
        stack.push_async_callback(commands.close)

    def _make_supervised(self, logs: LogFiles, resources: Resources) -> Workshop:
        """Gateways, jobs, plugins and tasks, and what they need."""
        self._gateway_processes = self._make_gateway_processes()
        self._jobs = TaskManager(self._store, self._around, self._tree, self._recorder.put)
        validator = self._validator = Validator(self._tree, self._around, self._recorder.put, STARTS)
        programs = self._programs = Programs(self._around.reaper, self._folder, self._recorder.put)
        workshop = make_workshop(self._live, self._folder, programs, validator, offline=self._mode.offline)
        survivors = self._takeover.survivors
        self._pruning = Pruning(self._folder, workshop.builder, workshop.generations, self._tree, survivors)
        self._plugins = self._make_plugins(workshop, logs, resources)
        self._tasks = self._make_tasks(workshop, logs, resources)
        self._jobs.begin_reload = self._tasks.reload_all
        self._pruning.is_known, self._pruning.foundations = self._plugins.knows, self._tasks.foundations
        return workshop

    async def _start_supervised(self, stack: AsyncExitStack) -> None:
        """Arrange how everything ends: the door and the schedule first, then who starts processes, then these."""
        ends = await stack.enter_async_context(self._ends)
        ends.callback(self._takeover.remove_local_socket)
        ends.push_async_callback(self._gateways.close)
        ends.push_async_callback(self._gateway_processes.close)
        ends.push_async_callback(self._tree.stop_all, Cause.SHUTDOWN, SUPERVISOR)
        ends.push_async_callback(self._pruning.close)
        ends.push_async_callback(self._validator.close)
        ends.push_async_callback(self._plugins.close)
        ends.push_async_callback(self._tasks.close)
        await self._jobs.start()
        ends.push_async_callback(self._jobs.close)
        ends.callback(self._begin_draining)

    async def let_go(self) -> None:
        """Begin nothing more and leave alone what runs: the program that takes this one's place takes it over."""
        self._ends.pop_all()
        self._give_up_for(Cause.UPGRADE)
        self._guarding.let_go()
        await self._jobs.close(handing_over=True)
        began = (self._tasks, self._plugins, self._validator, self._pruning)
        for part in (*began, self._gateway_processes, self._gateways):
            await part.close()
        self._tree.let_go()

    async def _make_operations(self, resources: Resources) -> None:
        """All that can be asked for."""
        tokens = Tokens(self._store.tokens, self._store.audit, self._gateways, self._clock, self._folder.admin_token)
        await tokens.start()
        self._system = System(
            self._tree,
            self._plugin_operations,
            self._tasks,
            resources,
            self._store.exits,
            self._clock,
            self._folder,
            self._health,
        )
        self._system.request_stop = self._order.stop
        census = ThreadCensus(self._tree, self._clock)
        upgrade = Upgrade(
            self._programs,
            self._configuration.path,
            self._configuration.supervisor.adopt_grace,
            self._order.upgrade,
        )
        plugins, reconfiguration = self._plugin_operations, self._reconfiguration
        supervised = (self._gateways, plugins, self._tasks, self._jobs)
        parts = (self._system, *supervised, reconfiguration, census, tokens, upgrade)
        for part in parts:
            self._operations.register(part.operations, audited=AUDITED & part.operations.keys())

    def _make_gateway_processes(self) -> GatewayProcesses:
        def make_spec(number: int) -> ChildSpec:
            development = self._gateways.development
            return gateway_spec(self._live.current, number, *self._doors, self._url, development=development)

        processes = GatewayProcesses(self._gateways, make_spec, self._tree, self._around, self._news.changes)
        self._live.subscribe(processes.configured)
        return processes

    def _make_plugins(self, workshop: Workshop, logs: LogFiles, resources: Resources) -> Plugins:
        services = PluginServices(
            configuration=self._configuration,
            live=self._live,
            around=self._around,
            templates=TemplatePool(self._births, self._template_services, self._configuration.supervisor),
            tree=self._tree,
            preparation=workshop.preparation,
            pruning=self._pruning,
            claims=Claims(),
            gateways=self._gateways,
            repository=self._store.plugins,
            resources=resources,
            jobs=self._jobs,
            recorded=self._recorder.put,
            changed=self._news.changed,
            released=lambda: self._plugins.retry_refused(),  # noqa: PLW0108 - made after this
        )
        directory = PluginDirectory(
            self._configuration.plugins_directory,
            lambda: self._live.current.manager.snapshot.ignores,
            self._configuration.manager.plugins.interval,
            workshop.preparation.env_file,
        )
        plugins = Plugins(directory, services, self._store.exits)
        self._plugin_operations = PluginOperations(plugins, services, logs, workshop.build_logs)
        return plugins

    def _make_tasks(self, workshop: Workshop, logs: LogFiles, resources: Resources) -> ServiceManager:
        copies = ModuleCopies(self._folder.task_copies)
        grounds = Grounds(self._live, workshop.installer, workshop.runtime, workshop.preparation)
        services = TaskServices(
            live=self._live,
            around=self._around,
            tree=self._tree,
            preparation=TaskPreparation(self._live, grounds, copies, workshop.validator, machine_zone()),
            base=BaseTemplate(self._live, self._births, self._template_services),
            jobs=self._jobs,
            repository=self._store.tasks,
            resources=resources,
            recorded=self._recorder.put,
            changed=self._news.changed,
        )
        watch = FolderWatch(self._configuration.tasks_directory, self._configuration.manager.tasks.interval, is_no_task)
        return ServiceManager(services, watch, logs, self._store.exits)

    @property
    def _template_services(self) -> TemplateServices:
        return TemplateServices(self._around, self._tree, self._recorder.put)

    # --- run ---

    async def serve_until_stopped(self) -> End:
        """Find the plugins, open the door, and wait for the order to end."""
        course = Course(
            order=self._order,
            news=self._news,
            takeover=self._takeover,
            tree=self._tree,
            plugins=self._plugins,
            tasks=self._tasks,
            jobs=self._jobs,
            gateways=self._gateways,
            gateway_processes=self._gateway_processes,
            system=self._system,
            folder=self._folder,
            url=self._url,
        )
        return await course.run(self._live.current.gateway.processes)

    def leave_to_guard(self) -> None:
        """This supervisor cannot go on: what it has not taken over waits for another one, or ends with the grace."""
        if self._takeover.survivors:
            self._guarding.let_go()

    # --- news ---

    def _health(self) -> Health:
        return health_of(self._plugins.health(), draining=self._draining, database_ok=self._store.observations.healthy)

    def _database_health_changed(self, trouble: StoreError | None) -> None:
        if trouble is None:
            logger.info("The database is well again")
        else:
            logger.error("The database is in trouble; serving goes on: %s", trouble)
        self._news.changed()

    async def _record_action(self, entry: AuditEntry) -> None:
        await self._store.record_audit(entry)

    # --- stop ---

    def _give_up_for(self, cause: Cause) -> None:
        self._validator.given_up_for = self._programs.given_up_for = cause

    def _begin_draining(self) -> None:
        self._draining = True
        self._give_up_for(Cause.SHUTDOWN)
        self._news.push()
        # From here on no gateway is started any more: the door's descriptor may soon be that of another file.
        self._gateway_processes.seal()
        self._tree.stop_nowait(Kind.GATEWAY, Cause.SHUTDOWN, SUPERVISOR)
        # Theirs are closed as they drain; with the last one, connections that wait in the backlog are refused.
        for door in self._doors:
            door.close()
