"""The migrations make what models.py describes, and the documentation describes it as well."""

import re
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

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
