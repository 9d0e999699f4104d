"""Wall clocks of time zones: which moment a clock's reading means, where it is set forward and where it is set back.

Readings are datetimes without a zone, moments are whole seconds since the epoch. zoneinfo knows the rules, but not when
the next change comes; it is found between the two moments that a reading at a change can mean.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from supervisor.schedule.trigger_error import TriggerError
from supervisor.spelling import nearest

SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - what is read off a clock has no zone


@dataclass(frozen=True)
class Change:
    """A clock is set, forward or back; offsets from UTC in seconds."""

    moment: int
    """The first one at which it shows the new time."""
    before: int
    after: int

    @property
    def skips(self) -> bool:
        """Set forward: the readings from ``begin`` to ``end`` are never shown. Otherwise they are shown twice."""
        return self.after > self.before

    @property
    def begin(self) -> datetime:
        """First reading that is skipped or shown twice."""
        return _reading(self.moment + min(self.before, self.after))

    @property
    def end(self) -> datetime:
        """First reading that is shown once again."""
        return _reading(self.moment + max(self.before, self.after))


def zone_named(name: str, key: str) -> ZoneInfo:
    """The time zone of a name like Europe/Berlin; ``key``: where the name stands.

    Raises:
        TriggerError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: the name of a folder, "Europe"
        problem = f"must be the name of a time zone like Europe/Berlin, not {name!r}"
        raise TriggerError(key, problem, nearest(name, available_timezones())) from error


def name_of(zone: ZoneInfo) -> str:
    """What zone_named finds it by; "" for a zone without one, made of a file."""
    try:
        return zone.key if zone.key and ZoneInfo(zone.key) == zone else ""
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ""


def shown(moment: float, zone: ZoneInfo) -> str:
    """``moment`` as a clock of the zone shows it, ISO 8601 with the offset."""
    return datetime.fromtimestamp(moment, zone).isoformat(timespec="seconds")


def change_at(reading: datetime, zone: ZoneInfo) -> Change | None:
    """The change that skips or repeats ``reading``; None where the clock shows it once."""
    before, after = (_offset(reading.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if before == after:
        return None
    seconds = _seconds(reading)
    low, high = sorted((seconds - before, seconds - after))
    while high - low > 1:  # the clock shows the old time at low, the new time at high
        middle = (low + high) // 2
        if _offset(datetime.fromtimestamp(middle, zone)) == after:
            high = middle
        else:
            low = middle
    return Change(high, before, after)


def first_moment(reading: datetime, zone: ZoneInfo) -> int:
    """When the clock shows ``reading`` for the first time; where it is skipped, the first moment after the gap."""
    change = change_at(reading, zone)
    if change is None:
        return _seconds(reading) - _offset(reading.replace(tzinfo=zone))
    return change.moment if change.skips else _seconds(reading) - change.before


def second_moment(reading: datetime, change: Change) -> int:
    """When the clock shows ``reading`` again that ``change`` repeats."""
    return _seconds(reading) - change.after


def _offset(aware: datetime) -> int:
    return (aware.utcoffset() or timedelta()) // SECOND  # None: only zones of other libraries


def _seconds(reading: datetime) -> int:
    return (reading - _EPOCH) // SECOND


def _reading(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
