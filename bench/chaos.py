"""Random faults over everything, and a verdict: what was lost, doubled, orphaned, or failed and could have been kept.

    .venv/bin/python bench/chaos.py [--seed N] [--seconds S | --kills N] [--environments FOLDER] [--keep]

Runs a project of its own with three plugins, two gateways, two tasks and jobs, under a load whose every answer is
checked, with writers on the admin interface. SIGKILL, SIGSTOP and SIGTERM come to all its processes and to the
supervisor, which is started again as a service manager would. Everything follows from the seed but the machine's own
timing. Exit code 0: acquitted. Listens on loopback only, and ends all it has started.
"""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.faults import subject
from bench.faults.ending import converge, database_problems, exit_rows, log_problems
from bench.faults.http_client import HttpClient
from bench.faults.judge import Verdict, judge
from bench.faults.load import Load
from bench.faults.observed import Life, Observations
from bench.faults.plan import Blow, Fault, plan
from bench.faults.saver import Saver
from bench.faults.service_manager import ServiceManager, become_subreaper, left_behind
from bench.faults.watch import Watch
from bench.faults.writers import Writers
from plugin_runtime.protocol import Kind
from tests.integration.project import Project

STOP_TIMEOUT = 60.0
MOST_CHARGES = 100
"""Shown; where there are more, the first ones tell."""


@dataclass(frozen=True)
class Limit:
    """Of a run: whichever is set."""

    seconds: float | None
    kills: int | None


@dataclass
class Scene:
    """All that takes part in one run."""

    project: Project
    port: int
    token: str
    seed: int
    watch: Watch = field(init=False)
    manager: ServiceManager = field(init=False)
    load: Load = field(init=False)
    writers: Writers = field(init=False)
    saver: Saver = field(init=False)
    carried_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.watch = Watch(self.project.state / "run", self._left)
        self.manager = ServiceManager(self.project, self.port, self.token, lambda: self.watch.accepting)
        self.load = Load(self.port, subject.PLUGINS, self.seed)
        self.writers = Writers(self.port, self.token, self.seed)
        self.saver = Saver(self.project, self.seed)

    def _left(self, life: Life) -> None:
        if life.kind == Kind.GATEWAY.value:
            self.manager.left(self.watch.accepting)

    async def run(self, limit: Limit) -> Observations:
        """Do everything; the project is stopped afterwards."""
        async with _background(self.watch.run()), _background(self.manager.reap()):
            load = asyncio.create_task(self.load.run())
            writing = asyncio.create_task(self.writers.run())
            async with _background(self.saver.run()):
                await self._inflict(limit)
            self.writers.stop()
            await writing
            # The last restart: what was acknowledged has to be there afterwards.
            await self._hit(Fault(0.0, Kind.SUPERVISOR, Blow.KILL, 0.0, 0.0, 0.0, late=False, stumble=0.0))
            self.load.stop()
            await load
            problems = await self._end()
        return self._observations(problems)

    @property
    def _kills(self) -> int:
        return sum(count for what, count in self.carried_out.items() if what.endswith(Blow.KILL.value))

    async def _inflict(self, limit: Limit) -> None:
        """Carry the plan out; a fault of the supervisor is under way while others go on."""
        end = time.monotonic() + (limit.seconds or float("inf"))
        on_the_supervisor: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            for fault in plan(self.seed):
                await asyncio.sleep(fault.pause)
                if time.monotonic() > end or self._kills >= (limit.kills or sys.maxsize):
                    break
                if fault.kind is not Kind.SUPERVISOR:
                    self._hit_one(fault, group)
                elif on_the_supervisor is None or on_the_supervisor.done():
                    on_the_supervisor = group.create_task(self._hit(fault))

    async def _hit(self, fault: Fault) -> None:
        self._say(fault, "supervisor", self.project.process.pid if self.project.process else 0)
        await self.manager.hit(fault)

    def _hit_one(self, fault: Fault, group: asyncio.TaskGroup) -> None:
        living = self.watch.living(fault.kind)
        if not living:
            return
        life = living[int(fault.choice * len(living))]
        if fault.blow is Blow.TERM and life.took(Blow.TERM):
            return  # asked twice a process ends at once, which is an order and no fault
        if self.watch.hit(life, fault.blow):
            self._say(fault, life.id, life.pid)
            self._left(life)
            if fault.blow is Blow.STOP:
                group.create_task(self._let_go_on(life, fault.hold))

    async def _let_go_on(self, life: Life, hold: float) -> None:
        await asyncio.sleep(hold)
        self.watch.go_on(life)

    def _say(self, fault: Fault, id_: str, pid: int) -> None:
        self.carried_out[f"{fault.kind.value} {fault.blow.value}"] += 1
        print(f"{time.monotonic():.3f} {fault.blow.value} {id_} (pid {pid}) {fault.hold:.2f}", file=sys.stderr)

    async def _end(self) -> list[str]:
        client = HttpClient(self.port, self.token)
        with contextlib.closing(client):
            problems = await converge(self.project, client, self.saver.saved)
        await self.writers.read_back()
        self.manager.present = False
        assert self.project.process is not None
        self.project.process.terminate()
        code = await asyncio.to_thread(self.project.process.wait, STOP_TIMEOUT)
        self.project.process = None
        return [*problems, *([f"the supervisor ended with {code}"] if code else []), *left_behind(self.project)]

    def _observations(self, problems: list[str]) -> Observations:
        database = self.project.state / "manager.db"
        return Observations(
            grace=subject.GRACE,
            lives=self.watch.lives,
            absences=self.manager.absences,
            requests=self.load.requests,
            failures=self.load.failures,
            posts=subject.posts(self.project),
            answered_posts=frozenset(self.load.answered_posts),
            registers=self.writers.registers,
            exits=exit_rows(database),
            doubles=[*self.watch.doubles, *subject.doubles(self.project)],
            problems=[
                *self.manager.problems,
                *self.writers.problems,
                *problems,
                *database_problems(database),
                *log_problems(self.project),
            ],
        )


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and (error := task.exception()):
            raise error


