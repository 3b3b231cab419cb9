"""Statements → frames, inside the caller's transaction."""

from __future__ import annotations

import asyncio
import collections.abc
import datetime as dt
import gc
import sys
from collections.abc import Callable
from decimal import Decimal
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pytest
from models import Job, Level, Owner
from pandas.testing import assert_frame_equal
from pandas_versions import STR
from sqlalchemy import DDL, event, false, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import ORMExecuteState, aliased, joinedload, selectinload, with_loader_criteria

from asyncdb_nb import FrameError, TooManyRowsError, frame, frames, table

MAPPED = (
    "id title tenant cost ratio done started day took waited level secret tags context owner_id".split()  # noqa: SIM905
)
SCENARIO_38 = """select i, b, t, n::numeric(9,2) as n, z, d, u, j, a from (values
  (1::int8, true, 'x', 1.5, now(), current_date, gen_random_uuid(), '{}'::jsonb, array[1]),
  (null, null, null, null, null, null, null, null, null)) v(i, b, t, n, z, d, u, j, a)"""


async def test_scenario_38_dtypes_come_from_the_types_alone(session: AsyncSession) -> None:
    """Full, NULL-only and empty results have the same dtypes, and none is a silent string."""
    full = await frame(session, SCENARIO_38)
    nulls = await frame(session, SCENARIO_38 + " where i is null")
    empty = await frame(session, SCENARIO_38 + " where false")

    assert full.dtypes.equals(nulls.dtypes)
    assert full.dtypes.equals(empty.dtypes)
    assert (len(full), len(nulls), len(empty)) == (2, 1, 0)
    assert [str(dtype) for dtype in full.dtypes] == [
        "Int64", "boolean", STR, "decimal128(9, 2)[pyarrow]", "datetime64[us, UTC]", "date32[day][pyarrow]",
        "object", "object", "object",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("select '{\"x\":1}'::jsonb as v", {"x": 1}),
        ("select '12'::int as v", 12),
        ("select ':name %s 100%%' as v", ":name %s 100%%"),
        ("select '%(x)s' as v", "%(x)s"),
        (r"select 'a\:b' as v", r"a\:b"),
        ("select (array[1,2,3])[2:3] as v", [2, 3]),
        ("select 1 as v -- a comment: with a colon", 1),
        ("select 1 as v;", 1),
        ("select $$:x$$ as v", ":x"),
    ],
)
async def test_scenario_41_text_without_params_runs_as_typed(session: AsyncSession, statement: str, value: Any) -> None:
    """Colons, casts, percent signs and backslashes are PostgreSQL's business."""
    got = await frame(session, statement)

    assert got["v"].tolist() == [value]
    assert got.attrs["asyncdb"]["statement"] == statement


async def test_scenario_41_with_params_a_name_is_a_bind_and_the_rest_as_typed(session: AsyncSession) -> None:
    statement = r"""select :n::int as n, '{"x":1}' as j, '12:30'::time as t, 'a\:b' as e, '%(n)s%%' as p"""

    got = await frame(session, statement, {"n": 5})

    assert got.iloc[0].tolist() == [5, '{"x":1}', dt.time(12, 30), r"a\:b", "%(n)s%%"]


async def test_a_bind_without_a_value_is_named(session: AsyncSession) -> None:
    with pytest.raises(FrameError, match=r"has :limit, but params has no 'limit'.*\\:limit"):
        frame(session, "select :limit", {"limt": 1})


