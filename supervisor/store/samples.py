"""What processes used, over days; the recent past is in memory, in the sampler."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from plugin_runtime.views import ResourceView
from supervisor.store.database import Database
from supervisor.store.insert import insert_new
from supervisor.store.models import Sample
from supervisor.store.rows import view_of


class SampleLog:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def history(self, instance: str, *, since: float, until: float) -> list[ResourceView]:
        """Samples of one process in [since, until], oldest first; seconds since the epoch."""
        return await self._database.read("list samples", partial(_history, instance=instance, since=since, until=until))


def write_samples(session: Session, *, samples: Sequence[ResourceView], max_age: float) -> None:
    """Part of a transaction of the caller's. Samples older than the newest one by ``max_age`` go."""
    taken = [sample.sampled for sample in samples if sample.sampled is not None]
    if not taken:
        return
    insert_new(session, Sample, [vars(sample) for sample in samples if sample.sampled is not None])
    session.execute(delete(Sample).where(Sample.sampled < max(taken) - max_age))


def _history(session: Session, *, instance: str, since: float, until: float) -> list[ResourceView]:
    query = select(Sample).where(Sample.id == instance, Sample.sampled.between(since, until)).order_by(Sample.sampled)
    return [view_of(ResourceView, row) for row in session.scalars(query)]
