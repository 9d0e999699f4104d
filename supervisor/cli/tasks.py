"""``xcore task``: look at background tasks and act on them."""

import json as json_module
import sys
from typing import Annotated, Any

import typer

from plugin_runtime.protocol import Cause
from supervisor.cli.logs import print_log
from supervisor.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    FollowOption,
    JsonOption,
    TailOption,
    Target,
    UrlOption,
    WaitOption,
)
from supervisor.cli.output import duration, print_answer, print_table
from supervisor.cli.supervised import (
    brief_error,
    not_running,
    print_facts,
    print_progress,
    print_trouble,
    state_of,
)
from supervisor.printable import one_line

app = typer.Typer(help="Look at background tasks and act on them.", no_args_is_help=True)

STOP_TIMEOUT = 640.0
"""Seconds; a gateway gives up after 630, and its words are better than ours."""

_UP = {"running", "idle"}
_MEANT = {"disabled": "stopped until it is started", "exited": "it has ended, and is not started again by itself"}
"""States whose names do not say what follows."""
_SHOWN = {
    "name": "name",
    "title": "title",
    "type": "type",
    "description": "about",
    "version": "version",
    "author": "author",
    "module_dir": "belongs to",
}

NameArgument = Annotated[str, typer.Argument(help="The task's file name without .py.")]


@app.command("list")
def list_tasks(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = "") -> None:
    """List all tasks and their states."""
    print_answer(Target(config, url).call("tasks.list"), print_tasks, json=json)


@app.command()
def show(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Show one task: its process, its jobs, its last exit, what keeps it from being run."""
    print_answer(Target(config, url).call("tasks.show", name=name), _print_task, json=json)


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
    if json or wait > 0:
        print_answer(task, _print_one, json=json)
    else:  # what state it has come to in this moment tells nothing
        how = task["state"] if task["state"] in _UP else "being started"
        sys.stdout.write(f"task {one_line(task['name'])} is {how}\n")
    if wait > 0:
        _require_up(task)


@app.command()
def stop(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Stop a task until it is started again, and wait until its process is gone. Its jobs stay scheduled."""
    print_answer(Target(config, url).call("tasks.stop", timeout=STOP_TIMEOUT, name=name), _print_one, json=json)


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
    print_answer(task, _print_one, json=json)
    if wait > 0:
        _require_up(task)


@app.command()
def logs(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    tail: TailOption = 100,
    follow: FollowOption = False,
) -> None:
    """Print what a task and the runs of its jobs wrote to stdout and stderr."""
    print_log(Target(config, url), "tasks.logs", name, tail, follow=follow, json=json)


@app.command()
def meta(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Print the metadata of a task's module."""
    print_answer(Target(config, url).call("tasks.meta", name=name), _print_metadata, json=json)


def print_tasks(tasks: list[dict[str, Any]]) -> None:
    rows = [
        (
            task["name"],
            state_of(task),
            task["pid"],
            duration(task["uptime"]) if task["pid"] else "-",
            task["restarts"],
            task["memory_mb"],
            len(task["jobs"]),
            brief_error(task),
        )
        for task in tasks
    ]
    print_table(
        ("TASK", "STATE", "PID", "UPTIME", "RESTARTS", "MEMORY MB", "JOBS", "ERROR"), rows, "There are no tasks."
    )


def _print_one(task: dict[str, Any]) -> None:
    print_tasks([task])


def _print_metadata(metadata: dict[str, Any]) -> None:
    for key, value in metadata.items():
        text = value if isinstance(value, str) else json_module.dumps(value, ensure_ascii=False)
        sys.stdout.write(f"{one_line(key)}: {one_line(text)}\n")


def _print_task(task: dict[str, Any]) -> None:
    print_facts((label, task[key]) for key, label in _SHOWN.items())
    meant = _MEANT.get(task["state"])
    print_facts([("state", task["state"] + (f": {meant}" if meant else ""))])
    print_facts(
        [("at boot", "started" if task["enabled"] else "not started"), ("jobs", ", ".join(task["jobs"]) or "-")]
    )
    print_trouble(task)
    print_progress(task)
    figures = (task["restarts"], task["retrying"], task["cpu_percent"], task["memory_mb"])
    print_table(
        ("PID", "UPTIME", "RESTARTS", "RETRYING", "CPU %", "MEMORY MB"),
        [(task["pid"], duration(task["uptime"]), *figures)] if task["pid"] else [],
        "It has no process.",
    )


def _require_up(task: dict[str, Any]) -> None:
    """A start that ends with neither a running service nor jobs alone has failed, and so has one of what was before."""
    if task["state"] not in _UP:
        raise not_running("task", task, _without_error(task))
    if task["error"]:
        raise not_running("task", task, "", how=f"is {task['state']}, but not as its file says")


def _without_error(task: dict[str, Any]) -> str:
    """Why a task does not run with which nothing is wrong."""
    last = task["last_exit"]
    if task["state"] == "exited" and last and last["cause"] == Cause.FINISHED:
        return "its service_main has returned"
    return f"it is {task['state']}"
