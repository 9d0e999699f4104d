"""``xcore init, up, down, upgrade, status``: the life of a project and of its supervisor."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from supervisor.cli.first_project import project_files
from supervisor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, Target, UrlOption, state_folder
from supervisor.cli.output import duration, print_json, print_lines, this_program
from supervisor.cli.plugins import print_plugins
from supervisor.cli.supervised import troubles
from supervisor.cli.tasks import print_tasks
from supervisor.errors import NotRunningError, XcoreError
from supervisor.folder_lock import refuse_if_locked
from supervisor.processes.process_stat import read_process_stat
from supervisor.state_folder import StateFolder

POLL_INTERVAL = 0.05
"""Seconds between two looks whether a supervisor that was asked to stop is gone; there is nobody left to tell us."""


def add_to(app: typer.Typer) -> None:
    for command in (init, up, down, upgrade, status):
        app.command()(command)


def init(
    directory: Annotated[Path, typer.Argument(help="Where; made if missing.", metavar="[DIR]")] = Path(),
    json: JsonOption = False,
) -> None:
    """Make a project: config.json, a first plugin and a first task where there is none. What exists stays as it is."""
    made = []
    try:
        files = project_files(
            plugin=not any((directory / "plugins").glob("*")),
            task=not any((directory / "backgroundtask").glob("*.py")),
        )
        for name, text in files.items():
            path = directory / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                made.append(str(path))
    except OSError as error:
        raise XcoreError(f"cannot make a project in {directory}: {error.strerror}: {error.filename}") from error
    if json:
        print_json({"directory": str(directory), "made": made})
    else:
        sys.stdout.writelines(f"made {path}\n" for path in made)
        sys.stdout.write(f"Run it: {'' if directory == Path() else f'cd {directory} && '}{this_program()} up\n")


def up(
    config: ConfigOption = DEFAULT_CONFIG,
    dev: Annotated[
        bool, typer.Option("--dev", help="Show callers on this machine why a plugin is not served.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Start no installer: fetch nothing.")] = False,
) -> None:
    """Run everything in the foreground, as the supervisor. SIGTERM and ^C stop it in order, a second one hurries."""
    from supervisor.config.source import load  # noqa: PLC0415 - pydantic takes a while

    configuration = load(config, os.environ)
    if dev:
        from supervisor.gateways.door import refuse_open_door  # noqa: PLC0415 - only here, and it brings the configuration

        refuse_open_door(configuration)
    refuse_if_locked(StateFolder(configuration.state_dir).lock_file)
    from supervisor.app import run  # noqa: PLC0415 - the whole supervisor, which no other command needs
    from supervisor.mode import Mode  # noqa: PLC0415 - likewise

    sys.exit(run(configuration, Mode(development=dev, offline=offline)))


def down(
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for its end.")] = 60.0,
) -> None:
    """Stop the supervisor and everything it runs, and wait until it is gone."""
    pid = Target(config).call("system.stop")["pid"]
    deadline = time.monotonic() + wait
    while _is_alive(pid):
        if time.monotonic() > deadline:
            raise XcoreError(f"the supervisor (pid {pid}) is still stopping after {wait:g} s")
        time.sleep(POLL_INTERVAL)
    if json:
        print_json({"pid": pid, "stopped": True})
    else:
        sys.stdout.write(f"The supervisor (pid {pid}) has stopped.\n")


def upgrade(
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for the new version.")] = 60.0,
) -> None:
    """Have the supervisor execute the version that is installed now; plugins, tasks and requests go on meanwhile."""
    target = Target(config)
    before = target.call("system.status")
    target.call("system.upgrade")
    deadline = time.monotonic() + wait
    while (after := _new_status(target, before)) is None:
        if not _is_alive(before["pid"]):
            raise XcoreError("the supervisor has ended during its upgrade; see its log", hint="start it: xcore up")
        if time.monotonic() > deadline:
            raise XcoreError(f"the new version does not answer after {wait:g} s")
        time.sleep(POLL_INTERVAL)
    if json:
        print_json({"pid": after["pid"], "before": before["version"], "version": after["version"]})
    else:
        sys.stdout.write(f"The supervisor (pid {after['pid']}) runs version {after['version']}.\n")


def _new_status(target: Target, before: dict[str, Any]) -> dict[str, Any] | None:
    """None as long as the new one does not answer."""
    try:
        status: dict[str, Any] = target.call("system.status")
    except NotRunningError:
        return None
    return status if status["started"] != before.get("started") and status["url"] else None


def status(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = "") -> None:
    """Show whether xcore runs, where, and how its plugins and tasks are."""
    found: dict[str, Any] = Target(config, url).call("system.status")
    if json:
        print_json(found)
        return
    if url:
        sys.stdout.write(f"{url}: {found['status']}\n")
        rows = found["plugins"].items()
        sys.stdout.writelines(f"{name}: {p['state']}, {p['ready']} of {p['wanted']} ready\n" for name, p in rows)
        print_lines(troubles("task", _tasks_seen_from_afar(config, url)))
        return
    tasks = found.get("tasks", [])  # a supervisor of the version before does not tell
    where = found["url"] or "not open yet"
    sys.stdout.write(f"{found['status']}: pid {found['pid']}, up {duration(found['uptime'])}, {where}\n")
    print_lines(troubles("plugin", found["plugins"]))
    print_lines(troubles("task", tasks))
    sys.stdout.write(f"state folder {state_folder(config).root}\n\n")
    print_plugins(found["plugins"])
    if tasks:
        sys.stdout.write("\n")
        print_tasks(tasks)


def _tasks_seen_from_afar(config: Path, url: str) -> list[dict[str, Any]]:
    """None without a token that may see them: /health, which needs no token, tells of plugins only."""
    if not os.environ.get("XCORE_TOKEN"):
        return []
    try:
        tasks: list[dict[str, Any]] = Target(config, url).call("tasks.list")
    except XcoreError:  # the answer was /health's; a token too small for more does not make it wrong
        return []
    return tasks


def _is_alive(pid: int) -> bool:
    """A zombie is dead: whoever started the supervisor may be slow to reap it."""
    stat = read_process_stat(pid)
    return stat is not None and not stat.is_zombie
