"""How the store behaves. Frozen; times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StoreSettings:
    """Defaults are right for a supervisor; tests use shorter times."""

    patience: float = 5.0
    """An operator's command waits so long for the database, in the queue and at its locks, then fails."""
    slow_transaction: float = 0.5
    """A transaction that takes longer is warned about."""
    queue_limit: int = 10_000
    """Observations kept in memory while the database is away; then the oldest is dropped and counted."""
    batch: int = 200
    """Observations written in one transaction: one fsync for all of them."""
    observation_patience: float = 0.5
    """Short, since a retry follows and operators' commands queue behind it."""
    retry_delay: float = 0.1
    """First back-off of the observations; doubles."""
    retry_max_delay: float = 2.0
    """A database that is back is noticed within this."""
    close_timeout: float = 5.0
    """The last observations get so long to be written when the store closes."""
    kept_exits: int = 10_000
    kept_audit: int = 100_000
    kept_sample_age: float = 7 * 86400.0
    kept_runs: int = 1000
    """Of each job."""
    kept_run_age: float = 90 * 86400.0
