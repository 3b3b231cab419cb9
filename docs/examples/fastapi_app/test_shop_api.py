"""Both test clients, with and without the lifespan, and a session of the test's own by `dependency_overrides`."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from shop_api import app, engine, get_session, lifespan
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A client whose requests all run on one loop, inside the lifespan."""
    with TestClient(app) as client:
        yield client


@pytest.fixture
async def async_client() -> AsyncIterator[AsyncClient]:
    """A client on the test's own loop."""
    async with lifespan(app), AsyncClient(transport=ASGITransport(app), base_url="http://shop") as client:
        yield client


@pytest.fixture
async def rolled_back() -> AsyncIterator[AsyncSession]:
    """A session that the application uses instead of its own, and of which nothing is kept."""
    async with engine.connect() as connection, connection.begin() as transaction:
        async with AsyncSession(
            connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
        ) as session:
            app.dependency_overrides[get_session] = lambda: session
            yield session
            app.dependency_overrides.clear()
        await transaction.rollback()


@pytest.mark.parametrize("item", ["pear", "plum"])
def test_an_order_is_listed(client: TestClient, item: str) -> None:
    assert client.post("/orders", params={"item": item}).status_code == 201

    assert item in client.get("/orders").json()


def test_a_client_without_a_lifespan_has_a_loop_for_each_request(client: TestClient) -> None:
    """The lifespan of `client` has made the tables."""
    plain = TestClient(app)
    plain.post("/orders", params={"item": "quince"})

    assert "quince" in plain.get("/orders").json()


@pytest.mark.parametrize("item", ["cherry", "medlar"])
async def test_what_a_test_orders_is_gone_after_it(
    async_client: AsyncClient, rolled_back: AsyncSession, item: str
) -> None:
    await rolled_back.execute(text("delete from orders"))
    await async_client.post("/orders", params={"item": item})

    assert (await async_client.get("/orders")).json() == [item]


async def test_two_requests_at_once_have_a_session_each(async_client: AsyncClient) -> None:
    replies = await asyncio.gather(*(async_client.post("/orders", params={"item": "fig"}) for _ in range(4)))

    assert len({reply.json() for reply in replies}) == 4
