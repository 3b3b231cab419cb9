"""Tables and statements are cut so that the parts together are the whole: no row twice, none left out."""

from __future__ import annotations

from typing import Any

import pytest
from entries import Entry, Level
from own_type import OWN_TYPE
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import load_only
from tiers import few_of

from asyncdb_nb import Database, UnsplittableError, frame
from asyncdb_nb.database.snapshot import Snapshot

N = 3_000


async def make(db: Database, *statements: str) -> None:
    async with db.session() as session:
        for statement in statements:
            await session.execute(text(statement.replace(":", r"\:")))


async def read(snap: Snapshot, parts: list[Any], params: Any = None) -> list[list[Any]]:
    """The rows of each part, as lists of the first column."""
    found = []
    async with snap.session() as session:
        for part in parts:
            found.append((await frame(session, part, params)).iloc[:, 0].tolist())
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 7, 1_000])
async def test_blocks_are_all_rows_in_the_order_of_the_disk(db: Database, n: int) -> None:
    await make(
        db,
        f"create table wide as select g as id, repeat('x', 100) as t from generate_series(1, {N}) g",
        "delete from wide where id % 3 = 0",
        "insert into wide select -g, 'y' from generate_series(1, 10) g",
    )
    on_disk = (await db.frame("select id from wide order by ctid"))["id"].tolist()

    async with db.snapshot("wide") as snap:
        parts = await snap.blocks("wide", n)
        found = await read(snap, parts)

    assert [id_ for part in found for id_ in part] == on_disk
    assert len(parts) == min(n, 50) if n < 50 else len(parts) > 7


async def test_each_reads_its_range_of_blocks_alone(db: Database) -> None:
    await make(db, f"create table wide as select g as id, repeat('x', 100) as t from generate_series(1, {N}) g")
    async with db.snapshot("wide") as snap, snap.session() as session:
        plans = [
            "\n".join((await frame(session, f"explain {part}")).iloc[:, 0]) for part in await snap.blocks("wide", 3)
        ]

    assert all(plan.startswith("Tid Range Scan on wide") for plan in plans), plans


async def test_rows_that_come_after_the_size_was_asked_for_are_in_the_last_part(db: Database) -> None:
    await make(db, "create table empty (id int)")
    async with db.snapshot("empty") as snap:
        parts = await snap.blocks("empty", 4)
    await make(db, f"insert into empty select g from generate_series(1, {N}) g")
    async with db.snapshot("empty") as snap:
        assert [len(part) for part in await read(snap, parts)] == [N]


async def test_partitions_come_one_after_the_other_with_the_columns_of_the_whole(db: Database) -> None:
    await make(
        db,
        "create table whole (id int not null, name text, gone int) partition by range (id)",
        "alter table whole drop column gone",
        "create table late (name text, id int not null)",
        "create table early partition of whole for values from (0) to (100)",
        "alter table whole attach partition late for values from (100) to (200)",
        "create table deep partition of whole for values from (200) to (400) partition by range (id)",
        "create table deep_1 partition of deep for values from (200) to (300)",
        "create table deep_2 partition of deep for values from (300) to (400)",
        "insert into whole select g, 'n' || g from generate_series(1, 399) g",
    )
    async with db.snapshot("whole") as snap:
        parts = await snap.blocks("whole", 2)
        async with snap.session() as session:
            frames = [await frame(session, part) for part in parts]

    assert len(parts) == 4
    assert all(list(part.columns) == ["id", "name"] for part in frames)
    assert sorted(id_ for part in frames for id_ in part["id"]) == list(range(1, 400))
    assert [part["id"].iloc[0] for part in frames] == [100, 1, 200, 300]  # in the order of their creation


async def test_a_partition_that_is_attached_later_is_not_part_of_the_snapshot(db: Database) -> None:
    await make(
        db,
        "create table whole (id int) partition by range (id)",
        "create table one partition of whole for values from (0) to (10)",
        "create table two (id int)",
        "insert into two values (15)",
    )
    async with db.snapshot("whole") as snap:
        await make(db, "alter table whole attach partition two for values from (10) to (20)")
        assert len(await snap.blocks("whole", 2)) == 1
        assert await read(snap, await snap.blocks("whole", 2)) == [[]]


