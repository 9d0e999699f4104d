"""Bodies of the admin interface that are not views of the supervisor's."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from plugin_runtime.views import TokenView

TokenRole = Literal["user", "admin", "root", "superadmin"]


@dataclass(frozen=True)
class ExceptionResponse:
    """The body of every failure. ``extension``: what programs want to read without parsing the message."""

    type: str
    message: str
    extension: dict[str, Any] = field(default_factory=dict)


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
