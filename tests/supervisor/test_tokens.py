"""API tokens, with the real store."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from plugin_runtime.protocol import TokenTable
from supervisor.clock import SystemClock
from supervisor.errors import UnknownNameError, XcoreError
from supervisor.gateways.gateways import Gateways
from supervisor.store.engine import sqlite_url
from supervisor.store.store import Store
from supervisor.store.tokens import Role, token_hash
from supervisor.tokens import Tokens
from tests.fakes.gateway_children import FakeGatewayChild
from tests.fakes.waiting import until

pytestmark = pytest.mark.slow


class Scene:
    def __init__(self, store, path):
        self.store = store
        self.path = path
        self.gateways = Gateways(None, None, lambda: None, lambda _: None)
        self.gateway = FakeGatewayChild()
        self.gateways.connected(self.gateway)
        self.tokens = Tokens(store.tokens, store.audit, self.gateways, SystemClock(), path)

    @property
    def known(self):
        """Names of the tokens that gateways accept now."""
        return {record.name for record in self.gateway.of(TokenTable)[-1].tokens}

    @property
    def file(self):
        return self.path.read_text().strip()


@asynccontextmanager
async def scene(tmp_path):
    store = await Store.open(sqlite_url(tmp_path / "manager.db"))
    try:
        yield Scene(store, tmp_path / "admin.token")
    finally:
        await store.close()


@pytest.fixture
def run(tmp_path):
    def run(scenario):
        async def main():
            async with scene(tmp_path) as at:
                await scenario(at)

        asyncio.run(main())

    return run


def test_the_first_start_makes_a_superadmin_token_for_its_owners_eyes(run):
    """0600, pushed to gateways, stored as a hash only."""

    async def scenario(at):
        await at.tokens.start()
        assert at.path.stat().st_mode & 0o777 == 0o600
        (record,) = at.gateway.of(TokenTable)[-1].tokens
        assert (record.name, record.role, record.hash) == ("admin", "superadmin", token_hash(at.file))
        assert sorted(path.name for path in at.path.parent.iterdir() if "token" in path.name) == ["admin.token"]

    run(scenario)


def test_a_valid_token_is_kept(run):
    """Scripts that use it go on working."""

    async def scenario(at):
        await at.tokens.start()
        before = at.file
        await at.tokens.start()
        assert at.file == before

    run(scenario)


@pytest.mark.parametrize("loss", ["missing", "changed", "binary", "revoked", "weaker"])
def test_a_token_that_is_no_good_any_more_is_made_anew(run, loss):
    """And the one before it ends."""

    async def scenario(at):
        await at.tokens.start()
        before = at.file
        match loss:
            case "missing":
                at.path.unlink()
            case "changed":
                at.path.write_text("xcore_something")
            case "binary":
                at.path.write_bytes(b"\xff\xfe")
            case "revoked":
                await at.tokens.revoke("admin", "operator")
            case "weaker":
                at.path.write_text((await at.tokens.create("reader", "admin", "operator"))["token"])
        await at.tokens.start()
        hashes = {record.hash for record in at.gateway.of(TokenTable)[-1].tokens}
        assert token_hash(at.file) in hashes
        assert token_hash(before) not in hashes
        assert at.path.stat().st_mode & 0o777 == 0o600

    run(scenario)


def test_a_file_that_cannot_be_read_is_a_clear_error(run):
    """Not one that is overwritten."""

    async def scenario(at):
        at.path.mkdir()
        with pytest.raises(XcoreError, match=r"cannot read .*admin\.token: .*; remove it, and another is made"):
            await at.tokens.start()

    run(scenario)


def test_a_token_works_at_once_and_ends_at_once(run):
    """Pushed before it is answered; both are in the audit."""

    async def scenario(at):
        await at.tokens.start()
        made = await at.tokens.create("ci", "admin", "token:admin", expires_days=30)
        assert at.known == {"admin", "ci"}
        assert token_hash(made["token"]) in {record.hash for record in at.gateway.of(TokenTable)[-1].tokens}
        assert made["role"] == "admin"
        assert [view.name for view in await at.tokens.list_tokens()] == ["ci", "admin"]
        await at.tokens.revoke(made["id"], "operator")
        assert at.known == {"admin"}
        entries = [(entry.actor, entry.action, entry.target) for entry in await at.store.audit.entries()]
        assert entries == [("operator", "tokens.revoke", "ci"), ("token:admin", "tokens.create", "ci")]
        assert made["token"] not in str(await at.store.audit.entries())

    run(scenario)


def test_a_table_that_was_read_before_a_revocation_is_not_pushed_after_it(run, monkeypatch):
    """However long the reading takes: the revoked token would be valid again."""

    async def scenario(at):
        await at.tokens.start()
        await at.tokens.create("old", Role.ADMIN, "operator")
        read, slow = at.store.tokens.valid, asyncio.Event()

        async def valid():
            monkeypatch.setattr(at.store.tokens, "valid", read)
            table = await read()
            await slow.wait()
            return table

        monkeypatch.setattr(at.store.tokens, "valid", valid)
        creating = asyncio.create_task(at.tokens.create("new", Role.ADMIN, "operator"))
        await until(lambda: at.store.tokens.valid is not valid, "the table is read")
        revoking = asyncio.create_task(at.tokens.revoke("old", "operator"))
        await until(lambda: revoking.done() or at.tokens._pushing._waiters, "the revocation is stored")
        slow.set()
        await asyncio.gather(creating, revoking)
        assert at.known == {"admin", "new"}

    run(scenario)


def test_roles_and_names_are_checked(run):
    """404 for what is not there, with what is."""

    async def scenario(at):
        with pytest.raises(UnknownNameError, match="no role named 'emperor'; known: admin, root, superadmin, user"):
            await at.tokens.create("ci", "emperor", "operator")
        with pytest.raises(UnknownNameError, match="no token named 'ci'"):
            await at.tokens.revoke("ci", "operator")

    run(scenario)
