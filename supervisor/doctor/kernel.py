"""What xcore asks of the kernel: tried by throwaway.py in a process of its own, judged here."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.doctor.finding import Finding, NotExaminedError, missing, ok, warning
from supervisor.environments.runner import SUPERVISOR, Runner
from supervisor.errors import SpawnError, XcoreError

_PROGRAM = Path(__file__).with_name("throwaway.py")
_ANSWER = "xcore-doctor:"
"""As in that program, which is never imported: it forks."""
_LIMIT = 4.0
"""Seconds; less than a check's, so that it is said what the program had printed when its time was up."""

Facts = Mapping[str, Any]


async def tried(runner: Runner, folder: Path, subject: str) -> Facts:
    """What throwaway.py says of ``subject``.

    Raises:
        SpawnError: not even that program could be started.
        NotExaminedError: it could not start processes of its own.
        XcoreError: it did not get to an answer.
    """
    command = [sys.executable, "-I", "-S", str(_PROGRAM), subject]
    done = await runner.run(command, name=SUPERVISOR, cwd=folder, environment={}, timeout=_LIMIT)
    for line in done.tail if done.succeeded else ():
        if line.startswith(_ANSWER):
            facts: Facts = json.loads(line.removeprefix(_ANSWER))
            if facts["works"] is None:
                raise NotExaminedError(facts["error"])
            return facts
    last = f": {done.tail[-1]}" if done.tail else ""
    raise XcoreError(f"cannot try it: {done}{last}")


async def pidfd(runner: Runner, folder: Path) -> Finding:
    return judge_pidfd(await tried(runner, folder, "pidfd"))


def judge_pidfd(facts: Facts) -> Finding:
    if facts["works"]:
        return ok("tells of a process's end")
    return missing(_refused("does not tell of a process's end", facts))


async def exits_of_others(runner: Runner, folder: Path) -> Finding:
    return judge_exits_of_others(await tried(runner, folder, "exits"))


def judge_exits_of_others(facts: Facts) -> Finding:
    return ok("told by PIDFD_GET_INFO") if facts["works"] else warning(_refused("not told by PIDFD_GET_INFO", facts))


async def subreaper(runner: Runner, folder: Path) -> Finding:
    return judge_subreaper(await tried(runner, folder, "subreaper"))


def judge_subreaper(facts: Facts) -> Finding:
    return ok("an orphan became our child") if facts["works"] else missing(_refused("an orphan was lost", facts))


async def stacks(runner: Runner, folder: Path) -> Finding:
    return judge_stacks(await tried(runner, folder, "stacks"))


def judge_stacks(facts: Facts) -> Finding:
    if facts["works"]:
        return ok("written at a real-time signal")
    return warning(_refused("not written at a real-time signal", facts))


async def fork(runner: Runner, folder: Path) -> Finding:
    try:
        return judge_fork(await tried(runner, folder, "fork"))
    except SpawnError as error:
        return missing(str(error))


def judge_fork(facts: Facts) -> Finding:
    forked = f"{facts['forked']} processes at one time"
    return ok(forked) if facts["works"] else missing(_refused(f"no more than {forked}", facts))


async def proc(runner: Runner, folder: Path) -> Finding:
    facts = await tried(runner, folder, "proc")
    return judge_proc(facts, hidepid(Path("/proc/self/mountinfo").read_text(encoding="utf-8")))


def judge_proc(facts: Facts, hidden: str) -> Finding:
    """``hidden``: value of its mount option hidepid. It hides processes of other users, which xcore never looks at."""
    if not facts["works"]:
        return missing(f"cannot read {', '.join(facts.get('unreadable', ['it']))}")
    return ok(f"readable, hidepid={hidden}" if hidden not in {"", "0", "off"} else "readable")


def hidepid(mountinfo: str) -> str:
    """The option of the file system that lies at /proc; "" where there is none. ``mountinfo``: as in proc(5)."""
    for line in mountinfo.splitlines():
        fields = line.split()
        if fields[4] == "/proc" and (option := re.search(r"\bhidepid=(\w+)", line)):
            return option[1]
    return ""


def _refused(found: str, facts: Facts) -> str:
    return f"{found}: {facts['error']}" if facts.get("error") else found
