"""A value that does not fit, and what else a beginner meets first, is answered with what to type."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from models import Owner
from sqlalchemy import Integer, bindparam, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import FrameError, frame, frames, to_frame

DAY = "2024-02-01"


@pytest.mark.parametrize(
    ("statement", "value", "note"),
    [
        ("select now() > :x as a", DAY, ":x stands for a time. Give a datetime or a date, or cast the text: `:x::text"),
        ("select 1 = :x as a", "5", ":x stands for something that is no text. Give that, or cast the text: `:x::text"),
        ("select :x as a", 5, ":x got a value of type int. Give what fits there, or say what this is: `:x::int`"),
        ("select 'a' in (:x) as a", ["a"], "A list is one value: type `= any(:x)` instead of `in :x`."),
        (
            "select 'a' like :x as a",
            5,
            ":x got a value of type int, and text is expected there. Give a str, or cast it: `:x::int::text`.",
        ),
        ("select 'a' in :x as a", ["a"], "A list is one value: type `= any(:x)` instead of `in :x`."),
        ("select now() > :x as a", pd.Timestamp(DAY), ":x has no time zone. Give it one: `value.tz_localize('UTC')`"),
    ],
)
async def test_a_value_that_does_not_fit_is_named_with_what_would(
    session: AsyncSession, statement: str, value: Any, note: str
) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, statement, {"x": value})

    notes = getattr(raised.value, "__notes__", [])
    assert [each[: len(note)] for each in notes] == [note]


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("select now() > :x::text::timestamptz as a", DAY),
        ("select 5 = :x::text::int as a", "5"),
        ("select 5 = :x::int as a", 5),
        ("select '5' like :x::int::text as a", 5),
        ("select 'a' = any(:x) as a", ["a"]),
        ("select :x::int is null as a", None),
        ("select now() > :x as a", pd.Timestamp(np.datetime64(DAY)).to_pydatetime()),
        ("select now() > :x as a", pd.Timestamp(DAY).tz_localize("UTC")),
        ("select now() > :x as a", dt.date(2024, 2, 1)),
        ("select 'a' = :x as a", "a"),
        ("select '{}'::jsonb = :x as a", json.dumps({})),
        ("select :x and true as a", np.True_.item()),
    ],
)
async def test_what_is_advised_works(session: AsyncSession, statement: str, value: Any) -> None:
    assert (await frame(session, statement, {"x": value}))["a"].tolist() == [True]


async def test_several_statements_are_called_so(session: AsyncSession) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, "select 1; select 2")

    assert raised.value.__notes__ == [
        "These are several statements. Give them one at a time, or, where they change something, all of them to "
        "`%%asql --write` or `await db.execute(...)`."
    ]


async def test_what_would_write_in_a_readonly_transaction_says_where_to(tables: AsyncSession) -> None:
    await frame(tables, "select set_config('transaction_read_only', 'on', true)")
    with pytest.raises(DBAPIError) as raised:
        await frame(tables, f"insert into {Owner.__tablename__} values (1, 'x') returning id")

    assert raised.value.__notes__ == [
        "Only reading is allowed here. To write: `%%asql --write` in a cell; elsewhere `await db.execute(...)`, or a "
        "session of your own, `async with db.session() as session:`."
    ]


async def test_a_bind_of_a_select_is_named_by_its_number(session: AsyncSession) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, select((literal(1) == bindparam("x", type_=Integer)).label("a")), {"x": "5"})

    assert raised.value.__notes__ == ["$2 stands for something that is no text. Give that."]


@pytest.mark.parametrize("wrong", [{"dtype_backend": "numpy"}, {"max_rows": "5"}, {"max_rows": -1}])
def test_an_option_that_does_not_exist_is_refused_before_anything_is_sent(wrong: dict[str, Any]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"^{name}={value!r}: it is "):
        frame(AsyncSession(), "select 1", **wrong)


def test_results_that_were_not_awaited_are_not_taken_for_a_value() -> None:
    with pytest.raises(FrameError, match=r"There are no results yet\. .* Type: await frame\(session, \.\.\.\)"):
        to_frame(frame(AsyncSession(), "select 1"))


async def test_parts_go_into_async_for_and_say_so() -> None:
    parts: Any = frames(AsyncSession(), "select 1")

    assert repr(parts) == "These are read in parts. Type: async for part in frames(session, ...):"
    with pytest.raises(TypeError, match=r"There is not one result to await\. .*Type: async for part in"):
        await parts
    with pytest.raises(TypeError, match="This needs `async for`"):
        list(parts)
    with pytest.raises(AttributeError, match=r"There is no 'head' of all parts\. .*Type: async for part in"):
        parts.head()
    with pytest.raises(TypeError, match=r"There is no 'a' of all parts\. .*Type: async for part in"):
        parts["a"]


@pytest.mark.parametrize("name", ["pg_class", "pg_catalog.pg_class", '"pg_class"', 'pg_catalog."pg_class" ;'])
async def test_a_name_alone_is_answered_by_the_statement_that_reads_it(session: AsyncSession, name: str) -> None:
    """Which is true when typed."""
    with pytest.raises(DBAPIError) as raised:
        await frame(session, name)
    await session.rollback()
    [note] = raised.value.__notes__
    typed = note.partition("`")[2].partition("`")[0]

    assert len(await frame(session, typed))


@pytest.mark.parametrize(
    ("statement", "text"),
    [("select 'a' = \"it's\" as a", "'it''s'"), ('select 1 as a where "gift 100" = :x', "'gift 100'")],
)
async def test_a_text_in_double_quotes_is_taken_for_a_name_and_that_is_said(
    session: AsyncSession, statement: str, text: str
) -> None:
    with pytest.raises(DBAPIError, match="does not exist") as raised:
        await frame(session, statement, {"x": "a"} if ":x" in statement else None)

    expected = f"Double quotes are for names. If a text is meant, it takes single ones: {text}."
    assert expected in raised.value.__notes__


@pytest.mark.parametrize(
    "written", ["vatNumber", "VATNUMBER", "vatnumber", '"vatnumber"', "c.vatNumber", "C.vatnumber"]
)
async def test_a_column_with_capitals_is_answered_by_its_name_in_quotes(session: AsyncSession, written: str) -> None:
    """Which is true when typed."""
    source = 'from (select 1 as "vatNumber") as c'
    with pytest.raises(DBAPIError, match="does not exist") as raised:
        await frame(session, f"select {written} {source}")
    await session.rollback()
    note = raised.value.__notes__[-1]
    said, _, typed = note.removesuffix(".").partition(": ")

    assert "double quotes" in said
    assert list(await frame(session, f"select {typed} {source}")) == ["vatNumber"]


@pytest.mark.parametrize(
    ("statement", "typed"),
    [
        ('select c.STATUS from (select 1 as "STATUS") as c', 'c."STATUS"'),  # too far from it for PostgreSQL's hint
        ("update pg_temp.capitals set vatNumber = 1", '"vatNumber"'),  # which has no hint
    ],
)
async def test_capitals_that_postgresql_made_small_are_named_without_a_hint(
    session: AsyncSession, statement: str, typed: str
) -> None:
    await session.execute(text('create temp table capitals ("vatNumber" int) on commit drop'))
    with pytest.raises(DBAPIError, match="does not exist") as raised:
        await frame(session, statement + (" returning 1" if "update" in statement else ""))

    assert raised.value.__notes__ == [
        f"Capital letters without double quotes are read as small ones. If the name has them: {typed}."
    ]


@pytest.mark.parametrize("written", ["statsu", "STATSU"])
async def test_another_column_is_not_said_to_have_capitals(session: AsyncSession, written: str) -> None:
    with pytest.raises(DBAPIError, match="does not exist") as raised:
        await frame(session, f"select {written} from (select 1 as status) as c")

    assert "apital letters" not in " ".join(getattr(raised.value, "__notes__", ()))  # SQLAlchemy 2.0 has the hint
