"""The schema: which one a database has, and bringing it up to date.

There is no way down: an older program refuses a newer database, and the file can be copied before an upgrade.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, inspect, select, text
from sqlalchemy.sql import table
from sqlalchemy.sql.expression import column

from supervisor.errors import StoreCorruptError
from supervisor.store.models import VERSION_TABLE, Base
from supervisor.store.transaction import translated

logger = logging.getLogger(__name__)

OURS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Migrations:
    """The revisions in a folder, made for Alembic, which is imported only where there is something to do.

    Each is named by the first part of its file's name, one after the other.
    """

    folder: Path = OURS

    @property
    def revisions(self) -> list[str]:
        """Their names, oldest first."""
        return sorted(file.stem.partition("_")[0] for file in (self.folder / "versions").glob("[!_]*.py"))

    @property
    def head(self) -> str:
        """The newest revision."""
        return self.revisions[-1]

    def pending(self, connection: Connection, database: str) -> bool:
        """Whether the schema is older than this program's, or not there at all.

        ``database``: its name in errors. Raises StoreCorruptError where it is newer or another program's.
        """
        present = set(inspect(connection).get_table_names())
        if VERSION_TABLE not in present:
            self._refuse_foreign(present, database)
            return True
        revision = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
        head = self.head
        if revision not in self.revisions:
            raise StoreCorruptError(
                f"cannot open {database}: its schema {revision} is unknown to this program, which knows up to {head}",
                hint="it is newer, or not ours: run the newer version of xcore, or name another database in DATA_URL",
            )
        return bool(revision != head)

    def apply(self, connection: Connection, database: str) -> None:
        """Bring the schema to ``head`` within the transaction of ``connection``."""
        from alembic import command  # noqa: PLC0415 - a tenth of what a start of xcore imports, and seldom needed
        from alembic.config import Config  # noqa: PLC0415

        logger.info("Migrating %s to schema %s", database, self.head)
        configuration = Config()
        configuration.set_main_option("script_location", str(self.folder).replace("%", "%%"))
        configuration.set_main_option("path_separator", "newline")  # a folder's name may hold spaces, colons
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")

    @staticmethod
    def _refuse_foreign(present: set[str], database: str) -> None:
        tables: list[Table] = Base.metadata.sorted_tables
        if taken := sorted(present & {known.name for known in tables}):
            raise StoreCorruptError(
                f"cannot open {database}: another program's tables are in the way: {', '.join(taken)}",
                hint="name another database in DATA_URL",
            )


def migrate_server(engine: Engine, migrations: Migrations, database: str) -> None:
    """Bring a PostgreSQL database up to date, in one transaction: its DDL is transactional."""
    with translated(f"open {database}"), engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # a migration may take long
        if migrations.pending(connection, database):
            migrations.apply(connection, database)
