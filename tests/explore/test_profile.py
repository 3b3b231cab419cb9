"""A profile has the figures that pandas and numpy have, for columns of all types; and says which are not exact."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import psycopg
import pytest
from psycopg import sql
from random_tables import NUMBERS, ORDER, QUANTILES, SORTED, TIMES, is_nan, quantile, random_table
from server_checks import ServerWatch
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from asyncdb_nb import Database
from asyncdb_nb.errors import FrameError, UnknownTableError
from asyncdb_nb.explore.profile import Profile, read_profile
from asyncdb_nb.workflows import Run

mpl.use("agg")


@pytest.fixture(scope="module")
def url(database_url: str) -> Iterator[str]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create schema profiles")
        connection.execute("create type profile_mood as enum ('sad', 'ok', 'happy')")
        connection.execute("create domain profile_positive as int check (value > 0)")
        connection.execute(
            "create table profiles.many as select g as id, g % 10 as ten, g % 1000 as thousand, "
            "md5(g::text) as code, g % 7 = 0 as seventh from generate_series(1, 150000) as g"
        )
        connection.execute("create unique index on profiles.many (id)")
    yield database_url
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop schema profiles cascade; drop type profile_mood, profile_positive")


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with Database(url) as db:
        yield db


def create(url: str, name: str, columns: list[tuple[str, str]], rows: list[list[Any]]) -> None:
    table = sql.Identifier("profiles", name)
    made = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(each), sql.SQL(type_)) for each, type_ in columns)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create table {} ({})").format(table, made))
        with connection.cursor() as cursor:
            values = sql.SQL(", ").join(
                sql.SQL("%s::text::{}").format(sql.SQL(type_))
                if type_ in ("profile_mood", "jsonb", "json", "point", "int4range", "inet", "uuid")
                else sql.SQL("%s::{}").format(sql.SQL(type_))
                for _, type_ in columns
            )
            cursor.executemany(sql.SQL("insert into {} values ({})").format(table, values), rows)


@pytest.mark.parametrize("start", [0, *(pytest.param(n, marks=pytest.mark.second_tier) for n in range(10, 200, 10))])
async def test_scenario_75_every_figure_is_that_of_pandas_for_random_tables(db: Database, url: str, start: int) -> None:
    """Ten tables: the table itself and a statement that reads it."""
    for seed in range(start, start + 10):
        columns, rows = random_table(seed)
        create(url, f"Random {seed}", columns, rows)

        whole = await db.profile(f'profiles."Random {seed}"')
        stated = await db.profile(f'select * from profiles."Random {seed}" -- as it is')

        for profile in (whole, stated):
            assert profile.rows == len(rows)
            assert profile.sample is None
            assert set(profile.sources().stack().dropna()) <= {"exact"}
            for place, (name, type_) in enumerate(columns):
                assert profile.frame()["column"][place] == name
                check(profile.frame().iloc[place], type_, [row[place] for row in rows])


def check(figures: pd.Series, type_: str, values: list[Any]) -> None:
    present = [value for value in values if value is not None]
    numbers = [value for value in present if not is_nan(value)]
    assert figures["missing"] == len(values) - len(present)
    if type_ in SORTED:
        keys = [ORDER[type_].index(value) for value in numbers] if type_ in ORDER else numbers
        edges = [numbers[keys.index(edge)] for edge in (min(keys), max(keys))] if keys else [None, None]
        assert same(figures[["min", "max"]].tolist(), edges), (type_, figures)
        assert figures["distinct"] == len({"nan" if is_nan(value) else value for value in present})
    if type_ in (*NUMBERS, *TIMES):
        for name, share in QUANTILES.items():
            assert same([figures[name]], [quantile(numbers, share) if numbers else None]), (type_, name)
    if type_ in NUMBERS:
        check_means(figures, type_, present, numbers)
    if type_ in ("text", "varchar(300)", "int4[]", "text[]", "bytea"):
        lengths = [len(value) for value in present]
        expected = [min(lengths), float(np.mean(lengths)), max(lengths)] if lengths else [None] * 3
        assert same(figures[["shortest", "length", "longest"]].tolist(), expected)
    if type_ in TIMES:
        check_gaps(figures, sorted(set(present)))
    check_top(figures, type_, present)


def same(found: list[Any], expected: list[Any]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(
        (pd.isna(one) if other is None else str(one) == str(other) or math.isclose(one, other, rel_tol=1e-6))
        if not isinstance(other, float) else math.isclose(one, other, rel_tol=1e-6)
        for one, other in pairs
    )  # fmt: skip


def check_means(figures: pd.Series, type_: str, present: list[Any], numbers: list[Any]) -> None:
    floats = pd.Series([float(value) for value in numbers], dtype="float64")
    if type_ in ("float8", "float4") or type_.startswith("numeric"):
        assert figures["nan"] == len(present) - len(numbers)
        assert figures["infinite"] == sum(math.isinf(value) for value in floats)
    if np.isinf(floats).any() and len(set(floats[np.isinf(floats)])) == 2:
        assert pd.isna(figures["mean"])
    elif numbers:
        scale = float(floats[np.isfinite(floats)].abs().max()) if np.isfinite(floats).any() else 0
        assert figures["mean"] == pytest.approx(floats.mean(), rel=1e-9, abs=1e-9 * scale)
        if len(numbers) > 1 and np.isfinite(floats).all():
            assert figures["deviation"] == pytest.approx(floats.std(), rel=1e-7, abs=1e-9 * scale)
    else:
        assert pd.isna(figures["mean"])


def check_gaps(figures: pd.Series, moments: list[Any]) -> None:
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(moments)]
    if not gaps:
        assert pd.isna(figures["gap"])
        return
    assert figures["gap"] == pytest.approx(max(gaps), abs=1e-5)
    assert figures["usual_gap"] == pytest.approx(quantile(gaps, 0.5), abs=1e-5)
    after = moments[moments.index(figures["gap_after"]) + 1]
    assert (after - figures["gap_after"]).total_seconds() == pytest.approx(max(gaps), abs=1e-5)


def check_top(figures: pd.Series, type_: str, present: list[Any]) -> None:
    top = figures["top"]
    if not present:
        assert top is None
        return
    shares = [share for _, share in top]
    assert shares == sorted(shares, reverse=True)
    if type_ in (*SORTED, "text", "varchar(300)", "inet"):
        counts = Counter("nan" if is_nan(value) else str(value)[:200] for value in present)
        if type_ in ("float8", "float4", "numeric", "numeric(30,3)"):
            counts = Counter("nan" if is_nan(value) else value for value in present)
            top = [("nan" if is_nan(value) else value, share) for value, share in top]
        else:
            top = [(str(value), share) for value, share in top]
        assert all(share == pytest.approx(counts[value] / len(present)) for value, share in top), (type_, top, counts)
        assert shares == pytest.approx([count / len(present) for _, count in counts.most_common(5)])


async def test_text_is_ordered_as_the_server_orders_it(db: Database) -> None:
    values = "(values ('b'), ('B'), ('a'), ('é'), (null), ('')) as v(t)"

    figures = (await db.profile(f"select * from {values}")).frame()
    server = await db.frame(f"select min(t), max(t) from {values}")

    assert figures[["min", "max"]].iloc[0].tolist() == server.iloc[0].tolist()


async def test_json_tells_its_keys(db: Database) -> None:
    profile = await db.profile(
        """select * from (values ('{"a": 1, "b": {"c": 2}}'::jsonb), ('{"a": null}'), ('[1]'), ('3'), (null)) as v(j)"""
    )

    assert profile.frame()["keys"][0] == [("a", 0.5), ("b", 0.25)]


async def test_values_that_python_has_no_object_for_stay_text(db: Database) -> None:
    figures = (
        await db.profile("select '-infinity'::date as d, '4713-01-01 BC'::timestamp as t, 'infinity'::timestamptz as z")
    ).frame()

    assert figures["min"].tolist() == ["-infinity", "4713-01-01T00:00:00 BC", "infinity"]
    assert figures["gap"].isna().all()


async def test_numbers_that_no_float_holds_are_no_error(db: Database) -> None:
    figures = (
        await db.profile(
            "select * from (values ('1e400'::numeric, 1e200::float8), (1, 1), ('Infinity', '-Infinity')) v(n, f)"
        )
    ).frame()

    assert [str(value) for value in figures["min"]] == ["1", "-inf"]
    assert [str(value) for value in figures["max"]] == ["Infinity", "1e+200"]
    assert figures["mean"].tolist() == [math.inf, -math.inf]
    assert figures["infinite"].tolist() == [1, 1]
    huge = (await db.profile("select * from (values (1e200::float8), (1)) as v(f)")).frame()
    assert huge[["mean", "deviation"]].isna().all(axis=None)


@pytest.mark.parametrize("what", ["profiles.nothing", "select", "select from generate_series(1, 3)"])
async def test_nothing_can_be_profiled(db: Database, url: str, what: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table if not exists profiles.nothing ()")

    profile = await db.profile(what)

    assert profile.rows == {"profiles.nothing": 0, "select": 1}.get(what, 3)
    assert len(profile.frame()) == 0
    assert str(profile).endswith("Every figure is exact.")
    profile.plot().canvas.draw()


async def test_the_dtypes_do_not_depend_on_the_data(db: Database) -> None:
    frames = [(await db.profile(what)).frame() for what in ("select", "select 1 as a", "select null::json as b")]

    assert frames[0].dtypes.equals(frames[1].dtypes)
    assert frames[0].dtypes.equals(frames[2].dtypes)


SOURCES = {
    "table": "profiles.many",
    "view": "profiles.many_view",
    "materialized view": "profiles.many_kept",
    "partitioned table": "profiles.many_parts",
    "statement": "select * from profiles.many",
}


@pytest.fixture(scope="module")
def many(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create view profiles.many_view as select * from profiles.many")
        connection.execute("create materialized view profiles.many_kept as select * from profiles.many")
        connection.execute("create table profiles.many_parts (like profiles.many) partition by hash (id)")
        for n in range(2):
            connection.execute(
                f"create table profiles.many_parts_{n} partition of profiles.many_parts "
                f"for values with (modulus 2, remainder {n})"
            )
        connection.execute("insert into profiles.many_parts select * from profiles.many")


@pytest.mark.second_tier
@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("kind", SOURCES)
async def test_a_sample_says_so_of_each_figure_and_is_the_same_each_time(db: Database, kind: str) -> None:
    first, second = [await db.profile(SOURCES[kind]) for _ in range(2)]
    frame, sources = first.frame().set_index("column"), first.sources().set_index(first.frame()["column"])

    assert first.kind == kind
    assert first.rows == 150_000
    assert frame["min"].tolist()[:3] == [1, 0, 0]
    assert frame["max"].tolist()[:3] == [150_000, 9, 999]
    assert frame["mean"].tolist()[:2] == [75_000.5, 4.5]
    assert first.sample is not None
    taken = f"sample of {first.sample.rows:,} rows"
    assert 20_000 < first.sample.rows < 40_000
    assert set(sources[["rows", "missing", "min", "max"]].stack()) == {"exact"}
    assert set(sources[["mean", "deviation"]].stack().dropna()) == {"exact"}
    assert set(sources[["median", "top", "shortest"]].stack().dropna()) == {taken}
    assert sources["distinct"].tolist() == ["exact" if kind == "table" else taken, *[taken] * 4]
    assert frame["distinct"]["ten"] == 10
    assert frame["distinct"]["thousand"] == 1000
    assert frame["distinct"]["id"] == 150_000
    assert frame["distinct"]["code"] == 150_000
    assert frame["median"]["thousand"] == pytest.approx(500, abs=30)
    assert frame["median"]["id"] == pytest.approx(75_000, rel=0.1)
    assert dict(frame["top"]["seventh"])[True] == pytest.approx(1 / 7, rel=0.1)
    assert f"{first.sample.rows:,} random ones of 150,000 rows" in str(first)
    assert str(first) == str(second)
    assert first.frame().to_string() == second.frame().to_string()
    assert "~" in str(first)


async def test_values_that_lie_together_are_counted_right(db: Database, url: str) -> None:
    """Lines of orders, one order after the other: a sample of whole blocks would have all six lines of few orders."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table profiles.lines as select g / 6 as of, g from generate_series(0, 599999) g")

    profile = await db.profile("profiles.lines")

    assert profile.sample is not None
    assert profile.frame()["distinct"].tolist() == [pytest.approx(100_000, rel=0.1), pytest.approx(600_000, rel=0.1)]


