"""Types that SQLAlchemy has in another form on PostgreSQL: a column has the same type by every route."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import ARRAY, Dialect, Enum, Integer, Numeric, String, Text, TypeDecorator, insert, select, type_coerce
from sqlalchemy.dialects.postgresql import DOMAIN, MACADDR, TSVECTOR
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, load_only, mapped_column

from asyncdb_nb import FrameError, frame, table, to_frame


class Colour(enum.Enum):
    RED = 1


class Loaded(TypeDecorator[Any]):
    """A text that is an enum where PostgreSQL has one."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(Enum(Colour) if dialect.name == "postgresql" else String())


class FormsBase(DeclarativeBase):
    pass


class Form(FormsBase):
    __tablename__ = "value_forms"
    id: Mapped[int] = mapped_column(primary_key=True)
    colours: Mapped[list[Any] | None] = mapped_column(ARRAY(Enum(Colour)))
    varied: Mapped[Any | None] = mapped_column(String().with_variant(Enum(Colour), "postgresql"))
    loaded: Mapped[Any | None] = mapped_column(Loaded)
    few: Mapped[int | None] = mapped_column(DOMAIN("value_few", Integer, check="value < 10"))
    price: Mapped[Decimal | None] = mapped_column(DOMAIN("value_price", Numeric(8, 3)))
    mac: Mapped[str | None] = mapped_column(MACADDR)
    words: Mapped[str | None] = mapped_column(TSVECTOR)


FORM = {
    "id": 1,
    "colours": [Colour.RED, None],
    "varied": Colour.RED,
    "loaded": Colour.RED,
    "few": 3,
    "price": Decimal("1.250"),
    "mac": "08:00:2b:01:02:03",
    "words": "'a' 'b'",
}
FORM_DTYPES = ["Int32", "object", "object", "object", "Int32", "decimal128(8, 3)[pyarrow]"]


@pytest.fixture
async def forms(session: AsyncSession) -> AsyncSession:
    await (await session.connection()).run_sync(FormsBase.metadata.create_all)
    session.add_all([Form(**FORM), Form(id=2)])
    await session.flush()
    session.expunge_all()
    return session


async def test_a_type_is_what_it_is_on_postgresql_by_every_route(forms: AsyncSession) -> None:
    """`with_variant`, `load_dialect_impl` and domains; dtypes are the same whoever read the rows, and without rows."""
    of_form = select(Form).order_by(Form.id)
    of_columns = select(*Form.__table__.columns).order_by(Form.id)
    frames = [await frame(forms, of_form), await frame(forms, of_columns)]
    frames += [to_frame(await forms.execute(of_columns)), to_frame((await forms.scalars(of_form)).all())]
    frames += [to_frame(await forms.execute(of_columns.where(Form.id < 0)))]

    for got in frames:
        assert [str(dtype) for dtype in got.dtypes][:6] == FORM_DTYPES
        assert [str(dtype) for dtype in got.dtypes][6:] == [str(frames[0]["mac"].dtype)] * 2
    for got in frames[:-1]:
        assert {name: got[name][0] for name in got} == FORM
        assert got.loc[1].isna().tolist() == [False, *[True] * 7]


async def test_a_table_has_the_text_of_members_whoever_read_them(forms: AsyncSession) -> None:
    """In arrays, and where SQLAlchemy read the rows of RETURNING."""
    columns = Form.colours, Form.varied, Form.loaded
    stored = {"colours": ["RED", None], "varied": "RED", "loaded": "RED"}
    returning = insert(Form).values(id=3, colours=[Colour.RED, None], varied=Colour.RED, loaded=Colour.RED)

    assert (await table(forms, select(*columns).where(Form.id == 1))).to_pylist() == [stored]
    assert (await table(forms, returning.returning(*columns))).to_pylist() == [stored]


async def test_an_object_that_arrow_has_no_type_for_is_an_error_that_says_what_to_select(forms: AsyncSession) -> None:
    with pytest.raises(FrameError, match=r"Column 'varied' holds <Colour\.RED: 1> \(Colour\), for which Arrow has no"):
        await table(forms, select(Form).options(load_only(Form.varied)).where(Form.id == 1))

    as_text = await table(forms, select(type_coerce(Form.varied, Text)).where(Form.id == 1))
    assert as_text.to_pylist() == [{"varied": "RED"}]
