"""Which runs a question is about: one workflow by name, and a half-open span of time in which they were queued."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Double, cast, func

from asyncdb_nb.workflows.models import Run, Workflow

if TYPE_CHECKING:
    from sqlalchemy.sql import Select


def only(workflow: str | None, since: date | None, until: date | None, statement: Any) -> Select[Any]:
    """Limit a select from runs joined with workflows to those that a question is about."""
    if workflow is not None:
        statement = statement.where(Workflow.name == workflow)
    if since is not None:
        statement = statement.where(Run.queued_at >= _moment(since))
    if until is not None:
        statement = statement.where(Run.queued_at < _moment(until))
    limited: Select[Any] = statement
    return limited


def ratio(part: ColumnElement[Any], whole: ColumnElement[Any]) -> ColumnElement[Any]:
    """Divide as floating point numbers; by zero, the answer is missing."""
    return cast(part, Double) / cast(func.nullif(whole, 0), Double)


def _moment(value: date) -> datetime:
    if not isinstance(value, date):  # a datetime is one, too
        raise TypeError(f"`since` and `until` are days or moments, such as `date(2024, 2, 1)`; not {value!r}.")
    if not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    return value if value.tzinfo else value.replace(tzinfo=UTC)
