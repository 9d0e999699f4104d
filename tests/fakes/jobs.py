"""What a TaskManager works with: jobs, their hosts, stores that live in memory, a scheduler that fires when told."""

import asyncio
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

from plugin_runtime.protocol import Kind
from plugin_runtime.task_protocol import Outcome
from plugin_runtime.task_views import RunView
from supervisor.errors import UnknownNameError
from supervisor.jobs.host import RunProcess
from supervisor.jobs.outcome import Conclusion
from supervisor.jobs.request import RunRequest
from supervisor.jobs.stopwatch import Stopwatch
from supervisor.jobs.view import active_view, ended_view
from supervisor.schedule.job_spec import JobKind, JobSpec
from supervisor.schedule.scheduler import Entry, Firing, Miss
from supervisor.spec import ChildSpec, RestartPolicy
from tests.fakes.process_table import QUICK
from tests.fakes.processes import CHILDREN


@dataclass(frozen=True)
class Every:
    """A trigger: due at whole multiples of so many seconds, until ``end``."""

    seconds: float = 60.0
    end: float = float("inf")

    def next_after(self, moment):
        following = (moment // self.seconds + 1) * self.seconds
        return following if following <= self.end else None

    def local(self, moment):
        return f"local {moment:g}"

    def to_wire(self):
        return {"type": "interval", "seconds": self.seconds}


def job(name="cleanup", owner="reports", **fields) -> JobSpec:
    settings = {"kind": JobKind.TASK, "entry": name, "trigger": Every(), **fields}
    return JobSpec(id=f"{owner}.{name}", name=name, owner=owner, **settings)


def request(number=1, spec=None, **fields) -> RunRequest:
    return RunRequest(f"{number:08x}", number, spec or job(), fields.pop("actor", "operator"), **fields)


class ScriptedHost:
    """Runs tests/children/guest.py: with ``steps``, or with those of the job where ``plans`` has some."""

    def __init__(self, folder, *steps, name="reports", **fields):
        self.name = name
        self.service = None
        self.error = None
        self.plans = {}
        self.started = []
        """Runs it was asked to start."""
        self._folder = folder
        self._steps = steps
        self._fields = fields

    def run_process(self, job, run):
        if self.error is not None:
            raise self.error
        self.started.append(run)
        steps = self.plans.get(job.name, self._steps)
        spec = ChildSpec(
            **{
                "id": f"{job.id}.{run}",
                "name": self.name,
                "kind": Kind.JOB,
                "command": (sys.executable, "-I", str(CHILDREN / "guest.py"), *map(str, steps)),
                "working_directory": self._folder.root,
                "timeouts": QUICK,
                "liveness": None,
                # Not what a run may have: that it is started once is no affair of its host's.
                "restart": RestartPolicy(delay=0.01, jitter=0.0),
                **self._fields,
            }
        )
        return RunProcess(spec, {"run": run})


class OtherHost(ScriptedHost):
    """Of another kind: a plugin of the same name."""


class FakeService:
    """Stands for the child of a service that takes runs."""

    def __init__(self, state):
        self.state = state
        self.pid = 4711
        self.incarnation = SimpleNamespace(connection=object())
        self.sent = []

    def send(self, message, request_id=0):
        self.sent.append(message)


class FakeRun:
    """An ActiveRun whose end the test decides."""

    def __init__(self, request, listener, clock, *, stops=True):
        self.request = request
        self.begun = False
        self.stopped = []
        self._listener = listener
        self._watch = Stopwatch(clock)
        self._stops = stops

    @property
    def view(self):
        return active_view(self.request, self._watch.started, 1)

    def begin(self):
        self.begun = True
        self._watch.start()

    def stop(self, cause, actor):
        self.stopped.append((cause, actor))
        if self._stops:
            self.ends(Outcome.KILLED)

    def gets_ready(self):
        self._listener.ready(self)

    def ends(self, outcome=Outcome.SUCCEEDED):
        self._listener.ended(self, ended_view(self.view, Conclusion(outcome), self._watch))


class FakeFactory:
    """Makes FakeRuns; ``plan`` may hold an exception for the next ones."""

    def __init__(self, clock, *, stops=True):
        self.made = []
        self.plan = []
        self._clock = clock
        self._stops = stops

    def make(self, request, log, listener):
        if self.plan and (error := self.plan.pop(0)):
            raise error
        run = FakeRun(request, listener, self._clock, stops=self._stops)
        self.made.append(run)
        return run

    def resume(self, request, former, log, listener):
        return self.make(request, log, listener)


class _Refusing:
    """A part of a database."""

    error = None
    """Whatever is asked is refused with it."""
    refused = 0
    """How often that was done."""

    def _answer(self):
        if self.error is not None:
            self.refused += 1
            raise self.error


class FakeJobRepository(_Refusing):
    """Rows by id; ``saved`` keeps each transaction."""

    def __init__(self, *rows):
        self.rows = {row.id: row for row in rows}
        self.saved = []
        self.lost_commit = None
        """An error that is raised after the commit."""
        self.gate = None
        """An event that has to be set before a transaction is committed."""

    async def get_all(self):
        return list(self.rows.values())

    async def save(self, rows, *, patience=None):
        if self.gate is not None:
            await self.gate.wait()
        self._answer()
        self.saved.append(list(rows))
        self.rows.update({row.id: row for row in rows})
        if self.lost_commit is not None:
            raise self.lost_commit


class FakeRunHistory(_Refusing):
    """Rows in the order of their arrival, as the database keeps them."""

    def __init__(self, *views):
        self.rows = {view.id: view for view in views}
        self.abandoned = None

    def put(self, view):
        """Written at once."""
        self.rows[view.id] = view

    async def runs(self, job, limit):
        self._answer()
        return [view for view in reversed(self.rows.values()) if job in {None, view.job}][:limit]

    async def run(self, run):
        self._answer()
        if run not in self.rows:
            raise UnknownNameError("run", run)
        return self.rows[run]

    async def open_runs(self):
        self._answer()
        return [view for view in self.rows.values() if view.outcome is None]

    async def last_runs(self):
        self._answer()
        return {view.job: view for view in self.rows.values()}

    async def abandon(self, crashed, skipped, ours):
        self._answer()
        self.abandoned = (crashed, skipped, sorted(ours))
        return 0


class FakeStore:
    """The parts of Store that jobs use. ``put`` lists every row of a run as it was queued."""

    def __init__(self, *rows):
        self.jobs = FakeJobRepository(*rows)
        self.runs = FakeRunHistory()
        self.put = []
        self.observations = SimpleNamespace(put=self._put)

    def _put(self, view):
        self.put.append(view)
        self.runs.put(view)

    def outcomes(self, job=None):
        """Of the runs that ended, in order."""
        return [view.outcome for view in self.put if view.outcome and job in {None, view.job}]


class FakeScheduler:
    """Entries that are due when the test says so."""

    def __init__(self, clock, due):
        self.changed = lambda _entry: None
        self.entries = {}
        self.declared_with = {}
        self.running = None
        self._clock = clock
        self._due = due

    def start(self):
        self.running = True

    def close(self):
        self.running = False

    def declare(self, spec, *, paused=False, next_run=None):
        self.declared_with[spec.id] = (paused, next_run)
        moments = self._moments(spec, next_run) if spec.activate and not paused else (None, None)
        self._put(Entry(spec, paused, *moments))

    def withdraw(self, job):
        del self.entries[job]

    def pause(self, job):
        self._put(replace(self.entries[job], paused=True, due=None, starts=None))

    def resume(self, job):
        spec = self.entries[job].spec
        self._put(Entry(spec, False, *self._moments(spec)))

    def fires(self, *jobs):
        """All of them at the same moment."""
        entries = [self.entries[job] for job in jobs]
        for entry in entries:
            self._put(Entry(entry.spec, False, *self._moments(entry.spec, after=entry.due)))
        self._due([Firing(entry.spec, entry.due) for entry in entries])

    def misses(self, job, late):
        entry = self.entries[job]
        self._put(Entry(entry.spec, False, *self._moments(entry.spec, after=entry.due + late)))
        self._due([Miss(entry.spec, entry.due, late)])

    def _moments(self, spec, known=None, after=None):
        due = known if known is not None else spec.trigger.next_after(self._clock.time() if after is None else after)
        return due, None if due is None else due + spec.jitter

    def _put(self, entry):
        self.entries[entry.spec.id] = entry
        self.changed(entry)


def run_view(number=1, job="reports.cleanup", **fields) -> RunView:
    settings = {"started": float(number), "finished": None, "outcome": None, **fields}
    return RunView(id=f"{number:08x}", job=job, **settings)


async def ended(store, number=1):
    """Wait until so many runs have ended; their views, in order of their ends."""
    async with asyncio.timeout(10):
        while len(done := [view for view in store.put if view.outcome]) < number:
            await asyncio.sleep(0.002)
    return done