async def test_a_partitioned_table_without_partitions_is_empty(db: Database) -> None:
    await make(db, "create table whole (id int) partition by range (id)")
    async with db.snapshot("whole") as snap:
        assert await read(snap, await snap.blocks("whole", 2)) == [[]]


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["create view odd as select 1 as id"], "is a view"),
        (["create table odd (id int)", "create table child () inherits (odd)"], "INHERITS"),
        (
            [
                "create table odd (id int) partition by range (id)",
                "create foreign data wrapper w",
                "create server s foreign data wrapper w",
                "create foreign table far partition of odd for values from (0) to (9) server s",
            ],
            "foreign table",
        ),
    ],
    ids=["a view", "children by INHERITS", "a foreign partition"],
)
async def test_what_has_no_blocks_of_its_own_is_refused_with_the_reason(
    db: Database, statements: list[str], reason: str
) -> None:
    await make(db, *statements)
    async with db.snapshot("odd") as snap:
        with pytest.raises(UnsplittableError, match=reason):
            await snap.blocks("odd", 2)


async def test_an_access_method_that_is_not_the_heap_is_refused(db: Database) -> None:
    await make(
        db,
        "create access method other type table handler heap_tableam_handler",
        "create table odd (id int) using other",
    )
    async with db.snapshot("odd") as snap:
        with pytest.raises(UnsplittableError, match="access method other"):
            await snap.blocks("odd", 2)


async def test_a_child_by_inherits_is_a_table_like_any_other(db: Database) -> None:
    await make(
        db,
        "create table parent (id int)",
        "create table child () inherits (parent)",
        "insert into child select g from generate_series(1, 9) g",
    )
    async with db.snapshot("child") as snap:
        assert await read(snap, await snap.blocks("child", 2)) == [list(range(1, 10))]


async def test_partitions_that_may_be_read_through_the_whole_alone_are_refused(
    guest_url: str, fresh_database_url: str
) -> None:
    """With row security of the whole, and without a right to the partition."""
    guest = guest_url.replace("/tests", "/" + fresh_database_url.split("?")[0].rpartition("/")[2])
    async with Database(fresh_database_url) as db, Database(guest) as theirs:
        await make(
            db,
            "create table whole (id int) partition by range (id)",
            "create table one partition of whole for values from (0) to (10)",
            "grant select on whole to guest",
        )
        async with theirs.snapshot("whole") as snap:
            with pytest.raises(UnsplittableError, match=r"grant select on public\.one"):
                await snap.blocks("whole", 2)
        await make(
            db,
            "grant select on one to guest",
            "alter table whole enable row level security",
            "create policy p on whole using (id > 5)",
        )
        async with theirs.snapshot("whole") as snap:
            with pytest.raises(UnsplittableError, match="row security"):
                await snap.blocks("whole", 2)
        await make(db, "alter table whole disable row level security")
        async with theirs.snapshot("whole") as snap:
            assert len(await snap.blocks("whole", 2)) == 1


KEYS = {
    "int with NULLs": ("nullif(g % 5, 0)", "percentile"),
    "int, many equal": ("g % 3", "percentile"),
    "int by width": ("nullif(g * g, 25)::int8", "width"),
    "numeric by width": ("case g when 1 then 'NaN' else (g * 1.7)::numeric(9, 2) end::numeric", "width"),
    "float with NaN": ("case g when 1 then 'NaN' when 2 then 'Infinity' else g / 3.0 end::float8", "percentile"),
    "float by width": ("case g when 1 then 'NaN' when 2 then '-Infinity' else g / 3.0 end::float8", "width"),
    "text": (r"'a\b''c:x ' || g", "percentile"),
    "timestamptz": ("timestamptz '2024-03-30 00:00+01' + g * interval '7 min'", "percentile"),
    "timestamptz by width": ("case g when 1 then 'infinity' else now() + g * interval '7 min' end", "width"),
    "timestamp by width": ("timestamp '2024-03-30' + g * interval '7 min'", "width"),
    "date by width": ("date '2024-01-01' + g / 9", "width"),
    "uuid": ("md5(g::text)::uuid", "percentile"),
    "bool": ("g % 2 = 0", "percentile"),
    "jsonb": ("jsonb_build_object('a', g)", "percentile"),
    "enum": ("(array['low', 'high'])[1 + g % 2]::level", "percentile"),
    "domain": ("(g % 11)::small", "percentile"),
    "only NULLs": ("null::int", "percentile"),
    "only NULLs by width": ("null::int", "width"),
}


