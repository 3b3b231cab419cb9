"""`Repository.write`: rows as the mapped class has them, compared with what the session itself would have flushed."""

from __future__ import annotations

import enum
import itertools
import uuid
from typing import Any, ClassVar

import pandas as pd
import pyarrow as pa
import pytest
from column_types import Reversed
from own_type import OWN_TYPE
from sqlalchemy import ARRAY, Enum, ForeignKey, Integer, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column

from asyncdb_nb import Repository, WriteError


class Base(DeclarativeBase):
    pass


class Colour(enum.StrEnum):
    RED = "rouge"
    BLUE = "bleu"


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column("person_kind")
    name: Mapped[str | None]
    __mapper_args__: ClassVar[Any] = {"polymorphic_on": "kind", "polymorphic_identity": "person"}


class Manager(Person):
    budget: Mapped[int | None] = mapped_column("yearly_budget")
    __mapper_args__: ClassVar[Any] = {"polymorphic_identity": "manager"}


class Director(Manager):
    __mapper_args__: ClassVar[Any] = {"polymorphic_identity": "director"}


class Engineer(Person):
    skill: Mapped[str | None]
    __mapper_args__: ClassVar[Any] = {"polymorphic_identity": "engineer"}


class Animal(Base):
    __tablename__ = "animals"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[Colour] = mapped_column(Enum(Colour, native_enum=False))
    __mapper_args__: ClassVar[Any] = {"polymorphic_on": "kind"}


class Fox(Animal):
    __mapper_args__: ClassVar[Any] = {"polymorphic_identity": Colour.RED}


class Whale(Animal):
    __tablename__ = "whales"
    id: Mapped[int] = mapped_column(ForeignKey("animals.id"), primary_key=True)
    length: Mapped[float | None]
    __mapper_args__: ClassVar[Any] = {"polymorphic_identity": Colour.BLUE}


_numbers = itertools.count(1)


class Item(Base):
    __tablename__ = "mapped_items"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column("item_title")
    size: Mapped[int] = mapped_column(default=7)
    number: Mapped[int | None] = mapped_column(default=lambda: next(_numbers))
    token: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    colour: Mapped[Colour | None] = mapped_column(Enum(Colour, native_enum=False), default=Colour.BLUE)
    colours: Mapped[list[Colour] | None] = mapped_column(ARRAY(Enum(Colour, native_enum=False)))
    secret: Mapped[str | None] = mapped_column(Reversed)

    @hybrid_property
    def label(self) -> str:
        return f"{self.title}/{self.size}"


Item.twice = column_property(Item.__table__.c.size * 2)  # type: ignore[attr-defined]


class Swapped(Base):
    __tablename__ = "swapped"
    id: Mapped[int] = mapped_column(primary_key=True)
    a: Mapped[int | None] = mapped_column("b")
    b: Mapped[int | None] = mapped_column("a")


class Stamped(Base):
    __tablename__ = "stamped"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str | None] = mapped_column(default=func.now())


class Versioned(Base):
    __tablename__ = "versioned"
    id: Mapped[int] = mapped_column(primary_key=True)
    v = mapped_column(Integer)
    name: Mapped[str | None]
    __mapper_args__: ClassVar[Any] = {"version_id_col": v}


@pytest.fixture
async def session(session: AsyncSession) -> AsyncSession:
    await (await session.connection()).run_sync(Base.metadata.create_all)
    return session


async def rows(session: AsyncSession, query: str) -> list[Any]:
    return [tuple(row) for row in await session.execute(text(query))]


async def test_rows_of_a_subclass_in_its_parents_table_are_of_that_class(session: AsyncSession) -> None:
    data = pd.DataFrame({"id": [1, 2], "name": ["Ada", None], "budget": [5, 6]})

    await Repository[Manager](session).write(data)
    await Repository[Engineer](session).write(pa.table({"id": [3], "skill": ["C"]}))

    assert await Repository[Manager](session).count() == 2
    assert [type(each) for each in await Repository[Person](session).list()] == [Manager, Manager, Engineer]
    assert (await rows(session, "select * from people where id = 1")) == [(1, "manager", "Ada", 5, None)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"kind": ["manager", "engineer"]}, "Row 1 has person_kind='engineer', and Manager is 'manager' or 'director'"),
        ({"person_kind": ["manager", None]}, "Row 1 has person_kind=None"),
        ({"kind": ["manager", "person"]}, "Row 1 has person_kind='person'"),
        ({"skill": ["C", "D"]}, "'skill' is one of Engineer, and Manager has none"),
    ],
    ids=["sibling", "null", "parent", "a sibling's column"],
)
async def test_rows_that_contradict_the_class_are_refused(session: AsyncSession, data: Any, said: str) -> None:
    with pytest.raises(WriteError, match=said):
        await Repository[Manager](session).write(pd.DataFrame({"id": [1, 2], **data}))

    assert await rows(session, "select * from people") == []


