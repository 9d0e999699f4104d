"""Cron patterns: five fields of a crontab line, or a map of APScheduler's fields, as readings of a clock.

APScheduler's trigger does the calendar, always in UTC: there a day follows the other after 24 hours, so that nothing of
what it does at changes of summer time reaches us (02:30 twice, and in some zones no end of it). Nor does what
its expressions pass over in silence: "mon-fri/2" and "mon#2" lose what follows the names, "lastx" is the last day. So
every part of a field is checked, and names become numbers, before it sees them.

What it would do otherwise, and we prevent: search until the year 9999 for what never comes; run every second if no
field is given; in a crontab line count Monday as 0, and want day of the month AND day of the week.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.cron.expressions import MONTHS, WEEKDAYS

from supervisor.schedule.trigger_error import TriggerError
from supervisor.spelling import nearest

FIRST_YEAR = 1970
LAST_YEAR = 2099
"""Nothing is due later, so every search has an end. Until then the calendar repeats itself every 28 years."""
FIELDS: tuple[str, ...] = tuple(CronTrigger.FIELD_NAMES)
"""From the longest to the shortest, as APScheduler's defaults want it."""

Rule = dict[str, str]
"""Fields as APScheduler takes them."""

_CRONTAB = ("minute", "hour", "day", "month", "day_of_week")
_BEGIN = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
_END = datetime(LAST_YEAR, 12, 31, 23, 59, 59, tzinfo=UTC)
END = _END.timestamp()
"""The same in seconds since the epoch."""
_RANGES = {
    "year": (FIRST_YEAR, LAST_YEAR),
    "month": (1, 12),
    "day": (1, 31),
    "week": (1, 53),
    "day_of_week": (0, 6),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
}
_MONTHS = dict(zip(MONTHS, range(1, 13), strict=True))
_MONDAY_FIRST = dict(zip(WEEKDAYS, range(7), strict=True))
_SUNDAY_FIRST = {name: (number + 1) % 7 for name, number in _MONDAY_FIRST.items()}
_SUNDAY = 7
_LABELS = {"day": "day of the month", "day_of_week": "day of the week"}

# What does not come in 28 years never comes.
_CYCLE_BEGIN = datetime(2001, 1, 1, tzinfo=UTC)
_CYCLE_END = datetime(2028, 12, 31, 23, 59, 59, tzinfo=UTC)

_SEPARATOR = re.compile(r" *, *")
_PART = re.compile(r"(?:(?P<star>\*)|(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?)(?:/(?P<step>[0-9]{1,9}))?")
_DAY_BY_NAME = re.compile(rf"last|(1st|2nd|3rd|4th|5th|last) +({'|'.join(_MONDAY_FIRST)})")


@dataclass(frozen=True)
class Pattern:
    """``rules``: one of them suffices. ``fixed_hours``: the hours are named, none of them is "*" or "*/n"."""

    rules: tuple[CronTrigger, ...]
    fixed_hours: bool

    def first_from(self, reading: datetime) -> datetime | None:
        """The first reading from ``reading``, a whole second, on; None where there is none up to LAST_YEAR."""
        start = reading.replace(tzinfo=UTC)
        found = [moment for rule in self.rules if (moment := rule.get_next_fire_time(None, start)) is not None]
        return min(found).replace(tzinfo=None) if found else None


def normal_form(params: object) -> str | dict[str, str]:
    """What parse_pattern takes, with values as text and in one order, so that equal patterns compare equal.

    Raises:
        TriggerError: neither text nor a map, an unknown field, or a value of another type.
    """
    if isinstance(params, str):
        return " ".join(params.lower().split())
    if not isinstance(params, Mapping):
        raise TriggerError("cron_params", f"must be a map of fields or five fields as text, not {params!r}")
    for name in params:
        if name not in FIELDS:
            problem = f"is no field of cron, which has {', '.join(FIELDS)}"
            raise TriggerError(f"cron_params.{name}", problem, nearest(str(name), FIELDS))
    return {name: _text(name, params[name]) for name in FIELDS if name in params}


def parse_pattern(params: str | Mapping[str, str]) -> Pattern:
    """Make a pattern of its normal form.

    Raises:
        TriggerError: a field is wrong, or together they never come.
    """
    if isinstance(params, str):
        rules, fixed_hours = _of_crontab(params)
    else:
        rules, fixed_hours = [_of_map(params)], _has_fixed_hours(params)
    if all(map(_never_comes, rules)):
        raise TriggerError("cron_params", "never comes: no day of the calendar is all that it asks for")
    return Pattern(tuple(CronTrigger(**rule, timezone=UTC, end_date=_END) for rule in rules), fixed_hours)


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TriggerError(f"cron_params.{name}", f"must be a whole number or text, not {value!r}")
    return " ".join(str(value).lower().split())