@pytest.mark.parametrize("name", few_of(KEYS, 2))
async def test_ranges_are_all_rows_in_the_order_of_the_key(db: Database, name: str) -> None:
    expression, how = KEYS[name]
    await make(db, "create type level as enum ('low', 'high')", "create domain small as int check (value < 100)")
    await make(db, f'create table keyed as select g as id, {expression} as "K" from generate_series(1, 500) g')
    by_key = (await db.frame('select id from keyed order by "K", id'))["id"].tolist()
    ties = (await db.frame('select array_agg(id) as ids from keyed group by "K" order by "K"'))["ids"]

    async with db.snapshot("keyed") as snap:
        for n in (1, 2, 3, 10, 600):
            parts = await snap.ranges('select id, "K" from keyed;', "K", n, how=how)  # type: ignore[arg-type]
            found = [id_ for part in await read(snap, parts) for id_ in part]
            assert sorted(found) == sorted(by_key)
            position = 0
            for ids in ties:
                assert sorted(found[position : position + len(ids)]) == sorted(ids)
                position += len(ids)


async def test_a_type_is_cut_by_its_own_operators_whatever_the_search_path(db: Database) -> None:
    """As citext in a schema of extensions: on the path are only those of text, which has A, B, C before a, b."""
    await make(
        db,
        *OWN_TYPE,
        "create domain called as ext.word",
        "create domain first_name as called",
        "create table keyed as select g as id, ('{b,A,a,B,C,c}'::text[])[g % 6 + 1]::ext.word as k "
        "from generate_series(1, 60) as g",
    )
    async with db.snapshot() as snap:
        for kind in ("ext.word", "called", "first_name"):
            parts = await snap.ranges(f"select id, k::{kind} as k from keyed", "k", 5)
            found = [id_ for part in await read(snap, parts) for id_ in part]
            assert len(parts) > 2
            assert sorted(found) == list(range(1, 61)), kind


async def test_percentiles_are_of_equally_many_rows_and_widths_of_equal_distance(db: Database) -> None:
    await make(db, "create table keyed as select (g * g)::int8 as k from generate_series(1, 400) g")
    async with db.snapshot("keyed") as snap:
        by_rows = await read(snap, await snap.ranges("select k from keyed", "k", 4))
        by_width = await read(snap, await snap.ranges("select k from keyed", "k", 4, how="width"))

    assert [len(part) for part in by_rows] == [99, 100, 100, 101, 0]
    assert [len(part) for part in by_width] == [199, 83, 64, 54, 0]


async def test_values_of_binds_go_to_each_part(db: Database) -> None:
    statement = "select g as id, ':x' as t from generate_series(1, 100) g where g > :low -- a comment"
    async with db.snapshot() as snap:
        found = await read(snap, await snap.ranges(statement, "id", 3, params={"low": 40}), {"low": 40})

    assert [id_ for part in found for id_ in part] == list(range(41, 101))


async def test_a_select_of_the_orm_is_cut_with_the_types_of_its_columns(db: Database) -> None:
    async with db.session() as session:
        await (await session.connection()).run_sync(Entry.metadata.create_all)
        session.add_all([Entry(id=g, secret=f"ab{g}", title=f"t{g}", level=Level.HIGH) for g in range(1, 21)])
    statement = select(Entry).where(Entry.id > 5)
    async with db.snapshot("entries") as snap, snap.session() as session:
        whole = await frame(session, statement.order_by(Entry.id))
        frames = [await frame(session, part) for part in await snap.ranges(statement, "id", 3)]

    assert all(list(part.columns) == list(whole.columns) for part in frames)
    assert all(part.dtypes.equals(whole.dtypes) for part in frames)
    for name in whole:
        assert [value for part in frames for value in part[name]] == whole[name].tolist()


