"""The stored rows of jobs: the operator's pauses, and when each is due next. In memory, and written as a whole.

A row is never removed by itself: a task that is being edited, or a plugin that does not come up today, must not lose
the pause of a job. A job that was declared once and never again costs one row.
"""

import asyncio
from dataclasses import replace

from supervisor.schedule.job_spec import JobSpec
from supervisor.store.jobs import JobRepository, JobRow


class JobRows:
    """Owns the rows. One transaction at a time, so that none overtakes another with what it had read before."""

    def __init__(self, repository: JobRepository) -> None:
        self._repository = repository
        self._rows: dict[str, JobRow] = {}
        self._unsaved: set[str] = set()
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Read them all.

        Raises:
            StoreError: it is not known which jobs are paused.
        """
        self._rows = {row.id: row for row in await self._repository.get_all()}

    def declare(self, spec: JobSpec) -> JobRow:
        """Enter a job, and return its row; ``next_run`` as it was stored, if that was by the same trigger."""
        trigger = spec.trigger.to_wire()
        known = self._rows.get(spec.id)
        row = JobRow(
            id=spec.id,
            name=spec.name,
            owner=spec.owner,
            entry=spec.entry,
            trigger=trigger,
            paused=known is not None and known.paused,
            next_run=known.next_run if known is not None and known.trigger == trigger else None,
        )
        self._put(row)
        return row

    def is_paused(self, job: str) -> bool:
        return self._rows[job].paused

    def set_next_run(self, job: str, moment: float | None) -> None:
        """Remember when a job is due; stored by the next ``save``."""
        self._put(replace(self._rows[job], next_run=moment))

    async def set_paused(self, job: str, *, paused: bool) -> None:
        """Return after the commit. When a paused job is due next is decided anew as soon as it goes on.

        Raises:
            StoreError: nothing has changed. What the database may have stored all the same, ``save`` puts right.
        """
        async with self._lock:
            if self._rows[job].paused is paused:
                return
            try:
                await self._repository.save([replace(self._rows[job], paused=paused, next_run=None)])
            except BaseException:  # a connection lost during COMMIT, or a cancelled call, may have been written
                self._unsaved.add(job)
                raise
            self._rows[job] = replace(self._rows[job], paused=paused, next_run=None)

    async def save(self, patience: float) -> None:
        """Return when everything is stored; the database is not tried for longer than ``patience`` seconds.

        Raises:
            StoreError: nothing of it is, or it is not known; the next time tries all of it again.
        """
        async with self._lock:
            ids, self._unsaved = self._unsaved, set()
            try:
                if ids:
                    await self._repository.save([self._rows[job] for job in sorted(ids)], patience=patience)
            except BaseException:  # a cancelled one, too, may not have been written
                self._unsaved |= ids
                raise

    def _put(self, row: JobRow) -> None:
        if self._rows.get(row.id) != row:
            self._rows[row.id] = row
            self._unsaved.add(row.id)