async def test_rows_that_agree_with_the_class_are_taken(session: AsyncSession) -> None:
    data = pd.DataFrame({"id": [1, 2], "kind": ["director", "manager"]})

    await Repository[Manager](session).write(data)
    await Repository[Person](session).write(pd.DataFrame({"id": [3]}))
    await Repository[Person](session).write(pd.DataFrame({"id": [4], "kind": ["engineer"], "skill": ["C"]}))

    classes = [Director, Manager, Person, Engineer]
    assert [type(each) for each in await Repository[Person](session).list()] == classes
    with pytest.raises(WriteError, match="person_kind='boss'"):
        await Repository[Person](session).write(pd.DataFrame({"id": [5], "kind": ["boss"]}))


async def test_an_upsert_makes_no_row_of_one_class_of_a_row_of_another(session: AsyncSession) -> None:
    await Repository[Engineer](session).write(pd.DataFrame({"id": [1], "name": ["Ada"]}))

    with pytest.raises(WriteError, match=r"The row with id=1 has person_kind=engineer in the table, and .*manager in"):
        await Repository[Manager](session).write(pd.DataFrame({"id": [1, 2], "name": "Bob"}), if_exists="upsert")
    again = await Repository[Engineer](session).write(
        pd.DataFrame({"id": [1, 2], "name": ["Eve", "Bob"]}), if_exists="upsert", key="id"
    )

    assert (again.inserted, again.updated) == (1, 1)
    assert await rows(session, "select id, person_kind, name from people order by id") == [
        (1, "engineer", "Eve"),
        (2, "engineer", "Bob"),
    ]


async def test_a_row_of_another_class_is_found_by_the_equality_of_its_keys_type(session: AsyncSession) -> None:
    class Owned(DeclarativeBase):
        pass

    class Word(Owned):
        __tablename__ = "words"
        id: Mapped[str] = mapped_column(primary_key=True)
        kind: Mapped[str]
        __mapper_args__: ClassVar[Any] = {"polymorphic_on": "kind", "polymorphic_identity": "word"}

    class Noun(Word):
        __mapper_args__: ClassVar[Any] = {"polymorphic_identity": "noun"}

    for statement in (
        *OWN_TYPE,
        "create domain own as ext.word",
        "create table words (id own primary key, kind text)",
        "insert into words values ('a', 'word')",
    ):
        await session.execute(text(statement.replace(":", r"\:")))

    with pytest.raises(WriteError, match=r"The row with id=A has kind=word in the table, and kind=noun in"):
        await Repository[Noun](session).write(pd.DataFrame({"id": ["A"]}), if_exists="upsert", key="id")


async def test_a_class_without_an_identity_asks_which(session: AsyncSession) -> None:
    """Identities are members of an Enum here, which is stored by name."""
    with pytest.raises(WriteError, match=r"Animal has no polymorphic_identity: the data need a column 'kind'.*'RED'"):
        await Repository[Animal](session).write(pd.DataFrame({"id": [1]}))
    await Repository[Animal](session).write(pd.DataFrame({"id": [1], "kind": [Colour.RED]}))
    await Repository[Fox](session).write(pd.DataFrame({"id": [2]}))

    assert await rows(session, "select id, kind from animals order by id") == [(1, "RED"), (2, "RED")]


async def test_rows_of_several_tables_are_refused_with_their_names(session: AsyncSession) -> None:
    with pytest.raises(WriteError, match=r"Whale are not rows of one table, but of: animals, whales. Write each"):
        await Repository[Whale](session).write(pd.DataFrame({"id": [1], "length": [5.0]}))


