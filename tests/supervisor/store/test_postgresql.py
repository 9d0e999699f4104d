"""PostgreSQL going away and coming back."""

from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text

from plugin_runtime.views import ExitView
from supervisor.errors import StoreCorruptError, StoreUnavailableError
from supervisor.store.repository import PluginFacts

HELLO = PluginFacts("hello", "1.0", "Ada", "/app/hello")
EXIT = ExitView("0", "x", "x.1", "worker", "crash", 1, None, "", 1.0, 1.0, [])

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_a_server_that_was_killed_is_reconnected_to_and_nothing_is_lost(
    postgresql_server, postgresql_database, scenario, quick, eventually
):
    """Row 41: commands fail in time, observations wait, and all is well by itself when it is back."""
    with scenario(postgresql_database, settings=quick) as (store, run):
        run(store.plugins.add(HELLO))
        store.observations.put(EXIT)
        run(eventually(lambda: store.observations.waiting == 0, "never written"))
        postgresql_server.kill()
        try:
            with pytest.raises(StoreUnavailableError):
                run(store.plugins.add(replace(HELLO, name="other")))
            store.observations.put(replace(EXIT, id="1"))
            assert not store.observations.healthy
        finally:
            postgresql_server.start()
        run(eventually(lambda: store.observations.healthy, "never healthy again", timeout=5.0))
        run(eventually(lambda: store.observations.waiting == 0, "never written"))
        assert [row.name for row in run(store.plugins.get_all())] == ["hello"]
        assert [view.id for view in run(store.exits.exits())] == ["1", "0"]


def test_a_server_that_is_away_at_the_start_is_a_clear_error(postgresql_database, scenario):
    """Said without the password."""
    nowhere = postgresql_database.set(query={"host": "/nonexistent"}, password="secret")
    with pytest.raises(StoreUnavailableError, match="cannot open postgresql") as raised, scenario(nowhere):
        pass
    assert "secret" not in str(raised.value)


def test_a_statement_that_takes_too_long_is_ended_by_the_server(postgresql_database, scenario, quick):
    """A lock that somebody forgot must not hold up every command for ever."""
    with scenario(postgresql_database, settings=quick) as (store, run):
        with pytest.raises(StoreUnavailableError, match="statement timeout"):
            run(store._database.read("sleep", lambda session: session.execute(text("SELECT pg_sleep(30)"))))
        assert run(store.plugins.get_all()) == []


def test_another_programs_tables_are_refused(postgresql_server, postgresql_database, scenario):
    """A shared database is fine, a clash of names is not."""
    engine = create_engine(postgresql_database)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE tasks (x int)"))
    engine.dispose()
    with pytest.raises(StoreCorruptError, match="in the way: tasks"), scenario(postgresql_database):
        pass
