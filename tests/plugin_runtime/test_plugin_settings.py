"""Settings from environment variables: the same for dataclasses and pydantic models, and clear about what is wrong."""

import dataclasses
import datetime as dt
import enum
import os
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Optional

import pydantic
import pytest

import plugin_runtime
from plugin_runtime import plugin_settings
from plugin_runtime.plugin_settings import SettingsError


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Plain:
    url: str
    port: int = 80
    ratio: float = 0.5
    debug: bool = False
    price: Decimal = Decimal(1)
    folder: Optional[Path] = None  # noqa: UP045 - as it is written for Python 3.9
    colour: "Colour | None" = None
    hosts: list[str] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    anything: Any = None
    made: int = field(default=0, init=False)


class Inner(pydantic.BaseModel):
    x: int


class Model(pydantic.BaseModel):
    url: str
    port: int = 80
    ratio: float = 0.5
    debug: bool = False
    price: Decimal = Decimal(1)
    folder: Path | None = None
    colour: Colour | None = None
    hosts: list[str] = []
    limits: dict[str, int] = {}
    anything: Any = None


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


@dataclass
class PlainTyped:
    mode: Literal["fast", "slow"] = "slow"
    level: "Literal[1, 2] | None" = None
    known: Literal[Level.HIGH] = Level.HIGH
    day: dt.date | None = None
    since: dt.datetime | None = None
    at: dt.time | None = None
    every: dt.timedelta | None = None
    raw: bytes = b""
    unique: set[str] = field(default_factory=set)


class Typed(pydantic.BaseModel):
    mode: Literal["fast", "slow"] = "slow"
    day: dt.date | None = None
    since: dt.datetime | None = None
    at: dt.time | None = None


class Aliased(pydantic.BaseModel):
    url: str = pydantic.Field(validation_alias="DATABASE")
    key: str = pydantic.Field(validation_alias=pydantic.AliasChoices(pydantic.AliasPath("keys", 0), "apiKey", "key"))
    user: str = pydantic.Field(alias="shown", validation_alias="taken")


class Richer(pydantic.BaseModel):
    mode: Literal["fast", "slow"] = "slow"
    inner: Inner | None = None
    key: str = pydantic.Field("", alias="apiKey")


both = pytest.mark.parametrize("model", [Plain, Model])


@pytest.fixture(autouse=True)
def in_a_plugin(monkeypatch):
    monkeypatch.setattr(plugin_settings, "_owner", "book-shop")


def read(model, **environ):
    return plugin_settings.read(model, None, environ)


@both
def test_fields_are_read_from_variables_of_the_plugins_name(model):
    """Upper case, and whatever a variable's name cannot hold is an underscore."""
    settings = read(
        model,
        BOOK_SHOP_URL="{not json}",
        BOOK_SHOP_PORT="8000",
        BOOK_SHOP_RATIO="1e3",
        BOOK_SHOP_DEBUG="Yes",
        BOOK_SHOP_PRICE="9.99",
        BOOK_SHOP_FOLDER="/srv",
        BOOK_SHOP_COLOUR="red",
        BOOK_SHOP_HOSTS='["a", "b"]',
        BOOK_SHOP_LIMITS='{"a": 1}',
        BOOK_SHOP_ANYTHING="text",
        BOOK_SHOP_MADE="7",
        PORT="1",
    )
    values = settings.model_dump() if isinstance(settings, Model) else dataclasses.asdict(settings)
    values.pop("made", None)
    assert values == {
        "url": "{not json}",
        "port": 8000,
        "ratio": 1000.0,
        "debug": True,
        "price": Decimal("9.99"),
        "folder": Path("/srv"),
        "colour": Colour.RED,
        "hosts": ["a", "b"],
        "limits": {"a": 1},
        "anything": "text",
    }


@both
def test_what_is_not_set_keeps_its_default(model):
    """An empty variable is set."""
    settings = read(model, BOOK_SHOP_URL="")
    assert (settings.url, settings.port, settings.hosts) == ("", 80, [])


@both
def test_every_problem_is_named_by_its_variable(model):
    """All at once, and none with its value: it may be a secret."""
    with pytest.raises(SettingsError) as raised:
        read(model, BOOK_SHOP_PORT="s3cret", BOOK_SHOP_DEBUG="s3cret", BOOK_SHOP_COLOUR="s3cret")
    assert [problem.split()[0].rstrip(":") for problem in raised.value.problems] == [
        "BOOK_SHOP_URL",
        "BOOK_SHOP_PORT",
        "BOOK_SHOP_DEBUG",
        "BOOK_SHOP_COLOUR",
    ]
    assert raised.value.problems[0] == "BOOK_SHOP_URL is missing"
    assert str(raised.value).startswith("cannot read the settings of 'book-shop': BOOK_SHOP_URL is missing; ")
    assert ".env" in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("text", ["a, b", '"a"', "{}"])
