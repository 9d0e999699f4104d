"""Modules of the founding system that its plugins import: ``auth.dependencies`` and ``admin.dependencies``.

Their FastAPI dependencies tell who asks, as the gateway has verified it: docs/reference/contracts.md. They are found
after everything else, so that packages of these names in the plugin's environment, or in a folder that it adds to
sys.path, are the ones it gets.
"""

# Without postponed annotations: FastAPI looks their names up in the module, and these are imported in functions.

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional

ADMINS = frozenset({"root", "admin", "superadmin"})
SUPERUSERS = frozenset({"superadmin"})

_WEBSOCKET_REFUSED = 1008
"""Close code "policy violation"; before the handshake servers make an answer 403 of it."""


class User(dict[str, Any]):
    """Who asks: ``id``, ``email`` and ``role``, each as a key and as an attribute. An API token has a role only."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self)
            raise AttributeError(f"cannot read {name!r} of the user: the gateway tells {known}") from None


class ShimFinder:
    """Finds and loads the modules; the last of the meta path finders."""

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        package = fullname.partition(".")[0]
        if fullname in _PACKAGES:
            return ModuleSpec(fullname, self, is_package=True)  # type: ignore[arg-type]  # no importlib.abc: see sources.py
        if fullname in _MODULES and getattr(sys.modules[package].__spec__, "loader", None) is self:
            return ModuleSpec(fullname, self)
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave that to Python."""

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ in _MODULES:
            vars(module).update(_MODULES[module.__name__]())


def install() -> None:
    """Make the modules importable in this process."""
    sys.meta_path.append(ShimFinder())


def _auth() -> Mapping[str, Any]:
    return {"get_current_user": _get_current_user()}


def _admin() -> Mapping[str, Any]:
    return {
        "require_admin": _require("require_admin", ADMINS),
        "require_superuser": _require("require_superuser", SUPERUSERS),
    }


_MODULES: Mapping[str, Callable[[], Mapping[str, Any]]] = {"auth.dependencies": _auth, "admin.dependencies": _admin}
_PACKAGES = frozenset(name.partition(".")[0] for name in _MODULES)


@cache
def _get_current_user() -> Callable[..., Any]:
    from fastapi import Security  # noqa: PLC0415 - the plugin's own, in the plugin's environment only
    from fastapi.security import HTTPBearer  # noqa: PLC0415
    from starlette.requests import HTTPConnection  # noqa: PLC0415

    class Described(HTTPBearer):
        """For the OpenAPI document only: the token has been read by the gateway, and goes no further."""

        async def __call__(self) -> None:  # type: ignore[override]  # a Request is not to be had of a WebSocket
            return None

    scheme = Described(auto_error=False, description="A token of xcore")

    async def get_current_user(connection: HTTPConnection, _: Any = Security(scheme)) -> User:  # noqa: B008
        """Return who asks; 401 where the gateway does not know."""
        told = connection.scope.get("state", {}).get("xcore", {}).get("user")
        if told is None:
            cause = "this needs a valid token of xcore: Authorization: Bearer <token>"
            raise _refusal(connection.scope, 401, cause, {"WWW-Authenticate": "Bearer"})
        return User(told)

    return get_current_user


def _require(name: str, roles: frozenset[str]) -> Callable[..., Any]:
    from fastapi import Depends  # noqa: PLC0415 - see above
    from starlette.requests import HTTPConnection  # noqa: PLC0415

    needed = " or ".join(sorted(roles))

    async def require(connection: HTTPConnection, user: Any = Depends(_get_current_user())) -> Any:  # noqa: B008
        """Return who asks; 401 where the gateway does not know, 403 where the role is another."""
        if user["role"] not in roles:
            raise _refusal(connection.scope, 403, f"this needs role {needed}, not {user['role']}")
        return user

    require.__name__ = require.__qualname__ = name
    return require


def _refusal(scope: Mapping[str, Any], status: int, cause: str, headers: Optional[dict[str, str]] = None) -> Exception:
    if scope["type"] == "websocket":
        from starlette.exceptions import WebSocketException  # noqa: PLC0415 - see above

        return WebSocketException(_WEBSOCKET_REFUSED, cause)
    from fastapi import HTTPException  # noqa: PLC0415 - see above

    return HTTPException(status, cause, headers)