async def test_columns_are_called_as_attributes_or_as_in_the_database(session: AsyncSession) -> None:
    repository = Repository[Item](session)
    await repository.write(pd.DataFrame({"id": [1], "title": ["a"]}))
    await repository.write(pd.DataFrame({"id": [2], "item_title": ["b"]}))

    assert await rows(session, "select id, item_title from mapped_items order by id") == [(1, "a"), (2, "b")]
    with pytest.raises(WriteError, match="Two columns are called 'item_title'"):
        await repository.write(pd.DataFrame({"id": [1], "title": ["a"], "item_title": ["a"]}))
    for name in ("twice", "label"):
        with pytest.raises(WriteError, match=rf"Item.{name} is no column.*drop\(columns='{name}'\)"):
            await repository.write(pd.DataFrame({"id": [3], name: [1]}))
    with pytest.raises(
        WriteError, match="'a' is an attribute of Swapped, of the column 'b', and another column's name"
    ):
        await Repository[Swapped](session).write(pd.DataFrame({"id": [1], "a": [1]}))


async def test_columns_that_the_data_do_not_have_get_the_defaults_of_the_class(session: AsyncSession) -> None:
    """As for entities: a constant, a call for each row, an Enum by its name. A row that is there keeps its own."""
    repository = Repository[Item](session)
    session.add(Item(id=1, title="flushed"))

    await repository.write(pd.DataFrame({"id": [2, 3]}))
    await repository.write(pd.DataFrame({"id": [4], "size": [1], "number": [None], "colour": [Colour.RED]}))

    found = await rows(session, "select id, size, number, colour, token from mapped_items order by id")
    assert [row[1] for row in found] == [7, 7, 7, 1]
    assert [row[2] for row in found][1:] == [found[0][2] + 1, found[0][2] + 2, None]
    assert [row[3] for row in found] == ["BLUE", "BLUE", "BLUE", "RED"]
    assert len({row[4] for row in found}) == 4
    written = await repository.write(pd.DataFrame({"id": [4, 5], "title": "new"}), if_exists="upsert")
    assert (written.inserted, written.updated) == (1, 1)
    assert await rows(session, "select size, colour from mapped_items where id >= 4 order by id") == [
        (1, "RED"),
        (7, "BLUE"),
    ]


async def test_a_default_that_copy_does_not_know_is_asked_for(session: AsyncSession) -> None:
    with pytest.raises(WriteError, match=r"The default of Stamped.at is SQL.*a column 'at'"):
        await Repository[Stamped](session).write(pd.DataFrame({"id": [1]}))
    with pytest.raises(WriteError, match="counts its rows' versions: the data need a column 'v'"):
        await Repository[Versioned](session).write(pd.DataFrame({"id": [1]}), if_exists="upsert")
    await Repository[Versioned](session).write(pd.DataFrame({"id": [1]}))

    assert await rows(session, "select v from versioned") == [(1,)]


async def test_what_a_repository_has_read_it_writes_as_it_was(session: AsyncSession) -> None:
    """Values that the types of the class have processed, too."""
    repository = Repository[Item](session)
    session.add(Item(id=1, title="a", colour=Colour.RED, colours=[Colour.RED, Colour.BLUE], secret="abc"))
    session.add(Item(id=2, colour=None, secret=None))
    await session.flush()
    before = await rows(session, "select * from mapped_items order by id")
    data = (await repository.frame()).drop(columns="twice")
    await session.execute(text("delete from mapped_items"))

    await repository.write(data)

    assert await rows(session, "select * from mapped_items order by id") == before
    assert await rows(session, "select secret from mapped_items where id = 1") == [("cba",)]


async def test_entities_that_were_written_are_what_a_flush_would_have_made(session: AsyncSession) -> None:
    await Repository[Manager](session).write(pd.DataFrame({"id": [1], "name": ["Ada"], "budget": [5]}))
    session.add(Manager(id=2, name="Ada", budget=5))
    await session.flush()

    one, two = await rows(session, "select person_kind, name, yearly_budget, skill from people order by id")
    assert one == two
    assert (await session.scalar(select(func.count()).select_from(Manager))) == 2


async def test_a_table_that_is_not_there_is_not_made_of_data(session: AsyncSession) -> None:
    await session.execute(text("drop table swapped"))

    with pytest.raises(WriteError, match=r'There is no table "swapped".*create_all'):
        await Repository[Swapped](session).write(pd.DataFrame({"id": [1]}))