def _of_map(fields: Mapping[str, str]) -> Rule:
    if not fields:
        raise TriggerError("cron_params", "names no field", 'write for example {"hour": 3, "minute": 30}')
    return {name: _checked(name, text, f"cron_params.{name}") for name, text in fields.items()}


def _has_fixed_hours(fields: Mapping[str, str]) -> bool:
    if "hour" in fields:
        return "*" not in fields["hour"]
    # What is not given is "*" where a shorter field is given, and its lowest value where none is.
    return not fields.keys() & {"minute", "second"}


def _of_crontab(line: str) -> tuple[list[Rule], bool]:
    texts = line.split(" ")
    if len(texts) != len(_CRONTAB):
        problem = "must have five fields: minute, hour, day of the month, month, day of the week"
        raise TriggerError("cron_params", f"{problem}, not {line!r}")
    given = dict(zip(_CRONTAB, texts, strict=True))
    by_month = {
        name: _checked(name, text, "cron_params", strict=True) for name, text in given.items() if name != "day_of_week"
    }
    weekdays = {"day_of_week": _weekdays(given["day_of_week"])}
    if "*" in given["day"] or "*" in given["day_of_week"]:
        rules = [by_month | weekdays]
    else:
        rules = [by_month, by_month | {"day": "*"} | weekdays]
    return rules, "*" not in given["hour"]


def _never_comes(rule: Rule) -> bool:
    if rule.get("year", "*") != "*":
        return CronTrigger(**rule, timezone=UTC, end_date=_END).get_next_fire_time(None, _BEGIN) is None
    within = CronTrigger(**rule, timezone=UTC, end_date=_CYCLE_END)
    return within.get_next_fire_time(None, _CYCLE_BEGIN) is None


def _checked(name: str, text: str, key: str, *, strict: bool = False) -> str:
    """The field with numbers for names. ``strict``: as in crontab(5), which has no "5/10" and no "last"."""
    names = {"month": _MONTHS, "day_of_week": _MONDAY_FIRST}.get(name, {})
    parts = []
    for part in _SEPARATOR.split(text):
        number = _numbered(part, names)
        if strict or name != "day" or not _DAY_BY_NAME.fullmatch(part):
            _values(name, number, part, key, strict=strict)
        parts.append(number)
    return ",".join(parts)


def _weekdays(text: str) -> str:
    """As APScheduler wants them, who calls Monday 0. Written, Sunday is 0 or 7, and ends "fri-sun" as 7."""
    found: set[int] = set()
    for part in _SEPARATOR.split(text):
        number = _numbered(re.sub(r"(?<!sun)-sun(?![a-z])", f"-{_SUNDAY}", part), _SUNDAY_FIRST)
        found.update((day - 1) % _SUNDAY for day in _values("day_of_week", number, part, "cron_params", strict=True))
    return "*" if len(found) == _SUNDAY else ",".join(map(str, sorted(found)))


def _numbered(part: str, names: Mapping[str, int]) -> str:
    return re.sub(r"[a-z]+", lambda found: str(names.get(found[0], found[0])), part)


def _values(name: str, number: str, part: str, key: str, *, strict: bool) -> range:
    """What one part of a field stands for; ``part``: the same as it was written."""
    label = _LABELS.get(name, name)
    found = _PART.fullmatch(number)
    if found is None:
        raise TriggerError(key, f"{label} {part!r} is not understood", 'write numbers, "1-5", "1,3" or "*/10"')
    low, high = _RANGES[name]
    if strict and name == "day_of_week" and not found["star"]:
        high = _SUNDAY
    first = low if found["star"] else int(found["first"])
    step = int(found["step"] or 1)
    is_open = bool(found["step"] and found["first"] and not found["last"])
    last = high if found["star"] or is_open else int(found["last"] or first)
    if strict and is_open:
        raise TriggerError(key, f"{label} {part!r} has a step without a range", f'write "{first}-{high}/{step}"')
    if not low <= first <= high or not low <= last <= high:
        raise TriggerError(key, f"{label} {part!r} must be from {low} to {high}")
    if first > last:
        raise TriggerError(key, f"{label} {part!r} ends before it begins", f'write "{first}-{high},{low}-{last}"')
    if found["step"] and not 1 <= step <= last - first:
        raise TriggerError(key, f"{label} {part!r} has a step that is not from 1 to {last - first}")
    return range(first, last + 1, step)
