"""Scenario 65: with isolation `rollback`, every loop and thread of a test sees the same transaction."""

from __future__ import annotations

import asyncio
import threading

import pytest
from suites import CONFTEST, RunSuite

from asyncdb_nb.errors import OneConnectionError
from asyncdb_nb.pytest_plugin.isolation import connection_turns
from asyncdb_nb.pytest_plugin.isolation.connection_turns import Turns
from asyncdb_nb.pytest_plugin.isolation.cross_loop import Carrier, run_on

IN_NO_HURRY = """
from asyncdb_nb.pytest_plugin.isolation import connection_turns

connection_turns.TURN_SECONDS = 60
"""

APP = """
from contextlib import asynccontextmanager
from fastapi import Depends, FastAPI
from things import add, count, insert, select, things

def make_app(db):
    async def session():
        async with db.session() as session:
            yield session

    @asynccontextmanager
    async def lifespan(app):
        await add(db, "by lifespan")
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/things/{name}")
    async def make(name: str, session=Depends(session)):
        await session.execute(insert(things).values(name=name))

    @app.post("/fails/{name}")
    async def fails(name: str, session=Depends(session)):
        await session.execute(insert(things).values(name=name))
        raise LookupError

    @app.get("/names")
    async def names(session=Depends(session)):
        return (await session.scalars(select(things.c.name).order_by(things.c.id))).all()

    @app.get("/frame")
    async def frame():
        return (await db.frame("select name from things order by id"))["name"].to_list()

    @app.get("/copied")
    async def copied():
        return (await db.frame("select g, md5(g::text) as m from generate_series(1, 20000) as g")).attrs["asyncdb"]

    @app.get("/streamed")
    async def streamed():
        return [len(part) async for part in db.frames("select generate_series(1, 150000) as n", rows=50000)]

    return app
"""

REQUESTS = """
import asyncio
import threading
import anyio.from_thread
import pytest
from app import make_app
from asyncdb_nb import run
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from things import add, count, insert, text, things

@pytest.fixture
def app(asyncdb):
    return make_app(asyncdb)

def test_a_client_that_opens_a_loop_for_each_request(app, asyncdb):
    client = TestClient(app)
    client.post("/things/one")
    client.post("/things/two")
    assert client.get("/names").json() == client.get("/frame").json() == ["one", "two"]
    with pytest.raises(LookupError):
        client.post("/fails/three")
    assert run(count(asyncdb)) == asyncio.run(count(asyncdb)) == 2

def test_frames_by_copy_and_in_parts(app):
    client = TestClient(app)
    first, second = client.get("/copied").json(), client.get("/copied").json()
    assert (first["rows"], second["path"]) == (20000, "copy")
    assert client.get("/streamed").json() == [50000, 50000, 50000]

def test_a_client_with_one_loop_and_a_lifespan(app, asyncdb):
    run(add(asyncdb, "seed"))
    with TestClient(app) as client:
        client.post("/things/one")
        assert client.get("/names").json() == ["seed", "by lifespan", "one"]
    assert run(count(asyncdb)) == 3

{mark}
async def test_seeds_and_then_calls_a_client(app, asyncdb):
    await add(asyncdb, "seed")
    client = TestClient(app)
    client.post("/things/one")
    assert client.get("/names").json() == ["seed", "one"]
    assert await count(asyncdb) == 2

{mark}
async def test_calls_a_client_in_the_middle_of_a_transaction(app, asyncdb, asyncdb_session):
    await asyncdb_session.execute(insert(things).values(name="uncommitted"))
    client = TestClient(app)
    client.post("/things/one")
    assert client.get("/names").json() == ["uncommitted", "one"]
    with pytest.raises(LookupError):
        client.post("/fails/three")
    assert len((await asyncdb_session.execute(things.select())).all()) == 2
    async with asyncdb_session.begin_nested() as savepoint:
        await asyncdb_session.execute(insert(things).values(name="undone"))
        await savepoint.rollback()
    await asyncdb_session.commit()
    assert await count(asyncdb) == 2

{mark}
async def test_calls_a_client_in_a_thread_of_its_own(app, asyncdb):
    await add(asyncdb, "seed")
    names = await asyncio.to_thread(lambda: TestClient(app).get("/names").json())
    assert names == ["seed"]

{mark}
async def test_requests_on_this_loop_and_on_another(app, asyncdb):
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        await asyncio.gather(*(client.post(f"/things/{{number}}") for number in range(10)))
    assert len(TestClient(app).get("/names").json()) == 10

def test_threads_with_loops_of_their_own(asyncdb):
    work = [lambda number=number: asyncio.run(add(asyncdb, str(number))) for number in range(10)]
    threads = [threading.Thread(target=each) for each in work]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert run(count(asyncdb)) == 10

def test_a_portal_of_anyio(asyncdb):
    with anyio.from_thread.start_blocking_portal() as portal:
        portal.call(add, asyncdb, "there")
        assert run(count(asyncdb)) == portal.call(count, asyncdb) == 1

{mark}
async def test_a_cancelled_query_leaves_the_transaction_to_other_loops(asyncdb):
    await add(asyncdb, "kept")
    for statement in ("select pg_sleep(600)", "select g, md5(g::text) as m from generate_series(1, 100000000) as g"):
        task = asyncio.create_task(asyncdb.frame(statement))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(task, 0.2)
        assert await asyncio.to_thread(lambda: asyncio.run(count(asyncdb))) == 1
    await asyncio.to_thread(lambda: asyncio.run(add(asyncdb, "too")))
    assert await count(asyncdb) == 2

{mark}
async def test_what_the_driver_awaits_is_awaited_on_the_loop_of_the_test(asyncdb):
    here, seen = asyncio.get_running_loop(), []

    async def rows():
        for number in range(3):
            seen.append(asyncio.get_running_loop())
            yield number, f"row {{number}}"

    async def take(data):
        seen.append(asyncio.get_running_loop())

    async with asyncdb.engine.begin() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        async with raw.transaction():
            await raw.copy_records_to_table("things", records=rows())
        async with raw.transaction():
            await raw.copy_from_query("select * from things", output=take)
            assert [record["id"] async for record in raw.cursor("select id from things")] == [0, 1, 2]
    assert len(seen) > 3
    assert set(seen) == {{here}}

def test_the_next_test_sees_nothing_of_it(asyncdb):
    assert run(count(asyncdb)) == 0
"""