@pytest.mark.parametrize(
    ("statement", "key", "how", "reason"),
    [
        ("delete from keyed returning k", "k", "percentile", "changes nothing"),
        ("select 1 as k; select 2 as k", "k", "percentile", "changes nothing"),
        (text("select 1 as k"), "k", "percentile", "not TextClause"),
        ("select 1 as k limit 5", "k", "percentile", "LIMIT without an ORDER BY"),
        ("select oid as k from pg_class tablesample system (50)", "k", "percentile", "Add a seed"),
        ("select random() as k", "k", "percentile", r"random\(\) is VOLATILE"),
        ("select pg_catalog.\"nextval\"('s') as k", "k", "percentile", r"nextval\(regclass\) is VOLATILE"),
        (select(func.random().label("k")), "k", "percentile", r"random\(\) is VOLATILE"),
        (select(Entry).options(load_only(Entry.id)), "id", "percentile", "Name the columns instead"),
        ("select '{}'::json as k", "k", "percentile", "because of its type"),
        ("select array[1] as k", "k", "percentile", "because of its type"),
        ("select row(1, 2) as k", "k", "percentile", "Name one of its fields"),
        ("select 'a' as k", "k", "width", "of type text"),
    ],
    ids=[
        "a change",
        "two statements",
        "text()",
        "a limit",
        "a sample",
        "random",
        "nextval",
        "random in Core",
        "options of entities",
        "json",
        "array",
        "row",
        "the width of texts",
    ],
)
async def test_what_cannot_be_cut_by_a_column_is_refused_with_the_reason(
    db: Database, statement: Any, key: str, how: Any, reason: str
) -> None:
    async with db.snapshot() as snap:
        with pytest.raises(UnsplittableError, match=reason):
            await snap.ranges(statement, key, 2, how=how)


@pytest.mark.parametrize(
    "statement",
    [
        "select oid from pg_class order by oid limit 20",
        "select oid from pg_class tablesample system (50) repeatable (7)",
        "select c.oid from pg_class c cross join lateral (select 1 from pg_attribute limit 1) as one",
        "with recursive r(oid) as (select 1 union all select oid + 1 from r where oid < 9) select oid from r",
    ],
    ids=["a limit with an order", "a sample with a seed", "a limit inside", "a recursion"],
)
async def test_what_gives_the_same_rows_again_is_cut(db: Database, statement: str) -> None:
    whole = (await db.frame(statement))["oid"].tolist()
    async with db.snapshot() as snap:
        found = await read(snap, await snap.ranges(statement, "oid", 3))

    assert [oid for part in found for oid in part] == sorted(whole)


async def test_a_key_that_is_no_column_is_the_servers_error_with_a_note(db: Database) -> None:
    async with db.snapshot() as snap:
        with pytest.raises(DBAPIError, match="does not exist") as caught:
            await snap.ranges("select 1 as k", "q", 2)
        with pytest.raises(ValueError, match="how='middle'"):
            await snap.ranges("select 1 as k", "k", 2, how="middle")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="n=0"):
            await snap.ranges("select 1 as k", "k", 0)

    assert any("key='q'" in note for note in caught.value.__notes__)


async def test_an_aggregate_keeps_its_meaning(db: Database) -> None:
    """What is cut is the result: the condition is outside of the statement."""
    await make(db, "create table keyed as select g as id, g % 10 as k from generate_series(1, 100) g")
    async with db.snapshot("keyed") as snap:
        as_text = await snap.ranges("select k, count(*) as n from keyed group by k", "n", 3)
        found = await read(snap, as_text)

    assert sorted(k for part in found for k in part) == list(range(10))
