"""A view shows what the server has: every value exactly, each row on one page, and nothing of it is taken for SQL."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from server_checks import ServerWatch
from sqlalchemy import column, select, values
from sqlalchemy import types as sa
from sqlalchemy.exc import DBAPIError
from waiting import until

from asyncdb_nb import Database
from asyncdb_nb.errors import DatabaseClosedError, FrameError, UnknownTableError
from asyncdb_nb.explore.view import View
from asyncdb_nb.explore.view_widget import LiveView

HOSTILE = ['a"b', "; drop table views.plain; --", "<script>alert(1)</script>", "%(x)s", ":id", "Ü" * 31, "{x}", "$1"]
BACKENDS = "select pid from pg_stat_activity where datname = 'tests' and pid <> pg_backend_pid()"
WAITS = f"{BACKENDS} and wait_event_type = 'Lock'"


@pytest.fixture(scope="module")
def url(database_url: str) -> Iterator[str]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create schema views; create type views.mood as enum ('sad', 'ok', 'happy')")
        connection.execute(
            "create table views.plain as select g as id, g % 10 as ten, 'row ' || g as label, "
            "case when g % 4 > 0 then g % 7 end as seven from generate_series(1, 1234) as g"
        )
        connection.execute("create table views.parts (id int, ten int) partition by range (id)")
        connection.execute("create table views.parts_1 partition of views.parts for values from (0) to (600)")
        connection.execute("create table views.parts_2 partition of views.parts for values from (600) to (9999)")
        connection.execute("insert into views.parts select id, ten from views.plain")
    yield database_url
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop schema views cascade")


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with Database(url) as db:
        yield db


async def all_rows(view: View, **asked: Any) -> list[list[str | None]]:
    """Turn the pages to the end."""
    rows: list[list[str | None]] = []
    while True:
        page = await view.page(first=len(rows), **asked)
        assert len(page.rows) <= 100
        rows += page.rows
        if not page.more:
            return rows


EXACT = [
    ("1.10::numeric", "1.10"),
    ("'NaN'::numeric", "NaN"),
    ("0.1::float8 + 0.2", "0.30000000000000004"),
    ("9007199254740993::bigint", "9007199254740993"),
    ("""'{"b": 1.10, "a":  null}'::json""", '{"b": 1.10, "a":  null}'),
    ("""'{"b": 1.10, "a":  null}'::jsonb""", '{"a": null, "b": 1.10}'),
    ("array[1.50, null]", "{1.50,NULL}"),
    ("array['a,b', 'NULL', '']", '{"a,b","NULL",""}'),
    ("null::text", None),
    ("'NULL'::text", "NULL"),
    ("''::text", ""),
    ("'ab'::char(5)", "ab   "),
    ("null::char(5)", None),
    ("timestamptz '2024-01-01 12:00:00.000001+02'", "2024-01-01 10:00:00.000001+00"),
    ("timestamptz 'infinity'", "infinity"),
    ("date '0044-03-15 BC'", "0044-03-15 BC"),
    ("interval '1 year -3 days 04:05:06.5'", "1 year -3 days +04:05:06.5"),
    ("'\\x00ff'::bytea", "\\x00ff"),
    ("'happy'::views.mood", "happy"),
    ("row(1, 'x y', null)", '(1,"x y",)'),
    ("true", "true"),
    ("point(1, 2.5)", "(1,2.5)"),
    ("E'<b>&\"''\\n\\ttab'", "<b>&\"'\n\ttab"),
    ("'ünï😀'", "ünï😀"),
]


@pytest.mark.parametrize(("value", "shown"), EXACT, ids=[value for value, _ in EXACT])
async def test_a_value_is_the_servers_text_of_it(db: Database, value: str, shown: str | None) -> None:
    """The same after it was sorted and filtered, whether or not its type has an order."""
    view = await db.view(f"select {value} as v")

    assert (await view.page()).rows == [[shown]]
    assert (await view.page(sort=0, descending=True)).rows == [[shown]]
    if shown is not None:
        plainly = shown == "NULL" or shown != shown.strip()  # what stands after an operator has no spaces at its ends
        assert (await view.page(sort=0, filters={0: shown if plainly else f"= {shown}"})).rows == [[shown]]
        assert (await view.page(filters={0: "= null"})).rows == []
        assert await view.count({0: "!= null"}) == 1
    else:
        assert (await view.page(filters={0: "= null"})).rows == [[None]]


async def test_time_zones_are_those_of_the_session(db: Database) -> None:
    """And the offset is told, so that the moment is exact."""
    await db.execute("alter role postgres set timezone = 'Europe/Berlin'")
    try:
        async with Database(db.url) as other:
            view = await other.view("select timestamptz '2024-07-01 10:00+00' as at")
        assert view._first.rows == [["2024-07-01 12:00:00+02"]]
    finally:
        await db.execute("alter role postgres reset timezone")


@pytest.mark.parametrize("source", ["views.plain", "views.parts", "select * from views.plain order by ten"])
@pytest.mark.parametrize("descending", [False, True])
async def test_each_row_is_on_one_page(db: Database, source: str, descending: bool) -> None:
    """Sorted by a column in which many are equal; PostgreSQL by itself gives some twice."""
    view = await db.view(source)
    rows = await all_rows(view, sort=1, descending=descending)

    assert len({row[0] for row in rows}) == len(rows) == 1234
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=descending)
    assert len({row[0] for row in await all_rows(view)}) == 1234
    assert await view.count() == 1234


async def test_numbers_sort_as_numbers_and_null_comes_last(db: Database) -> None:
    view = await db.view("views.plain")

    assert [row[0] for row in (await view.page(sort=0)).rows[:3]] == ["1", "2", "3"]
    assert (await view.page(sort=0, descending=True)).rows[0][0] == "1234"
    for descending in (False, True):
        sevens = [row[3] for row in await all_rows(view, sort=3, descending=descending)]
        known = [int(each) for each in sevens if each is not None]
        assert known == sorted(known, reverse=descending)
        assert sevens[len(known) :] == [None] * (1234 // 4)


FILTERS = [
    ({2: "ROW 12"}, "label ilike '%row 12%'"),
    ({2: "%"}, "label like '%\\%%'"),
    ({0: "23"}, "id::text like '%23%'"),
    ({0: "= 23"}, "id = 23"),
    ({0: "<= 23", 1: "> 4"}, "id <= 23 and ten > 4"),
    ({0: ">=1200", 2: "7"}, "id >= 1200 and label like '%7%'"),
    ({3: "= null"}, "seven is null"),
    ({3: "!= NULL", 1: "!= 3"}, "seven is not null and ten <> 3"),
    ({2: "= row 7"}, "label = 'row 7'"),
    ({2: "<> row 7"}, "label <> 'row 7'"),
    ({2: "  "}, "true"),
    ({2: "'; drop table views.plain; --"}, "false"),
]


@pytest.mark.parametrize(("filters", "condition"), FILTERS, ids=[condition for _, condition in FILTERS])
@pytest.mark.parametrize("source", ["views.plain", "select id, ten, label, seven from views.plain where id > :least"])
async def test_a_filter_leaves_what_sql_would(
    db: Database, url: str, source: str, filters: dict[int, str], condition: str
) -> None:
    view = await db.view(source, {"least": 5} if ":least" in source else None)
    least = f"id > {5 if ':least' in source else 0}"
    with psycopg.connect(url) as connection:
        expected = connection.execute(
            f"select id::text from views.plain where {least} and {condition} order by plain.id"
        )

        assert [row[0] for row in await all_rows(view, filters=filters, sort=0)] == [row[0] for row in expected]
        assert await view.count(filters) == expected.rowcount


async def test_a_filter_goes_as_a_value(db: Database) -> None:
    """No statement that is sent has anything of it, nor a name that was not described."""
    view = await db.view("views.plain")
    await view.page(filters={2: "' or 'secret' = 'secret"}, sort=1)

    assert not [statement for statement in db.history()["statement"] if "secret" in statement]


async def test_the_values_of_a_select_of_core_and_those_of_a_filter_do_not_mix(db: Database) -> None:
    rows = values(column("id", sa.Integer), column("name", sa.Text), name="rows").data([(1, "a"), (2, "b"), (3, "b")])
    view = await db.view(select(rows).where(rows.c.id > 1))

    assert (await view.page(filters={0: "< 3", 1: "= b"})).rows == [["2", "b"]]


async def test_what_the_server_refuses_is_said(db: Database) -> None:
    view = await db.view("views.plain")

    with pytest.raises(DBAPIError, match='invalid input syntax for type integer: "x"'):
        await view.page(filters={0: "= x"})


@pytest.mark.parametrize(
    "asked",
    [{"sort": 4}, {"sort": -1}, {"sort": "id"}, {"sort": True}, {"filters": {9: "x"}}, {"filters": {0: 7}},
     {"first": -1}, {"first": "0; drop"}, {"first": 2**63}],
)  # fmt: skip
async def test_what_is_no_position_is_refused(db: Database, asked: dict[str, Any]) -> None:
    """A browser's word is never part of a statement."""
    view = await db.view("views.plain")

    with pytest.raises(ValueError, match=r"no column|Type 0 for 'id'|A filter is a text|it is a number of rows"):
        await view.page(**asked)


