"""``xcore job``: look at scheduled jobs, run them, and see what became of them."""

import sys
import time
from datetime import datetime, timedelta
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand

from supervisor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, Target, UrlOption
from supervisor.cli.output import duration, moment, print_answer, print_json, print_table
from supervisor.cli.supervised import print_facts
from supervisor.errors import TookTooLongError, XcoreError
from supervisor.printable import one_line

app = typer.Typer(help="Look at scheduled jobs, run them, and see what became of them.", no_args_is_help=True)

POLL = 25.0
"""Seconds that one question for new lines waits; a gateway takes at most 30."""
RELOAD_TIMEOUT = 610.0
"""Seconds; a gateway gives up after 600."""
SUCCEEDED = "succeeded"

NameArgument = Annotated[str, typer.Argument(help="The job's id, or its name where only one owner has it.")]


class AmbiguousJobError(XcoreError):
    """``ids``: all that the name could mean."""

    def __init__(self, name: str, ids: list[str]) -> None:
        super().__init__(f"several jobs are named {name!r}: {', '.join(ids)}", hint="write one of these")
        self.ids = ids


class WaitWithoutSeconds(TyperCommand):
    """A command whose ``--wait`` may stand alone, which typer does not know: then it waits for as long as it takes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spelled = []
        for number, word in enumerate(args):
            spelled.append(word)
            if word == "--wait" and not any(map(_is_number, args[number + 1 : number + 2])):
                spelled.append("inf")
        return super().parse_args(ctx, spelled)


@app.command("list")
def list_jobs(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = "") -> None:
    """List all jobs: when they run next, by this machine's clock, and how they ended last."""
    _print_jobs(Target(config, url).call("jobs.list"), json=json)


@app.command()
def show(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    number: Annotated[int, typer.Option("--number", "-n", min=1, max=1000, help="Moments and runs at most.")] = 5,
) -> None:
    """Show one job: how it is declared, when it is due next, and how its last runs ended."""
    target = Target(config, url)
    job = target.call("jobs.show", id=_id_of(target, name))
    due = target.call("jobs.next", id=job["id"], count=number)
    runs = target.call("runs.list", job=job["id"], limit=number)
    print_answer({**job, "next": due, "runs": runs}, _print_job, json=json)


@app.command(cls=WaitWithoutSeconds)
def run(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    wait: Annotated[
        float | None,
        typer.Option("--wait", min=0, help="Show what it writes until it ends, or for so long.", metavar="[SECONDS]"),
    ] = None,
) -> None:
    """Run a job now. With --wait show what it writes, and end with 0 only if it has succeeded."""
    target = Target(config, url)
    begun = target.call("jobs.run", id=_id_of(target, name))
    if wait is None:
        _print_begun(begun, json=json)
        _require(begun, succeeded=begun["outcome"] is None)
        return
    try:
        ended = _follow(target, begun, wait, sys.stderr if json else sys.stdout)
    except KeyboardInterrupt:
        raise _left_alone(begun) from None
    if json:
        print_json(ended)
    _require(ended, succeeded=ended["outcome"] == SUCCEEDED)
    if not json:
        sys.stderr.write(f"{_called(ended)} has succeeded after {duration(ended['duration'])}\n")


@app.command()
def history(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    number: Annotated[int, typer.Option("--number", "-n", min=1, max=1000, help="Runs at most.")] = 20,
) -> None:
    """Show the last runs of a job, newest first, also of one that is not declared any more."""
    target = Target(config, url)
    job = _id_of(target, name)
    runs = target.call("runs.list", job=job, limit=number)
    if not runs:
        target.call("jobs.show", id=job)  # says so where there is no such job at all
    print_answer(runs, _print_runs, json=json)


@app.command("next")
def next_moments(
    name: NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    url: UrlOption = "",
    number: Annotated[int, typer.Option("--number", "-n", min=1, max=1000, help="Moments at most.")] = 10,
) -> None:
    """Show when a job is due next, in its own time zone, and where the clock is changed in between."""
    target = Target(config, url)
    print_answer(target.call("jobs.next", id=_id_of(target, name), count=number), _print_moments, json=json)


