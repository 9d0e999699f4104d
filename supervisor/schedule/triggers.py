"""Triggers: at which moments a job is due.

An interval counts seconds that pass, whatever clocks show. Cron and date mean what the clock of a time zone shows; that
clock is set forward and back. The rules are those of Debian's cron(8):

- Cron with fixed hours ("30 2 * * *"): what is shown twice counts the first time only; what is skipped is due at the
  first moment after the gap, once, however much of it was skipped. A date is treated likewise.
- Cron with "*" or "*/n" for its hours: due whenever the clock shows such a time, so again where it shows it again, and
  not at all where it skips it. Every ten minutes stays every ten minutes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from supervisor.config.fields import YEAR
from supervisor.schedule.cron_fields import END, FIRST_YEAR, LAST_YEAR, Pattern, normal_form, parse_pattern
from supervisor.schedule.trigger_error import TriggerError
from supervisor.schedule.wall_clock import (
    SECOND,
    change_at,
    first_moment,
    name_of,
    second_moment,
    shown,
    zone_named,
)
from supervisor.spelling import nearest

__all__ = ["Cron", "Date", "Interval", "Trigger", "TriggerError", "parse_trigger"]

SHORTEST_INTERVAL = 0.1
"""Seconds. A run takes a process; a slip of the finger must not start them without end."""

_KEYS = {
    "interval": {"seconds"},
    "cron": {"cron_params"},
    "date": {"date"},
}
_COMMON = {"type", "timezone"}


class Trigger(Protocol):
    """Moments in seconds since the epoch. Frozen and comparable: two of the same wire form are equal."""

    def next_after(self, moment: float) -> float | None:
        """The first moment after ``moment`` at which the job is due; None where there is none any more."""

    def local(self, moment: float) -> str:
        """``moment`` as a clock in the trigger's time zone shows it, ISO 8601 with the offset."""

    def to_wire(self) -> dict[str, Any]:
        """What parse_trigger makes the same trigger of, for the database."""


@dataclass(frozen=True)
class Interval:
    """Every so many seconds, on whatever clock counts them. ``zone``: where moments are shown."""

    seconds: float
    zone: ZoneInfo = field(compare=False)

    def next_after(self, moment: float) -> float:
        return moment + self.seconds

    def local(self, moment: float) -> str:
        return shown(moment, self.zone)

    def to_wire(self) -> dict[str, Any]:
        return {"type": "interval", "seconds": self.seconds}


@dataclass(frozen=True)
class Cron:
    """``fields``: five of a crontab line as text, or pairs of a field's name and its text; ``timezone``: as written."""

    fields: str | tuple[tuple[str, str], ...]
    timezone: str
    zone: ZoneInfo = field(compare=False, repr=False)
    pattern: Pattern = field(compare=False, repr=False)

    @property
    def fixed_hours(self) -> bool:
        """Which of the rules above holds."""
        return self.pattern.fixed_hours

    def next_after(self, moment: float) -> float | None:
        if moment >= END:
            return None
        here = datetime.fromtimestamp(max(-1, math.floor(moment)), self.zone)
        return self._next_fixed(here) if self.fixed_hours else self._next_shown(here)

    def local(self, moment: float) -> str:
        return shown(moment, self.zone)

    def to_wire(self) -> dict[str, Any]:
        params = self.fields if isinstance(self.fields, str) else dict(self.fields)
        return {"type": "cron", "cron_params": params, "timezone": self.timezone}

    def _next_fixed(self, here: datetime) -> int | None:
        """The readings' first moments come in the order of the readings."""
        last = here.replace(tzinfo=None, fold=0)
        change = change_at(last, self.zone) if here.fold else None
        reading = self.pattern.first_from(change.end if change else last + SECOND)
        return None if reading is None else first_moment(reading, self.zone)

    def _next_shown(self, here: datetime) -> int | None:
        last = here.replace(tzinfo=None, fold=0)
        change = change_at(last, self.zone)  # one that repeats, since the clock shows this reading
        reading = self.pattern.first_from(last + SECOND)
        if change is not None:
            if here.fold and reading is not None and reading < change.end:
                return second_moment(reading, change)
            if not here.fold and (reading is None or reading >= change.end):
                again = self.pattern.first_from(change.begin)
                if again is not None and again < change.end:
                    return second_moment(again, change)
        return self._first_shown(reading)

    def _first_shown(self, reading: datetime | None) -> int | None:
        """``reading``, or the next one where the clock skips it."""
        while reading is not None and (change := change_at(reading, self.zone)) is not None and change.skips:
            reading = self.pattern.first_from(change.end)
        return None if reading is None else first_moment(reading, self.zone)


