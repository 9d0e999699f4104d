"""A TaskManager with everything around it: real processes that play a part, stores in memory, a schedule by hand."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

from supervisor.jobs.manager import TaskManager
from supervisor.store.jobs import JobRow
from tests.fakes.jobs import Every, FakeScheduler, FakeStore, ScriptedHost, ended, job
from tests.fakes.process_table import process_table
from tests.fakes.processes import state_folder

CLEANUP = "reports.cleanup"
NOW = 1_700_000_000.0
DUE = NOW + 40
"""The next whole minute."""


def stored_row(**fields):
    """What is stored of the job ``CLEANUP``."""
    known = JobRow(CLEANUP, "cleanup", "reports", "cleanup", Every().to_wire(), paused=False, next_run=DUE - 20)
    return replace(known, **fields)


class JobScene:
    """One test's manager. ``host``: whose runs do ``steps``."""

    def __init__(self, table, store, *steps, **fields):
        self.table = table
        self.store = store
        self.exits = []
        self.host = ScriptedHost(table.folder, *steps, **fields)
        self.manager = TaskManager(
            store, table.around, table.tree, self.exits.append, starts=2, scheduler=self._make_scheduler
        )

    def _make_scheduler(self, clock, due):
        self.scheduler = FakeScheduler(clock, due)
        return self.scheduler

    def declares(self, *specs):
        assert self.manager.declare(self.host, specs) == []

    async def runs(self, name="cleanup", **fields):
        """Declare one job and run it by hand to its end; its view."""
        self.declares(job(name, **fields))
        view = await self.begins(name)
        return await self.end_of(view)

    async def begins(self, name="cleanup"):
        return await self.manager.run_job(f"reports.{name}", "operator")

    async def end_of(self, view):
        async with asyncio.timeout(10):
            while True:
                if (now := await self.manager.show_run(view.id)).outcome:
                    return now
                await asyncio.sleep(0.002)

    async def ended(self, number):
        return await ended(self.store, number)


@asynccontextmanager
async def job_scene(root, *steps, rows=(), clock=None, **fields):
    """A manager that is started; at the end it is closed before its processes are ended."""
    async with process_table(state_folder(root), clock) as table:
        scene = JobScene(table, FakeStore(*rows), *steps, **fields)
        await scene.manager.start()
        try:
            yield scene
        finally:
            await scene.manager.close()
