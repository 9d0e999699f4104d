"""What distinguishes two configurations, key by key as docs/reference/config.md lists them, and what is live. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic.fields import FieldInfo

from supervisor.config.configuration import Configuration
from supervisor.config.environment import DATA_URL, LOG_LEVEL
from supervisor.config.fields import Section
from supervisor.config.problems import dotted
from supervisor.config.settings import Settings

S = TypeVar("S", bound=Section)

_NAMED = ("plugins", "tasks")
"""Sections whose keys are names, each live or not as a whole."""


@dataclass(frozen=True)
class Change:
    """One key whose value is another one now. Values may be secrets and are not kept."""

    key: str
    """Dotted; of a key below ``env`` only that it is ``env``. A variable without a key goes by its name."""
    live: bool
    """It needs no new start of the supervisor."""


def changes(before: Configuration, after: Configuration) -> list[Change]:
    """All keys that differ, in the order of the reference. What is written where the default was is no difference."""
    found = [
        *_in_section((), _sections(before), _sections(after), Settings.model_fields),
        *_in_named("plugins", before.plugins, after.plugins, _written_of(before), _written_of(after)),
        *_in_named("tasks", before.tasks, after.tasks, _keys_of_task(before), _keys_of_task(after)),
    ]
    # They take effect where they are read: at the start.
    if before.data_url != after.data_url:
        found.append(Change(DATA_URL, live=False))
    if before.log_level != after.log_level:
        found.append(Change(LOG_LEVEL, live=False))
    return found


def with_live_keys(before: Configuration, wanted: Configuration) -> Configuration:
    """Return what comes into force of ``wanted`` at once: the keys that are live; all others stay as in ``before``."""
    sections = {name: _merged(section, getattr(wanted, name)) for name, section in _sections(before).items()}
    named = {name: getattr(wanted, name) for name in _NAMED if _is_live(Settings.model_fields[name])}
    return replace(before, **sections, **named, override_sources=wanted.override_sources)


def _merged(before: S, wanted: S) -> S:
    values = {}
    for name, field in type(before).model_fields.items():
        if not _is_key(field):
            values[name] = _merged(getattr(before, name), getattr(wanted, name))
        elif _is_live(field):
            values[name] = getattr(wanted, name)
    return before.model_copy(update=values)


def _sections(configuration: Configuration) -> dict[str, Section]:
    return {name: getattr(configuration, name) for name in ("manager", "gateway", "supervisor")}


def _in_section(
    place: tuple[str, ...], before: Mapping[str, Any], after: Mapping[str, Any], fields: Mapping[str, FieldInfo]
) -> Iterator[Change]:
    for name, value in before.items():
        key = (*place, name)
        if _is_key(fields[name]):
            if value != after[name]:
                yield Change(dotted(key), _is_live(fields[name]))
        else:
            yield from _in_section(key, dict(value), dict(after[name]), type(value).model_fields)


Keys = Callable[[str], Mapping[str, Any]]
"""What applies to the plugin or task of a name, by key."""


def _in_named(
    section: str, before: Mapping[str, Any], after: Mapping[str, Any], keys_before: Keys, keys_after: Keys
) -> Iterator[Change]:
    all_live = _is_live(Settings.model_fields[section])
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = keys_before(name), keys_after(name)
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in old or key not in new or old[key] != new[key]:
                yield Change(dotted((section, name, key)), all_live)


def _written_of(configuration: Configuration) -> Keys:
    """The manifest says the rest, so that writing its default is a difference."""
    return configuration.plugin_overrides


def _keys_of_task(configuration: Configuration) -> Keys:
    return lambda name: dict(configuration.task_keys(name))


def _is_key(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and "live" in field.json_schema_extra


def _is_live(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra["live"])
