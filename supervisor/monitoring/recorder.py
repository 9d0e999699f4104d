"""Observations on their way to the database, from the moment on when there is one."""

from collections.abc import Iterable

from supervisor.store.observations import Observation
from supervisor.store.store import Store


class Recorder:
    """What is seen before is kept: a supervisor that takes over must listen before its database is opened."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._early: list[Observation] = []

    def put(self, observation: Observation) -> None:
        """Put it on record; never waits."""
        if self._store is None:
            self._early.append(observation)
        else:
            self._store.observations.put(observation)

    def put_all(self, observations: Iterable[Observation]) -> None:
        for observation in observations:
            self.put(observation)

    @property
    def is_in_use(self) -> bool:
        """Whether there is a database."""
        return self._store is not None

    def use(self, store: Store) -> None:
        """From now on, and for what came before."""
        self._store = store
        early, self._early = self._early, []
        for observation in early:
            store.observations.put(observation)
