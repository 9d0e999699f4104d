"""API tokens. Only a token's hash is stored, so the database gives nobody access."""

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from enum import StrEnum
from functools import partial

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from plugin_runtime.protocol import TokenRecord
from plugin_runtime.views import TokenView
from supervisor.clock import Clock
from supervisor.errors import ConfigurationError, ConflictError, UnknownNameError
from supervisor.store.database import Database
from supervisor.store.models import Token

_PREFIX = "xc_"
"""Lets secret scanners and people tell what it is."""
_ENTROPY = 32
"""Bytes; 43 characters. So much that a plain SHA-256 is enough: there is nothing to guess, unlike in a password."""
_DAY = 86400.0


class Role(StrEnum):
    """What the holder of a token, or a user, may do."""

    USER = "user"  # a plugin's user; nothing in the admin interface
    ADMIN = "admin"  # reads
    ROOT = "root"  # the same as admin, kept for its name
    SUPERADMIN = "superadmin"  # everything


class TokenStore:
    """Every method is one transaction, and raises StoreUnavailableError when the database is not to be had in time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, name: str, role: Role, expires_days: float | None = None) -> tuple[str, TokenView]:
        """Return the token's text, which is never seen again, and its record.

        Raises ConflictError where a token of that name is in use, ConfigurationError for an empty name or no life time.
        """
        if not name.strip():
            raise ConfigurationError("token", "name", "must not be empty")
        if expires_days is not None and not expires_days > 0:
            raise ConfigurationError("token", "expires", "must be more than 0 days")
        text = _PREFIX + secrets.token_urlsafe(_ENTROPY)
        now = self._clock.time()
        expires = None if expires_days is None else now + expires_days * _DAY
        token = {"name": name, "role": Role(role).value, "hash": token_hash(text), "created": now, "expires": expires}
        return text, await self._database.write("create the token", partial(_create, token=token))

    async def get_all(self) -> list[TokenView]:
        """All that are not revoked, expired ones too; newest first."""
        return [_view(token) for token in await self._database.read("list tokens", _unrevoked)]

    async def revoke(self, name_or_id: str) -> TokenView:
        """Raise UnknownNameError. The name is free again."""
        now = self._clock.time()
        return await self._database.write("revoke the token", partial(_revoke, name_or_id=name_or_id, now=now))

    async def valid(self) -> list[TokenRecord]:
        """What gateways must know to check tokens: neither revoked nor expired."""
        now = self._clock.time()
        tokens = await self._database.read("list valid tokens", _unrevoked)
        return [
            TokenRecord(token.hash, token.name, token.role, token.expires)
            for token in tokens
            if token.expires is None or token.expires > now
        ]


def token_hash(text: str) -> str:
    """SHA-256 in hex, as stored and as gateways compare."""
    return hashlib.sha256(text.encode()).hexdigest()


def _view(token: Token) -> TokenView:
    return TokenView(token.id, token.name, token.role, token.created, token.expires, token.last_used)


def _unrevoked(session: Session) -> list[Token]:
    return list(
        session.scalars(select(Token).where(Token.revoked.is_(None)).order_by(Token.created.desc(), Token.name))
    )


def _create(session: Session, *, token: Mapping[str, object]) -> TokenView:
    if any(other.name == token["name"] for other in _unrevoked(session)):
        raise ConflictError(f"cannot create token {token['name']!r}: the name is in use", hint="revoke that one first")
    row = Token(id=str(uuid.uuid4()), last_used=None, revoked=None, **token)
    session.add(row)
    session.flush()
    return _view(row)


def _revoke(session: Session, *, name_or_id: str, now: float) -> TokenView:
    named = select(Token).where(Token.revoked.is_(None), or_(Token.id == name_or_id, Token.name == name_or_id))
    # One token may bear another's id as its name; the id decides.
    found = sorted(session.scalars(named), key=lambda token: token.id != name_or_id)
    if not found:
        raise UnknownNameError("token", name_or_id, [token.name for token in _unrevoked(session)])
    found[0].revoked = now
    return _view(found[0])
