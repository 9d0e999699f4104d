"""One entry of ``metadata["con"]``, read and checked.

Whether a cron expression, a date or a time zone means something is not known here: it takes libraries that are not in
every environment. The supervisor reads them, and tells in the same way.
"""

from __future__ import annotations

import datetime as dt
import difflib
import inspect
import math
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Optional

from plugin_runtime.failure import sendable
from plugin_runtime.task_protocol import JobDeclaration, Overlap

_NAME = re.compile(r"[\w.-]{1,100}")
_CALL = re.compile(r"\s*(\w+)\s*\(.*\)\s*", re.DOTALL)
_AMOUNT = re.compile(r"\s*(\d{0,15})\s*(second|minute|hour|day)s?\s*", re.IGNORECASE)
_CRON_FIELDS = 5
_MISSING = object()

REQUIRED = "required"
SECONDS_IN = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
"""The keys whose sum is the duration of an interval."""
DEFAULT_MINUTES = 10
CON_KEYS: Mapping[str, Any] = {
    "func": REQUIRED,
    "name": REQUIRED,
    "interval": "interval",
    "days": 0,
    "hours": 0,
    "minutes": DEFAULT_MINUTES,
    "seconds": 0,
    "cron_params": None,
    "date": None,
    "timezone": "",
    "jitter": 0,
    "timeout": 0,
    "misfire_grace_time": 30,
    "overlap": Overlap.SKIP.value,
    "shared": False,
    "activate": True,
}
"""Every key with its default; that of minutes holds only where no duration is given."""
TRIGGERS = ("interval", "cron", "date")
CRON_PARAMS = ("year", "month", "day", "week", "day_of_week", "hour", "minute", "second")

Wrong = Callable[[str, str], None]
"""Takes a problem and a hint."""


@dataclass(frozen=True)
class DeclaredJob:
    """A job, and the function that its runs call."""

    declaration: JobDeclaration
    function: Callable[[], Any]


