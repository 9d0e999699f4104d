"""Who may do what: every route of the admin interface depends on exactly one of ``Reader`` and ``Owner``."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gateway.admin.backend import Backend
from gateway.control import CALL_TIMEOUT
from gateway.errors import ForbiddenError, UnauthorizedError

READERS = frozenset({"admin", "root", "superadmin"})
OWNERS = frozenset({"superadmin"})

_bearer = HTTPBearer(auto_error=False, description="An API token of xcore")


class Operator:
    """The caller of a route, known by name and allowed to be there."""

    def __init__(self, backend: Backend, actor: str) -> None:
        self._backend = backend
        self.actor = actor

    async def call(self, operation: str, *, timeout: float = CALL_TIMEOUT, **arguments: Any) -> Any:
        """Have the supervisor carry out an operation in the caller's name."""
        return await self._backend.call(operation, arguments, actor=self.actor, timeout=timeout)


def _require(roles: frozenset[str]) -> Callable[..., Awaitable[Operator]]:
    needed = " or ".join(sorted(roles))

    # FastAPI runs what is not async in a thread, and there may be none to be had.
    async def operator(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Operator:
        backend: Backend = request.app.state.backend
        if credentials is None:
            raise UnauthorizedError("this needs a token: Authorization: Bearer <token>")
        record = backend.tokens.of_authorization(f"{credentials.scheme} {credentials.credentials}")
        if record is None:
            raise UnauthorizedError("the token is not valid, or not valid any more")
        if record.role not in roles:
            raise ForbiddenError(record.role, needed)
        return Operator(backend, f"token:{record.name}")

    return operator


Reader = Annotated[Operator, Depends(_require(READERS))]
"""Roles admin, root and superadmin: sees everything."""
Owner = Annotated[Operator, Depends(_require(OWNERS))]
"""Role superadmin: changes things."""
