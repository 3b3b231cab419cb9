"""Mapped classes that inherit: the frame of a class has the columns of its subclasses, whichever way it was loaded."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import BigInteger, ForeignKey, Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    load_only,
    mapped_column,
    relationship,
    selectin_polymorphic,
    with_polymorphic,
)

from asyncdb_nb import FrameError, frame, frames, table, to_frame


class Base(DeclarativeBase):
    pass


class Firm(Base):
    __tablename__ = "poly_firms"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Worker(Base):
    """Joined: a table for each class."""

    __tablename__ = "poly_workers"
    __mapper_args__ = {"polymorphic_on": "type", "polymorphic_identity": "worker"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    type: Mapped[str]
    firm_id: Mapped[int | None] = mapped_column(ForeignKey("poly_firms.id"))
    firm: Mapped[Firm | None] = relationship()


class Engineer(Worker):
    __tablename__ = "poly_engineers"
    __mapper_args__ = {"polymorphic_identity": "engineer"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("poly_workers.id"), primary_key=True)
    skill: Mapped[str]
    grade: Mapped[int | None]
    notes: Mapped[str | None] = mapped_column(deferred=True)


class Lead(Engineer):
    __tablename__ = "poly_leads"
    __mapper_args__ = {"polymorphic_identity": "lead"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("poly_engineers.id"), primary_key=True)
    team: Mapped[str]


class Manager(Worker):
    __tablename__ = "poly_managers"
    __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("poly_workers.id"), primary_key=True)
    budget: Mapped[int]
    grade: Mapped[int | None]


class Animal(Base):
    """Single: one table for all classes."""

    __tablename__ = "poly_animals"
    __mapper_args__ = {"polymorphic_on": "type", "polymorphic_identity": "animal"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]


class Dog(Animal):
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012
    bark: Mapped[str | None]


class Cat(Animal):
    __mapper_args__ = {"polymorphic_identity": "cat"}  # noqa: RUF012
    lives: Mapped[int | None]


class Post(Base):
    """Joined, and the subclasses have columns of one name that are of several types."""

    __tablename__ = "poly_posts"
    __mapper_args__ = {"polymorphic_on": "type", "polymorphic_identity": "post"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]


class Rated(Post):
    __tablename__ = "poly_rated"
    __mapper_args__ = {"polymorphic_identity": "rated"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("poly_posts.id"), primary_key=True)
    mark: Mapped[int] = mapped_column(BigInteger)
    by: Mapped[int]


class Weighed(Post):
    __tablename__ = "poly_weighed"
    __mapper_args__ = {"polymorphic_identity": "weighed"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("poly_posts.id"), primary_key=True)
    mark: Mapped[float]
    by: Mapped[str]


class Shape(Base):
    """Joined, with the subclasses in each select."""

    __tablename__ = "poly_shapes"
    __mapper_args__ = {"polymorphic_on": "type", "polymorphic_identity": "shape", "with_polymorphic": "*"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]


class Round(Shape):
    __tablename__ = "poly_rounds"
    __mapper_args__ = {"polymorphic_identity": "round"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("poly_shapes.id"), primary_key=True)
    radius: Mapped[float]


class Paper(ConcreteBase, Base):
    """Concrete: each table has all columns of its class."""

    __tablename__ = "poly_papers"
    __mapper_args__ = {"polymorphic_identity": "paper", "concrete": True}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


class Thesis(Paper):
    __tablename__ = "poly_theses"
    __mapper_args__ = {"polymorphic_identity": "thesis", "concrete": True}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    school: Mapped[str]


@pytest.fixture
async def people(session: AsyncSession) -> AsyncSession:
    await (await session.connection()).run_sync(Base.metadata.create_all)
    session.add_all(
        [
            Firm(id=1, name="Acme"),
            Worker(id=1, name="Ann", firm_id=1),
            Engineer(id=2, name="Bo", skill="sql", grade=3, firm_id=1),
            Lead(id=3, name="Cy", skill="go", team="core"),
            Manager(id=4, name="Di", budget=2**31 - 1, grade=9),
            Animal(id=1),
            Dog(id=2, bark="loud"),
            Cat(id=3, lives=9),
            Post(id=1),
            Rated(id=2, mark=2**53 + 1, by=7),
            Weighed(id=3, mark=0.5, by="Ann"),
            Shape(id=1),
            Round(id=2, radius=1.5),
            Paper(id=1, title="A"),
            Thesis(id=2, title="B", school="X"),
        ]
    )
    await session.flush()
    session.expunge_all()
    return session


WORKERS = {
    "id": [1, 2, 3, 4],
    "name": ["Ann", "Bo", "Cy", "Di"],
    "type": ["worker", "engineer", "lead", "manager"],
    "firm_id": [1, 1, None, None],
    "skill": [None, "sql", "go", None],
    "grade": [None, 3, None, 9],
    "team": [None, None, "core", None],
    "budget": [None, None, None, 2**31 - 1],
}
ANIMALS = {
    "id": [1, 2, 3],
    "type": ["animal", "dog", "cat"],
    "bark": [None, "loud", None],
    "lives": [None, None, 9],
}
everyone = with_polymorphic(Worker, "*")
other = aliased(Worker)
every = with_polymorphic(Animal, "*", aliased=True)
alias_of_animal = aliased(Animal)
engineers_only = with_polymorphic(Worker, [Engineer], aliased=True)

EACH_WAY: dict[str, tuple[Select[Any], dict[str, list[Any]]]] = {
    "joined": (select(Worker).order_by(Worker.id), WORKERS),
    "joined, with_polymorphic": (select(everyone).order_by(everyone.id), WORKERS),
    "joined, some of the subclasses": (select(engineers_only).order_by(engineers_only.id), WORKERS),
    "joined, aliased": (select(other).order_by(other.id), WORKERS),
    "single": (select(Animal).order_by(Animal.id), ANIMALS),
    "single, aliased": (select(alias_of_animal).order_by(alias_of_animal.id), ANIMALS),
    "single, with_polymorphic": (select(every).order_by(every.id), ANIMALS),
    "single, of a subclass": (select(Cat), {"id": [3], "type": ["cat"], "lives": [9]}),
    "joined, in the mapping": (
        select(Shape).order_by(Shape.id),
        {"id": [1, 2], "type": ["shape", "round"], "radius": [None, 1.5]},
    ),
    "concrete": (
        select(Paper).order_by(Paper.id),
        {"id": [1, 2], "title": ["A", "B"], "school": [None, "X"]},
    ),
    "of a subclass": (
        select(Engineer).order_by(Engineer.id),
        {name: values[1:3] for name, values in WORKERS.items() if name != "budget"},
    ),
}
LOADED: dict[str, Select[Any]] = {
    "selectin_polymorphic": select(Worker).options(selectin_polymorphic(Worker, [Engineer, Lead, Manager])),
    "with_polymorphic": select(everyone),
}


def shown(got: Any) -> dict[str, list[Any]]:
    got = got.astype(object)
    return {name: got[name].where(got[name].notna(), None).tolist() for name in got}


@pytest.mark.parametrize("way", EACH_WAY)
async def test_the_frame_of_a_class_has_the_columns_of_its_subclasses(people: AsyncSession, way: str) -> None:
    """By frame, by table and in parts; with rows and without."""
    statement, expected = EACH_WAY[way]

    got = await frame(people, statement)
    none = await frame(people, statement.limit(0))
    parts = [part async for part in frames(people, statement, rows=1)]

    assert {name: shown(got)[name] for name in sorted(got)} == {name: expected[name] for name in sorted(expected)}
    assert none.dtypes.equals(got.dtypes)
    assert [len(part) for part in parts] == [1] * len(got)
    assert (await table(people, statement)).column_names == list(got)
    assert len(people.identity_map) == 0


@pytest.mark.parametrize("way", LOADED)
async def test_scenario_57_entities_have_the_columns_of_their_subclasses_however_they_were_loaded(
    people: AsyncSession, way: str
) -> None:
    """From a list, a result, scalars, rows and mappings; and as a frame of the same select has them."""
    statement = LOADED[way]
    entities = (await people.scalars(statement)).all()
    got = [
        await frame(people, statement),
        to_frame(entities),
        to_frame(await people.execute(statement)),
        to_frame(await people.scalars(statement)),
        to_frame((await people.execute(statement)).all()),
        to_frame((await people.execute(statement)).mappings()),
        to_frame((await people.execute(statement)).mappings().all()),
    ]

    for each in got:
        assert shown(each.sort_values("id")) == WORKERS
        assert each.dtypes.equals(got[0].dtypes)


async def test_columns_of_a_subclass_that_are_not_loaded_are_named(people: AsyncSession) -> None:
    """A plain select of the class leaves them out; what the message says to type works."""
    entities = (await people.scalars(select(Worker))).all()

    with pytest.raises(FrameError, match=r"'skill' is a column of a subclass of Worker.*selectin_polymorphic\(Worker"):
        to_frame(entities)
    with pytest.raises(FrameError, match=r"'budget'.*\[Manager\]"):
        to_frame([entity for entity in entities if isinstance(entity, Manager)])
    people.expunge_all()
    chosen = (await people.scalars(select(Worker).options(load_only(Worker.name)))).all()
    assert list(to_frame(chosen)) == ["id", "name", "type"]
    people.expunge_all()
    cats = (await people.scalars(select(Cat).options(load_only(Cat.type)))).all()
    assert list(to_frame(cats)) == ["id", "type"]


async def test_single_and_concrete_entities_have_all_their_columns(people: AsyncSession) -> None:
    loaded = select(Animal).options(selectin_polymorphic(Animal, [Dog, Cat])).order_by(Animal.id)

    assert shown(to_frame((await people.scalars(loaded)).all())) == ANIMALS
    assert shown(to_frame((await people.scalars(select(Shape).order_by(Shape.id))).all()))["radius"] == [None, 1.5]
    papers = to_frame((await people.scalars(select(Paper).order_by(Paper.id))).all())
    assert shown(papers) == {"id": [1, 2], "title": ["A", "B"], "school": [None, "X"]}


async def test_a_polymorphic_class_stands_beside_others(people: AsyncSession) -> None:
    """Joined to, filtered, after an outer join that finds nothing, and twice under two names."""
    firms = select(Firm, Worker).join(Worker, Worker.firm_id == Firm.id).order_by(Worker.id)
    without = select(Worker, Firm).outerjoin(Worker.firm).where(Worker.name > "A").order_by(Worker.id)
    pairs = select(Worker, other).join(other, other.id == Worker.id).order_by(Worker.id)
    loaded = [selectin_polymorphic(Worker, [Engineer, Lead, Manager]), selectin_polymorphic(other, [Engineer])]

    assert shown(await frame(people, firms))["skill"] == [None, "sql"]
    assert shown(await frame(people, without))["name_1"] == ["Acme", "Acme", None, None]
    assert shown(await frame(people, pairs))["skill_1"] == [None, "sql", "go", None]
    in_rows = to_frame(await people.execute(without.options(loaded[0])))
    assert shown(in_rows) == shown(await frame(people, without))
    assert shown(to_frame((await people.execute(without.options(loaded[0]))).all())) == shown(in_rows)


async def test_a_grouped_select_of_a_polymorphic_class_has_entities(people: AsyncSession) -> None:
    """PostgreSQL takes no other column into it, so SQLAlchemy loads the subclasses."""
    grouped = select(Worker).group_by(Worker.id).order_by(Worker.id)

    loaded = await frame(people, grouped.options(selectin_polymorphic(Worker, [Engineer, Lead, Manager])))
    assert shown(loaded) == WORKERS
    with pytest.raises(FrameError, match="selectin_polymorphic"):
        await frame(people, grouped)


@pytest.mark.parametrize("of", [Post, aliased(Post), with_polymorphic(Post, "*"), with_polymorphic(Post, [Rated])])
async def test_columns_of_one_name_and_several_types_keep_their_values(people: AsyncSession, of: Any) -> None:
    """PostgreSQL has no type for an integer beside a text, and makes a double of a bigint beside one."""
    posts = {
        "id": [1, 2, 3],
        "type": ["post", "rated", "weighed"],
        "mark": [None, 2**53 + 1, 0.5],
        "by": [None, 7, "Ann"],
    }
    alone = await frame(people, select(of).order_by(of.id).where(of.id < 3))

    assert shown(await frame(people, select(of).order_by(of.id))) == posts
    assert shown(alone)["mark"] == [None, 2**53 + 1]
    assert (await table(people, select(of).where(of.id < 3).order_by(of.id)))["mark"].to_pylist() == [None, 2**53 + 1]
