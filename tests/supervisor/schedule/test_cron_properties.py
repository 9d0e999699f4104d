"""Cron against a walk over every minute, in zones whose clocks are set forward and back."""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.schedule.cron_fields import END
from supervisor.schedule.triggers import TriggerError, parse_trigger

MINUTE = timedelta(minutes=1)
DAYS = 2

CHANGES = {
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "Europe/Dublin": ("2026-03-29", "2026-10-25"),  # its summer time is its standard time
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "America/Santiago": ("2026-04-05", "2026-09-06"),  # at midnight
    "America/Havana": ("2026-03-08", "2026-11-01"),  # at midnight
    "Africa/Cairo": ("2026-04-24", "2026-10-30"),  # at midnight
    "Africa/Casablanca": ("2026-02-15", "2026-03-22"),  # around Ramadan, back first
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),  # by half an hour
    "Australia/Sydney": ("2026-04-05", "2026-10-04"),
    "Pacific/Chatham": ("2026-04-05", "2026-09-27"),  # at a quarter to three
    "Asia/Kathmandu": ("2026-04-05",),  # never
    "UTC": ("2026-02-28", "2028-02-28", "2026-12-31"),
}
RANGES = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
NAMES = {
    "month": dict(enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)),  # noqa: SIM905
    "weekday": dict(enumerate("sun mon tue wed thu fri sat".split())),  # noqa: SIM905
}


# --- the other way to know when a line is due -----------------------------------------------------------------


@st.composite
def parts(draw, name):
    """Text of one part of a field, and the values that it stands for."""
    low, high = RANGES[name]
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    match draw(st.sampled_from(["star", "step", "number", "range", "range/step"])):
        case "star":
            return "*", set(range(low, high + 1))
        case "step":
            top = min(high, 6) if name == "weekday" else high
            step = draw(st.integers(1, top - low))
            return f"*/{step}", set(range(low, top + 1, step))
        case "range" if last > first:
            return f"{first}-{last}", set(range(first, last + 1))
        case "range/step" if last > first:
            step = draw(st.integers(1, last - first))
            return f"{first}-{last}/{step}", set(range(first, last + 1, step))
    named = NAMES.get(name, {}).get(first)
    return (draw(st.sampled_from([named, named.upper()])) if named and draw(st.booleans()) else str(first)), {first}


@st.composite
def fields(draw, name, *, busy):
    """A field; a busy one matches anything half of the time, lest five of them never come together."""
    if busy and draw(st.booleans()):
        return "*", set(range(RANGES[name][0], RANGES[name][1] + 1))
    chosen = draw(st.lists(parts(name), min_size=1, max_size=3))
    return ",".join(text for text, _ in chosen), set().union(*(values for _, values in chosen))


@st.composite
def lines(draw):
    """Text of a crontab line, and its fields."""
    found = {name: draw(fields(name, busy=name not in {"minute", "hour"})) for name in RANGES}
    return " ".join(text for text, _ in found.values()), found


def matches(found, reading):
    def has(name, value):
        return value in found[name][1]

    weekday = has("weekday", reading.isoweekday()) or (reading.isoweekday() == 7 and has("weekday", 0))
    day = has("day", reading.day)
    both = "*" in found["day"][0] or "*" in found["weekday"][0]
    if not ((day and weekday) if both else (day or weekday)):
        return False
    return has("minute", reading.minute) and has("hour", reading.hour) and has("month", reading.month)


@cache
def walk(zone, day):
    """Every minute of some days around ``day``, and what a clock of the zone shows then."""
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(days=DAYS / 2)
    minutes = [begin + MINUTE * number for number in range(DAYS * 24 * 60)]
    return [(int(at.timestamp()), at.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)) for at in minutes]


@cache
def first_shown(zone, day):
    """When each reading of these days is shown first; a skipped one: when the gap has passed."""
    found, latest = {}, None
    for at, reading in walk(zone, day):
        if latest is not None:
            gap = latest + MINUTE
            while gap < reading:
                found[gap] = at
                gap += MINUTE
        found.setdefault(reading, at)
        latest = reading if latest is None else max(latest, reading)
    return found


def expected(found, zone, day):
    if "*" in found["hour"][0]:
        return [at for at, reading in walk(zone, day) if matches(found, reading)]
    return sorted({at for reading, at in first_shown(zone, day).items() if matches(found, reading)})


class Never:
    """What a line is that asks for the 31st of April."""

    def next_after(self, moment):
        return None


def trigger_of(line, zone):
    try:
        return parse_trigger({"type": "cron", "cron_params": line, "timezone": zone}, ZoneInfo("UTC"))
    except TriggerError as error:
        if "never comes" in error.problem:
            return Never()
        raise


def moments(trigger, after, until):
    found, at = [], after
    while (at := trigger.next_after(at)) is not None and at <= until:
        found.append(at)
    return found


PLACES = st.sampled_from([(zone, day) for zone, days in CHANGES.items() for day in days])


# --- the rules ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(lines(), PLACES)
def test_a_crontab_line_is_due_when_a_walk_over_every_minute_says_so(line, place):
    """All five fields, day of the month OR of the week, and both kinds of hours at every change of a clock."""
    (text, found), (zone, day) = line, place
    minutes = walk(zone, day)
    first, last = minutes[0][0], minutes[-1][0]
    assert moments(trigger_of(text, zone), first - 1, last) == expected(found, zone, day)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(lines(), PLACES, st.floats(0, DAYS * 86400), st.floats(0, 1))
def test_moments_increase_and_nothing_lies_between_them(line, place, offset, share):
    """Asked from any moment before it, the next one is the same; whatever fraction of a second that moment has."""
    zone, day = place
    trigger = trigger_of(line[0], zone)
    at = walk(zone, day)[0][0] + offset
    for _ in range(5):
        following = trigger.next_after(at)
        if following is None:
            return
        assert following > at
        between = at + (following - at) * share
        assert between >= following or trigger.next_after(between) == following
        at = following


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("line", ["0 0", "30 0", "45 1", "0 2", "30 2", "15 3"])
def test_a_job_with_fixed_hours_runs_exactly_once_a_day(zone, line):
    """The founding system ran 02:30 twice in autumn, and in spring not at all."""
    trigger = trigger_of(f"{line} * * *", zone)
    for day in CHANGES[zone]:
        begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone), hour=12) - timedelta(days=5)
        at, days = begin.timestamp(), []
        for _ in range(10):
            at = trigger.next_after(at)
            days.append(trigger.local(at)[:10])
        assert days == [str((begin + timedelta(days=number)).date()) for number in range(1, 11)]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["year", "month", "day", "week", "day_of_week", "hour", "minute", "second", "hours"]),
        st.integers(-5, 3000) | st.text("0123456789*/-, lastmonfrijenx#", max_size=8) | st.none(),
    )
    | st.text("0123456789*/-, lastmonfrijenx#", max_size=20)
)
def test_anything_is_a_trigger_or_refused(params):
    """TriggerError is the only way out, and what is accepted is due some day."""
    try:
        trigger = parse_trigger({"type": "cron", "cron_params": params}, ZoneInfo("Europe/Berlin"))
    except TriggerError:
        return
    assert 0 <= trigger.next_after(-1.0) <= END + 86400
    assert parse_trigger(trigger.to_wire(), ZoneInfo("Europe/Berlin")) == trigger