def test_lists_are_json(text):
    """Nothing is guessed about commas."""
    with pytest.raises(SettingsError, match="BOOK_SHOP_HOSTS is no list"):
        read(Plain, BOOK_SHOP_URL="", BOOK_SHOP_HOSTS=text)
    with pytest.raises(SettingsError, match="BOOK_SHOP_HOSTS"):
        read(Model, BOOK_SHOP_URL="", BOOK_SHOP_HOSTS=text)


@pytest.mark.parametrize("model", [PlainTyped, Typed])
def test_choices_and_moments_are_read_by_both(model):
    """As ISO 8601 has them, with the Z that older Pythons do not read."""
    settings = read(
        model,
        BOOK_SHOP_MODE="fast",
        BOOK_SHOP_DAY="2026-03-01",
        BOOK_SHOP_SINCE="2026-03-01T08:30:00Z",
        BOOK_SHOP_AT="08:30",
    )
    assert (settings.mode, settings.day) == ("fast", dt.date(2026, 3, 1))
    assert settings.since == dt.datetime(2026, 3, 1, 8, 30, tzinfo=dt.UTC)
    assert settings.at == dt.time(8, 30)


def test_a_dataclass_takes_seconds_for_a_duration_and_choices_that_are_no_texts():
    """A member of an enum by its value, as where the whole enum is the type."""
    settings = read(PlainTyped, BOOK_SHOP_EVERY="1.5", BOOK_SHOP_LEVEL="2", BOOK_SHOP_KNOWN="2")
    assert (settings.every, settings.level, settings.known) == (dt.timedelta(seconds=1.5), 2, Level.HIGH)


def test_a_dataclass_says_what_it_wants_instead():
    """And of a type that no text makes, that it is not the text that is wrong."""
    with pytest.raises(SettingsError) as raised:
        read(
            PlainTyped,
            BOOK_SHOP_MODE="s3cret",
            BOOK_SHOP_DAY="s3cret",
            BOOK_SHOP_EVERY="1e99",
            BOOK_SHOP_RAW="s3cret",
            BOOK_SHOP_UNIQUE="[[]]",
        )
    assert raised.value.problems == [
        "BOOK_SHOP_MODE is none of 'fast', 'slow'",
        "BOOK_SHOP_DAY is no date",
        "BOOK_SHOP_EVERY is no number of seconds",
        "BOOK_SHOP_RAW cannot be read: a text makes no bytes",
        "BOOK_SHOP_UNIQUE is no set",
    ]


def test_an_alias_that_is_only_for_reading_counts():
    """The model takes the value under it; the variable is that of the field, in problems as well."""
    settings = read(Aliased, BOOK_SHOP_URL="u", BOOK_SHOP_KEY="k", BOOK_SHOP_USER="ada")
    assert (settings.url, settings.key, settings.user) == ("u", "k", "ada")
    with pytest.raises(SettingsError) as raised:
        read(Aliased, BOOK_SHOP_KEY="k", BOOK_SHOP_USER="ada")
    assert raised.value.problems == ["BOOK_SHOP_URL is missing"]


def test_pydantic_says_what_it_wants_instead():
    """Names of fields and aliases are told as variables, too."""
    settings = read(Richer, BOOK_SHOP_MODE="fast", BOOK_SHOP_INNER='{"x": 1}', BOOK_SHOP_KEY="k")
    assert (settings.mode, settings.inner, settings.key) == ("fast", Inner(x=1), "k")
    with pytest.raises(SettingsError) as raised:
        read(Richer, BOOK_SHOP_MODE="medium", BOOK_SHOP_INNER="{}")
    mode, inner = raised.value.problems
    assert mode.startswith("BOOK_SHOP_MODE: Input should be 'fast' or 'slow'")
    assert inner.startswith("BOOK_SHOP_INNER['x']")


def test_the_prefix_may_be_another(monkeypatch):
    """``""`` for variables that others name."""
    monkeypatch.setattr(os, "environ", os.environ)
    monkeypatch.setenv("DB_URL", "postgresql://")
    monkeypatch.setenv("URL", "sqlite://")
    assert plugin_runtime.settings(Plain, prefix="DB_").url == "postgresql://"
    assert plugin_runtime.settings(Model, prefix="").url == "sqlite://"
