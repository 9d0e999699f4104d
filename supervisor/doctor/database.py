"""The manager database, and the SQLite that this Python brings along."""

from pathlib import Path

from supervisor.doctor.finding import Finding, missing, ok
from supervisor.store.condition import Condition
from supervisor.store.engine import database_url, is_sqlite, sqlite_url
from supervisor.store.inspection import condition, sqlite_version
from supervisor.store.settings import StoreSettings

LOOK = StoreSettings(patience=2.0)
"""Less than a check may take, so that it is said what the database was waited for."""
OLDEST_SQLITE = (3, 24)
"""The first with ON CONFLICT DO UPDATE."""

_CONDITIONS = {
    Condition.NEW: "none yet; made at the first start",
    Condition.CURRENT: "sound, of the schema of this version",
    Condition.OLDER: "sound, of an older schema; migrated at the next start",
    Condition.UNFINISHED: "has a transaction that died half-way; rolled back at the next start",
}


def database(data_url: str | None, default: Path, folder: Path) -> Finding:
    """``data_url``: DATA_URL, None where the file ``default`` is used; ``folder``: that relative paths start at.

    Raises:
        XcoreError: what keeps it from being used.
    """
    url = sqlite_url(default) if data_url is None else database_url(data_url, relative_to=folder)
    shown = url.database if is_sqlite(url) else url.render_as_string(hide_password=True)
    return ok(f"{shown}: {_CONDITIONS[condition(url, LOOK)]}")


def sqlite() -> Finding:
    return judge_sqlite(sqlite_version())


def judge_sqlite(version: tuple[int, ...]) -> Finding:
    shown = ".".join(map(str, version))
    return (
        ok(shown)
        if version >= OLDEST_SQLITE
        else missing(f"{shown}, and {'.'.join(map(str, OLDEST_SQLITE))} is needed")
    )
