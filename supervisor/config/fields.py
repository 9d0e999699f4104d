"""What the keys of our configuration are made of: the strict base class, the value types, and ``key``."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

YEAR = 31_536_000.0
"""Seconds; the longest duration we take, so that no timer of the event loop overflows."""
LARGEST_MB = 16_777_216.0
"""MiB (16 TiB): the same for sizes."""
LARGEST_COUNT = 1_000_000_000


class Section(BaseModel):
    """Base of every group of keys: unknown keys are errors, "8082" is not 8082, true is not 1, NaN is nothing."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def _text(value: str) -> str:
    # Neither can be part of a path, an argument or an environment variable, nor be printed.
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain half of a surrogate pair")
    return value


def _path(value: str) -> str:
    if value.startswith("~"):
        raise ValueError("must be written out, '~' is not expanded")
    return value


Text = Annotated[str, AfterValidator(_text)]
PathText = Annotated[Text, AfterValidator(_path)]
# Strict tuples would take nothing but tuples, and JSON has none; what is inside stays strict.
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
Seconds = Annotated[float, Field(ge=0, le=YEAR)]
PositiveSeconds = Annotated[float, Field(gt=0, le=YEAR)]
Megabytes = Annotated[float, Field(ge=0, le=LARGEST_MB)]
PositiveMegabytes = Annotated[float, Field(gt=0, le=LARGEST_MB)]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]


def key(default: Any, description: str, *, live: bool = True, **constraints: Any) -> Any:
    """One key. ``live``: a reload puts a change into effect; otherwise it takes a restart of the supervisor."""
    return Field(default, description=description, json_schema_extra={"live": live}, **constraints)
