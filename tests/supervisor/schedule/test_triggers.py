"""Triggers: when jobs are due, by elapsed time and by the clocks of time zones that are set forward and back."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import pytest

from supervisor.schedule.triggers import Cron, Interval, TriggerError, parse_trigger
from tests.machine import lacks

BERLIN = ZoneInfo("Europe/Berlin")


def cron(params, timezone="Europe/Berlin"):
    return parse_trigger({"type": "cron", "cron_params": params, "timezone": timezone}, ZoneInfo("UTC"))


def moment(text, timezone="Europe/Berlin"):
    """``text`` with an offset, or as the clock of the zone shows it."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(timezone))).timestamp()


def following(trigger, start, count):
    """The next moments as a clock in the trigger's zone shows them."""
    found, at = [], start
    while len(found) < count and (at := trigger.next_after(at)) is not None:
        found.append(trigger.local(at))
    return found


def problem(data) -> TriggerError:
    with pytest.raises(TriggerError) as caught:
        parse_trigger(data, BERLIN)
    return caught.value


# --- intervals and dates --------------------------------------------------------------------------------------


def test_an_interval_is_due_so_many_seconds_later():
    """Whatever the clocks of any zone do meanwhile."""
    trigger = parse_trigger({"type": "interval", "seconds": 3600}, BERLIN)
    start = moment("2026-10-25T01:30")
    assert following(trigger, start, 3) == [
        "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00",
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [0, -1, 0.05, 31_536_001, float("nan"), float("inf"), "60", True, None])
def test_an_interval_is_from_a_tenth_of_a_second_to_a_year(seconds):
    """Shorter ones would start processes without end, longer ones overflow timers."""
    assert problem({"type": "interval", "seconds": seconds}).key == "seconds"


def test_intervals_are_equal_wherever_they_are_shown():
    """The zone has nothing to do with when they are due, so a stored moment stays good."""
    data = {"type": "interval", "seconds": 60}
    assert parse_trigger(data, BERLIN) == parse_trigger(data, ZoneInfo("UTC")) == Interval(60.0, BERLIN)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2026-03-01T04:30", "2026-03-01T04:30:00+01:00"),
        ("2026-07-01", "2026-07-01T00:00:00+02:00"),
        ("2026-03-01T04:30:00+00:00", "2026-03-01T05:30:00+01:00"),
        ("2026-03-01T04:30:00Z", "2026-03-01T05:30:00+01:00"),
        ("2026-03-29T02:30", "2026-03-29T03:00:00+02:00"),
        ("2026-10-25T02:30", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25T02:30+01:00", "2026-10-25T02:30:00+01:00"),
    ],
)
def test_a_date_is_due_once(date, expected):
    """Where the clock skips it after the gap, where the clock shows it twice the first time."""
    trigger = parse_trigger({"type": "date", "date": date, "timezone": "Europe/Berlin"}, ZoneInfo("UTC"))
    assert following(trigger, 0.0, 3) == [expected]
    assert trigger.next_after(trigger.next_after(0.0)) is None


def test_a_date_keeps_its_fraction_of_a_second():
    """Half a second is half a second."""
    trigger = parse_trigger({"type": "date", "date": "2026-03-01T04:30:00.5"}, BERLIN)
    assert trigger.next_after(0.0) == moment("2026-03-01T04:30") + 0.5


@pytest.mark.parametrize("date", ["tomorrow", "", 2026, None, "0001-01-01", "9999-12-31", "2026-13-01"])
def test_what_is_no_date_is_refused(date):
    """With the key that it stands under."""
    assert problem({"type": "date", "date": date}).key == "date"