@pytest.mark.second_tier
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", ["asyncio", "session loop", "anyio"])
def test_scenario_65_requests_of_a_test_share_its_transaction(run_suite: RunSuite, mode: str) -> None:
    """Through FastAPI's client with and without a loop of its own, threads, portals, frames, COPY and cancellations."""
    pytest.importorskip("fastapi")
    suite = REQUESTS.format(mark="@pytest.mark.anyio" if mode == "anyio" else "")

    files = {"conftest": CONFTEST + IN_NO_HURRY, "app": APP, "test_it": suite}
    run_suite(mode=mode, files=files, seconds=1000, passed=12)


@pytest.mark.second_tier
def test_threads_that_are_taken_for_blocked_do_not_come_between(run_suite: RunSuite) -> None:
    """A busy machine may leave a thread where it is for as long as one that waits; another has its turn meanwhile."""
    suite = """
import asyncio, threading
import pytest
from asyncdb_nb import run
from asyncdb_nb.pytest_plugin.isolation import connection_turns
from things import add, count

@pytest.mark.parametrize("repeated", range(3))
def test_threads(asyncdb, repeated, monkeypatch):
    monkeypatch.setattr(connection_turns, "TURN_SECONDS", 100)
    monkeypatch.setattr(connection_turns, "BLOCKED_SECONDS", 0.002)
    monkeypatch.setattr(connection_turns, "STUCK_SECONDS", 0.002)
    work = [lambda number=number: asyncio.run(add(asyncdb, str(number))) for number in range(10)]
    threads = [threading.Thread(target=each) for each in work]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert run(count(asyncdb)) == 10
"""
    run_suite(files={"conftest": CONFTEST, "test_it": suite}, passed=3)


