"""
The tables of the sample domain: a workflow has runs, a run has tasks.

They live in the schema `workflows` and in a `MetaData` of their own, so a user's tables and mapped classes never
collide with them; a schema of that name that is not ours is refused. An event log has the same tables in a schema of
its own, so that it never counts among the sample's figures. A task is one attempt at one step: a step that
failed twice before it succeeded left three tasks. Times are `timestamptz`; seconds spent are generated columns, so SQL,
the ORM and frames all read the same numbers.

    queued_at ──waiting_seconds──> started_at ──working_seconds──> finished_at
        └──────────────────────elapsed_seconds──────────────────────────┘

A task whose start nobody recorded (an event log often has the completion only) has an elapsed time, and neither of its
parts. Relationships are `lazy="raise"`: what a query did not load is an error that says so, never a hidden query.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Computed,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Numeric,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.schema import CreateSchema, DropSchema
from sqlalchemy.types import BigInteger, Double

from asyncdb_nb.engine.search_path import EQ, builtin_names
from asyncdb_nb.errors import SchemaTakenError

SCHEMA = "workflows"

_MARK = "asyncdb_nb: the sample domain"  # the schema's comment, by which we know our own
_COMMENT = f"""
select pg_catalog.obj_description(oid, 'pg_namespace') from pg_catalog.pg_namespace
where nspname {EQ} cast(:schema as pg_catalog.name)
"""  # noqa: S608  constants
_SCHEMAS = f"""
select nspname from pg_catalog.pg_namespace
where pg_catalog.obj_description(oid, 'pg_namespace') {EQ} cast(:mark as pg_catalog.text) order by nspname
"""  # noqa: S608  constants
_PREPARER = PGDialect().identifier_preparer  # type: ignore[no-untyped-call]
_SETUP_LOCK = 6_017_733_205  # any number, the same in every process: two kernels that start together take turns


class Status(StrEnum):
    """How far a run or a task has come. Text in the database, and equal to its text: `Status.FAILED == "failed"`."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Base(DeclarativeBase):
    """The mapped classes of this domain."""

    metadata = MetaData(
        schema=SCHEMA,
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        },
    )
    type_annotation_map = {  # noqa: RUF012  declared so by SQLAlchemy
        str: Text(),
        float: Double(),
        datetime: DateTime(timezone=True),
        Decimal: Numeric(12, 4),
        list[str]: ARRAY(Text()),
        dict[str, Any]: JSONB(),
        Status: Enum(
            Status,
            name="status",
            native_enum=False,
            create_constraint=True,
            values_callable=lambda kind: [member.value for member in kind],
        ),
    }
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012  a refresh later would need an await


def _seconds(earlier: str, later: str) -> Computed:
    return Computed(f"(extract(epoch from {later} - {earlier}))::double precision", persisted=True)


class Timed:
    """When something was queued, started and finished, and the seconds between."""

    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    waiting_seconds: Mapped[float | None] = mapped_column(_seconds("queued_at", "started_at"))
    working_seconds: Mapped[float | None] = mapped_column(_seconds("started_at", "finished_at"))
    elapsed_seconds: Mapped[float | None] = mapped_column(_seconds("queued_at", "finished_at"))


class Workflow(Base):
    """Something that is run again and again: an import, a report, the process that an event log tells of."""

    __tablename__ = "workflow"
    __table_args__ = (
        CheckConstraint("priority between 1 and 5", name="priority"),
        Index(None, "tags", postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    owner: Mapped[str | None] = mapped_column(index=True)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="3", doc="1 is the most urgent, 5 the least.")
    tags: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    source: Mapped[str] = mapped_column(
        server_default="user", doc="`sample`, the name of an event log's file, or `user`."
    )
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    retired_at: Mapped[datetime | None]

    runs: Mapped[list[Run]] = relationship(
        back_populates="workflow", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )

    def __repr__(self) -> str:
        return f"<Workflow {self.id} {self.name!r}>"


class Run(Timed, Base):
    """One run of a workflow; one case of an event log."""

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint("priority between 1 and 5", name="priority"),
        UniqueConstraint("workflow_id", "case_id"),
        Index(None, "workflow_id", "queued_at"),
        Index(None, "queued_at"),
        Index(None, "finished_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    workflow_id: Mapped[int] = mapped_column(ForeignKey(Workflow.id, ondelete="CASCADE"))
    case_id: Mapped[str] = mapped_column(doc="What the outside world calls this run; unique within its workflow.")
    status: Mapped[Status] = mapped_column(server_default=Status.QUEUED)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="3")
    retries: Mapped[int] = mapped_column(server_default="0", doc="Tasks that repeat a step of this run.")
    cost: Mapped[Decimal | None] = mapped_column(doc="The sum over the tasks, in the owner's currency.")
    context: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))

    workflow: Mapped[Workflow] = relationship(back_populates="runs", lazy="raise")
    tasks: Mapped[list[Task]] = relationship(
        back_populates="run",
        lazy="raise",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="Task.position",
    )

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.case_id!r} {self.status}>"


