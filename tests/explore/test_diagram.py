"""A diagram has every key that the catalog has, and a picture in which nothing hides anything."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import psycopg
import pytest
from sqlalchemy import text

from asyncdb_nb import Database
from asyncdb_nb.errors import UnknownSchemaError
from asyncdb_nb.explore.diagram import read_diagram
from asyncdb_nb.explore.diagram_layout import Box, layout_of
from asyncdb_nb.explore.diagram_svg import path_of
from asyncdb_nb.explore.diagram_tables import Content, ForeignKey, KeyColumn, Table

mpl.use("agg")

HOSTILE = """Ta"b<le> & 'q' %s {x} \\ $y$"""
QUOTED = '"' + HOSTILE.replace('"', '""') + '"'
TABLES = f"""
create schema diagrams; create schema "Diagrams 2";
create table diagrams.customer (id int primary key, name text, boss int references diagrams.customer);
create table diagrams.product (maker text, code text, primary key (maker, code));
create table diagrams.line (
    order_id int, place int, maker text not null, code text not null, primary key (order_id, place),
    constraint of_product foreign key (maker, code) references diagrams.product on delete cascade);
create table diagrams."order" (id int primary key, customer int not null references diagrams.customer,
    first_place int, constraint first_line foreign key (id, first_place) references diagrams.line (order_id, place));
alter table diagrams.line add constraint of_order foreign key (order_id) references diagrams."order";
create table "Diagrams 2".{QUOTED} ("Ke""y" int primary key, customer int references diagrams.customer);
create table "Diagrams 2".alone ();
create table diagrams.measured (id int, day date, customer int references diagrams.customer) partition by range (day);
create table diagrams.measured_1 partition of diagrams.measured for values from ('2020-01-01') to ('2021-01-01');
insert into diagrams.customer select g, 'x', null from generate_series(1, 12345) as g;
insert into diagrams.measured select g, '2020-02-02', g from generate_series(1, 10) as g;
analyze diagrams.customer; analyze diagrams.measured
"""


@pytest.fixture(scope="module")
def url(server: Any, server_watch: Any) -> Iterator[str]:
    server_watch.query("create database diagrams")
    url = server.url.replace("/postgres?", "/diagrams?")
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in TABLES.split(";"):
            connection.execute(statement)
    yield url
    server_watch.query("drop database diagrams with (force)")


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with Database(url) as db:
        yield db


async def test_the_frame_has_a_row_for_each_foreign_key(db: Database) -> None:
    """Composite ones once, with their columns in order; those of partitions not at all."""
    frame = (await db.diagram()).frame()

    rows = frame[["table", "columns", "references_table", "references_columns", "on_delete", "required"]]
    assert [tuple(row) for row in rows.to_numpy().tolist()] == [
        (HOSTILE, "customer", "customer", "id", "no action", False),
        ("customer", "boss", "customer", "id", "no action", False),
        ("line", "maker, code", "product", "maker, code", "cascade", True),
        ("line", "order_id", "order", "id", "no action", True),
        ("measured", "customer", "customer", "id", "no action", False),
        ("order", "customer", "customer", "id", "no action", True),
        ("order", "id, first_place", "line", "order_id, place", "no action", False),
    ]
    assert frame.loc[0, ["schema", "references_schema"]].tolist() == ["Diagrams 2", "diagrams"]
    assert frame.dtypes.astype(str).tolist() == ["str"] * 7 + ["bool", "str"]


async def test_tables_have_their_keys_and_the_planners_rows(db: Database) -> None:
    diagram = await db.diagram("diagrams")
    tables = {table.name: table for table in diagram.tables}

    assert set(tables) == {"customer", "product", "line", "order", "measured"}
    assert (tables["customer"].rows, tables["measured"].rows, tables["line"].rows) == (12345, 10, None)
    assert [(key.name, key.is_primary, key.is_foreign) for key in tables["line"].keys] == [
        ("order_id", True, True), ("place", True, False), ("maker", False, True), ("code", False, True),
    ]  # fmt: skip
    assert tables["customer"].others == 1


async def test_one_schema_brings_those_it_refers_to(db: Database) -> None:
    diagram = await db.diagram("Diagrams 2")

    assert [table.name for table in diagram.tables] == [HOSTILE, "alone", "customer"]
    assert [key.columns for key in diagram.foreign_keys] == [("customer",), ("boss",)]
    with pytest.raises(
        UnknownSchemaError, match=r"There is no schema 'nowhere'\. Those that are there: Diagrams 2, diag"
    ):
        await db.diagram("nowhere")


async def test_the_text_is_the_same_each_time(db: Database) -> None:
    first, second = [await db.diagram("diagrams") for _ in range(2)]

    assert repr(first) == str(second)
    assert "diagrams.line\n  maker, code → diagrams.product (maker, code)" in str(first)
    assert "diagrams.customer  (12,345 rows)\n  boss → diagrams.customer (id)" in str(first)
    assert first.svg() == second.svg()