async def test_no_more_values_are_expected_than_there_are_whole_numbers_between_the_smallest_and_the_largest(
    db: Database, url: str
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "create table profiles.few as select (g * 7919::int8 % 2000)::int4 as v from generate_series(1, 200000) g"
        )

    profiles = [await db.profile("profiles.few", sample=count) for count in (200, 500, 1_000, 2_000, 5_000)]

    assert max(profile.frame()["distinct"].max() for profile in profiles) == 2_000


async def test_sample_is_how_many_rows_are_sorted(db: Database) -> None:
    few, all_of_them = [await db.profile("profiles.many", sample=count) for count in (5_000, 150_000)]

    assert few.sample is not None
    assert 2_000 < few.sample.rows < 8_000
    assert all_of_them.sample is None
    assert all_of_them.frame()["distinct"].tolist() == [150_000, 10, 1_000, 150_000, 2]
    with pytest.raises(ValueError, match="sample=0: it is a number of rows above 0, or None"):
        await db.profile("profiles.many", sample=0)


@pytest.mark.parametrize(
    "what", ["profiles.many", "select id, code from profiles.many", "select 1 as a where 1 = :one"]
)
async def test_scenario_75_three_statements_do(db: Database, clean_server: ServerWatch, what: str) -> None:
    await db.frame("select 1")  # the first connection asks questions of its own
    clean_server.mark()

    await db.profile(what, {"one": 1} if ":one" in what else None)

    sent = re.findall(r"(?:statement|execute [^:]*): (.*)", clean_server.log_since_mark())
    kept = [each for each in sent if not re.match(r"(?i)begin|commit|rollback|;|select 1\b|$", each.strip())]
    assert len(kept) <= 3, kept


