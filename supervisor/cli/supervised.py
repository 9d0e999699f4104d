"""What the CLI says of plugins and tasks alike: their errors, their exits, whether they run."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from textwrap import shorten
from typing import Any

from supervisor.cli.output import duration, moment
from supervisor.errors import XcoreError
from supervisor.printable import one_line

STEP_WIDTH = 40
"""Characters of a step in a table; one that names an interpreter by its path has a hundred."""
_IN_TROUBLE = {"failed", "backoff", "refused", "degraded"}


def brief_error(view: dict[str, Any]) -> str:
    """The first sentence of the first thing that is wrong, to be read beside its name; "" where nothing is."""
    message: str = (view["error"] or {}).get("message", "")
    subject = rf"(cannot (load|start) )?(plugin|task) {re.escape(repr(view['name']))}( refused)?: "
    return re.sub(f"^{subject}", "", message.partition("; ")[0])


def shortcoming(view: dict[str, Any]) -> str:
    """What is to be read beside its name: what is wrong, and whether something serves all the same."""
    problem = brief_error(view)
    if not view.get("outdated"):  # a supervisor of the version before does not tell
        return problem
    return f"generation {view['generation']} serves, its newest code does not: {problem}"


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """One line for each, label first."""
    sys.stdout.writelines(f"{label + ':':12}{one_line(text)}\n" for label, text in facts)


def state_of(view: dict[str, Any]) -> str:
    """With the step of a build under way, as far as a column has room for it."""
    progress = view.get("progress")  # a supervisor of the version before tells none
    if not progress:
        return str(view["state"])
    return f"{view['state']} ({shorten(progress['step'], STEP_WIDTH, placeholder=' ...')})"


def print_progress(view: dict[str, Any]) -> None:
    """Of the build of its environment, while there is one."""
    if progress := view.get("progress"):  # a supervisor of the version before tells none
        said = f": {progress['line']}" if progress["line"] else ""
        print_facts([("progress", f"{progress['step']}, for {duration(progress['seconds'])}{said}")])


def print_trouble(view: dict[str, Any]) -> None:
    """What keeps it from being run and what to do about it, one problem a line; how its last process ended."""
    if error := view["error"]:
        if view.get("outdated"):
            print_facts([("serves", f"generation {view['generation']}; its newest code cannot be served")])
        print_errors([error])
    if last := view["last_exit"]:
        print_facts([("last exit", _what_happened(last))])


def print_errors(errors: Sequence[dict[str, Any]]) -> None:
    """Each with what to do about it and where; last lines that follow each other and are the same, once."""
    # A guest prints its tracebacks as well.
    told = {line for error in errors for line in (*error["traceback"].splitlines(), error["message"])}
    for error, following in zip_longest(errors, errors[1:]):
        first, *others = _problems(error)
        print_facts([("error", f"{error['phase']}: {first}")])
        _print_lines("", others)
        excerpt = error.get("excerpt", [])  # a supervisor of the version before has none
        _print_lines("where", [line for line in (error["location"], *excerpt) if line])
        _print_lines("traceback", error["traceback"].splitlines())
        if following is None or following["log_tail"] != error["log_tail"]:
            _print_lines("last lines", [line for line in error["log_tail"] if line not in told])


def troubles(kind: str, views: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A line for each that does not run though it shall, or not as its files say. ``kind``: plugin or task."""
    for view in views:
        problem = shortcoming(view)
        if problem or view["state"] in _IN_TROUBLE:
            yield one_line(f"{kind} {view['name']} is {view['state']}{problem and f': {problem}'}")


def not_running(kind: str, view: dict[str, Any], problem: str, how: str = "does not run") -> XcoreError:
    """What a start or restart ends with that has not brought it up."""
    name = view["name"]
    why = one_line(brief_error(view) or problem)
    return XcoreError(f"{kind} {name!r} {how}: {why}", hint=f"see xcore {kind} show {name}")


def _print_lines(label: str, lines: Iterable[str]) -> None:
    """All lines below each other, with the label before the first."""
    for number, line in enumerate(lines):
        sys.stdout.write(f"{label + ':' if label and not number else '':12}{one_line(line)}\n")


def _problems(error: dict[str, Any]) -> list[str]:
    # A supervisor of the version before tells all of them in one.
    return error.get("problems") or [error["message"], *error["hint"].splitlines()]


def _what_happened(record: dict[str, Any]) -> str:
    how = f"signal {record['signal']}" if record["signal"] is not None else f"exit code {record['exit_code']}"
    who = f" by {record['actor']}" if record["actor"] else ""
    when = f"{moment(record['time'])}, after {duration(record['uptime'])}"
    return f"{record['instance']} (pid {record['pid']}): {record['cause']}{who}, {how}, at {when}"