async def test_names_are_text_in_the_picture(db: Database) -> None:
    diagram = await db.diagram()

    for dark in (None, False, True):
        root = ElementTree.fromstring(diagram.svg(dark=dark))
        written = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
        assert any(HOSTILE.replace('"', '""')[:10] in (each or "") for each in written)
        assert 'Ke"y' in written
    assert diagram._repr_html_() == diagram.svg()
    diagram.plot().figure.canvas.draw()


async def test_mermaid_has_each_key(db: Database) -> None:
    lines = (await db.diagram("diagrams")).mermaid().splitlines()

    assert lines[0] == "erDiagram"
    assert '    "diagrams.product" ||--o{ "diagrams.line" : "maker, code"' in lines
    assert '    "diagrams.customer" |o--o{ "diagrams.customer" : "boss"' in lines
    assert "        integer order_id PK, FK" in lines
    hostile = (await db.diagram("Diagrams 2")).mermaid()
    assert hostile.count('"') % 2 == 0
    assert "    \"Diagrams 2.Ta_b<le> & 'q' _s _x_ _ $y$\" {" in hostile.splitlines()


async def test_a_diagram_sees_what_its_transaction_made(db: Database) -> None:
    async with db.session() as session:
        await session.execute(text("create table diagrams.mine (id int references diagrams.customer)"))
        diagram = await read_diagram(session, "diagrams")
        await session.rollback()

    assert "mine" in {table.name for table in diagram.tables}
    assert "mine" not in str(await db.diagram("diagrams"))


async def test_a_database_without_tables_has_a_diagram(fresh_database_url: str) -> None:
    async with Database(fresh_database_url) as empty:
        diagram = await empty.diagram()

    assert str(diagram) == "There are no tables."
    assert len(diagram.frame()) == 0
    ElementTree.fromstring(diagram.svg(dark=True))
    diagram.plot().figure.canvas.draw()


def random_diagram(count: int, seed: int) -> Content:
    """Tables with keys in every direction: circles, hubs, several keys between two, references to themselves."""
    chance = random.Random(seed)
    ends = [
        (place, chance.choice([0, chance.randrange(count), max(place - 1, 0)]))
        for place in range(count)
        for _ in range(chance.choice([0, 1, 1, 2, 3]))
    ]
    tables = []
    for place in range(count):
        foreign = [KeyColumn(f"other_{n}", "int", False, True) for n, end in enumerate(ends) if end[0] == place]
        name = f"table_{place}" + "x" * chance.choice([0, 0, 0, 60])
        tables.append(Table("s", name, place * 10**3, (KeyColumn("id", "int", True, False), *foreign), place % 9))
    keys = [
        ForeignKey(f"key_{n}", tables[here], (f"other_{n}",), tables[there], ("id",), "no action", bool(n % 2))
        for n, (here, there) in enumerate(ends)
    ]
    return Content(tables, keys)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 20, 40, 60])
@pytest.mark.parametrize("seed", range(6))
def test_no_box_lies_on_another_and_no_line_runs_through_one(count: int, seed: int) -> None:
    diagram = random_diagram(count, seed)
    picture = layout_of(diagram)

    assert len(picture.boxes) == count
    assert len(picture.lines) == len(diagram.foreign_keys)
    for n, box in enumerate(picture.boxes):
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= picture.width
        assert box.y + box.height <= picture.height
        assert not [other for other in picture.boxes[:n] if overlap(box, other)]
    for line in picture.lines:
        ends = {id(line.key.table), id(line.key.other)}
        strange = [box for box in picture.boxes if id(box.table) not in ends]
        for x, y in points_of(line):
            assert 0 <= x <= picture.width
            assert not [box for box in strange if inside(x, y, box)]


def test_a_picture_of_forty_tables_fits_a_screen_or_two() -> None:
    for seed in range(6):
        picture = layout_of(random_diagram(40, seed))
        assert picture.height < 2000
        assert picture.width < 8000


def overlap(one: Box, two: Box) -> bool:
    across = one.x < two.x + two.width and two.x < one.x + one.width
    return across and one.y < two.y + two.height and two.y < one.y + one.height


def inside(x: float, y: float, box: Box) -> bool:
    return box.x < x < box.x + box.width and box.y < y < box.y + box.height


def points_of(line: Any) -> Iterator[tuple[float, float]]:
    """Points along a line: of a curve, by Bézier's formula."""
    here = line.points[0]
    for command, points in path_of(line)[1:]:
        a, b = (points[0], points[1]) if command == "C" else (here, points[-1])
        end = points[-1]
        for step in range(21):
            t = step / 20
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            yield tuple(sum(w * p[axis] for w, p in zip(weights, (here, a, b, end), strict=True)) for axis in (0, 1))  # type: ignore[misc]
        here = end
