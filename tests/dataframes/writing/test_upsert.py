"""Upserts against a model in Python: a dict of rows by key."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import Database, WriteError, write
from asyncdb_nb.dataframes.writing import write_connection

VALUES: dict[str, list[Any]] = {
    "n": [None, Decimal("1.0"), Decimal("1.00"), Decimal("NaN")],
    "t": [None, "", "a", "é"],
    "j": [None, {"a": 1}, [1, 2]],
    "p": [None, [1.0, 2.0], [0.0, 0.0]],
    "a": [None, [], [1, None]],
}
TABLES = {
    "a table": "create temp table items ({columns}, primary key (k, l))",
    "a partitioned table": "create temp table items ({columns}, primary key (k, l)) partition by hash (k); "
    "create temp table items_0 partition of items for values with (modulus 2, remainder 0); "
    "create temp table items_1 partition of items for values with (modulus 2, remainder 1)",
    "a view": "create temp table stored ({columns}, primary key (k, l)); "
    "create temp view items as select * from stored",
}
COLUMNS = "k int, l text, n numeric, t text, j json, p point, a int[] default '{{7}}'"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url) as db:
        yield db


@pytest.mark.parametrize("old", [True, False], ids=["as from 18 on", "as before 18"])
@pytest.mark.parametrize("made", TABLES.values(), ids=TABLES.keys())
async def test_random_upserts_leave_what_a_dict_of_rows_holds(
    session: AsyncSession, monkeypatch: pytest.MonkeyPatch, made: str, old: bool
) -> None:
    """Of types without equality (json, point), and of numbers that are equal but not the same (1.0 and 1.00), too."""
    if not old:
        monkeypatch.setattr(write_connection, "_HAS_OLD", 10_000)
    await upsert_against_model(session, made, seed=1, cases=15)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("made", TABLES.values(), ids=TABLES.keys())
async def test_many_random_upserts_leave_what_a_dict_of_rows_holds(session: AsyncSession, made: str) -> None:
    await upsert_against_model(session, made, seed=2, cases=700)


async def upsert_against_model(session: AsyncSession, made: str, *, seed: int, cases: int) -> None:
    choose = random.Random(seed)
    raw = (await (await session.connection()).get_raw_connection()).driver_connection
    await session.execute(text("select 1"))
    await raw.execute(made.format(columns=COLUMNS.format()))
    model: dict[tuple[int, str], dict[str, Any]] = {}
    for _ in range(cases):
        columns = choose.sample(sorted(VALUES), choose.randrange(len(VALUES) + 1))
        keys = {(choose.randrange(6), choose.choice("xyz")) for _ in range(choose.randrange(8))}
        rows = {key: {name: choose.choice(VALUES[name]) for name in columns} for key in keys}
        data = pd.DataFrame(
            {"k": pd.array([key[0] for key in rows], "Int64"), "l": pd.array([key[1] for key in rows], "string")}
        )
        for name in columns:
            data[name] = pd.Series([row[name] for row in rows.values()], dtype=object)

        written = await write(session, data.sample(frac=1, random_state=1), "items", if_exists="upsert", key=["k", "l"])

        new = [key for key in rows if key not in model]
        same = [key for key in rows if key in model and repr(model[key] | rows[key]) == repr(model[key])]
        assert (written.inserted, written.unchanged) == (len(new), len(same))
        assert (written.rows, written.updated) == (len(rows), len(rows) - len(new) - len(same))
        for key, row in rows.items():
            model[key] = model.get(key, {"n": None, "t": None, "j": None, "p": None, "a": [7]}) | row
        assert await stored(session) == {key: repr(row) for key, row in model.items()}


async def stored(session: AsyncSession) -> dict[tuple[int, str], str]:
    from asyncdb_nb import frame

    found = await frame(session, "select k, l, n, t, j, p, a from items", dtype_backend="numpy_nullable")
    rows = found.astype(object).where(found.notna() | found.map(lambda value: isinstance(value, Decimal)), None)
    return {
        (int(row.k), row.l): repr({name: getattr(row, name) for name in ("n", "t", "j", "p", "a")})
        for row in rows.itertuples()
    }


async def test_a_row_that_is_the_same_is_not_touched(session: AsyncSession) -> None:
    """No new version of it is written, and no trigger runs for it."""
    await session.execute(text("create temp table items (k int primary key, v float8)"))
    data = pd.DataFrame({"k": [1, 2], "v": [1.5, None]})
    await write(session, data, "items", if_exists="upsert", key="k")
    before = (
        await session.execute(text("select k, ctid::text, xmin::text from items order by k".replace("::", r"\:\:")))
    ).all()

    written = await write(session, data, "items", if_exists="upsert", key="k")

    after = (
        await session.execute(text("select k, ctid::text, xmin::text from items order by k".replace("::", r"\:\:")))
    ).all()
    assert (before, written.unchanged) == (after, 2)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"k": [1, 2, 1], "v": [1, 2, 3]}, r"2 rows of the data have the key k=1,.*drop_duplicates\(\['k'\]"),
        ({"k": [1, None], "v": [1, 2]}, r"Column 'k' takes no NULL, and in row 1 it is missing"),
        ({"v": [1]}, r"no column 'k'"),
    ],
    ids=["a key twice", "no key", "no column of the key"],
)
async def test_a_key_that_is_none_is_refused(session: AsyncSession, data: dict[str, Any], said: str) -> None:
    await session.execute(text("create temp table items (k int primary key, v int)"))

    with pytest.raises(WriteError, match=said):
        await write(session, pd.DataFrame(data), "items", if_exists="upsert", key="k")

    assert await session.scalar(text("select count(*) from items")) == 0


async def test_a_key_that_is_not_unique_in_the_table_is_refused_with_those_that_are(session: AsyncSession) -> None:
    await session.execute(
        text('create temp table items (k int primary key, v int, "a b" int, w int, unique (v, "a b"))')
    )
    await session.execute(text("create unique index on items (w) where w > 0"))

    for key in ("w", ["k", "v"]):
        with pytest.raises(WriteError, match=r"There is key=\['k'\]; key=\['v', 'a b'\]\. Or make one"):
            await write(session, pd.DataFrame({"k": [1], "v": [1], "w": [1]}), "items", if_exists="upsert", key=key)
    with pytest.raises(WriteError, match="key='id'"):
        await write(session, pd.DataFrame({"k": [1]}), "items", if_exists="upsert")


async def test_the_first_upsert_makes_the_table_with_its_primary_key(session: AsyncSession) -> None:
    data = pd.DataFrame({"k": [1, 2], "v": ["a", "b"]})

    first = await write(session, data, "made_by_upsert", if_exists="upsert", key="k")
    second = await write(session, data.assign(v="c"), "made_by_upsert", if_exists="upsert", key="k")

    assert (first.created, first.inserted, second.created, second.updated) == (True, 2, False, 2)


async def test_rows_of_an_identity_that_the_server_gives_are_found_by_it(session: AsyncSession) -> None:
    """`generated always` is a key like another; in an append only the server gives it."""
    await session.execute(text("create temp table items (id int generated always as identity primary key, v text)"))
    await write(session, pd.DataFrame({"v": ["a", "b"]}), "items")

    changed = pd.DataFrame({"id": [2, 9], "v": ["c", "d"]})
    written = await write(session, changed, "items", if_exists="upsert", key="id")

    assert (written.inserted, written.updated) == (1, 1)
    assert (await session.execute(text("select id, v from items order by id"))).all() == [(1, "a"), (2, "c"), (9, "d")]
    with pytest.raises(WriteError, match="Only the server gives column 'id'"):
        await write(session, changed, "items")


async def test_scenario_79_concurrent_upserts_of_the_same_keys_keep_one_row_of_each(db: Database) -> None:
    """What each reports adds up, and every row is one of those that were written."""
    await db.write(pd.DataFrame({"k": [0], "v": [-1]}), "contended", if_exists="replace", key="k")
    try:

        async def upsert(number: int) -> Any:
            keys = random.Random(number).sample(range(300), 200)
            data = pd.DataFrame({"k": keys, "v": number})
            return await db.write(data, "contended", if_exists="upsert", key="k")

        written = await asyncio.gather(*(upsert(number) for number in range(8)))

        found = await db.frame("select * from contended")
        assert found["k"].is_unique
        assert sum(each.inserted for each in written) == len(found) - 1
        assert {each.rows for each in written} == {200}
        written_to = [set(random.Random(number).sample(range(300), 200)) for number in range(8)]
        assert all(v == -1 or k in written_to[v] for k, v in zip(found["k"], found["v"], strict=True))
    finally:
        async with db.session() as session:
            await session.execute(text("drop table contended"))


async def test_scenario_79_upserts_beside_other_writers_report_what_a_trigger_has_seen(db: Database) -> None:
    await upserts_beside_others(db, seed=1, rounds=5)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_many_upserts_beside_other_writers_report_what_a_trigger_has_seen(db: Database) -> None:
    """2,000 of them."""
    await upserts_beside_others(db, seed=2, rounds=500)


async def upserts_beside_others(db: Database, *, seed: int, rounds: int) -> None:
    """Four writers upsert the same keys, while a fifth changes and deletes rows.

    A trigger writes down each row that is inserted or changed, in the transaction that does so. No two orders of
    transactions leave the same rows; but each must report what the trigger saw of it, and have its own values there.
    """
    await db.execute(
        "create table contended (k int primary key, v text, n numeric); "
        "create table seen (at bigserial, by xid8, op text, k int, v text); "
        "create function note() returns trigger language plpgsql as $$ begin "
        "insert into seen (by, op, k, v) values (pg_current_xact_id(), left(tg_op, 1), "
        "case when tg_op = 'DELETE' then old.k else new.k end, case when tg_op = 'DELETE' then null else new.v end); "
        "return null; end $$; "
        "create trigger note after insert or update or delete on contended for each row execute function note()"
    )
    reports: dict[str, tuple[Any, dict[int, str]]] = {}
    working = 4

    async def upsert(writer: int) -> None:
        nonlocal working
        choose = random.Random(seed * 10 + writer)
        for number in range(rounds):
            keys = choose.sample(range(40), choose.randrange(1, 25))
            values = {k: choose.choice(["same", f"{writer}.{number}"]) for k in keys}
            data = pd.DataFrame({"k": keys, "v": values.values()})
            async with db.session() as session:
                by = await session.scalar(text("select pg_current_xact_id()::text".replace("::", r"\:\:")))
                reports[by] = await write(session, data, "contended", if_exists="upsert", key="k"), values
        working -= 1

    async def disturb() -> None:
        choose = random.Random(seed)
        while working:
            k = choose.randrange(40)
            await db.execute(
                choose.choice([f"delete from contended where k = {k}", f"update contended set v = 'x' where k = {k}"])
            )

    try:
        await asyncio.gather(*map(upsert, range(4)), disturb())

        seen = await db.frame("select by::text as by, op, k, v from seen order by at")
        of = dict(iter(seen.groupby("by")))
        for by, (written, values) in reports.items():
            rows = of.get(by, seen[:0])
            ops = rows["op"].tolist()
            assert (written.inserted, written.updated) == (ops.count("I"), ops.count("U"))
            assert written.unchanged == len(values) - len(rows)
            assert all(values[k] == v for k, v in zip(rows["k"], rows["v"], strict=True))
        last = dict(zip(seen["k"], seen["v"], strict=True))
        left = {k: v for k, v in last.items() if not pd.isna(v)}
        found = await db.frame("select k, v from contended")
        assert dict(zip(found["k"], found["v"], strict=True)) == left
        assert len(reports) == 4 * rounds
    finally:
        await db.execute("drop table contended, seen; drop function note")


async def test_what_an_upsert_meets_on_the_server_is_the_servers_error_and_changes_nothing(
    session: AsyncSession,
) -> None:
    await session.execute(text("create temp table items (k int primary key, v int check (v > 0), w int unique)"))
    await write(session, pd.DataFrame({"k": [1], "v": [1], "w": [5]}), "items")

    with pytest.raises(IntegrityError, match="check constraint"):
        await write(session, pd.DataFrame({"k": [1, 2], "v": [3, -1]}), "items", if_exists="upsert", key="k")
    with pytest.raises(IntegrityError, match="items_w_key") as caught:
        await write(
            session, pd.DataFrame({"k": [3, 2], "v": [3, 1], "w": [1, 5]}), "items", if_exists="upsert", key="k"
        )

    assert "row 1 of the data: k=2, v=1, w=5" in caught.value.__notes__[0]
    assert (await session.execute(text("select * from items"))).all() == [(1, 1, 5)]