# --- cron: fields ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        # 2026-01-01 is a Thursday
        ("*/20 * * * *", ["01-01T00:20", "01-01T00:40", "01-01T01:00"]),
        ("5,35 8-9 * * *", ["01-01T08:05", "01-01T08:35", "01-01T09:05"]),
        ("0 0 1 */3 *", ["04-01T00:00", "07-01T00:00", "10-01T00:00"]),
        ("0 12 * feb-mar/1 *", ["02-01T12:00", "02-02T12:00", "02-03T12:00"]),
        ("0 0 * * 0", ["01-04T00:00", "01-11T00:00", "01-18T00:00"]),
        ("0 0 * * 7", ["01-04T00:00", "01-11T00:00", "01-18T00:00"]),
        ("0 0 * * SUN", ["01-04T00:00", "01-11T00:00", "01-18T00:00"]),
        ("0 0 * * 1", ["01-05T00:00", "01-12T00:00", "01-19T00:00"]),
        ("0 0 * * 5-7", ["01-02T00:00", "01-03T00:00", "01-04T00:00"]),
        ("0 0 * * fri-sun", ["01-02T00:00", "01-03T00:00", "01-04T00:00"]),
        ("0 0 * * sun-mon", ["01-04T00:00", "01-05T00:00", "01-11T00:00"]),
        ("0 0 * * mon-fri/2", ["01-02T00:00", "01-05T00:00", "01-07T00:00"]),
        ("0 0 * * */3", ["01-03T00:00", "01-04T00:00", "01-07T00:00"]),  # Saturday, Sunday, Wednesday
        ("0 0 13 * 5", ["01-02T00:00", "01-09T00:00", "01-13T00:00"]),  # the 13th OR a Friday
        ("0 0 */13 * 5", ["02-27T00:00", "03-27T00:00", "05-01T00:00"]),  # 1st, 14th, 27th AND a Friday
        ({"hour": 3, "minute": 30}, ["01-01T03:30", "01-02T03:30", "01-03T03:30"]),
        ({"hour": "*"}, ["01-01T01:00", "01-01T02:00", "01-01T03:00"]),
        ({"day": 15}, ["01-15T00:00", "02-15T00:00", "03-15T00:00"]),
        ({"day": "last"}, ["01-31T00:00", "02-28T00:00", "03-31T00:00"]),
        ({"day": "2nd tue"}, ["01-13T00:00", "02-10T00:00", "03-10T00:00"]),
        ({"day": "last Fri, 1"}, ["01-30T00:00", "02-01T00:00", "02-27T00:00"]),
        ({"day_of_week": 0}, ["01-05T00:00", "01-12T00:00", "01-19T00:00"]),  # APScheduler's Monday
        ({"day_of_week": "mon-fri/2"}, ["01-02T00:00", "01-05T00:00", "01-07T00:00"]),
        ({"day": 13, "day_of_week": "fri"}, ["02-13T00:00", "03-13T00:00", "11-13T00:00"]),  # AND
        ({"week": 2}, ["01-05T00:00", "01-06T00:00", "01-07T00:00"]),
        ({"month": "feb", "hour": "8/6"}, ["02-01T08:00", "02-01T14:00", "02-01T20:00"]),
    ],
    ids=str,
)  # fmt: skip
def test_fields_mean_what_their_form_says(params, expected):
    """A crontab line is read as crontab(5) says, a map as APScheduler does."""
    moments = following(cron(params, "UTC"), moment("2026-01-01T00:00", "UTC"), 3)
    assert [text[5:16] for text in moments] == expected


def test_seconds_are_to_be_had_in_a_map():
    """A crontab line has none."""
    assert following(cron({"second": "*/20"}, "UTC"), 0.0, 3) == [
        "1970-01-01T00:00:20+00:00", "1970-01-01T00:00:40+00:00", "1970-01-01T00:01:00+00:00",
    ]  # fmt: skip


def test_a_year_comes_to_its_end():
    """After that the job is over."""
    trigger = cron({"year": "2026-2027", "month": 5, "day": 1}, "UTC")
    assert following(trigger, moment("2026-06-01"), 5) == ["2027-05-01T00:00:00+00:00"]
    assert following(cron({"year": 1999}, "UTC"), moment("2026-06-01"), 5) == []


def test_nothing_is_due_before_the_epoch_or_after_the_last_year():
    """A clock that shows such a time is no reason to search for long, or to fall over."""
    trigger = cron("0 0 * * *", "UTC")
    assert trigger.next_after(-1e15) == 0.0
    assert trigger.next_after(5e9) is None
    assert trigger.next_after(1e300) is None


