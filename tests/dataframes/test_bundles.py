"""Composites, bundles and what a class computes: the same columns, names and dtypes by every route."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pandas_versions import STR
from sqlalchemy import Numeric, String, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    Bundle,
    DeclarativeBase,
    Mapped,
    aliased,
    column_property,
    composite,
    mapped_column,
    undefer,
)

from asyncdb_nb import frame, frames, table, to_frame


@dataclasses.dataclass
class Point:
    x: int | None
    y: int | None


class Base(DeclarativeBase):
    pass


class Line(Base):
    __tablename__ = "lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    x1: Mapped[int]
    y1: Mapped[int]
    x2: Mapped[int | None]
    y2: Mapped[int | None]
    title: Mapped[str] = mapped_column("name", String(20))
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    start = composite(Point, "x1", "y1")
    end = composite(Point, "x2", "y2")

    @hybrid_property
    def width(self) -> Any:
        return self.x2 - self.x1


Line.next = column_property(Line.x1 + 1)  # type: ignore[attr-defined]
Line.double = column_property(Line.price * 2, deferred=True)  # type: ignore[attr-defined]
Line.lines = column_property(select(func.count(Line.id)).scalar_subquery())  # type: ignore[attr-defined]
Other = aliased(Line)
Named = Bundle("named", Line.id, Line.title)


class Dicts(Bundle[Any]):
    """A user's own, which decides what a value of it is."""

    def create_row_processor(self, query: Any, procs: Any, labels: Any) -> Callable[[Any], Any]:
        return lambda row: {label: make(row) for label, make in zip(labels, procs, strict=True)}


@pytest.fixture
async def lines(session: AsyncSession) -> AsyncSession:
    connection = await session.connection()
    await connection.run_sync(Base.metadata.create_all)
    values = {"x1": 1, "y1": 2, "title": "a", "price": Decimal("1.25")}
    await session.execute(insert(Line), [{"id": 1, "x2": 3, "y2": 4, **values}, {"id": 2, **values}])
    return session


ENTITY = {
    "id": "Int32", "x1": "Int32", "y1": "Int32", "x2": "Int32", "y2": "Int32", "title": STR,
    "price": "decimal128(12, 2)[pyarrow]", "next": "Int32", "lines": "Int64",
}  # fmt: skip
START, END = {"x1": "Int32", "y1": "Int32"}, {"x2": "Int32", "y2": "Int32"}
SELECTS: dict[str, tuple[Any, dict[str, str]]] = {
    "a composite": (select(Line.start), START),
    "a composite, which is NULL": (select(Line.id, Line.end), {"id": "Int32", **END}),
    "a composite of an alias": (select(Other.end, Other.id), {**END, "id": "Int32"}),
    "a composite beside its class": (select(Line, Line.start), ENTITY | {"x1_1": "Int32", "y1_1": "Int32"}),
    "a bundle": (select(Named), {"id": "Int32", "title": STR}),
    "a bundle of one": (select(Bundle("one", Line.title, single_entity=True)), {"title": STR}),
    "a bundle beside a column": (select(Line.x1, Named), {"x1": "Int32", "id": "Int32", "title": STR}),
    "a bundle beside its class": (select(Line, Named), ENTITY | {"id_1": "Int32", "title_1": STR}),
    "a bundle of a bundle and a composite": (
        select(Bundle("all", Line.id.label("number"), Line.start, Bundle("inner", Line.title))),
        {"number": "Int32", **START, "title": STR},
    ),
    "a bundle of a class of one's own": (select(Dicts("own", Line.id, Line.title)), {"own": "object"}),
    "a class with computed columns": (select(Line), ENTITY),
    "an alias of it": (select(Other), ENTITY),
    "a computed column that is loaded on demand": (
        select(Line).options(undefer(Line.double)),  # type: ignore[attr-defined]
        ENTITY | {"double": "object"},
    ),
    "computed columns and a hybrid": (
        select(Line.next, Line.lines, Line.width),  # type: ignore[attr-defined]
        {"next": "Int32", "lines": "Int64", "width": "Int32"},
    ),
    "a class that is not found": (
        select(Line.id, Other).outerjoin(Other, Other.id == Line.id + 1),
        {"id": "Int32"} | {f"{name}_1" if name == "id" else name: dtype for name, dtype in ENTITY.items()},
    ),
    "nothing": (select(Line, Line.end, Named).where(Line.id < 0), ENTITY | {
        "x2_1": "Int32", "y2_1": "Int32", "id_1": "Int32", "title_1": STR
    }),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "dtypes"), SELECTS.values(), ids=SELECTS)
async def test_what_sqlalchemy_builds_is_the_same_columns_by_every_route(
    lines: AsyncSession, statement: Any, dtypes: dict[str, str]
) -> None:
    """Composites and bundles are the columns that they are made of; computed columns have the server's type."""
    expected = await frame(lines, statement)
    routes = [
        to_frame(await lines.execute(statement)),
        to_frame((await lines.execute(statement)).mappings()),
        *[part async for part in frames(lines, statement)],
    ]

    assert {name: str(dtype) for name, dtype in expected.dtypes.items()} == dtypes
    assert (await table(lines, statement)).column_names == list(expected)
    for got in routes:
        assert got.dtypes.equals(expected.dtypes)
        assert got.astype(str).equals(expected.astype(str))


@pytest.mark.parametrize("statement", [select(Line), select(Line).options(undefer(Line.double))])  # type: ignore[attr-defined]
async def test_computed_columns_of_entities_are_those_of_a_frame(lines: AsyncSession, statement: Any) -> None:
    """SQLAlchemy guesses int4 for a count, and for a product the precision of its factor."""
    expected = await frame(lines, statement)

    got = to_frame((await lines.scalars(statement)).all())

    assert got.astype(str).equals(expected.astype(str))
    assert got.dtypes.equals(expected.dtypes)


async def test_what_is_computed_is_null_where_no_entity_was_found(lines: AsyncSession) -> None:
    got = await frame(lines, select(Line.id, Other).outerjoin(Other, Other.id == Line.id + 1).order_by(Line.id))

    assert got["lines"].isna().tolist() == [False, True]


async def test_returning_gives_the_columns_of_a_composite(lines: AsyncSession) -> None:
    got = await frame(lines, update(Line).where(Line.id == 1).values(x2=7).returning(Line.end, Named))

    assert got.to_dict("records") == [{"x2": 7, "y2": 4, "id": 1, "title": "a"}]


async def test_rows_of_a_bundle_are_its_columns(lines: AsyncSession) -> None:
    got = to_frame((await lines.execute(select(Line.x1, Named).order_by(Line.id))).all())

    assert got.to_dict("list") == {"x1": [1, 1], "id": [1, 2], "title": ["a", "a"]}