def test_the_outer_turn_goes_on_after_the_inner_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is blocked by code that waits for the connection lends it, and waits before it uses it again."""
    monkeypatch.setattr(connection_turns, "TURN_SECONDS", 60)
    shared, order = Turns(), []
    entered, may_end = threading.Event(), threading.Event()

    async def inner() -> None:
        turn = await shared.enter()
        entered.set()
        await asyncio.to_thread(may_end.wait, 60)
        order.append("inner")
        shared.leave(turn)

    async def outer() -> None:
        turn = await shared.enter()
        turn.connected = True
        thread = threading.Thread(target=lambda: asyncio.run(inner()))
        thread.start()
        assert entered.wait(60)
        resuming = asyncio.create_task(shared.resume())
        await asyncio.sleep(0)
        assert not resuming.done()
        may_end.set()
        await resuming
        order.append("outer")
        shared.leave(turn)
        thread.join()

    asyncio.run(outer())

    assert order == ["inner", "outer"]


async def test_calls_run_one_after_the_other_and_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits for another to end waits for a turn within its own, too, if that has begun meanwhile."""
    monkeypatch.setattr(connection_turns, "TURN_SECONDS", 60)
    shared, order = Turns(), []
    entered, may_leave = threading.Event(), threading.Event()
    carrier = Carrier(shared)
    carrier.home = asyncio.new_event_loop()
    home = threading.Thread(target=carrier.home.run_forever)
    home.start()
    may_end = asyncio.Event()

    async def call(name: str) -> None:
        order.append(f"{name} begins")
        if name == "first":
            await may_end.wait()
        order.append(f"{name} ends")

    async def inner() -> None:
        turn = await shared.enter()
        entered.set()
        await asyncio.to_thread(may_leave.wait, 60)
        order.append("the inner turn ends")
        shared.leave(turn)

    turn = await shared.enter()
    turn.connected = True
    calls = [asyncio.create_task(carrier.call(call, name)) for name in ("first", "second")]
    while not order:
        await asyncio.sleep(0)
    await _let_others_run()
    thread = threading.Thread(target=lambda: asyncio.run(inner()))
    thread.start()
    assert entered.wait(60)
    carrier.home.call_soon_threadsafe(may_end.set)
    await calls[0]
    await _let_others_run()
    may_leave.set()
    await calls[1]

    assert order == ["first begins", "first ends", "the inner turn ends", "second begins", "second ends"]
    shared.leave(turn)
    thread.join()
    carrier.home.call_soon_threadsafe(carrier.home.stop)
    await asyncio.to_thread(home.join)
    carrier.home.close()


async def test_a_task_waits_as_long_as_the_turn_passes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five seconds are the time of one turn, however many come first; here the clock is put forward."""
    monkeypatch.setattr(connection_turns, "TURN_SECONDS", 600)
    shared, loop, ahead = Turns(), asyncio.get_running_loop(), [0]
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + ahead[0])
    turn = await shared.enter()
    waiting = asyncio.create_task(shared.enter())

    for _ in range(3):
        await _let_others_run()
        shared.leave(turn)
        turn = await shared.enter()
        await _let_others_run()
        ahead[0] += 400
    shared.leave(turn)

    assert (await waiting).task is waiting


async def test_a_call_that_is_cancelled_before_it_begins_does_not_begin() -> None:
    """The other loop may be at something else when a call is submitted and cancelled."""
    home, may_go_on, begun = asyncio.new_event_loop(), threading.Event(), threading.Event()
    thread = threading.Thread(target=home.run_forever)
    thread.start()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    home.call_soon_threadsafe(may_go_on.wait, 600)
    calling = asyncio.create_task(run_on(home, work))
    await _let_others_run()
    calling.cancel()
    await _let_others_run()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await calling

    assert not begun.is_set()
    home.call_soon_threadsafe(home.stop)
    await asyncio.to_thread(thread.join)
    home.close()


async def _let_others_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_task_that_waits_in_vain_is_told_who_holds_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of the task and of its loop, and with what to type."""
    monkeypatch.setattr(connection_turns, "TURN_SECONDS", 0.1)
    shared = Turns()
    await shared.enter()

    with pytest.raises(OneConnectionError, match=r"'holder' on event loop \d+ \(running\).*isolation=.clone."):
        asyncio.current_task().set_name("holder")  # type: ignore[union-attr]
        await asyncio.create_task(shared.enter())
