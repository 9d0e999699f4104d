"""How a database is, before it is opened for use."""

from enum import StrEnum


class Condition(StrEnum):
    """What a look at it found; what is damaged, newer or out of reach is an error instead."""

    NEW = "new"
    """There is none yet."""
    CURRENT = "current"
    OLDER = "older"
    """Its schema is of an earlier version; it is migrated at the next start."""
    UNFINISHED = "unfinished"
    """A transaction that died half-way is in it; it is rolled back at the next start, and cannot be read before."""
