"""Lesson 07: a repository and a unit of work of one's own."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from asyncdb_nb.database.repository import Repository
from asyncdb_nb.lessons.exercises.common_mistakes import is_number, kind, outcome, raised, shown
from asyncdb_nb.lessons.exercises.exercise import Exercise

if TYPE_CHECKING:
    import pandas as pd

    from asyncdb_nb.database.database import Database

_NAMES = "select id, name from workflows.workflow order by id"
_LOCKED = 5.0  # seconds after which a lock is somebody's transaction that was left open


async def _own_repository(db: Database, repository: Any) -> str | None:
    if not isinstance(repository, type) or not issubclass(repository, Repository):
        return f"`TaskRepository` is {kind(repository)}, and a class made from `Repository[Task]` is asked for."
    if not callable(getattr(repository, "failed", None)):
        return "`TaskRepository` has no method `failed`."
    tasks = await db.frame("select step, status from workflows.task")
    for step in [*sorted(set(tasks["step"])), "no such step"]:
        call = f"failed({step!r})"
        async with db.session(readonly=True) as session:
            try:
                method = repository(session).failed  # type: ignore[attr-defined]
            except Exception as error:  # whatever a learner's code raises is told to the learner
                return raised("TaskRepository(session)", error)
            mine, wrong = await outcome(call, method, step)
        if wrong:
            return wrong
        if not is_number(mine):
            return f"`{call}` returned {_what(mine)}, and a number is asked for."
        if fault := _miscounted(call, mine, step, tasks):
            return fault
    return None


def _miscounted(call: str, mine: Any, step: str, tasks: pd.DataFrame) -> str | None:
    here, failed = tasks["step"] == step, tasks["status"] == "failed"
    if mine == (here & failed).sum():
        return None
    known = {
        here.sum(): "which is how many tasks the step has, failed or not",
        failed.sum(): "which is how many tasks have failed in all steps together",
        len(tasks): "which is how many tasks there are",
    }
    way = "more" if mine > (here & failed).sum() else "fewer"
    return f"`{call}` is {shown(mine)}, {known.get(mine, f'which is {way} than have failed')}."


async def _unit_of_work(db: Database, rename: Any) -> str | None:
    if not callable(rename):
        return f"`rename` is {kind(rename)}, and a function is asked for."
    first, second, third = (f"{word} {secrets.token_hex(4)}" for word in ("first", "second", "third"))
    insert = text("insert into workflows.workflow (name, owner) values (:first, 'check'), (:second, 'check')")
    async with db.session() as session:
        await session.execute(insert, {"first": first, "second": second})
    try:
        return await _taken(db, rename, first, second) or await _free(db, rename, first, third)
    finally:
        await _remove(db, [first, second, third])


async def _taken(db: Database, rename: Any, old: str, taken: str) -> str | None:
    before = await db.frame(_NAMES)
    mine, wrong = await outcome("rename(old, taken)", rename, old, taken)
    if wrong:
        return f"With a name that is taken, {wrong}"
    if not (await db.frame(_NAMES)).equals(before):
        return "With a name that is taken, `rename` has changed the workflows, and nothing may change."
    if mine is not False:
        return f"With a name that is taken, `rename` returned {_what(mine)}, and should return False."
    return None


async def _free(db: Database, rename: Any, old: str, new: str) -> str | None:
    wanted = (await db.frame(_NAMES)).replace({"name": {old: new}})
    mine, wrong = await outcome("rename(old, new)", rename, old, new)
    if wrong:
        return f"With a new name, {wrong}"
    found = await db.frame(_NAMES)
    if old in set(found["name"]):
        return f"`rename` returned {_what(mine)}, and the workflow still has its old name for everybody else."
    if not found.equals(wanted):
        return "`rename` has changed more than the name of one workflow."
    if mine is not True:
        return f"With a new name, `rename` returned {_what(mine)}, and should return True."
    return None


async def _remove(db: Database, names: list[str]) -> None:
    """Delete what the check has added, or say who keeps it."""
    statement = text("delete from workflows.workflow where name = any(:names)")
    try:
        async with db.session(timeout=_LOCKED) as session:
            await session.execute(statement, {"names": names})
    except DBAPIError as error:
        error.add_note("A session of `rename` was left open and locks its workflow: restart the kernel.")
        raise


def _what(value: Any) -> str:
    return shown(value) if isinstance(value, bool | int | str) or value is None else kind(value)


OWN_REPOSITORY = Exercise(
    ("TaskRepository",),
    _own_repository,
    "It counts right for every step.",
    "A repository can count already: `self.count(Task.step == ..., Task.status == ...)`.",
)
UNIT_OF_WORK = Exercise(
    ("rename",),
    _unit_of_work,
    "The new name is there, and a name that was taken changed nothing.",
    "The name is sent when the block ends. So put `try` around the whole block of `db.session()`, and catch "
    "`exc.IntegrityError`.",
)
