"""What the record of an operation tells of its arguments: no secrets, nothing endless. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from supervisor.config.effective import MASK, SECRET_NAME, mask_passwords

LONGEST = 2000
"""Characters of one argument: a hundred thousand entries are kept, and whoever asks chooses how much they send."""

_TARGETS = ("name", "id", "key")
"""Arguments that say what an operation is about; the first one counts."""


def audit_facts(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What an operation was about, "" where no argument says so, and its other arguments as JSON that can be stored.

    Hidden is what has a name that sounds of secrets, or is the value of a setting (``key``) that does, and passwords in
    addresses. Of what is too long only the length is told; what is no JSON is text.
    """
    about = next((name for name in _TARGETS if name in arguments), "")
    target = str(_storable("", arguments.get(about, "")))
    secret = about == "key" and SECRET_NAME.search(target) is not None
    detail = {name: MASK if secret else _storable(name, value) for name, value in arguments.items() if name != about}
    return target, detail


def _storable(name: str, value: Any) -> Any:
    try:
        if (length := _length(value)) > LONGEST:
            return f"[{length} characters]"  # not cut: half of an address may show a password that the whole does not
        shown = _masked(name, value)
        return shown if _is_json(shown) else repr(shown)
    except RecursionError:
        return "[nested too deeply]"


def _length(value: Any) -> int:
    """Before anything else is done with it, since looking for passwords takes the square of it."""
    try:
        return len(json.dumps(value, ensure_ascii=False, default=repr))
    except TypeError:  # a key that is no text
        return len(repr(value))


def _is_json(value: Any) -> bool:
    """Such as PostgreSQL's, which knows neither NaN nor infinity."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _masked(name: str, value: Any) -> Any:
    if SECRET_NAME.search(name):
        return MASK
    if isinstance(value, Mapping):
        return {str(key): _masked(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked("", item) for item in value]
    return mask_passwords(value) if isinstance(value, str) else value
