"""``xcore task``: look at background tasks and act on them."""

import json as json_module
import sys
from typing import Annotated, Any

import typer

from plugin_runtime.protocol import Cause
from supervisor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, Target, UrlOption, WaitOption
from supervisor.cli.output import duration, print_json, print_table
from supervisor.cli.plugins import print_error, what_happened
from supervisor.errors import XcoreError
from supervisor.printable import one_line

app = typer.Typer(help="Look at background tasks and act on them.", no_args_is_help=True)

STOP_TIMEOUT = 640.0
"""Seconds; a gateway gives up after 630, and its words are better than ours."""

_UP = {"running", "idle"}
_SHOWN = {
    "name": "name",
    "title": "title",
    "type": "type",
    "description": "about",
    "version": "version",
    "author": "author",
    "module_dir": "belongs to",
    "state": "state",
}

NameArgument = Annotated[str, typer.Argument(help="The task's file name without .py.")]


@app.command("list")
def list_tasks(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = "") -> None:
    """List all tasks and their states."""
    tasks = Target(config, url).call("tasks.list")
    if json:
        print_json(tasks)
    else:
        print_tasks(tasks)


@app.command()
def show(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Show one task: its process, its jobs, its last exit, what keeps it from being run."""
    task = Target(config, url).call("tasks.show", name=name)
    if json:
        print_json(task)
    else:
        _print_task(task)


@app.command()
def start(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: WaitOption = 60.0,
) -> None:
    """Start a task, now and at every start of xcore, and wait until it runs."""
    task = Target(config, url).call("tasks.start", timeout=wait + 10.0, name=name, wait=wait)
    if json:
        print_json(task)
    elif task["state"] in _UP:
        sys.stdout.write(f"task {one_line(task['name'])} is {task['state']}\n")
    elif wait <= 0:  # what state it has come to in this moment tells nothing
        sys.stdout.write(f"task {one_line(task['name'])} is being started\n")
    if wait > 0:
        _require_up(task)


@app.command()
def stop(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Stop a task until it is started again, and wait until its process is gone. Its jobs stay scheduled."""
    _print_one(Target(config, url).call("tasks.stop", timeout=STOP_TIMEOUT, name=name), json=json)


@app.command()
def restart(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: WaitOption = 60.0,
) -> None:
    """Replace a task's process by one of what its file says now, and wait until that runs."""
    task = Target(config, url).call("tasks.restart", timeout=wait + 10.0, name=name, wait=wait)
    _print_one(task, json=json)
    if wait > 0:
        _require_up(task)


@app.command()
def logs(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    tail: Annotated[int, typer.Option("--tail", "-n", min=1, help="Lines from the end.")] = 100,
) -> None:
    """Print what a task and the runs of its jobs wrote to stdout and stderr."""
    lines = Target(config, url).call("tasks.logs", name=name, tail=tail)
    if json:
        print_json(lines)
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines)


@app.command()
def meta(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Print the metadata of a task's module."""
    metadata = Target(config, url).call("tasks.meta", name=name)
    if json:
        print_json(metadata)
        return
    for key, value in metadata.items():
        text = value if isinstance(value, str) else json_module.dumps(value, ensure_ascii=False)
        sys.stdout.write(f"{one_line(key)}: {one_line(text)}\n")


def print_tasks(tasks: list[dict[str, Any]]) -> None:
    rows = [
        (
            task["name"],
            task["state"],
            task["pid"],
            duration(task["uptime"]) if task["pid"] else "-",
            task["restarts"],
            task["memory_mb"],
            len(task["jobs"]),
            (task["error"] or {}).get("message", ""),
        )
        for task in tasks
    ]
    print_table(
        ("TASK", "STATE", "PID", "UPTIME", "RESTARTS", "MEMORY MB", "JOBS", "ERROR"), rows, "There are no tasks."
    )


def _print_one(task: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(task)
    else:
        print_tasks([task])


def _print_task(task: dict[str, Any]) -> None:
    for key, label in _SHOWN.items():
        sys.stdout.write(f"{label + ':':12}{one_line(task[key])}\n")
    sys.stdout.write(f"{'at boot:':12}{'started' if task['enabled'] else 'not started'}\n")
    sys.stdout.write(f"{'jobs:':12}{one_line(', '.join(task['jobs'])) or '-'}\n")
    if task["error"]:
        print_error(task["error"])
    if task["last_exit"]:
        sys.stdout.write(f"{'last exit:':12}{what_happened(task['last_exit'])}\n")
    figures = (task["restarts"], task["retrying"], task["cpu_percent"], task["memory_mb"])
    print_table(
        ("PID", "UPTIME", "RESTARTS", "RETRYING", "CPU %", "MEMORY MB"),
        [(task["pid"], duration(task["uptime"]), *figures)] if task["pid"] else [],
        "It has no process.",
    )


def _require_up(task: dict[str, Any]) -> None:
    """A start that ends with neither a running service nor jobs alone has failed, and so has one of what was before."""
    name, error = task["name"], task["error"]
    problem = error["message"] if error else _without_error(task)
    hint = f"see xcore task show {name}"
    if task["state"] not in _UP:
        raise XcoreError(f"task {name!r} does not run: {one_line(problem)}", hint=hint)
    if error:
        raise XcoreError(f"task {name!r} is {task['state']}, but not as its file says: {one_line(problem)}", hint=hint)


def _without_error(task: dict[str, Any]) -> str:
    """Why a task does not run with which nothing is wrong."""
    last = task["last_exit"]
    if task["state"] == "exited" and last and last["cause"] == Cause.FINISHED:
        return "its service_main has returned"
    return f"it is {task['state']}"
