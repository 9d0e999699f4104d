"""``xcore config``: look at the configuration, whether a supervisor runs or not, and have a running one read it anew.

What these commands need is imported inside them: every other command of the CLI imports this file too, and must feel
instant, while pydantic takes longer to import than most commands run.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from plugin_runtime.protocol import ExitCode
from supervisor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, Target, UrlOption
from supervisor.cli.output import print_json
from supervisor.errors import ConfigurationError
from supervisor.printable import one_line

if TYPE_CHECKING:
    from supervisor.config.configuration import Configuration

config_app = typer.Typer(help="Show, check and reload the configuration.", no_args_is_help=True)


@config_app.command("show")
def show_command(path: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Print the configuration in force: defaults, file, dotenv and environment together, without secrets."""
    show(path, as_json=as_json)


@config_app.command("check")
def check_command(path: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Say whether the configuration is valid, and if not, what is wrong."""
    check(path, as_json=as_json)


@config_app.command("reload")
def reload_command(path: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False, url: UrlOption = "") -> None:
    """Have the running xcore read its configuration anew; one that is not valid changes nothing."""
    reload(path, as_json=as_json, url=url)


def show(path: Path, *, as_json: bool = False) -> None:
    """Print the effective configuration; ``as_json``: on one line.

    Raises:
        typer.Exit: it is not valid; the one error has been printed.
    """
    from supervisor.config.effective import effective  # noqa: PLC0415 - see the top of the file

    document = effective(_load(path, as_json=as_json))
    typer.echo(json.dumps(document, indent=None if as_json else 2))


def check(path: Path, *, as_json: bool = False) -> None:
    """Print that the configuration is valid, and what in it has no effect.

    Raises:
        typer.Exit: it is not; the one error has been printed.
    """
    configuration = _load(path, as_json=as_json)
    warnings = _warnings(configuration)
    answer = {"valid": True, "path": str(configuration.path), "warnings": warnings}
    typer.echo(json.dumps(answer) if as_json else f"{configuration.path}: ok")
    if not as_json:
        sys.stderr.writelines(f"{configuration.path}: {one_line(warning)}\n" for warning in warnings)


def reload(path: Path, *, as_json: bool = False, url: str = "") -> None:
    """Print what the reload changed.

    Raises:
        XcoreError: the configuration is not valid, and the one before stays in force.
        NotRunningError: nobody is there to read it.
    """
    view: dict[str, Any] = Target(path, url).call("config.reload")
    if as_json:
        print_json(view)
        return
    if not view["changed"]:
        sys.stdout.write("The configuration is the same.\n")
    said = (
        ("changed", "changed"),
        ("restarted", "restarted"),
        ("needs_restart", "takes effect at the next start of xcore"),
    )
    for key, meaning in said:
        sys.stdout.writelines(f"{meaning}: {one_line(name)}\n" for name in view[key])


def _warnings(configuration: "Configuration") -> list[str]:
    from supervisor.config.unknown_names import unknown_names  # noqa: PLC0415 - see the top of the file

    found = []
    if configuration.plugins:
        from supervisor.plugins.folder import plugin_folders  # noqa: PLC0415 - see the top of the file

        plugins = {folder.name for folder in plugin_folders(configuration.plugins_directory)}
        found += unknown_names("plugins", configuration.plugins, plugins, configuration.plugins_directory)
    if configuration.tasks:
        tasks = _task_names(configuration.tasks_directory)
        found += unknown_names("tasks", configuration.tasks, tasks, configuration.tasks_directory)
    return found


def _task_names(directory: Path) -> set[str]:
    """None where the directory cannot be read."""
    from supervisor.tasks.discovery import look  # noqa: PLC0415
    from supervisor.watching.directory_look import Look  # noqa: PLC0415 - see the top of the file

    try:
        return set(look(directory, Look()).entries)
    except OSError:
        return set()


def _load(path: Path, *, as_json: bool) -> "Configuration":
    from supervisor.config.source import load  # noqa: PLC0415 - see the top of the file

    try:
        return load(path, os.environ)
    except ConfigurationError as error:
        if as_json:
            fields = {"source": error.source, "key": error.key, "problem": error.problem, "hint": error.hint}
            typer.echo(json.dumps({"valid": False, "error": fields}))
        typer.echo(str(error), err=True)
        raise typer.Exit(ExitCode.FAILED) from error
