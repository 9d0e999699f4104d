"""Tables of the manager database.

Times are seconds since the epoch, as floats, in every table: SQLite has no time zones and both databases compare floats
alike. Text has no length limit. A change here needs a migration (migrations/versions); a test compares the two. Every
table and column is documented in docs/reference/database.md; a test fails when one is not.
"""

import json
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Double, Index, Integer, Text, TypeDecorator, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

VERSION_TABLE = "xcore_schema"
"""Not Alembic's default name: a database may be shared with an application that uses Alembic as well."""


def storable(value: str) -> str:
    """What output of foreign programs becomes: PostgreSQL takes no NUL, and neither database a lone surrogate."""
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def storable_json(value: object) -> str:
    """Raise ValueError for NaN and infinity, which PostgreSQL's JSON does not know."""
    return storable(json.dumps(value, ensure_ascii=False, allow_nan=False))


class StorableText(TypeDecorator[str]):
    """Text of any origin."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


Sequence = BigInteger().with_variant(Integer(), "sqlite")
"""Counts rows in order of arrival: the wall clock may jump. SQLite counts only columns declared INTEGER."""


class Base(DeclarativeBase):
    """Registry of the tables."""

    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy's interface)
        str: StorableText(),
        int: BigInteger(),
        float: Double(),
        bool: Boolean(),
        list[str]: JSON(),
        dict[str, Any]: JSON(),
    }


class Plugin(Base):
    """A plugin that was found once; ``active`` and ``instances`` are the operator's wishes and survive the folder."""

    __tablename__ = "plugins"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    version: Mapped[str]
    author: Mapped[str]
    api_prefix: Mapped[str] = mapped_column("Api_prefix")
    tag_for_identified: Mapped[list[str]]
    trigger: Mapped[int]
    add_time: Mapped[float]
    update_time: Mapped[float]
    active: Mapped[bool]
    instances: Mapped[int | None]


class Task(Base):
    """A background task that was found once; ``status``: enabled at boot."""

    __tablename__ = "tasks"

    id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    type: Mapped[str]
    module: Mapped[str] = mapped_column(unique=True)
    module_dir: Mapped[str] = mapped_column("moduleDir")
    status: Mapped[bool]
    description: Mapped[str]
    version: Mapped[str]
    author: Mapped[str]
    meta_file: Mapped[dict[str, Any]] = mapped_column("metaFile")


class Process(Base):
    """A process that runs now. Known by all of pid, start ticks, boot id and nonce, never by its pid alone."""

    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    pid: Mapped[int]
    start_ticks: Mapped[int]
    boot_id: Mapped[str]
    nonce_hash: Mapped[str]
    incarnation: Mapped[str]
    generation: Mapped[str]
    started: Mapped[float]


class Exit(Base):
    """The end of one process; the fields of views.ExitView."""

    __tablename__ = "exits"
    __table_args__ = (Index("ix_exits_name", "name", "sequence"),)

    sequence: Mapped[int] = mapped_column(Sequence, primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    instance: Mapped[str]
    kind: Mapped[str]
    cause: Mapped[str]
    exit_code: Mapped[int | None]
    signal: Mapped[int | None]
    actor: Mapped[str]
    time: Mapped[float]
    uptime: Mapped[float]
    log_tail: Mapped[list[str]]
    stacks: Mapped[str | None]
    pid: Mapped[int | None]
    generation: Mapped[str]
    peak_memory_mb: Mapped[float | None]
    cpu_seconds: Mapped[float | None]
    in_flight: Mapped[int]
    message: Mapped[str]


class Job(Base):
    """A scheduled job; ``next_run`` survives a restart, ``paused`` is the operator's wish."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    owner: Mapped[str]
    entry: Mapped[str]
    trigger: Mapped[dict[str, Any]]
    paused: Mapped[bool]
    next_run: Mapped[float | None]
    update_time: Mapped[float]


class Run(Base):
    """One run of a job, or one that was skipped or missed; the fields of task_views.RunView.

    Outlives its job, hence no foreign key. There may be a million: every index is for one question of runs.py.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_job", "job", "sequence"),
        Index("ix_runs_finished", "finished"),
        Index(
            "ix_runs_open",
            "sequence",
            sqlite_where=text("outcome IS NULL"),
            postgresql_where=text("outcome IS NULL"),
        ),
    )

    sequence: Mapped[int] = mapped_column(Sequence, primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    job: Mapped[str]
    started: Mapped[float | None]
    finished: Mapped[float | None]
    outcome: Mapped[str | None]
    duration: Mapped[float | None]
    exception: Mapped[str | None]
    traceback: Mapped[str | None]
    log_tail: Mapped[list[str]]
    scheduled: Mapped[float | None]
    actor: Mapped[str]
    pid: Mapped[int | None]
    peak_memory_mb: Mapped[float | None]
    cpu_seconds: Mapped[float | None]
    message: Mapped[str]


class Sample(Base):
    """What one process used at one moment; the fields of views.ResourceView."""

    __tablename__ = "samples"
    __table_args__ = (Index("ix_samples_sampled", "sampled"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    sampled: Mapped[float] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    pid: Mapped[int | None]
    cpu_percent: Mapped[float | None]
    cpu_seconds: Mapped[float | None]
    memory_mb: Mapped[float | None]
    uss_mb: Mapped[float | None]
    threads: Mapped[int | None]
    open_files: Mapped[int | None]


class Audit(Base):
    """Who did what to whom, and what came of it."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_id", "id", unique=True),)

    sequence: Mapped[int] = mapped_column(Sequence, primary_key=True)
    id: Mapped[str]
    time: Mapped[float]
    actor: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    detail: Mapped[dict[str, Any]]
    outcome: Mapped[str]


class User(Base):
    """Somebody who logs in; ``password_hash`` is argon2's."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password_hash: Mapped[str]
    created: Mapped[float]
    active: Mapped[bool]


class Token(Base):
    """An API token, by the SHA-256 (hex) of its text. A name is unique among tokens that are not revoked."""

    __tablename__ = "tokens"
    __table_args__ = (
        Index(
            "ix_tokens_name",
            "name",
            unique=True,
            sqlite_where=text("revoked IS NULL"),
            postgresql_where=text("revoked IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    created: Mapped[float]
    expires: Mapped[float | None]
    last_used: Mapped[float | None]
    revoked: Mapped[float | None]