@dataclass(frozen=True)
class Date:
    """Once. ``date``: ISO 8601, with an offset or as a clock of the zone shows it."""

    date: str
    timezone: str
    zone: ZoneInfo = field(compare=False, repr=False)
    moment: float = field(compare=False, repr=False)

    def next_after(self, moment: float) -> float | None:
        return self.moment if self.moment > moment else None

    def local(self, moment: float) -> str:
        return shown(moment, self.zone)

    def to_wire(self) -> dict[str, Any]:
        return {"type": "date", "date": self.date, "timezone": self.timezone}


def parse_trigger(data: Mapping[str, Any], default_zone: ZoneInfo) -> Trigger:
    """Make a trigger of its wire form, as JobDeclaration has it; ``default_zone``: where it names none.

    Raises:
        TriggerError: names the key.
    """
    kind = data.get("type")
    if kind not in _KEYS:
        hint = nearest(str(kind), _KEYS)
        raise TriggerError("type", f"must be one of {', '.join(_KEYS)}, not {kind!r}", hint)
    known = _KEYS[kind] | _COMMON
    for key in data:
        if key not in known:
            raise TriggerError(key, f"is no key of the trigger {kind!r}", nearest(key, known))
    for key in _KEYS[kind]:
        if key not in data:
            raise TriggerError(key, "is missing")
    zone, timezone = _zone(data.get("timezone", ""), default_zone)
    match kind:
        case "interval":
            return Interval(_duration(data["seconds"]), zone)
        case "cron":
            return _cron(data["cron_params"], zone, timezone)
        case _:
            return _date(data["date"], zone, timezone)


def _zone(name: object, default: ZoneInfo) -> tuple[ZoneInfo, str]:
    """The zone, and what the wire form calls it: a machine that moves to another zone has other triggers."""
    if not isinstance(name, str):
        raise TriggerError("timezone", f"must be the name of a time zone like Europe/Berlin, not {name!r}")
    return (zone_named(name, "timezone"), name) if name else (default, name_of(default))


def _duration(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not SHORTEST_INTERVAL <= value <= YEAR:
        problem = f"must be a number of seconds from {SHORTEST_INTERVAL:g} to {YEAR:.0f} (365 days), not {value!r}"
        raise TriggerError("seconds", problem)
    return float(value)


def _cron(params: object, zone: ZoneInfo, timezone: str) -> Cron:
    form = normal_form(params)
    fields = form if isinstance(form, str) else tuple(form.items())
    return Cron(fields, timezone, zone, parse_pattern(form))


def _date(value: object, zone: ZoneInfo, timezone: str) -> Date:
    try:
        written = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        written = None
    if written is None:
        raise TriggerError("date", f"must be a date like 2026-03-01T04:30 or 2026-03-01T04:30+01:00, not {value!r}")
    if not FIRST_YEAR < written.year <= LAST_YEAR:
        raise TriggerError("date", f"must lie between {FIRST_YEAR} and {LAST_YEAR}, not {value!r}")
    if written.tzinfo is not None:
        moment = written.timestamp()
    else:
        moment = first_moment(written, zone) + written.microsecond / 1e6
    return Date(written.isoformat(), timezone, zone, moment)