def accepts(function: Callable[..., Any], count: int) -> bool:
    """Whether the function can be called with so many arguments; what does not tell is believed to."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # implemented in C
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


class JobReader:
    """Goes through one entry; every key that is wrong is told to ``wrong``. None stands for a key that is not there."""

    def __init__(self, module: ModuleType, number: int, wrong: Wrong, *, has_service: bool) -> None:
        self._module = module
        self._where = f"con[{number}]"
        self._tell = wrong
        self._has_service = has_service
        self._entry: Mapping[Any, Any] = {}
        self._faultless = True

    def read(self, entry: Any) -> Optional[DeclaredJob]:
        """The job; None where something is wrong with it."""
        if not isinstance(entry, Mapping):
            self._wrong(f"is {reprlib.repr(entry)}, not a dict", 'write: {"func": cleanup, "name": "cleanup"}')
            return None
        self._entry = entry
        name = self._name()
        self._check_keys()
        function, entry_name = self._function()
        overlap = self._choice("overlap", [item.value for item in Overlap])
        declaration = JobDeclaration(
            name=name,
            entry=entry_name,
            trigger=self._trigger(),
            jitter=self._seconds("jitter"),
            timeout=self._seconds("timeout"),
            misfire_grace_time=self._grace(),
            overlap=overlap,
            shared=self._shared(overlap),
            activate=self._flag("activate"),
        )
        return DeclaredJob(declaration, function) if self._faultless else None

    def _wrong(self, problem: str, hint: str) -> None:
        self._faultless = False
        self._tell(f"{self._where} {problem}", hint)

    def _get(self, key: str) -> Any:
        value = self._entry.get(key)
        return CON_KEYS[key] if value is None else value

    def _is_given(self, key: str) -> bool:
        return self._entry.get(key) is not None

    def _check_keys(self) -> None:
        for key in self._entry:
            if key not in CON_KEYS:
                close = difflib.get_close_matches(str(key).lower(), CON_KEYS, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known keys are {', '.join(CON_KEYS)}"
                self._wrong(f"has an unknown key {reprlib.repr(key)}", hint)

    def _name(self) -> str:
        value = self._entry.get("name")
        if isinstance(value, str) and _NAME.fullmatch(value):
            self._where += f" ({value})"
            return value
        problem = "has no 'name'" if value is None else f"key 'name' is {reprlib.repr(value)}"
        self._wrong(problem, "write: \"name\": \"cleanup\", of at most 100 letters, digits, '_', '-' and '.'")
        return ""

    def _function(self) -> tuple[Callable[[], Any], str]:
        value: Any = self._entry.get("func")
        name = value if isinstance(value, str) else _name_of(value)
        if isinstance(value, str):
            value = getattr(self._module, value, _MISSING)
        call = _CALL.fullmatch(name)
        if value is None and "func" in self._entry:
            self._wrong("key 'func' is None", 'write the function without calling it: "func": cleanup, not cleanup()')
        elif value is None:
            self._wrong("has no 'func'", 'write: "func": cleanup, a function of the module or its name')
        elif value is _MISSING and call is not None:
            self._wrong(f"key 'func' is {name!r}, a call", f'write the function alone: "func": {call[1]}')
        elif value is _MISSING:
            functions = [key for key, item in vars(self._module).items() if callable(item) and not key.startswith("_")]
            close = difflib.get_close_matches(name, functions, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"write: def {name}(): ..."
            self._wrong(f"key 'func': the module has no {name!r}", hint)
        elif not callable(value):
            self._wrong(f"key 'func' is {reprlib.repr(value)}, not a function", "name a function of the module")
        elif not accepts(value, 0):
            hint = "give its parameters defaults, or name a function without any"
            self._wrong(f"key 'func': {name} needs arguments, and jobs are called without", hint)
        return value, sendable(name)

    # --- when ---

    def _trigger(self) -> dict[str, Any]:
        kind = self._kind()
        timezone = self._get("timezone")
        if not _is_text(timezone):
            self._wrong(f"key 'timezone' is {reprlib.repr(timezone)}, not a str", 'write: "timezone": "Europe/Berlin"')
        self._check_other_triggers(kind)
        if kind == "cron":
            return {"type": kind, "cron_params": self._cron_params(), "timezone": timezone}
        if kind == "date":
            return {"type": kind, "date": self._date(), "timezone": timezone}
        return {"type": "interval", "seconds": self._duration(), "timezone": timezone}

    def _kind(self) -> str:
        """Its key is called interval, and many write there how long that is."""
        value = self._entry.get("interval")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        amount = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
        if not number and amount is None:
            return self._choice("interval", TRIGGERS)
        unit, count = (f"{amount[2].lower()}s", amount[1] or DEFAULT_MINUTES) if amount else ("minutes", value)
        hint = f'it is the type of the trigger, "interval" or "cron"; write: "{unit}": {count}'
        self._wrong(f"key 'interval' is {reprlib.repr(value)}", hint)
        return TRIGGERS[0]

    def _check_other_triggers(self, kind: str) -> None:
        """A schedule that is written and not followed would surprise its author at night.

        A duration beside the other two is passed over, as in the founding system.
        """
        for other, key in (("cron", "cron_params"), ("date", "date")):
            if kind != other and self._entry.get(key):
                self._wrong(f"has a {key!r}, but its trigger is {kind!r}", f'write: "interval": "{other}"')

    def _duration(self) -> float:
        given = [key for key in SECONDS_IN if self._is_given(key)]
        if not given:
            return float(DEFAULT_MINUTES * SECONDS_IN["minutes"])
        total = sum(self._seconds(key) * SECONDS_IN[key] for key in given)
        if total <= 0 and self._faultless:
            self._wrong("runs at intervals of no time at all", 'write: "minutes": 10')
        return float(total)

    def _cron_params(self) -> Any:
        value = self._get("cron_params")
        if _is_text(value) and len(value.split()) == _CRON_FIELDS:
            return value
        if isinstance(value, Mapping) and value:
            return self._cron_fields(value)
        problem = f"key 'cron_params' is {reprlib.repr(value)}" if value else "has no 'cron_params'"
        self._wrong(problem, 'write: "cron_params": {"hour": 3, "minute": 30}, or five fields: "30 3 * * *"')
        return ""

    def _cron_fields(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        for key, item in value.items():
            if key not in CRON_PARAMS:
                close = difflib.get_close_matches(str(key).lower(), CRON_PARAMS, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(CRON_PARAMS)}"
                self._wrong(f"key 'cron_params' has an unknown key {reprlib.repr(key)}", hint)
            elif not _is_text(item) and (isinstance(item, bool) or not isinstance(item, int)):
                self._wrong(
                    f"key 'cron_params': {key!r} is {reprlib.repr(item)}, not an int or a str", 'write: {"hour": "*/2"}'
                )
        return dict(value)

    def _date(self) -> str:
        value = self._get("date")
        if isinstance(value, dt.date):  # a datetime is one
            return value.isoformat()
        if _is_text(value) and value:
            return str(value)
        problem = f"key 'date' is {reprlib.repr(value)}" if value else "has no 'date'"
        self._wrong(problem, 'write: "date": "2030-01-31T03:00:00", or a datetime')
        return ""

    # --- kinds of values ---

    def _seconds(self, key: str) -> float:
        value = self._get(key)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Over the limit an int is no float any more; nobody waits for so long.
        if number and 0 <= value < _FOREVER and math.isfinite(value):
            return float(value)
        self._wrong(f"key {key!r} is {reprlib.repr(value)}, not a number from 0 up", f'write: "{key}": 10')
        return 0.0

    def _grace(self) -> Optional[float]:
        key = "misfire_grace_time"
        return None if key in self._entry and self._entry[key] is None else self._seconds(key)

    def _choice(self, key: str, choices: Sequence[str]) -> str:
        value = self._get(key)
        value = getattr(value, "value", value)  # members of Overlap are taken as well
        if isinstance(value, str) and value in choices:
            return value
        close = difflib.get_close_matches(str(value).lower(), choices, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"write one of {', '.join(choices)}"
        self._wrong(f"key {key!r} is {reprlib.repr(value)}", hint)
        return str(CON_KEYS[key])

    def _flag(self, key: str) -> bool:
        value = self._get(key)
        if isinstance(value, bool):
            return value
        self._wrong(f"key {key!r} is {reprlib.repr(value)}, not True or False", f'write: "{key}": True')
        return False

    def _shared(self, overlap: str) -> bool:
        shared = self._flag("shared")
        if shared and overlap == Overlap.KILL_OLD.value:
            hint = 'write: "overlap": "skip" or "queue"; or leave out \'shared\', and each run is its own process'
            self._wrong("is shared, and its overlap is 'kill_old': a run inside the service cannot be killed", hint)
        if shared and not self._has_service:
            self._wrong(
                "is shared, and there is no service that it could run in", "define service_main, or leave it out"
            )
        return shared


_FOREVER = 1e15


def _is_text(value: object) -> bool:
    """Whether it is a str that a message can carry."""
    return isinstance(value, str) and sendable(value) == value


def _name_of(function: Any) -> str:
    """A function's own name; that of what a partial calls."""
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__name__", None) or type(function).__name__)