@app.command()
def pause(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Schedule a job no more until it is resumed; a run under way goes on."""
    _order(Target(config, url), "jobs.pause", name, json=json)


@app.command()
def resume(
    name: NameArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = ""
) -> None:
    """Schedule a paused job again; what was due meanwhile is not made up for."""
    _order(Target(config, url), "jobs.resume", name, json=json)


@app.command()
def reload(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False, url: UrlOption = "") -> None:
    """Read the modules of all tasks again, apply what changed, and list the jobs."""
    _print_jobs(Target(config, url).call("jobs.reload", timeout=RELOAD_TIMEOUT), json=json)


# --- names --------------------------------------------------------------------------------------------------


def _id_of(target: Target, name: str) -> str:
    """The id that is meant; ``name`` itself where no job is called so: the supervisor says that better."""
    jobs = target.call("jobs.list")
    if any(job["id"] == name for job in jobs):
        return name
    ids = [job["id"] for job in jobs if job["name"] == name]
    if len(ids) > 1:
        raise AmbiguousJobError(name, ids)
    return ids[0] if ids else name


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


# --- runs ---------------------------------------------------------------------------------------------------


def _follow(target: Target, begun: dict[str, Any], seconds: float, to: TextIO) -> dict[str, Any]:
    """Write the lines of a run as they come; return it as it ended.

    Raises:
        TookTooLongError: it has not ended within so many seconds; it goes on.
    """
    deadline = time.monotonic() + seconds
    after = 0
    while True:
        left = max(0.0, deadline - time.monotonic())
        wait = min(POLL, left)
        log = target.call("runs.follow", timeout=wait + 10.0, id=begun["id"], after=after, wait=wait)
        to.writelines(f"{line}\n" for line in log["lines"])
        to.flush()
        after = log["next"]
        if log["run"]["outcome"] is not None:
            ended: dict[str, Any] = log["run"]
            return ended
        if not left:
            raise TookTooLongError(_called(begun), seconds)


def _left_alone(begun: dict[str, Any]) -> XcoreError:
    job = one_line(begun["job"])
    return XcoreError(f"{_called(begun)} goes on, it is not watched any more", hint=f"see xcore job history {job}")


def _require(view: dict[str, Any], *, succeeded: bool) -> None:
    if not succeeded:
        outcome = view["outcome"].replace("_", " ")
        why = one_line(view["exception"] or view["message"])
        raise XcoreError(f"{_called(view)} {outcome}{why and f': {why}'}")


def _called(view: dict[str, Any]) -> str:
    return f"run {view['id']} of {one_line(view['job'])}"


# --- tables -------------------------------------------------------------------------------------------------


def _order(target: Target, operation: str, name: str, *, json: bool) -> None:
    job = target.call(operation, id=_id_of(target, name))
    if json:
        print_json(job)
    else:
        _print_jobs([job], json=False)


def _print_begun(view: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(view)
    elif view["outcome"] is None:
        how = "has begun" if view["started"] else "begins when the one before has ended"
        sys.stdout.write(f"{_called(view)} {how}\n")


def _print_job(job: dict[str, Any]) -> None:
    grace = job["misfire_grace_time"]
    print_facts(
        [
            ("job", job["id"]),
            ("owner", f"{job['kind']} {job['owner']}"),
            ("calls", job["entry"]),
            ("trigger", job["trigger"]),
            *([("time zone", job["timezone"])] if job.get("timezone") else []),
            ("state", _state(job) + (": activate is false" if job["state"] == "inactive" else "")),
            ("timeout", duration(job["timeout"]) if job["timeout"] else "none"),
            ("overlap", job["overlap"]),
            ("late by", "anything" if grace is None else f"at most {duration(grace)}"),
            ("jitter", f"up to {duration(job['jitter'])}" if job["jitter"] else "none"),
            ("runs in", "the service's process" if job["shared"] else "a process of its own"),
        ]
    )
    sys.stdout.write("\nnext, by its trigger:\n")
    _print_moments(job["next"])
    sys.stdout.write("\nlast runs:\n")
    _print_runs(job["runs"])


def _print_moments(moments: list[dict[str, Any]]) -> None:
    offset: timedelta | None = None
    for shown in moments:
        local = datetime.fromisoformat(shown["local"])
        changed = offset is not None and local.utcoffset() != offset
        offset = local.utcoffset()
        note = "  the clock has been changed" if changed else ""
        sys.stdout.write(f"{local:%a} {local.isoformat(' ', 'seconds')}{note}\n")
    if not moments:
        sys.stderr.write("It will not be due any more.\n")


def _print_runs(runs: list[dict[str, Any]]) -> None:
    rows = [
        (
            view["id"],
            moment(view["started"] or view["finished"] or view["scheduled"]),
            view["outcome"] or ("running" if view["started"] else "waiting"),
            duration(view["duration"]),
            view["peak_memory_mb"],
            view["actor"],
            view["exception"] or view["message"],
        )
        for view in runs
    ]
    if any(view.get("from_memory") for view in runs):
        sys.stderr.write("The database does not answer: older runs are missing.\n")
    columns = ("RUN", "WHEN", "OUTCOME", "DURATION", "MEMORY MB", "BY", "WHY")
    print_table(columns, rows, "It has not run yet.")


def _print_jobs(jobs: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        print_json(jobs)
        return
    rows = [
        (
            job["id"],
            _state(job),
            moment(job["next_run"]),
            job["trigger"],
            (job["last_run"] or {}).get("outcome"),
            moment((job["last_run"] or {}).get("finished")),
        )
        for job in jobs
    ]
    print_table(("JOB", "STATE", "NEXT RUN", "TRIGGER", "LAST OUTCOME", "LAST END"), rows, "There are no jobs.")


def _state(job: dict[str, Any]) -> str:
    return f"running ({job['running']})" if job["running"] else str(job["state"])
