"""Tables of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def sequence() -> sa.Column[int]:
    return sa.Column(
        "sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
    )


def upgrade() -> None:
    op.create_table(
        "plugins",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("Api_prefix", sa.Text(), nullable=False),
        sa.Column("tag_for_identified", sa.JSON(), nullable=False),
        sa.Column("trigger", sa.BigInteger(), nullable=False),
        sa.Column("add_time", sa.Double(), nullable=False),
        sa.Column("update_time", sa.Double(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("module", sa.Text(), nullable=False, unique=True),
        sa.Column("moduleDir", sa.Text(), nullable=False),
        sa.Column("status", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("metaFile", sa.JSON(), nullable=False),
    )
    op.create_table(
        "processes",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("start_ticks", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("nonce_hash", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
    )
    op.create_table(
        "exits",
        sequence(),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("exit_code", sa.BigInteger()),
        sa.Column("signal", sa.BigInteger()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("uptime", sa.Double(), nullable=False),
        sa.Column("log_tail", sa.JSON(), nullable=False),
        sa.Column("stacks", sa.Text()),
        sa.Column("pid", sa.BigInteger()),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("peak_memory_mb", sa.Double()),
        sa.Column("cpu_seconds", sa.Double()),
        sa.Column("in_flight", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
    )
    op.create_index("ix_exits_name", "exits", ["name", "sequence"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("trigger", sa.JSON(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("next_run", sa.Double()),
        sa.Column("update_time", sa.Double(), nullable=False),
    )
    op.create_table(
        "runs",
        sequence(),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("started", sa.Double()),
        sa.Column("finished", sa.Double()),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("duration", sa.Double()),
        sa.Column("exception", sa.Text()),
        sa.Column("traceback", sa.Text()),
        sa.Column("log_tail", sa.JSON(), nullable=False),
    )
    op.create_index("ix_runs_job", "runs", ["job", "sequence"])
    op.create_table(
        "samples",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("sampled", sa.Double(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger()),
        sa.Column("cpu_percent", sa.Double()),
        sa.Column("cpu_seconds", sa.Double()),
        sa.Column("memory_mb", sa.Double()),
        sa.Column("uss_mb", sa.Double()),
        sa.Column("threads", sa.BigInteger()),
        sa.Column("open_files", sa.BigInteger()),
    )
    op.create_index("ix_samples_sampled", "samples", ["sampled"])
    op.create_table(
        "audit",
        sequence(),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("email", sa.Text(), nullable=False, unique=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False, unique=True),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double()),
        sa.Column("last_used", sa.Double()),
        sa.Column("revoked", sa.Double()),
    )
    valid = sa.text("revoked IS NULL")
    op.create_index("ix_tokens_name", "tokens", ["name"], unique=True, sqlite_where=valid, postgresql_where=valid)