@pytest.mark.parametrize(
    ("params", "key", "words"),
    [
        ("* * * *", "", "five fields"),
        ("* * * * * *", "", "five fields"),
        ("@daily", "", "five fields"),
        ("", "", "five fields"),
        ("61 * * * *", "", "minute '61' must be from 0 to 59"),
        ("* 24 * * *", "", "hour '24' must be from 0 to 23"),
        ("* * 0 * *", "", "day of the month '0' must be from 1 to 31"),
        ("* * * 13 *", "", "month '13' must be from 1 to 12"),
        ("* * * * 8", "", "day of the week '8' must be from 0 to 7"),
        ("* 22-4 * * *", "", 'write "22-23,0-4"'),
        ("0/5 * * * *", "", 'write "0-59/5"'),
        ("*/0 * * * *", "", "step"),
        ("*/60 * * * *", "", "step"),
        ("5-5/1 * * * *", "", "step"),
        ("1,,2 * * * *", "", "not understood"),
        ("* * * * mon#2", "", "'mon#2' is not understood"),
        ("* * * * monday", "", "'monday' is not understood"),
        ("* * L * *", "", "not understood"),
        ("* * last * *", "", "not understood"),
        ("? * * * *", "", "not understood"),
        ("٣ * * * *", "", "not understood"),
        ("9999999999 * * * *", "", "not understood"),
        ({"day": "lastx"}, ".day", "not understood"),
        ({"day": "1st fryday"}, ".day", "not understood"),
        ({"day_of_week": "mon#2"}, ".day_of_week", "not understood"),
        ({"day_of_week": 7}, ".day_of_week", "from 0 to 6"),
        ({"month": "jan feb"}, ".month", "not understood"),
        ({"year": 1969}, ".year", "from 1970 to 2099"),
        ({"hours": 3}, ".hours", "did you mean 'hour'?"),
        ({"start_date": "2026-01-01"}, ".start_date", "is no field"),
        ({"hour": None}, ".hour", "whole number or text"),
        ({"hour": True}, ".hour", "whole number or text"),
        ({"hour": 3.0}, ".hour", "whole number or text"),
        ({}, "", "names no field"),
        (None, "", "map of fields or five fields"),
        (["0"], "", "map of fields or five fields"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_field_is_said(params, key, words):
    """Much of it APScheduler would take for something else, without a word."""
    error = problem({"type": "cron", "cron_params": params})
    assert error.key == f"cron_params{key}"
    assert words in str(error)


@pytest.mark.parametrize(
    "params",
    [
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        {"month": 2, "day": 30},
        {"month": 2, "day": "5th mon", "year": "2025-2031"},
        {"week": 53, "month": 6},
        {"week": 2, "month": "3-12", "year": "*"},
        {"year": 2026, "month": 2, "day": 29},
    ],
    ids=str,
)
def test_what_never_comes_is_refused_and_soon(params):
    """APScheduler searches until the year 9999, for some of them for half a minute."""
    start = time.process_time()
    assert "never comes" in problem({"type": "cron", "cron_params": params}).problem
    assert time.process_time() - start < 0.2


@pytest.mark.parametrize(
    ("params", "expected"),
    [("0 0 29 2 *", "2028-02-29"), ({"month": 2, "day": 29, "day_of_week": "mon"}, "2044-02-29"),
     ({"month": 2, "day": "5th sun"}, "2032-02-29"), ({"week": 53, "day_of_week": "sun"}, "2027-01-03"),
     ("0 0 30 2 1", "2027-02-01")],
    ids=str,
)  # fmt: skip
def test_what_comes_seldom_is_not_refused(params, expected):
    """Some days are decades apart."""
    assert following(cron(params, "UTC"), moment("2026-06-01"), 1)[0][:10] == expected


# --- cron: summer time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "start", "expected"),
    [
        ("30 2 * * *", "2026-03-28T12:00", ["29T03:00:00+02:00", "30T02:30:00+02:00"]),
        ("*/10 2 * * *", "2026-03-28T12:00", ["29T03:00:00+02:00", "30T02:00:00+02:00"]),
        ("0 2,3 * * *", "2026-03-28T12:00", ["29T03:00:00+02:00", "30T02:00:00+02:00"]),
        ("30 2,3 * * *", "2026-03-28T12:00", ["29T03:00:00+02:00", "29T03:30:00+02:00"]),
        ("30 2 * * *", "2026-10-24T12:00", ["25T02:30:00+02:00", "26T02:30:00+01:00"]),
        ("30 2 * * *", "2026-10-25T02:45+02:00", ["26T02:30:00+01:00", "27T02:30:00+01:00"]),
        ("30 2 * * *", "2026-10-25T02:15+01:00", ["26T02:30:00+01:00", "27T02:30:00+01:00"]),
        ("30 3 * * *", "2026-10-25T02:15+01:00", ["25T03:30:00+01:00", "26T03:30:00+01:00"]),
        ("30 * * * *", "2026-03-29T01:00", ["29T01:30:00+01:00", "29T03:30:00+02:00"]),
        ("30 * * * *", "2026-10-25T02:00+02:00", ["25T02:30:00+02:00", "25T02:30:00+01:00"]),
        ("0 */2 * * *", "2026-03-28T23:00", ["29T00:00:00+01:00", "29T04:00:00+02:00"]),
        ("0 */2 * * *", "2026-10-25T00:00", ["25T02:00:00+02:00", "25T02:00:00+01:00"]),
    ],
)  # fmt: skip
def test_summer_time_is_that_of_cron(line, start, expected):
    """The rules of cron(8): fixed hours once a day, after the gap where they are skipped; "*" as the clock shows."""
    assert [text[8:] for text in following(cron(line), moment(start), 2)] == expected


def test_hours_that_a_map_leaves_out_are_fixed_only_below_a_given_field():
    """Above it they are "*", as APScheduler has it."""
    assert [cron(params).fixed_hours for params in ({"day": 1}, {"minute": 5}, {"second": 5}, {"hour": "*/2"})] == [
        True, False, False, False,
    ]  # fmt: skip


def test_half_an_hour_of_summer_time_is_enough():
    """Lord Howe Island sets its clocks by thirty minutes, in April back from 02:00 to 01:30."""
    trigger = cron("45 1 * * *", "Australia/Lord_Howe")
    start = moment("2026-04-04T12:00", "Australia/Lord_Howe")
    assert following(trigger, start, 2) == ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]


# --- form -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        ({"type": "interval", "seconds": 60, "timezone": ""}, {"type": "interval", "seconds": 60.0}),
        (
            {"type": "cron", "cron_params": " 0  3 * * MON ", "timezone": "UTC"},
            {"type": "cron", "cron_params": "0 3 * * mon", "timezone": "UTC"},
        ),
        (
            {"type": "cron", "cron_params": {"minute": 5, "hour": " 3 "}},
            {"type": "cron", "cron_params": {"hour": "3", "minute": "5"}, "timezone": "Europe/Berlin"},
        ),
        (
            {"type": "date", "date": "2026-03-01 04:30"},
            {"type": "date", "date": "2026-03-01T04:30:00", "timezone": "Europe/Berlin"},
        ),
    ],
)
def test_the_wire_form_makes_an_equal_trigger(data, wire):
    """Also when the machine has moved to another zone meanwhile: the moments are those that were stored."""
    trigger = parse_trigger(data, BERLIN)
    assert trigger.to_wire() == wire
    assert json.loads(json.dumps(trigger.to_wire())) == wire
    again = parse_trigger(wire, ZoneInfo("Asia/Tokyo"))
    assert (again, hash(again), again.to_wire()) == (trigger, hash(trigger), wire)