class Task(Timed, Base):
    """One attempt at one step of a run; one event of an event log."""

    __tablename__ = "task"
    __table_args__ = (
        CheckConstraint("attempt >= 1", name="attempt"),
        UniqueConstraint("run_id", "position"),
        Index("ix_task_failed", "step", postgresql_where=text("status = 'failed'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey(Run.id, ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(doc="1 for the first task of the run, in the order in which they came.")
    step: Mapped[str] = mapped_column(doc="What was to be done; the activity of an event log.")
    attempt: Mapped[int] = mapped_column(server_default="1", doc="2 and more where the step is done again.")
    status: Mapped[Status] = mapped_column(server_default=Status.QUEUED)
    worker: Mapped[str | None] = mapped_column(doc="Who or what did it; the resource of an event log.")
    error: Mapped[str | None] = mapped_column(doc="Why it failed.")
    cost: Mapped[Decimal | None]
    context: Mapped[dict[str, Any] | None]

    run: Mapped[Run] = relationship(back_populates="tasks", lazy="raise")

    def __repr__(self) -> str:
        return f"<Task {self.id} {self.step!r} {self.status}>"


def tables_in(schema: str) -> MetaData:
    """Describe the tables as they are in another schema, where an event log is."""
    metadata = MetaData(naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        table.to_metadata(metadata, schema=schema)
    return metadata


def in_schema(schema: str) -> dict[str, Any]:
    """Execution options with which a statement over the mapped classes is about the tables of one schema."""
    return {} if schema == SCHEMA else {"schema_translate_map": {SCHEMA: schema}}


async def create_tables(connection: AsyncConnection, schema: str = SCHEMA) -> None:
    """
    Create a schema and the tables where they are missing, inside the caller's transaction. Safe to race.

    Args:
        connection: A connection in a transaction.
        schema: The sample's, or one for an event log.

    Raises:
        SchemaTakenError: The database has a schema of this name of its own.
    """
    await connection.execute(text("select pg_catalog.pg_advisory_xact_lock(:key)"), {"key": _SETUP_LOCK})
    if not await _is_ours(connection, schema):
        await connection.execute(CreateSchema(schema))
        await connection.execute(text(f"comment on schema {quoted(schema)} is '{_MARK}'"))
    metadata = Base.metadata if schema == SCHEMA else tables_in(schema)
    async with builtin_names(connection):  # SQLAlchemy looks the tables up by operators without a schema
        await connection.run_sync(metadata.create_all)


async def drop_tables(connection: AsyncConnection, schema: str = SCHEMA) -> None:
    """
    Drop a schema and all that is in it, inside the caller's transaction. Without the schema, nothing happens.

    Args:
        connection: A connection in a transaction.
        schema: The sample's, or one of an event log.

    Raises:
        SchemaTakenError: The database has a schema of this name of its own.
    """
    if await _is_ours(connection, schema):
        await connection.execute(text("SET LOCAL client_min_messages = warning"))  # no list of what is dropped
        await connection.execute(DropSchema(schema, cascade=True))


async def our_schemas(connection: AsyncConnection) -> list[str]:
    """Name the schemas that hold these tables: the sample's, and those of event logs."""
    found = await connection.scalars(text(_SCHEMAS), {"mark": _MARK})
    return list(found)


def quoted(schema: str) -> str:
    """Write the name of a schema as SQL takes it."""
    return _PREPARER.quote_schema(schema)


async def _is_ours(connection: AsyncConnection, schema: str) -> bool:
    """Say whether our schema is there."""
    found = await connection.execute(text(_COMMENT), {"schema": schema})
    row = found.first()
    if row is not None and row[0] != _MARK:
        raise SchemaTakenError(schema)
    return row is not None