@pytest.mark.parametrize(
    "value",
    [
        1,
        "it's",
        None,
        True,
        Decimal("1.5"),
        2.5,
        b"\0",
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        dt.timedelta(1),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_parameter_of_a_type_that_is_read_as_bytes_is_still_encoded(session: AsyncSession, value: Any) -> None:
    """Columns may come as bytes; parameters of the same type go out as ever."""
    from sqlalchemy import bindparam

    got = await frame(session, select(bindparam("v", value).label("v")), {"v": value})

    want = pd.DateOffset(months=0, days=1, microseconds=0) if isinstance(value, dt.timedelta) else value
    assert got["v"].isna().all() if value is None else got["v"].tolist() == [want]


@pytest.mark.parametrize(
    ("statement", "shape"),
    [
        ("values (1), (2)", (2, 1)),
        ("with c as (select 1 as a) table c", (1, 1)),
        ("show server_version", (1, 1)),
        ("explain select 1", (1, 1)),
        ("select from generate_series(1, 3)", (3, 0)),
        ("select 1 as a, 2 as a, 3 as b", (1, 3)),
        ("insert into frame_owners values (7, 'x') returning id, name", (1, 2)),
        ("select pg_notify('x', 'y')", (1, 1)),
    ],
)
async def test_every_statement_that_returns_rows_is_a_frame(
    tables: AsyncSession, statement: str, shape: tuple[int, int]
) -> None:
    got = await frame(tables, statement)

    assert got.shape == shape


async def test_odd_and_repeated_names_stay(session: AsyncSession) -> None:
    names = ["a", "a", "q\"u'o", "é😀", " ", "x" * 63, "%s", ":n"]
    quoted = ", ".join('1 as "' + name.replace('"', '""') + '"' for name in names)

    assert list(await frame(session, f"select {quoted}")) == names
    assert (await table(session, f"select {quoted}")).column_names == names


@pytest.mark.parametrize("statement", ["create table frame_never (a int)", "insert into frame_owners values (9, 'x')"])
async def test_a_statement_without_rows_is_refused_before_it_runs(tables: AsyncSession, statement: str) -> None:
    with pytest.raises(FrameError, match=r"returns no rows.*not run.*RETURNING"):
        await frame(tables, statement)

    assert (await frame(tables, "select to_regclass('frame_never') is null as a"))["a"].all()
    assert (await frame(tables, select(func.count()).select_from(Owner))).iloc[0, 0] == 0


async def test_what_is_no_statement_says_what_to_use(session: AsyncSession) -> None:
    with pytest.raises(FrameError, match=r"not list.*to_frame\(results\)"):
        frame(session, [])  # type: ignore[arg-type]


async def test_an_error_is_sqlalchemys_and_leaves_the_transaction_as_postgresql_does(session: AsyncSession) -> None:
    with pytest.raises(ProgrammingError, match="nowhere"):
        await frame(session, "select * from nowhere")

    with pytest.raises(DBAPIError, match="current transaction is aborted"):
        await frame(session, "select 1")
    await session.rollback()
    assert len(await frame(session, "select 1")) == 1


@pytest.mark.parametrize(
    ("statement", "params", "note"),
    [
        (
            "select 1 where 'a:b' = :name",
            None,
            'No value was given for :name. Type it after the statement: `{"name": ...}`.',
        ),
        ("select 1 where 1 in :ids", {"ids": [1]}, "A list is one value: type `= any(:ids)` instead of `in :ids`."),
        ("select relnam from pg_class", None, "Perhaps you meant to reference the column"),
    ],
    ids=["no params", "in a list", "column"],
)
async def test_an_error_says_what_to_type_instead(
    session: AsyncSession, statement: str, params: Any, note: str
) -> None:
    with pytest.raises(ProgrammingError) as raised:
        await frame(session, statement, params)
    await session.rollback()
    with pytest.raises(ProgrammingError) as raised_in_parts:
        await anext(frames(session, statement, params))

    for error in (raised.value, raised_in_parts.value):
        assert f"{error}\n{getattr(error, '__notes__', '')}".count(note) == 1


@pytest.mark.parametrize("statement", ["select 'a :b' from", "select :: 1", "select 1/0", "select 1 in ('x')"])
async def test_an_error_that_says_it_all_has_no_note(session: AsyncSession, statement: str) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, statement)

    assert not getattr(raised.value, "__notes__", ())


async def test_a_frame_sees_what_is_pending_in_the_session(tables: AsyncSession) -> None:
    """It runs in the same transaction, after a flush."""
    tables.add(Owner(id=5, name="new"))

    assert (await frame(tables, select(Owner.name)))["name"].tolist() == ["new"]
    assert tables.in_transaction()
    await tables.rollback()
    assert (await frame(tables, "select to_regclass('frame_owners') is null as gone"))["gone"].all()


async def test_an_entity_is_its_mapped_columns(jobs: AsyncSession) -> None:
    """One column for each mapped column that is not deferred, by attribute name; nothing enters the session."""
    jobs.expunge_all()

    got = await frame(jobs, select(Job).order_by(Job.id))

    assert list(got) == MAPPED
    assert got["title"].tolist()[1] == "load"
    assert got["id"].tolist() == [2, 2**53 + 1]
    assert str(got["cost"].dtype) == "decimal128(12, 2)[pyarrow]"
    assert len(jobs.identity_map) == 0


async def test_several_entities_and_columns_stand_side_by_side(jobs: AsyncSession) -> None:
    boss = aliased(Owner)

    got = await frame(
        jobs, select(Owner, boss, func.count().label("n")).join(boss, boss.id == Owner.id).group_by(Owner, boss)
    )

    assert list(got) == ["id", "name", "id_1", "name_1", "n"]


async def test_loader_options_for_relationships_change_no_columns(jobs: AsyncSession) -> None:
    """A select that a repository made for its entities is the same frame as without them."""
    jobs.expunge_all()

    got = await frame(jobs, select(Owner).options(selectinload(Owner.jobs)))

    assert_frame_equal(got, await frame(jobs, select(Owner)))
    empty = await frame(jobs, select(Owner).options(selectinload(Owner.jobs)).where(Owner.id < 0))
    assert empty.dtypes.equals(got.dtypes)


async def test_a_joined_load_of_a_collection_is_read_whole(jobs: AsyncSession) -> None:
    """SQLAlchemy has to see all rows of an entity together, so there are no parts of them."""
    jobs.expunge_all()
    statement = select(Owner).options(joinedload(Owner.jobs))

    assert (await frame(jobs, statement))["name"].tolist() == ["Ada"]
    for call in (frame(jobs, statement, max_rows=5), anext(frames(jobs, statement))):
        with pytest.raises(FrameError, match=r"joinedload.*selectinload\(\)"):
            await call


async def test_an_entity_with_an_interval_has_the_dtypes_of_its_columns(jobs: AsyncSession) -> None:
    loaded = await frame(jobs, select(Job).options(selectinload(Job.owner)).where(Job.took.is_not(None)))

    assert loaded["took"].tolist() == [pd.DateOffset(months=0, days=1, microseconds=2_000_000)]


async def test_a_column_beside_an_entity_has_its_own_dtype(jobs: AsyncSession) -> None:
    """Also where its values do not tell."""
    jobs.expunge_all()
    statement = select(Owner, Job.owner_id, Job.ratio).join(Job).options(selectinload(Owner.jobs))

    got = await frame(jobs, statement)

    assert [str(got[name].dtype) for name in ("owner_id", "ratio")] == ["Int32", "float64"]
    empty = await frame(jobs, statement.where(false()))
    assert empty.dtypes.equals(got.dtypes)


@pytest.mark.parametrize("options", [{}, {"max_rows": 1, "truncate": True}], ids=str)
async def test_an_entity_in_returning_is_its_mapped_columns(jobs: AsyncSession, options: dict[str, Any]) -> None:
    jobs.expunge_all()
    raise_cost = update(Job).values(cost=3).returning(Job)

    got = await frame(jobs, raise_cost, **options)
    nothing = await frame(jobs, raise_cost.where(false()))

    assert got["cost"].tolist() == [Decimal("3.00")] * (1 if options else 2)
    assert nothing["cost"].dtype == got["cost"].dtype


@pytest.mark.parametrize("options", [{"yield_per": 1}, {"stream_results": True}], ids=str)
async def test_a_statement_made_for_streaming_is_a_frame_as_well(jobs: AsyncSession, options: dict[str, Any]) -> None:
    jobs.expunge_all()
    statement = select(Job.id).execution_options(**options)
    entities = select(Job).options(selectinload(Job.owner)).execution_options(**options)

    assert len(await frame(jobs, statement)) == len(await frame(jobs, entities)) == 2


async def test_loader_criteria_of_the_session_hold(jobs: AsyncSession) -> None:
    """A tenant filter added by a hook applies to entities and to columns."""

    def only_a(state: ORMExecuteState) -> None:
        if state.is_select:
            state.statement = state.statement.options(with_loader_criteria(Job, Job.tenant == "a"))

    event.listen(jobs.sync_session, "do_orm_execute", only_a)

    assert (await frame(jobs, select(Job)))["tenant"].tolist() == ["a"]
    assert (await frame(jobs, select(Job.tenant)))["tenant"].tolist() == ["a"]
    assert [len(part) async for part in frames(jobs, select(Job))] == [1]


async def test_a_hook_that_answers_itself_is_an_error_that_says_so(jobs: AsyncSession) -> None:
    """A cached result has no types of the server's: `to_frame` takes it."""
    kept = (await jobs.execute(select(Job.id))).freeze()
    event.listen(jobs.sync_session, "do_orm_execute", lambda state: kept())

    with pytest.raises(FrameError, match=r"a hook of the session answered it.*to_frame"):
        await frame(jobs, select(Job.id))


async def test_python_side_types_are_applied_as_sqlalchemy_does(jobs: AsyncSession) -> None:
    """A TypeDecorator and an Enum of a class give SQLAlchemy's values; the same column as text stays as stored."""
    statement = select(Job.secret, Job.level, Job.took, Job.waited, Job.tags).order_by(Job.id)

    got = await frame(jobs, statement)

    assert got["secret"].tolist() == [None, "xyz"]
    assert got["level"].tolist() == [None, Level.HIGH]
    assert got["took"].tolist() == [None, pd.DateOffset(months=0, days=1, microseconds=2_000_000)]
    assert got["waited"].tolist() == [None, 1.5]
    assert got["tags"].tolist() == [None, ["a", "b"]]
    assert (await frame(jobs, statement.where(Job.id < 0))).dtypes.equals(got.dtypes)
    assert (await frame(jobs, "select secret from frame_jobs where secret is not null"))["secret"].tolist() == ["zyx"]
    assert (await table(jobs, select(Job.level).order_by(Job.id)))["level"].to_pylist() == [None, "HIGH"]


@pytest.mark.parametrize("many", [False, True], ids=["one row", "insertmanyvalues"])
async def test_a_compiled_insert_runs_once_and_returns_its_rows(tables: AsyncSession, many: bool) -> None:
    rows = [{"id": n, "name": f"o{n}"} for n in range(3 if many else 1)]

    got = await frame(tables, insert(Owner).values(rows).returning(Owner.id, Owner.name))

    assert got["id"].tolist() == [row["id"] for row in rows]
    assert str(got["id"].dtype) == "Int32"
    assert len(await frame(tables, select(Owner.id))) == len(rows)


async def test_an_update_returns_its_rows_and_refreshes_the_session(jobs: AsyncSession) -> None:
    """The ORM reads the returned rows too, to bring the objects of the session up to date."""
    job = await jobs.get_one(Job, 2)
    raise_cost = update(Job).values(cost=func.coalesce(Job.cost, 0) * 0 + Decimal("1.10")).returning(Job.id, Job.cost)

    got = await frame(jobs, raise_cost.execution_options(synchronize_session="fetch"))

    assert await jobs.run_sync(lambda _: job.cost) == Decimal("1.10")
    assert got["cost"].tolist() == [Decimal("1.10")] * 2
    assert str(got["cost"].dtype) == "decimal128(12, 2)[pyarrow]"


async def test_max_rows_refuses_or_cuts_short(session: AsyncSession) -> None:
    many = "select g from generate_series(1, 1000) g"

    with pytest.raises(TooManyRowsError, match="more than max_rows=10 rows"):
        await frame(session, many, max_rows=10)
    cut = await frame(session, many, max_rows=10, truncate=True)
    whole = await frame(session, many, max_rows=1000)

    assert (len(cut), cut.attrs["asyncdb"]["rows"], cut.attrs["asyncdb"]["truncated"]) == (10, 10, True)
    assert (len(whole), whole.attrs["asyncdb"]["truncated"]) == (1000, False)


async def test_attrs_say_what_was_done(session: AsyncSession) -> None:
    got = await frame(session, "select :a as a, pg_sleep(0.1)::text as z", {"a": "secret"})

    report = got.attrs["asyncdb"]
    assert report["statement"] == "select $1 as a, pg_sleep(0.1)::text as z"
    assert (report["rows"], report["path"], report["lossy"]) == (1, "copy", {})
    assert report["seconds"] >= 0.1


async def test_frames_come_in_parts_of_one_kind(session: AsyncSession) -> None:
    parts = [part async for part in frames(session, "select g, g::text as t from generate_series(1, 25) g", rows=10)]

    assert [len(part) for part in parts] == [10, 10, 5]
    assert pd.concat(parts)["g"].tolist() == list(range(1, 26))
    assert parts[0].dtypes.equals(parts[2].dtypes)


@pytest.mark.parametrize("count", [0, 10], ids=["empty", "a multiple of the part"])
async def test_frames_end_with_the_rows(session: AsyncSession, count: int) -> None:
    """An empty result is one empty part, with its dtypes; a full last part is not followed by an empty one."""
    parts = [part async for part in frames(session, f"select g from generate_series(1, {count}) g", rows=5)]

    assert [len(part) for part in parts] == ([0] if count == 0 else [5, 5])
    assert str(parts[0]["g"].dtype) == "Int32"


async def test_leaving_frames_early_leaves_the_connection_usable(session: AsyncSession) -> None:
    """By `break`, and by an error in the loop's body."""
    many = "select g from generate_series(1, 1000) g"

    async for part in frames(session, many, rows=10):
        assert len(part) == 10
        break
    assert len(await frame(session, "select 1")) == 1
    with pytest.raises(ZeroDivisionError):
        [1 / (len(part) - 10) async for part in frames(session, many, rows=10)]
    assert len(await frame(session, "select 1")) == 1


async def test_an_error_in_a_later_part_is_sqlalchemys(session: AsyncSession) -> None:
    parts = frames(session, "select 1 / (g - 900) from generate_series(1, 1000) g", rows=100)

    with pytest.raises(DBAPIError, match="division by zero"):
        [part async for part in parts]
    await session.rollback()
    assert len(await frame(session, "select 1")) == 1


async def test_a_result_whose_table_changed_is_described_anew(tables: AsyncSession) -> None:
    """The same text after an ALTER TABLE has the new type."""
    assert str((await frame(tables, "select name from frame_owners"))["name"].dtype) == STR

    await tables.execute(DDL("alter table frame_owners alter name type int using 1"))
    assert str((await frame(tables, "select name from frame_owners"))["name"].dtype) == "Int32"


async def test_a_row_type_that_changed_is_described_anew(session: AsyncSession) -> None:
    """PostgreSQL lets a prepared statement go on when a row type has another field; its rows have it, too."""
    await session.execute(text("create type pair as (x int)"))
    await session.execute(text("create temp table pairs as select row(1)::pair as p"))
    before = [(await frame(session, "select p from pairs"))["p"][0] for _ in range(2)]
    await session.execute(text("alter type pair add attribute y text"))

    assert before == [{"x": 1}] * 2
    assert (await frame(session, "select p from pairs"))["p"][0] == {"x": 1, "y": None}


async def test_other_statements_of_the_connection_are_untouched(session: AsyncSession) -> None:
    """Reading a column as bytes for a frame changes nothing for the session's own statements, same text or not."""
    statement = "select interval '1 day' as i, '{\"a\":1}'::jsonb as j"

    await frame(session, statement)

    row = (await session.execute(text(statement.replace(":", r"\:")))).one()
    assert (row.i, row.j) == (dt.timedelta(1), {"a": 1})


async def test_without_the_adapters_statement_cache(database_url: str, engine: AsyncEngine) -> None:
    """PgBouncer users switch it off; frames are the same."""
    from sqlalchemy.ext.asyncio import create_async_engine

    bare = create_async_engine(engine.url, connect_args={"prepared_statement_cache_size": 0, "statement_cache_size": 0})
    async with AsyncSession(bare) as session:
        got = [await frame(session, "select interval '1 mon' as i, $$x$$ as t") for _ in range(2)]
    await bare.dispose()

    assert [one["i"][0] for one in got] == [pd.DateOffset(months=1, days=0, microseconds=0)] * 2


async def test_autocommit_sessions_are_served(engine: AsyncEngine) -> None:
    async with AsyncSession(engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        assert len(await frame(session, "select 1")) == 1
        parts = frames(session, "select generate_series(1, 10) as n", rows=4, exclusive=True)
        assert [part["n"].tolist() async for part in parts] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


async def test_another_driver_is_refused_by_name(tmp_path: Any) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    lite = create_async_engine("sqlite+aiosqlite://")
    async with AsyncSession(lite) as session:
        with pytest.raises(FrameError, match=r"another driver.*to_frame"):
            await frame(session, "select 1")
    await lite.dispose()


def test_a_call_that_was_not_awaited_says_what_to_type() -> None:
    """Nobody who has read that is warned later: nothing was started."""
    call = frame(AsyncSession(), "select 1")

    assert isinstance(call, collections.abc.Coroutine)
    assert repr(call) == "Nothing was read yet. Type: await frame(session, ...)"
    assert "await table" in repr(table(AsyncSession(), "select 1"))
    del call
    gc.collect()


async def test_asyncio_shows_a_task_that_is_a_call() -> None:
    """In its debug messages, for example. Python 3.12 and later ask for the truth of the coroutine first."""
    task = asyncio.create_task(frame(AsyncSession(), "select 1"))
    assert "coro=<frame" in repr(task)
    task.cancel()
    await asyncio.wait([task])


def test_a_call_that_nobody_awaits_or_looks_at_warns() -> None:
    """As a coroutine does, in a script or a test."""
    with pytest.warns(RuntimeWarning, match=r"frame\(session, \.\.\.\) was never awaited\. Nothing was read yet"):
        frame(AsyncSession(), "select 1")


async def test_a_call_is_a_coroutine_for_tasks(session: AsyncSession) -> None:
    got = await asyncio.create_task(frame(session, "select 1 as a"))

    assert got["a"].tolist() == [1]


async def test_a_task_shows_which_call_it_runs(session: AsyncSession) -> None:
    task = asyncio.create_task(frame(session, "select 1 as a"))

    assert "coro=<frame()" in repr(task)
    await task


def test_the_package_imports_no_pandas_before_a_frame(run_script: Callable[..., CompletedProcess[str]]) -> None:
    """Importing the frame functions is as quick as SQLAlchemy."""
    run_script(
        "import sys\n"
        "from asyncdb_nb import frame, frames, table, to_frame\n"
        "assert not {'pandas', 'pyarrow', 'numpy', 'asyncpg'} & set(sys.modules)\n"
    )


@pytest.mark.parametrize("use", [lambda call: call["a"], lambda call: call.head(), len, bool])
def test_what_is_done_with_a_call_that_was_not_awaited_says_what_to_type(use: Any) -> None:
    with pytest.raises(
        (TypeError, AttributeError), match=r"Nothing was read yet\. Type: await frame\(session, \.\.\.\)"
    ):
        use(frame(AsyncSession(), "select 1"))


@pytest.mark.parametrize(
    ("use", "instead"),
    [
        (lambda call: call.head(), "(await frame(session, ...)).head()"),
        (lambda call: call.shape, "(await frame(session, ...)).shape"),
        (lambda call: call.cost, "(await frame(session, ...)).cost"),
        (lambda call: call["a"], "(await frame(session, ...))['a']"),
        (lambda call: call[{"{}"}], "(await frame(session, ...))[{'{}'}]"),
        (len, "len(await frame(session, ...))"),
    ],
)
def test_what_follows_a_call_that_is_awaited_needs_parentheses(use: Any, instead: str) -> None:
    """`await frame(...).head()` asks the call for its head, before it is awaited."""
    with pytest.raises((TypeError, AttributeError)) as raised:
        use(frame(AsyncSession(), "select 1"))

    assert str(raised.value).endswith(f" in parentheses: {instead}")


async def test_a_call_that_gives_one_frame_has_no_parts() -> None:
    with pytest.raises(TypeError, match=r"no parts to go through\. Nothing was read yet\. Type: await frame\("):
        async for _ in frame(AsyncSession(), "select 1"):  # type: ignore[attr-defined]
            pass


def test_a_call_that_was_not_awaited_stays_a_coroutine() -> None:
    call = frame(AsyncSession(), "select 1")

    assert not hasattr(call, "__dataframe__")
    assert asyncio.iscoroutine(call)
    call.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((object(), "select 1"), r"not in a object: `await frame\(session, \.\.\.\)`"),
        ((AsyncSession(), AsyncSession(), "select 1"), "not AsyncSession"),
        ((AsyncSession(), "select :id", (1,)), r"\{'id': 1\} for :id in the text, not tuple"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        frame(*arguments)


def test_a_method_has_its_parentheses_before_pandas_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pandas")

    with pytest.raises(AttributeError, match=r"\(await frame\(session, \.\.\.\)\)\.head\(\)$"):
        frame(AsyncSession(), "select 1 as a").head()  # type: ignore[attr-defined]