def test_triggers_of_different_zones_differ():
    """They are due at different moments."""
    data = {"type": "cron", "cron_params": "0 3 * * *"}
    assert parse_trigger(data, BERLIN) != parse_trigger(data, ZoneInfo("UTC"))


def test_a_zone_without_a_name_is_stored_as_the_machines():
    """Some machines have nothing but the file /etc/localtime."""
    file = next((path for folder in TZPATH if (path := Path(folder, "Europe/Berlin")).is_file()), None)
    if file is None:
        lacks("time zone files")
    with file.open("rb") as content:
        zone = ZoneInfo.from_file(content, key="local")
    trigger = parse_trigger({"type": "cron", "cron_params": "0 3 * * *"}, zone)
    assert trigger.to_wire()["timezone"] == ""
    assert parse_trigger(trigger.to_wire(), zone) == trigger


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        ({}, "type", "interval, cron, date"),
        ({"type": "crom"}, "type", "did you mean 'cron'?"),
        ({"type": None}, "type", "not None"),
        ({"type": "interval"}, "seconds", "is missing"),
        ({"type": "cron"}, "cron_params", "is missing"),
        ({"type": "interval", "second": 3}, "second", "did you mean 'seconds'?"),
        ({"type": "cron", "cron_params": "* * * * *", "timezone": "Europe/Berln"}, "timezone", "'Europe/Berlin'?"),
        ({"type": "cron", "cron_params": "* * * * *", "timezone": "Europe"}, "timezone", "not 'Europe'"),
        ({"type": "cron", "cron_params": "* * * * *", "timezone": "../UTC"}, "timezone", "not '../UTC'"),
        ({"type": "cron", "cron_params": "* * * * *", "timezone": "CEST\0"}, "timezone", "must be the name"),
        ({"type": "cron", "cron_params": "* * * * *", "timezone": 1}, "timezone", "not 1"),
    ],
)
def test_what_is_no_trigger_is_refused(data, key, words):
    """One clear error, that names the key."""
    error = problem(data)
    assert error.key == key
    assert words in str(error)


@pytest.mark.parametrize("params", ["30 2 * * *", "*/5 * * * *", "0 8-18 * * 1-5", "0 0 1,15 * 1", {"day": "last fri"}])
def test_the_next_moment_is_found_in_less_than_a_millisecond(params):
    """A thousand jobs that are due at once are one turn of the event loop."""
    trigger, at, best = cron(params), moment("2026-03-28T12:00"), 1.0
    for _ in range(50):
        start = time.perf_counter()
        at = trigger.next_after(at)
        best = min(best, time.perf_counter() - start)
    assert best < 0.001


def test_a_cron_trigger_shows_moments_in_its_own_zone():
    """Not in the machine's."""
    trigger = cron("0 3 * * *", "Asia/Tokyo")
    assert isinstance(trigger, Cron)
    assert trigger.local(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) == "2026-01-01T09:00:00+09:00"
