"""The migrations make what models.py describes, and the documentation describes it as well."""

import re
import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from supervisor.store.migrate import OURS, Migrations
from supervisor.store.models import VERSION_TABLE, Base

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "database.md"


def test_a_migrated_database_is_what_the_models_say(url, scenario):
    """A model without its migration works on a developer's machine only."""
    with scenario(url) as (store, run):

        def differences(session):
            context = MigrationContext.configure(session.connection(), opts={"version_table": VERSION_TABLE})
            return compare_metadata(context, Base.metadata)

        assert run(store._database.read("compare", differences)) == []


def test_opening_a_migrated_database_again_changes_nothing(url, scenario):
    """Migrations are applied once."""
    for _ in range(2):
        with scenario(url) as (store, run):
            assert run(store.plugins.get_all()) == []


def test_files_are_named_by_their_revisions_one_after_the_other():
    """By that it is known whether there is anything to migrate, without Alembic, which takes long to import."""
    scripts = ScriptDirectory(str(OURS))
    assert scripts.get_heads() == [Migrations().head]
    assert [script.revision for script in scripts.walk_revisions()] == Migrations().revisions[::-1]


def test_opening_a_database_that_is_up_to_date_does_not_import_alembic(tmp_path):
    """Every start would take a tenth longer."""
    prepare = f"SqliteFile(Path({str(tmp_path / 'manager.db')!r}), StoreSettings(), Migrations()).prepare()"
    opened = f"import sys; from supervisor.store.sqlite_file import *; {prepare}; print('alembic' in sys.modules)"
    told = [subprocess.run([sys.executable, "-c", opened], capture_output=True, check=True).stdout for _ in range(2)]
    assert told == [b"True\n", b"False\n"]


def test_every_table_and_column_is_documented():
    """The reference is complete, and documents nothing that is not there."""
    documented: dict[str, set[str]] = {}
    for line in REFERENCE.read_text().partition("## Tables")[2].splitlines():
        if heading := re.fullmatch(r"### `(\w+)`", line):
            columns = documented.setdefault(heading[1], set())
        elif row := re.match(r"\| `(\w+)` \|", line):
            columns.add(row[1])
    actual = {table.name: {column.name for column in table.columns} for table in Base.metadata.sorted_tables}
    assert documented == actual
