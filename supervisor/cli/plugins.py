"""``xcore plugin``: look at plugins and act on them."""

import sys
from typing import Annotated, Any

import typer

from supervisor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, Target, UrlOption, WaitOption
from supervisor.cli.output import duration, moment, print_json, print_table
from supervisor.errors import XcoreError
from supervisor.printable import one_line

app = typer.Typer(help="Look at plugins and act on them.", no_args_is_help=True)

_FIGURES = ("restarts", "cpu_percent", "memory_mb", "in_flight", "requests")

NameArgument = Annotated[str, typer.Argument(help="The plugin's folder name.")]


@app.command("list")
def list_plugins(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = "") -> None:
    """List all plugins and their states."""
    plugins = Target(config, url).call("plugins.list")
    if json:
        print_json(plugins)
    else:
        print_plugins(plugins)


@app.command()
def show(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Show one plugin: its instances, its last exit, what keeps it from being served."""
    plugin = Target(config, url).call("plugins.show", name=name)
    if json:
        print_json(plugin)
    else:
        print_plugin(plugin)


@app.command()
def restart(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: WaitOption = 60.0,
) -> None:
    """Restart all instances of a plugin and wait until they are ready."""
    plugin = Target(config, url).call("plugins.restart", timeout=wait + 10.0, name=name, wait=wait)
    if json:
        print_json(plugin)
    else:
        print_plugins([plugin])
    if wait > 0:
        _require_running(plugin)


@app.command()
def logs(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    tail: Annotated[int, typer.Option("--tail", "-n", min=0, help="Lines from the end.")] = 100,
) -> None:
    """Print what a plugin wrote to stdout and stderr."""
    lines = Target(config, url).call("plugins.logs", name=name, tail=tail)
    if json:
        print_json(lines)
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines)


def print_plugins(plugins: list[dict[str, Any]]) -> None:
    rows = [
        (
            plugin["name"],
            plugin["state"],
            f"{sum(i['state'] == 'running' for i in plugin['instances'])}/{plugin['wanted']}",
            plugin["prefix"] or "-",
            plugin["version"] or "-",
            (plugin["error"] or {}).get("message", ""),
        )
        for plugin in plugins
    ]
    print_table(("NAME", "STATE", "READY", "PREFIX", "VERSION", "ERROR"), rows, "There are no plugins yet.")


def print_plugin(plugin: dict[str, Any]) -> None:
    for key in ("name", "title", "version", "author", "prefix", "state", "generation"):
        sys.stdout.write(f"{key + ':':12}{one_line(plugin[key])}\n")
    if plugin["error"]:
        print_error(plugin["error"])
    if last := plugin["last_exit"]:
        sys.stdout.write(f"{'last exit:':12}{what_happened(last)}\n")
    print_table(
        ("INSTANCE", "PID", "STATE", "UPTIME", "RESTARTS", "CPU %", "MEMORY MB", "IN FLIGHT", "REQUESTS"),
        [
            (i["id"], i["pid"], i["state"], duration(i["uptime"]), *(i[key] for key in _FIGURES))
            for i in plugin["instances"]
        ],
        "It has no instances.",
    )


def print_error(error: dict[str, Any]) -> None:
    """What keeps a plugin or task from being run, and what to do about it."""
    sys.stdout.write(f"{'error:':12}{error['phase']}: {one_line(error['message'])}\n")
    said = [*error["hint"].splitlines(), error["location"], *error["traceback"].splitlines(), *error["log_tail"]]
    sys.stdout.writelines(f"{'':12}{one_line(line)}\n" for line in said if line)


def what_happened(record: dict[str, Any]) -> str:
    """An exit in one line."""
    how = f"signal {record['signal']}" if record["signal"] is not None else f"exit code {record['exit_code']}"
    who = f" by {one_line(record['actor'])}" if record["actor"] else ""
    when = f"{moment(record['time'])}, after {duration(record['uptime'])}"
    return f"{record['instance']} (pid {record['pid']}): {record['cause']}{who}, {how}, at {when}"


def _require_running(plugin: dict[str, Any]) -> None:
    """A restart that ends without a ready instance has failed."""
    if not any(instance["state"] == "running" for instance in plugin["instances"]):
        name = plugin["name"]
        problem = (plugin["error"] or {}).get("message") or f"it is {plugin['state']}"
        raise XcoreError(f"plugin {name!r} does not run: {one_line(problem)}", hint=f"see xcore plugin show {name}")
