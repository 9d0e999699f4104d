"""``xcore plugin``: look at plugins and act on them."""

from contextlib import nullcontext
from typing import Annotated, Any

import typer

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
from supervisor.cli.output import duration, print_answer, print_lines, print_table
from supervisor.cli.steps import steps_told
from supervisor.cli.supervised import (
    not_running,
    print_facts,
    print_progress,
    print_trouble,
    shortcoming,
    state_of,
)
from supervisor.printable import one_line

app = typer.Typer(help="Look at plugins and act on them.", no_args_is_help=True)

_SHOWN = ("name", "title", "version", "author", "prefix", "state", "generation")
_FIGURES = ("restarts", "cpu_percent", "memory_mb", "in_flight", "requests")

NameArgument = Annotated[str, typer.Argument(help="The plugin's folder name.")]


@app.command("list")
def list_plugins(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = "") -> None:
    """List all plugins and their states."""
    print_answer(Target(config, url).call("plugins.list"), print_plugins, json=json)


@app.command()
def show(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Show one plugin: its instances, its last exit, what keeps it from being served."""
    print_answer(Target(config, url).call("plugins.show", name=name), _print_plugin, json=json)


@app.command()
def restart(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: WaitOption = 60.0,
) -> None:
    """Restart all instances of a plugin and wait until they are ready."""
    plugin = _ordered(Target(config, url), "restart", name, wait, json=json)
    if wait > 0:
        _require_running(plugin)


@app.command()
def reload(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: WaitOption = 60.0,
) -> None:
    """Serve what a plugin's folder says now; what was served before goes on where that cannot be."""
    plugin = _ordered(Target(config, url), "reload", name, wait, json=json)
    if wait > 0:
        _require_running(plugin)


@app.command()
def rollback(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: WaitOption = 60.0,
) -> None:
    """Serve the code and environment that were served before these, until the plugin's folder changes."""
    plugin = _ordered(Target(config, url), "rollback", name, wait, json=json)
    if wait > 0:
        _require_running(plugin)


@app.command()
def install(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: WaitOption = 700.0,
) -> None:
    """Build a plugin's environment anew and serve from it; what was served before goes on where that cannot be."""
    target = Target(config, url)
    with steps_told(target, name) if wait > 0 else nullcontext():
        plugin = _ordered(target, "install", name, wait, json=json)
    if wait > 0 and plugin["active"]:
        _require_running(plugin)


@app.command()
def enable(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: WaitOption = 60.0,
) -> None:
    """Serve a plugin, now and at every start of xcore."""
    plugin = _ordered(Target(config, url), "enable", name, wait, json=json)
    if wait > 0:
        _require_running(plugin)


@app.command()
def disable(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: WaitOption = 60.0,
) -> None:
    """Stop a plugin until it is enabled, also over starts of xcore; its folder stays as it is."""
    _ordered(Target(config, url), "disable", name, wait, json=json)


@app.command()
def scale(
    name: NameArgument,
    instances: Annotated[int, typer.Argument(help="How many worker processes it shall have.", min=1)],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: WaitOption = 60.0,
) -> None:
    """Run another number of instances of a plugin and wait until they are ready."""
    arguments = {"name": name, "instances": instances, "wait": wait}
    plugin = Target(config, url).call("plugins.scale", timeout=wait + 10.0, **arguments)
    print_answer(plugin, lambda view: print_plugins([view]), json=json)
    if wait > 0:
        _require_running(plugin)


@app.command()
def logs(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    tail: TailOption = 100,
    follow: FollowOption = False,
) -> None:
    """Print what a plugin wrote to stdout and stderr."""
    print_log(Target(config, url), "plugins.logs", name, tail, follow=follow, json=json)


@app.command()
def remove(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Forget a plugin that is disabled; its folder, data and logs stay."""
    answer = Target(config, url).call("plugins.delete", name=name)
    print_answer(answer, lambda told: print_lines([_forgotten(told)]), json=json)


def _forgotten(told: dict[str, Any]) -> str:
    """With what is left to do where its folder is still there."""
    folder = one_line(told.get("folder", ""))  # a supervisor of the version before does not tell
    left = f"its folder {folder} is still there: remove it, or the next start of xcore serves it as a new plugin"
    return f"{one_line(told['name'])} is forgotten{folder and f'; {left}'}"


def _ordered(target: Target, order: str, name: str, wait: float, *, json: bool) -> dict[str, Any]:
    """Give an order, see its end if there is time to ``wait``, and print what became of the plugin."""
    plugin: dict[str, Any] = target.call(f"plugins.{order}", timeout=wait + 10.0, name=name, wait=wait)
    print_answer(plugin, lambda view: print_plugins([view]), json=json)
    return plugin


def print_plugins(plugins: list[dict[str, Any]]) -> None:
    rows = [
        (
            plugin["name"],
            state_of(plugin),
            f"{sum(i['state'] == 'running' for i in plugin['instances'])}/{plugin['wanted']}",
            plugin["prefix"] or "-",
            plugin["version"] or "-",
            shortcoming(plugin),
        )
        for plugin in plugins
    ]
    print_table(("NAME", "STATE", "READY", "PREFIX", "VERSION", "ERROR"), rows, "There are no plugins yet.")


def _print_plugin(plugin: dict[str, Any]) -> None:
    print_facts((key, plugin[key]) for key in _SHOWN)
    print_trouble(plugin)
    print_progress(plugin)
    if build_log := plugin.get("build_log"):
        print_facts([("build log", build_log)])
    if traffic := plugin.get("traffic"):  # a supervisor of the version before does not count
        print_facts([("requests", _requests_of(traffic))])
    if template := plugin.get("template"):  # a supervisor of the version before has not told
        print_facts([("template", template)])
    print_facts(("note", note) for note in plugin.get("notes", ()))  # a supervisor of the version before has none
    print_table(
        ("INSTANCE", "PID", "STATE", "UPTIME", "RESTARTS", "CPU %", "MEMORY MB", "IN FLIGHT", "REQUESTS"),
        [
            (i["id"], i["pid"], i["state"], duration(i["uptime"]), *(i[key] for key in _FIGURES))
            for i in plugin["instances"]
        ],
        "It has no instances.",
    )


def _requests_of(traffic: dict[str, Any]) -> str:
    """How many, and what became of those that were not simply answered."""
    told = [f"{traffic['requests']}, {traffic['in_flight']} in flight"]
    if traffic["parked_total"]:
        told.append(f"{traffic['parked_total']} parked, {traffic['parked']} of them still")
    if traffic["resent"]:
        told.append(f"{traffic['resent']} sent again")
    if traffic["refused"]:
        told.append(
            f"refused: {', '.join(f'{count} {reason}' for reason, count in sorted(traffic['refused'].items()))}"
        )
    return "; ".join(told)


def _require_running(plugin: dict[str, Any]) -> None:
    """An order that ends without a ready instance has failed."""
    if not any(instance["state"] == "running" for instance in plugin["instances"]):
        raise not_running("plugin", plugin, f"it is {plugin['state']}")
