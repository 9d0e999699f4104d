"""``xcore plugin new`` and ``check``: what a plugin's author needs before it is served. No supervisor has to run."""

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plugin_runtime.protocol import ExitCode
from supervisor.announcement import read_address
from supervisor.cli import client
from supervisor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from supervisor.cli.output import print_json, this_program
from supervisor.cli.scaffold import NewPlugin, PluginTemplate, make_plugin
from supervisor.cli.supervised import print_errors
from supervisor.errors import NotRunningError, XcoreError
from supervisor.printable import one_line
from supervisor.state_folder import StateFolder

if TYPE_CHECKING:
    from supervisor.config.configuration import Configuration
    from supervisor.environments.progress import BuildProgress

ANSWER_TIME = 5.0
"""Seconds for a running supervisor to tell of its plugins; what a command says without it is nearly as good."""


def add_to(app: typer.Typer) -> None:
    for command in (new, check):
        app.command()(command)


def new(
    name: Annotated[str, typer.Argument(help="Of the plugin: its folder, and the end of its prefix.")],
    template: Annotated[
        PluginTemplate, typer.Option("--template", help="What it begins with.")
    ] = PluginTemplate.ROUTER,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Make a plugin that runs, in the plugin directory. Nothing that exists is changed."""
    configuration = _load(config)
    plugin = NewPlugin(name, template)
    made = make_plugin(plugin, configuration)
    running = read_address(StateFolder(configuration.state_dir))
    url = f"{running or _configured_address(configuration)}{plugin.prefix}/"
    is_disabled = any(known["name"] == name and not known["active"] for known in _running_plugins(configuration))
    if json:
        facts = {"name": name, "template": template.value, "prefix": plugin.prefix, "url": url, "task": plugin.task}
        print_json({**facts, "made": [str(path) for path in made], "disabled": is_disabled})
        return
    sys.stdout.writelines(f"made {one_line(str(_shown(path)))}\n" for path in made)
    how = "xcore finds it while it runs" if running else f"Run it: {this_program()} up"
    if is_disabled:
        how = f"A plugin of that name was disabled, and stays so. Enable it: {this_program()} plugin enable {name}"
    sys.stdout.write(f"{how}; then it is served at {url}\n")


def check(
    path: Annotated[str, typer.Argument(help="A plugin's folder, wherever it lies, or the name of one.")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    no_install: Annotated[
        bool, typer.Option("--no-install", help="Build no environment, and run none of its code.")
    ] = False,
) -> None:
    """Say all that would keep a plugin from being served, before it is deployed. Nothing that runs is changed."""
    configuration = _load(config)
    folder = _folder_of(path, configuration)
    from supervisor.rehearsal import Candidate, rehearse  # noqa: PLC0415 - the whole supervisor, see lifetime.up

    candidate = Candidate(folder.name, folder, _claimed(configuration))
    verdict = rehearse(candidate, configuration, _print_progress, install=not no_install)
    where = {"name": _printable(folder.name), "folder": _printable(str(folder))}
    document = {"ok": not verdict.problems, **where, **asdict(verdict)}
    if json:
        print_json(document)
    else:
        _print_verdict(document)
    if verdict.problems:
        raise typer.Exit(ExitCode.FAILED)


def _load(config: Path) -> "Configuration":
    from supervisor.config.source import load  # noqa: PLC0415 - pydantic takes a while

    return load(config, os.environ)


def _configured_address(configuration: "Configuration") -> str:
    """Where gateways will answer; "" where any port may be it."""
    gateway = configuration.gateway
    host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
    return f"http{'s' if gateway.ssl_certfile else ''}://{host}:{gateway.port}" if gateway.port else ""


def _folder_of(path: str, configuration: "Configuration") -> Path:
    """A bare name is that of a plugin first, as everywhere else; the links in a path stay, since names go by them."""
    if "/" not in path and path not in {"", ".", ".."} and (named := configuration.plugins_directory / path).is_dir():
        return named
    folder = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve follows links
    if not folder.is_dir():
        there = "is no folder" if folder.exists() else "is not there"
        hint = f"name a plugin's folder, or a plugin in {configuration.plugins_directory}"
        raise XcoreError(f"cannot check {path!r}: {folder} {there}", hint=hint)
    return folder


def _printable(name: str) -> str:
    """What is no UTF-8 is escaped, as the supervisor does it with names."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _claimed(configuration: "Configuration") -> Mapping[str, str]:
    """What the other plugins claim: as they say in writing, and better, as a running supervisor knows."""
    from supervisor.plugins.written_prefixes import written_prefixes  # noqa: PLC0415 - brings the database, too

    claimed = written_prefixes(configuration)
    for plugin in _running_plugins(configuration):
        if plugin["prefix"]:
            claimed[plugin["name"]] = plugin["prefix"]
        elif not plugin["active"]:
            claimed.pop(plugin["name"], None)
    return claimed


def _running_plugins(configuration: "Configuration") -> list[dict[str, Any]]:
    """Empty where no supervisor runs, or none answers."""
    try:
        plugins: list[dict[str, Any]] = client.call(
            StateFolder(configuration.state_dir).command_socket, "plugins.list", ANSWER_TIME
        )
    except NotRunningError:
        return []
    except XcoreError as error:
        sys.stderr.write(f"xcore: {error}; going on without\n")
        return []
    return plugins


def _print_progress(progress: "BuildProgress") -> None:
    sys.stderr.write(f"{one_line(progress.line or progress.step)}\n")


def _print_verdict(document: dict[str, Any]) -> None:
    name = one_line(document["name"])
    print_errors(document["problems"])
    if document["skipped"]:
        sys.stdout.write(f"not looked at: {', '.join(document['skipped'])}\n")
    if document["ok"]:
        where = f" under {document['prefix']}" if document["prefix"] else ""
        sys.stdout.write(f"{name}: ok, it would be served{where} with Python {document['python']}\n")
    else:
        sys.stdout.write(f"{name}: problems: {len(document['problems'])}\n")


def _shown(path: Path) -> Path:
    """As people type it: from here, where it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
