"""Bodies of the admin interface that are not views of the supervisor's."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from plugin_runtime.views import TokenView

Trigger = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""A column of 32 bits."""
TokenRole = Literal["user", "admin", "root", "superadmin"]


class ExceptionResponse(BaseModel):
    """The body of every failure. ``extension``: what programs want to read without parsing the message."""

    # A model keeps its schema; that of a dataclass would be made anew for each failure that each route documents.
    model_config = ConfigDict(frozen=True)

    type: str
    message: str
    extension: dict[str, Any] = {}


@dataclass(frozen=True)
class Plugin:
    """A record of a plugin whose folder is yet to come, as the founding system stored it."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    version: str = ""
    author: str = ""
    Api_prefix: str = ""
    tag_for_identified: list[str] = field(default_factory=list)
    trigger: Trigger = 1


@dataclass(frozen=True)
class Update:
    """What is to be another in the record of a plugin; null leaves it as it is."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    version: str | None = None
    author: str | None = None
    Api_prefix: str | None = None
    tag_for_identified: list[str] | None = None
    trigger: Trigger | None = None


@dataclass(frozen=True)
class Delete:
    """The plugin that is forgotten. ``folder``: of it, where it is still there, else ""."""

    name: str
    folder: str = ""


@dataclass(frozen=True)
class NewToken:
    """``expires_days``: null for a token that does not expire. A misspelt key is refused: it would mean just that."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    role: TokenRole
    expires_days: Annotated[float | None, Field(gt=0)] = None


@dataclass(frozen=True)
class CreatedToken(TokenView):
    """``token``: the secret itself, shown this once."""

    token: str = field(kw_only=True)


@dataclass(frozen=True)
class PluginHealthView:
    """One plugin of /health."""

    state: str
    ready: int
    wanted: int
    restarts: int


@dataclass(frozen=True)
class HealthView:
    """``status``: ok, degraded or down."""

    status: Literal["ok", "degraded", "down"]
    plugins: dict[str, PluginHealthView]
