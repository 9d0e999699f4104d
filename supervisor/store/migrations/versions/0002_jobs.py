"""What is known of a run of a job; runs are on record from their start; an audit entry is known by its id."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    upgrade_runs()
    upgrade_audit()


def upgrade_runs() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.alter_column("outcome", existing_type=sa.Text(), nullable=True)
        runs.add_column(sa.Column("scheduled", sa.Double()))
        runs.add_column(sa.Column("actor", sa.Text(), nullable=False, server_default=""))
        runs.add_column(sa.Column("pid", sa.BigInteger()))
        runs.add_column(sa.Column("peak_memory_mb", sa.Double()))
        runs.add_column(sa.Column("cpu_seconds", sa.Double()))
        runs.add_column(sa.Column("message", sa.Text(), nullable=False, server_default=""))
    # The defaults were for the rows that were there: what is written from now on says everything.
    with op.batch_alter_table("runs") as runs:
        runs.alter_column("actor", existing_type=sa.Text(), existing_nullable=False, server_default=None)
        runs.alter_column("message", existing_type=sa.Text(), existing_nullable=False, server_default=None)
    unended = sa.text("outcome IS NULL")
    op.create_index("ix_runs_finished", "runs", ["finished"])
    op.create_index("ix_runs_open", "runs", ["sequence"], sqlite_where=unended, postgresql_where=unended)


def upgrade_audit() -> None:
    with op.batch_alter_table("audit") as audit:
        audit.add_column(sa.Column("id", sa.Text()))
    op.execute("UPDATE audit SET id = CAST(sequence AS TEXT)")
    with op.batch_alter_table("audit") as audit:
        audit.alter_column("id", existing_type=sa.Text(), nullable=False)
    op.create_index("ix_audit_id", "audit", ["id"], unique=True)