async def test_a_select_of_the_orm_is_profiled(db: Database, url: str) -> None:
    from asyncdb_nb.workflows import create_tables

    async with db.engine.begin() as connection:
        await create_tables(connection)
    try:
        profile = await db.profile(select(Run.id, Run.status).where(Run.id > 0))
        whole = await db.profile("workflows.run")
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("drop schema workflows cascade")

    assert profile.frame()["column"].tolist() == ["id", "status"]
    assert set(profile.frame()["column"]) < set(whole.frame()["column"])


async def test_values_are_bound(db: Database) -> None:
    profile = await db.profile("select :a::text as a, ':a' as b", {"a": "'; drop table x"})

    assert profile.frame()["min"].tolist() == ["'; drop table x", ":a"]


async def test_names_repeat_in_a_statement(db: Database) -> None:
    assert (await db.profile("select 1 as a, 'x' as a, 2 as b")).frame()["column"].tolist() == ["a", "a", "b"]


@pytest.mark.parametrize("spelling", ["profiles.Odd Name.x", 'profiles."Odd Name.x"'])
async def test_a_table_is_found_by_either_spelling(db: Database, url: str, spelling: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute('create table if not exists profiles."Odd Name.x" (a int)')

    assert (await db.profile(spelling)).rows == 0


async def test_what_is_not_there_is_named(db: Database) -> None:
    with pytest.raises(
        UnknownTableError, match=r"There is no table or view 'profiles\.manny'\. Did you mean profiles\.many"
    ):
        await db.profile("profiles.manny")
    for neither in ("selec 1", ""):
        with pytest.raises(UnknownTableError, match="Nor is that a query: SELECT, VALUES, TABLE or WITH begins one"):
            await db.profile(neither)
    with pytest.raises(FrameError, match="take the name of a table, or one SELECT"):
        await db.profile("delete from profiles.many where false")
    with pytest.raises(DBAPIError, match='column "nothing" does not exist'):
        await db.profile("select nothing from profiles.many")


async def test_columns_that_one_may_not_read_are_named(db: Database, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table profiles.guarded (open int, secret int)")
        connection.execute("create role profile_reader; grant usage on schema profiles to profile_reader")
        connection.execute("grant select (open) on profiles.guarded to profile_reader")
        try:
            async with db.session() as session:
                await session.execute(text("set local role profile_reader"))
                profile = await read_profile(session, "profiles.guarded")
        finally:
            connection.execute("drop owned by profile_reader; drop role profile_reader; drop table profiles.guarded")

    assert profile.frame()["missing"].tolist() == [0, pd.NA]
    assert "You may not read: secret." in str(profile)
    profile.plot().canvas.draw()


async def test_a_profile_sees_what_its_transaction_wrote_and_leaves_it_open(db: Database) -> None:
    async with db.session() as session:
        await session.execute(text("create table profiles.mine as select 5 as a"))
        profile = await read_profile(session, "profiles.mine")
        await session.execute(text("insert into profiles.mine values (6)"))
        await session.rollback()

    assert profile.frame()["max"].tolist() == [5]


async def test_markup_in_names_and_values_is_text(db: Database) -> None:
    html = (await db.profile("""select '<script>' as "<b>" from generate_series(1, 2)"""))._repr_html_()

    assert "<script>" not in html
    assert "<b>&lt;" not in html.replace("<b>statement", "")
    assert "&lt;b&gt;" in html


@pytest.mark.parametrize("columns", [1, 3, pytest.param(60, marks=pytest.mark.second_tier)])
@pytest.mark.parametrize("dark", [False, True])
async def test_the_picture_has_a_part_for_each_column(db: Database, columns: int, dark: bool) -> None:
    every = ", ".join(f"g % {n + 1} as c{n}" for n in range(columns))
    profile = await db.profile(f"select {every} from generate_series(1, 100) as g")

    figure = profile.plot(title="What is in it", dark=dark)
    figure.canvas.draw()

    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]
    assert titles == profile.frame()["column"].tolist()
    histograms = [[bar.get_height() for bar in ax.patches] for ax in figure.axes[1:columns]]
    assert [sum(heights) for heights in histograms] == pytest.approx([100] * (columns - 1))


async def test_figures_are_of_one_moment(db: Database, url: str) -> None:
    """Rows that come between the statements are in none of them."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table profiles.growing as select 1 as a")
        async with db._reading() as session:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            await session.execute(text("select 1"))
            connection.execute("insert into profiles.growing values (2)")
            profile = await read_profile(session, "profiles.growing")

    assert isinstance(profile, Profile)
    assert (profile.rows, profile.frame()["distinct"][0]) == (1, 1)