def report(scene: Scene, seen: Observations, verdict: Verdict) -> str:
    """The verdict, for people."""
    writes = sum(len(register.writes) for register in seen.registers)
    killed = sum(life.gone is not None and life.took(Blow.KILL) for life in seen.lives)
    longest = max((absence.length for absence in seen.absences), default=0.0)
    lines = [
        f"seed {scene.seed}: {scene.carried_out.total()} faults",
        *(f"    {count} {what}" for what, count in sorted(scene.carried_out.items())),
        f"{seen.requests} requests, {len(seen.failures)} failed, of which can be excused:",
        *(f"    {count} {excuse}" for excuse, count in sorted(verdict.excused.items())),
        f"{scene.writers.acknowledged} of {writes} writes were acknowledged; {sum(scene.saver.saved.values())} saves",
        f"{killed} processes killed, {len(seen.exits)} exit records, {verdict.unrecorded} died with the supervisor",
        f"{len(seen.absences)} times without a supervisor, at most {longest:.1f} s",
        *(f"CHARGE {charge}" for charge in verdict.charges[:MOST_CHARGES]),
        "acquitted" if verdict.acquitted else f"guilty on {len(verdict.charges)} charges",
    ]
    return "\n".join(lines)


def run(seed: int, limit: Limit, environments: Path, *, keep: bool) -> bool:
    """Run once; return whether the system was acquitted."""
    become_subreaper()
    project = subject.make_project(environments)
    try:
        project.up()
        token = (project.state / "admin.token").read_text().strip()
        scene = Scene(project, int(project.url.rpartition(":")[2]), token, seed)
        seen = asyncio.run(scene.run(limit))
        verdict = judge(seen)
        print(report(scene, seen, verdict))
        return verdict.acquitted
    finally:
        _end(project, keep=keep)


def _end(project: Project, *, keep: bool) -> None:
    """End what a failed run has left, at once."""
    if project.process is not None:
        project.process.kill()
        project.process.wait()
    for pid in project.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if keep:
        print(f"kept: {project.folder}", file=sys.stderr)
    else:
        shutil.rmtree(project.folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    until = parser.add_mutually_exclusive_group()
    until.add_argument("--seconds", type=float)
    until.add_argument("--kills", type=int, help="until so many processes were killed")
    parser.add_argument("--environments", type=Path, help="a folder where environments are, or will be")
    parser.add_argument("--keep", action="store_true", help="leave the project's folder")
    given = parser.parse_args()
    seconds = given.seconds if given.seconds or given.kills else 60.0
    with tempfile.TemporaryDirectory(prefix="xcore-envs-") as folder:
        acquitted = run(given.seed, Limit(seconds, given.kills), given.environments or Path(folder), keep=given.keep)
    sys.exit(0 if acquitted else 1)


if __name__ == "__main__":
    main()
