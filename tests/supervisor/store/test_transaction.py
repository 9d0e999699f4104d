"""Transactions: whole or not at all, timed, their errors translated."""

import logging
import sqlite3

import pytest
from sqlalchemy import exc, select, text
from sqlalchemy.orm import sessionmaker

from supervisor.errors import ConflictError, StoreCorruptError, StoreError, StoreUnavailableError
from supervisor.store.engine import open_engine, sqlite_url
from supervisor.store.migrate import Migrations
from supervisor.store.models import User
from supervisor.store.settings import StoreSettings
from supervisor.store.sqlite_file import SqliteFile
from supervisor.store.transaction import transaction, translated


def user(name):
    return User(id=name, email=name, role="admin", password_hash="", created=1.0, active=True)


@pytest.fixture
def sessions(tmp_path):
    path = tmp_path / "manager.db"
    SqliteFile(path, StoreSettings(), Migrations()).prepare()
    engine = open_engine(sqlite_url(path), StoreSettings())
    yield sessionmaker(engine)
    engine.dispose()


def emails(sessions):
    with transaction(sessions, name="list users") as session:
        return sorted(session.scalars(select(User.email)))


def test_everything_is_committed_at_the_end(sessions):
    """Nobody calls commit."""
    with transaction(sessions, name="add users") as session:
        session.add_all([user("a"), user("b")])
    assert emails(sessions) == ["a", "b"]


def fail_half_way(sessions, error):
    with transaction(sessions, name="add users") as session:
        session.add(user("a"))
        session.flush()
        raise error


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt()])
def test_any_error_rolls_back_all_of_it_and_goes_on(sessions, error):
    """Also what was flushed before."""
    with pytest.raises(type(error)):
        fail_half_way(sessions, error)
    assert emails(sessions) == []


def add_twice(sessions):
    with transaction(sessions, name="add users") as session:
        session.add(user("a"))
        session.flush()
        session.execute(text("INSERT INTO users SELECT 'z', email, role, password_hash, created, active FROM users"))


def test_a_broken_rule_is_a_conflict_and_nothing_remains(sessions):
    """The second of two rows is refused: the first goes as well."""
    with pytest.raises(ConflictError, match="cannot add users: UNIQUE"):
        add_twice(sessions)
    assert emails(sessions) == []


def test_a_transaction_logs_its_duration_and_warns_when_slow(sessions, caplog):
    """Slow ones are found before users find them."""
    caplog.set_level(logging.DEBUG, "supervisor.store.transaction")
    with transaction(sessions, name="quick"):
        pass
    with pytest.raises(KeyError), transaction(sessions, name="slow", slow=-1.0):
        raise KeyError
    quick, slow = caplog.records
    assert (quick.levelname, slow.levelname) == ("DEBUG", "WARNING")
    assert quick.getMessage().startswith("Transaction quick took 0.")
    assert slow.getMessage().endswith("s (rolled back)")


def sqlite_error(code):
    error = sqlite3.OperationalError("told by SQLite")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_BUSY, StoreUnavailableError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreUnavailableError),
        (sqlite3.SQLITE_FULL, StoreUnavailableError),
        (sqlite3.SQLITE_IOERR_WRITE, StoreUnavailableError),
        (sqlite3.SQLITE_CANTOPEN, StoreUnavailableError),
        (sqlite3.SQLITE_READONLY, StoreUnavailableError),
        (sqlite3.SQLITE_CORRUPT, StoreCorruptError),
        (sqlite3.SQLITE_NOTADB, StoreCorruptError),
        (sqlite3.SQLITE_ERROR, StoreCorruptError),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, ConflictError),
        (sqlite3.SQLITE_TOOBIG, StoreError),
        (None, StoreError),
    ],
)
def test_sqlites_errors_become_ours_by_their_code(code, expected):
    """Extended codes as their primary ones; with and without SQLAlchemy around them."""
    for raised in (sqlite_error(code), exc.OperationalError("SELECT", {}, sqlite_error(code))):
        with pytest.raises(expected, match=r"^cannot look: told by SQLite$") as caught, translated("look"):
            raise raised
        assert type(caught.value) is expected


class PostgresqlError(Exception):
    """As psycopg's errors: with an SQLSTATE, None when the server did not answer."""

    def __init__(self, sqlstate):
        super().__init__("told by PostgreSQL\nDETAIL: secret")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("kind", "sqlstate", "expected"),
    [
        (exc.OperationalError, None, StoreUnavailableError),
        (exc.InterfaceError, None, StoreUnavailableError),
        (exc.OperationalError, "57P01", StoreUnavailableError),
        (exc.OperationalError, "57014", StoreUnavailableError),
        (exc.OperationalError, "53100", StoreUnavailableError),
        (exc.InternalError, "XX001", StoreCorruptError),
        (exc.ProgrammingError, "42P01", StoreCorruptError),
        (exc.IntegrityError, "23505", ConflictError),
        (exc.DataError, "22003", StoreError),
        (exc.DataError, None, StoreError),
        (exc.ProgrammingError, "42501", StoreError),
    ],
)
def test_postgresqls_errors_become_ours_by_their_state(kind, sqlstate, expected):
    """Only the first line is shown: the others hold rows."""
    with pytest.raises(expected, match=r"^cannot look: told by PostgreSQL$") as caught, translated("look"):
        raise kind("SELECT", {}, PostgresqlError(sqlstate))
    assert type(caught.value) is expected


def test_a_lost_connection_is_unavailable_whatever_the_driver_calls_it():
    """SQLAlchemy knows that the connection is gone."""
    error = exc.DBAPIError("SELECT", {}, PostgresqlError("XX000"), connection_invalidated=True)
    with pytest.raises(StoreUnavailableError), translated("look"):
        raise error


def test_mistakes_of_ours_are_not_dressed_up():
    """Misuse of SQLAlchemy is a bug and keeps its name."""
    with pytest.raises(exc.InvalidRequestError), translated("look"):
        raise exc.InvalidRequestError
