"""When the faults are over: whether everything comes to rest as it should, and what is left when it is stopped."""

import asyncio
import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.faults.http_client import HttpClient, ask
from bench.faults.observed import ExitRow
from plugin_runtime.protocol import Kind
from supervisor.processes.process_stat import read_process_stat
from tests.integration.project import Project

CONVERGED_WITHIN = 40.0
"""Seconds from the last fault until all is well."""
POLL = 0.1
_TROUBLE = re.compile(r"Traceback|Exception ignored|never awaited|ResourceWarning|CRITICAL")
_CONTEXT = 12
"""Lines shown of each trouble in a log."""


async def converge(project: Project, client: HttpClient, saved: Mapping[str, int]) -> list[str]:
    """Wait until everything is as it is wanted; return what is not. ``saved``: the version of each plugin's code."""
    deadline = time.monotonic() + CONVERGED_WITHIN
    while True:
        unwell = [*await _unwell(project, client), *await _outdated(client, saved)]
        if not unwell or time.monotonic() > deadline:
            return [f"not within {CONVERGED_WITHIN:g} s: {problem}" for problem in unwell]
        await asyncio.sleep(POLL)


async def _unwell(project: Project, client: HttpClient) -> list[str]:
    health = await ask(client, "/health")
    plugins = await ask(client, "/admin/plugins")
    tasks = await ask(client, "/admin/tasks")
    processes = await ask(client, "/admin/processes")
    if any(part is None for part in (health, plugins, tasks, processes)):
        return ["the admin interface does not answer"]
    return [
        *([] if health["status"] == "ok" else [f"health is {health['status']}"]),
        *(problem for plugin in plugins for problem in _unwell_plugin(plugin)),
        *(problem for task in tasks for problem in _unwell_task(task)),
        *_unwell_processes(project, processes),
    ]


async def _outdated(client: HttpClient, saved: Mapping[str, int]) -> list[str]:
    answers = {name: await ask(client, f"/{name}/?version&0") for name in saved}
    return [
        f"plugin {name} serves version {answers[name]} instead of {version}"
        for name, version in saved.items()
        if answers[name] != version
    ]


def _unwell_plugin(plugin: dict[str, Any]) -> list[str]:
    ready = [instance for instance in plugin["instances"] if instance["state"] == "running"]
    if plugin["error"]:
        return [f"plugin {plugin['name']} has an error: {plugin['error']['message']}"]
    if plugin["state"] == "running" and len(ready) == plugin["wanted"] == len(plugin["instances"]):
        return []
    return [f"plugin {plugin['name']} is {plugin['state']}, {len(ready)} of {plugin['wanted']} instances run"]


def _unwell_task(task: dict[str, Any]) -> list[str]:
    wanted = "running" if task["enabled"] else "disabled"
    return [] if task["state"] == wanted else [f"task {task['name']} is {task['state']} instead of {wanted}"]


def _unwell_processes(project: Project, views: list[dict[str, Any]]) -> list[str]:
    """The processes that there are have to be those that the supervisor knows, one for each."""
    known = {view["pid"]: view for view in views if view["pid"] is not None}
    found = project.processes()
    supervisor = next(view["pid"] for view in views if view["kind"] == Kind.SUPERVISOR.value)
    of_all = [view["id"] for view in views if view["kind"] not in {Kind.JOB.value, Kind.TEMPLATE.value}]
    return [
        *(f"a stranger: {pid} {command}" for pid, command in found.items() if pid not in known),
        *(f"not there: {view['id']} (pid {pid})" for pid, view in known.items() if pid not in found),
        *(f"{id_} is listed twice" for id_ in sorted(set(of_all)) if of_all.count(id_) > 1),
        *(f"a zombie of the supervisor: {pid}" for pid in _zombies(supervisor)),
    ]


def _zombies(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        stat = read_process_stat(int(path.name))
        if stat is not None and stat.is_zombie and stat.parent == parent:
            found.append(int(path.name))
    return found


def database_problems(database: Path) -> list[str]:
    """Its integrity, and runs of which nobody knows how they ended."""
    with closing(sqlite3.connect(database)) as connection:
        checked = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        endless = [row[0] for row in connection.execute("SELECT job FROM runs WHERE outcome IS NULL")]
    return [
        *(f"integrity_check: {line}" for line in checked if line != "ok"),
        *(f"a run of {job} without an outcome" for job in endless),
    ]


def exit_rows(database: Path) -> list[ExitRow]:
    """All exit records."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT kind, instance, pid, cause, signal FROM exits")
        return [ExitRow(*row) for row in rows]


def log_problems(project: Project) -> list[str]:
    """Tracebacks and the like of ours; those of plugins are in logs of their own."""
    problems = []
    for path in (project.folder / "up.log", project.state / "logs" / "gateway.log"):
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        for number, line in enumerate(lines):
            if _TROUBLE.search(line):
                problems.append("\n    ".join([f"in {path.name}:", *lines[max(0, number - 2) : number + _CONTEXT]]))
    return problems
