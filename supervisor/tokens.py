"""API tokens: made and revoked by the operator, known to every gateway at once, one of them made at first start."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import TokenTable
from plugin_runtime.views import TokenView
from supervisor.channels.operations import Operation
from supervisor.clock import Clock
from supervisor.errors import UnknownNameError, XcoreError
from supervisor.gateways.gateways import Gateways
from supervisor.store.audit import AuditEntry, AuditLog
from supervisor.store.tokens import Role, TokenStore, token_hash

ADMIN = "admin"
"""Name of the token in the state folder."""


class Tokens:
    """Every change is stored, audited and pushed before it is answered: a revoked token ends at once."""

    def __init__(self, store: TokenStore, audit: AuditLog, gateways: Gateways, clock: Clock, admin_file: Path) -> None:
        self._clock = clock
        self._store = store
        self._audit = audit
        self._gateways = gateways
        self._admin_file = admin_file
        self._pushing = asyncio.Lock()

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {"tokens.list": self.list_tokens, "tokens.create": self.create, "tokens.revoke": self.revoke}

    async def start(self) -> None:
        """Make the superadmin token of the state folder where it is missing or not valid, and push all tokens."""
        valid = await self._store.valid()
        admins = {record.hash for record in valid if record.role == Role.SUPERADMIN}
        if token_hash(_read(self._admin_file)) not in admins:
            await self._make_admin()
        await self._push()

    async def list_tokens(self) -> list[TokenView]:
        return await self._store.get_all()

    async def create(self, name: str, role: str, actor: str, expires_days: float | None = None) -> dict[str, Any]:
        if role not in set(Role):
            raise UnknownNameError("role", role, list(Role))
        text, view = await self._store.create(name, Role(role), expires_days)
        await self._push()
        await self._audited(actor, "tokens.create", name, {"role": role})
        return {"token": text, **vars(view)}

    async def revoke(self, id: str, actor: str) -> None:  # noqa: A002 - the name of the operation's argument
        view = await self._store.revoke(id)
        await self._push()
        await self._audited(actor, "tokens.revoke", view.name, {})

    async def _make_admin(self) -> None:
        if any(view.name == ADMIN for view in await self._store.get_all()):
            await self._store.revoke(ADMIN)
        text, _ = await self._store.create(ADMIN, Role.SUPERADMIN)
        _write(self._admin_file, text)

    async def _audited(self, actor: str, action: str, target: str, detail: dict[str, Any]) -> None:
        await self._audit.audit(AuditEntry(self._clock.time(), actor, action, target, "succeeded", detail))

    async def _push(self) -> None:
        async with self._pushing:  # or what was read before a revocation could be pushed after it
            self._gateways.set_tokens(TokenTable(await self._store.valid()))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    except OSError as error:
        raise XcoreError(f"cannot read {path}: {error.strerror}", hint="remove it, and another is made") from error


def _write(path: Path, text: str) -> None:
    """Readable by nobody else at any moment, and never half written."""
    draft = path.with_suffix(".tmp")
    try:
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_text(f"{text}\n", encoding="ascii")
        draft.replace(path)
    except OSError as error:
        raise XcoreError(f"cannot write {path}: {error.strerror}") from error