async def test_hostile_names_are_names(db: Database, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        named = sql.SQL(", ").join(sql.SQL("{} int").format(sql.Identifier(name)) for name in HOSTILE)
        connection.execute(sql.SQL('create table views."Hos""tile" ({})').format(named))
        marks = sql.SQL(", ").join(sql.Literal(number) for number, _ in enumerate(HOSTILE))
        connection.execute(sql.SQL('insert into views."Hos""tile" values ({})').format(marks))
    for source in ('views."Hos""tile"', 'select * from views."Hos""tile"'):
        view = await db.view(source)
        assert view.columns == HOSTILE
        for position, _ in enumerate(HOSTILE):
            row = (await view.page(sort=position, filters={position: f"= {position}"})).rows
            assert row == [[str(number) for number, _ in enumerate(HOSTILE)]]
        assert "<script>" not in view._repr_html_()
        assert "&lt;script&gt;" in view._repr_html_()


async def test_columns_of_one_name_are_two(db: Database) -> None:
    view = await db.view("select g as x, -g as x from generate_series(1, 3) as g")

    assert view.columns == ["x", "x"]
    assert (await view.page(sort=1)).rows == [["3", "-3"], ["2", "-2"], ["1", "-1"]]
    assert (await view.page(filters={1: "= -2"})).rows == [["2", "-2"]]


async def test_no_columns_and_no_rows(db: Database) -> None:
    await db.execute("create table views.nothing ()")

    assert repr(await db.view("views.nothing")) == "views.nothing: 0 rows"
    assert repr(await db.view("select 1 as a, 2 as b where false")) == "statement: 0 rows\na  b"


async def test_an_operator_of_somebody_else_is_not_called(db: Database) -> None:
    await db.execute(
        """create schema views_trap;
        create function views_trap.trap(int, int) returns bool language plpgsql as $$ begin raise 'trapped'; end $$;
        create operator views_trap.= (leftarg = int, rightarg = int, function = views_trap.trap);
        create operator views_trap.> (leftarg = int, rightarg = int, function = views_trap.trap);
        create function views_trap.lower(text) returns text language plpgsql as $$ begin raise 'trapped'; end $$;
        alter role postgres set search_path = views_trap, views, pg_catalog"""
    )
    try:
        async with Database(db.url) as other:
            view = await other.view("plain")
            assert (await view.page(filters={0: "= 7", 1: "> 1", 2: "ROW"}, sort=1)).rows == [["7", "7", "row 7", "0"]]
    finally:
        await db.execute("alter role postgres reset search_path; drop schema views_trap cascade")


async def test_the_text_and_the_stored_table_are_the_first_rows(db: Database) -> None:
    """Both alike with and without controls; NULL is not the empty text, and a long text ends with an ellipsis."""
    view = await db.view(
        "select g as id, case g when 1 then null when 2 then '' when 3 then E'a\\nb' else repeat('<', 3000) end as t "
        "from generate_series(1, 12) as g"
    )
    lines = repr(view).splitlines()
    html = view._repr_html_()

    assert lines[0] == "statement: 12 rows, 10 shown"
    assert [line.rstrip() for line in lines[1:5]] == ["id  t", "1   NULL", "2", "3   a\\nb"]
    assert lines[5] == f"4   {'<' * 39}…"
    assert len(lines) == 12
    assert html.count("<tr>") == 11
    assert html.count(">NULL</i>") == 1
    assert f"{'&lt;' * 1000}…</td>" in html
    assert re.sub('id="asyncdb-view-[0-9a-f]{16}"', "", html) == re.sub('id="[^"]*"', "", view._repr_html_())
    assert repr(await db.view("views.plain")).startswith("views.plain: more than 100 rows, 10 shown\nid  ten  label")


async def test_an_unknown_table_has_its_neighbours_named_and_a_change_is_refused(db: Database) -> None:
    with pytest.raises(UnknownTableError, match=r"views\.plain"):
        await db.view("views.plan")
    with pytest.raises(FrameError, match="take the name of a table"):
        await db.view("delete from views.plain returning id")
    await db.execute("create function views.f() returns int language sql as 'delete from views.plain returning 1'")
    with pytest.raises(DBAPIError, match="read-only transaction"):
        await db.view("select views.f()")


async def test_nothing_is_open_between_two_pages(db: Database, clean_server: ServerWatch) -> None:
    view = await db.view("views.plain")
    await view.page(sort=1)

    states = clean_server.query("select state, xact_start from pg_stat_activity where datname = 'tests'")
    assert set(states) <= {("idle", None)}


class Widget:
    """Stands for the browser's side: what is sent to it, in order."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def on_msg(self, heard: Any) -> None:
        self.heard = heard

    def send(self, content: dict[str, Any]) -> None:
        self.sent.append(content)

    def ask(self, number: int, kind: str = "page", **asked: Any) -> None:
        self.heard(self, {"kind": kind, "number": number, "first": 0, **asked}, [])

    async def answer(self, number: int) -> dict[str, Any]:
        return await until(lambda: next((each for each in self.answers() if each["number"] == number), None))

    def answers(self) -> list[dict[str, Any]]:
        return [each for each in self.sent if "heard" not in each]


async def test_the_next_question_cancels_the_one_at_work(
    near_and_far: str, url: str, clean_server: ServerWatch
) -> None:
    """Of questions that cannot be answered yet one waits on the server, and the last one alone is answered."""
    async with Database(near_and_far) as db:
        widget = Widget()
        live = LiveView(await db.view("views.plain"), widget)
        with psycopg.connect(url) as other:
            other.execute("lock table views.plain")
            widget.ask(1)
            await until(lambda: clean_server.query(WAITS))
            for number in range(2, 6):
                widget.ask(number, filters={"0": f"= {number}"})
            await until(lambda: [each for each in widget.sent if each["number"] == 5])
            assert widget.answers() == []
        answer = await widget.answer(5)

        assert [row[0] for row in answer["rows"]] == ["5"]
        assert [each["number"] for each in widget.answers()] == [5]
        await until(lambda: not clean_server.query(WAITS))
        assert live is not None


async def test_stop_stops_on_the_server_and_the_view_goes_on(db: Database, url: str, clean_server: ServerWatch) -> None:
    widget = Widget()
    LiveView(await db.view("views.plain"), widget)
    with psycopg.connect(url) as other:
        other.execute("lock table views.plain")
        widget.ask(1, "count")
        await until(lambda: clean_server.query(WAITS))
        widget.ask(2, "stop")
        assert (await widget.answer(2))["stopped"]
        await until(lambda: not clean_server.query(WAITS))
    widget.ask(3, "count", filters={"1": "= 3"})

    assert (await widget.answer(3))["total"] == 124


async def test_what_is_sent_first_has_all_that_is_shown(db: Database) -> None:
    """A text that was cut is told from one that ends with an ellipsis."""
    widget = Widget()
    LiveView(await db.view("select null as a, repeat('x', 1001) as b, '…' as b"), widget)
    widget.ask(1, "hello")

    assert await widget.answer(1) == {
        "number": 1, "title": "statement", "columns": [["a", "text"], ["b", "text"], ["b", "text"]], "size": 100,
        "rows": [[None, ["x" * 1000], "…"]], "first": 0, "more": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"filters": {"0": "= x"}}, "InvalidTextRepresentationError: invalid input syntax for type integer"),
        ({"sort": ["id", False]}, "ValueError: Columns are given by their number, from 0 on. Type 0 for 'id'."),
        ({"filters": {"id": "x"}}, "ValueError: invalid literal for int"),
        ({"sort": 7}, "TypeError: "),
    ],
)
async def test_a_failure_is_a_line_in_the_view(db: Database, asked: dict[str, Any], said: str) -> None:
    widget = Widget()
    LiveView(await db.view("views.plain"), widget)
    widget.ask(1, **asked)

    assert (await widget.answer(1))["error"].startswith(said)
    widget.ask(2)
    assert (await widget.answer(2))["more"]


async def test_a_lost_connection_a_slow_query_and_a_closed_database_are_said(
    url: str, clean_server: ServerWatch
) -> None:
    """A connection that was lost while idle is replaced."""
    async with Database(url) as db:
        widget, slow = Widget(), Widget()
        LiveView(await db.view("views.plain"), widget)
        LiveView(await db.view("views.plain", timeout=0.05), slow)
        clean_server.query(BACKENDS.replace("select pid", "select pg_terminate_backend(pid)"))
        widget.ask(1)
        assert (await widget.answer(1))["more"]
        with psycopg.connect(url) as other:
            other.execute("lock table views.plain")
            slow.ask(1)
            assert (await slow.answer(1))["error"].endswith("await db.view(..., timeout=300)")
            widget.ask(2)
            [[waiting]] = await until(lambda: clean_server.query(WAITS))
            clean_server.query("select pg_terminate_backend(%s)", waiting)
            assert "terminating connection due to administrator command" in (await widget.answer(2))["error"]
    widget.ask(3)

    assert (await widget.answer(3))["error"].startswith(DatabaseClosedError.__name__)


async def test_nobody_who_looks_has_no_controls(db: Database) -> None:
    """Not in a program, and not where anywidget is missing; the table is the same."""
    view = await db.view("views.plain")

    assert "row 1" in view._repr_html_()
    assert view._live is None
