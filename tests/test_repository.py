"""The base repository, on tables of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

import pytest
from sqlalchemy import ForeignKey, select, text, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship

from asyncdb_nb import Database, Repository

Model = TypeVar("Model")


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    items: Mapped[list[Item]] = relationship()


class Item(Base):
    __tablename__ = "item"
    order: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    customer: Mapped[int | None] = mapped_column(ForeignKey(Customer.id))


class Customers(Repository[Customer]):
    pass


class Audited(Repository[Model], Generic[Model]):
    pass


class AuditedCustomers(Audited[Customer]):
    pass


@pytest.fixture
async def session(fresh_database_url: str) -> AsyncIterator[AsyncSession]:
    async with Database(fresh_database_url) as db:
        async with db.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with db.session() as session:
            session.add_all([Customer(name="Zoe"), Customer(name="Ann", active=False), Customer(name="Bob")])
            await session.flush()
            yield session


@pytest.mark.parametrize("kind", [Customers, AuditedCustomers, Repository[Customer], Audited[Customer]], ids=str)
def test_the_type_argument_names_the_model(kind: type[Repository]):
    assert kind(None).model is Customer


def test_a_repository_without_a_model_says_how_to_name_it():
    with pytest.raises(TypeError, match=r"class Orders\(Audited\[Order\]\)"):
        _ = Audited(None).model


@pytest.mark.parametrize("argument", [int, "Customer"], ids=repr)
def test_only_a_mapped_class_will_do(argument: object):
    with pytest.raises(TypeError, match="takes a mapped class, not"):
        type("Wrong", (Repository,), {"__orig_bases__": (Repository[argument],)})


async def test_get_takes_a_key_of_one_or_more_columns(session: AsyncSession):
    session.add(Item(order=1, number=2))

    assert (await Customers(session).get(2)).name == "Ann"
    assert await Customers(session).get(99) is None
    assert (await Repository[Item](session).get((1, 2))).order == 1


async def test_a_list_is_ordered_by_the_key_unless_told_otherwise(session: AsyncSession):
    customers = Customers(session)
    await session.execute(text("update customer set name = 'Zoe' where id = 1"))  # moves the row to the table's end

    assert [each.name for each in await customers.list()] == ["Zoe", "Ann", "Bob"]
    assert [each.name for each in await customers.list(order_by=Customer.name, limit=2)] == ["Ann", "Bob"]
    assert [each.name for each in await customers.list(order_by=[Customer.active, Customer.name.desc()])] == [
        "Ann",
        "Zoe",
        "Bob",
    ]
    assert [each.name for each in await customers.list(Customer.active, Customer.name > "C")] == ["Zoe"]


async def test_a_list_has_each_entity_once_however_it_is_loaded(session: AsyncSession):
    session.add_all([Item(order=1, number=n, customer=1) for n in (1, 2)])
    await session.flush()
    session.expunge_all()

    [zoe, *_] = customers = await Customers(session).list(options=[joinedload(Customer.items)])

    assert [each.name for each in customers] == ["Zoe", "Ann", "Bob"]
    assert [item.number for item in zoe.items] == [1, 2]


async def test_count_and_exists(session: AsyncSession):
    customers = Customers(session)

    assert await customers.count() == 3
    assert await customers.count(Customer.active) == 2
    assert await customers.exists(Customer.name == "Ann")
    assert not await customers.exists(Customer.name == "Eve")


async def test_add_brings_the_key_and_commits_nothing(session: AsyncSession):
    eve = await Customers(session).add(Customer(name="Eve"))
    assert eve.id == 4

    await session.rollback()

    assert await Customers(session).count() == 0


async def test_delete(session: AsyncSession):
    customers = Customers(session)
    await customers.delete(await customers.get(1))
    assert await customers.count() == 2

    assert await customers.delete_where(Customer.name == "Ann") == 1
    with pytest.raises(ValueError, match=r"delete_where\(true\(\)\)"):
        await customers.delete_where()

    assert await customers.delete_where(true()) == 1


async def test_an_entity_of_another_class_is_refused(session: AsyncSession):
    with pytest.raises(TypeError, match="Customers holds Customer entities, not Item"):
        await Customers(session).add(Item(order=1, number=1))


@pytest.mark.parametrize("criterion", [True, "Ann"], ids=repr)
async def test_what_is_no_criterion_is_refused(session: AsyncSession, criterion: object):
    with pytest.raises(TypeError, match=f"A criterion is an expression .*, not {criterion!r}"):
        await Customers(session).list(criterion)


async def test_a_frame_of_criteria_sees_what_the_session_flushed(session: AsyncSession):
    customers = Customers(session)
    await customers.add(Customer(name="Eve"))

    frame = await customers.frame(Customer.active, order_by=Customer.name)

    assert list(frame["name"]) == ["Bob", "Eve", "Zoe"]
    assert list((await customers.frame(limit=1))["name"]) == ["Zoe"]


async def test_a_frame_of_a_statement(session: AsyncSession):
    customers = Customers(session)

    for statement in ("select name from customer where id = :id", text("select name from customer where id = :id")):
        assert list((await customers.frame(statement, params={"id": 2}))["name"]) == ["Ann"]
        assert list((await customers.frame(statement, {"id": 2}))["name"]) == ["Ann"]
    assert list((await customers.frame(select(Customer.name).where(Customer.id == 3)))["name"]) == ["Bob"]


async def test_a_statement_and_criteria_exclude_each_other(session: AsyncSession):
    with pytest.raises(TypeError, match="one statement alone, or criteria"):
        Customers(session).frame("select 1", limit=1)
