"""`run()`: a coroutine from synchronous code, whatever runs in the thread."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import signal
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event
from waiting import HANG

from asyncdb_nb import AsyncDBError, Database, run
from asyncdb_nb.errors import NestedLoopError, NotACoroutineError

SLEEPING = "select pid from pg_stat_activity where query like '%pg_sleep(600)' and wait_event = 'PgSleep'"
COLOUR = contextvars.ContextVar("COLOUR", default="none")


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_works_without_a_loop() -> None:
    """Synchronous code gets what the coroutine returns."""
    assert run(double(21)) == 42


async def test_works_inside_a_running_loop() -> None:
    """Where asyncio.run refuses, run() answers, on another loop."""
    here = asyncio.get_running_loop()

    async def where() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert run(where()) is not here


def test_serves_several_threads_at_once() -> None:
    """Calls of several threads are on their way together: these wait for each other."""
    barrier = asyncio.Barrier(4)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: run(barrier.wait()), range(4)))

    assert sorted(results) == [0, 1, 2, 3]


def test_code_that_runs_on_the_portal_may_call_run_again() -> None:
    """A synchronous function that uses run() also works when a coroutine under run() calls it."""

    async def outer() -> int:
        return run(middle())

    async def middle() -> int:
        return run(double(4))

    assert run(outer()) == 8


def test_an_exception_comes_with_its_own_traceback() -> None:
    """The traceback ends in the line that failed."""

    async def fail() -> None:
        raise LookupError("no such row")

    with pytest.raises(LookupError, match="no such row") as caught:
        run(fail())

    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "fail"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), StopAsyncIteration()])
def test_exceptions_that_are_no_errors_come_through_and_leave_the_portal_alive(error: BaseException) -> None:
    """SystemExit in a coroutine ends its caller, not the portal."""

    async def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        run(fail())

    assert run(double(1)) == 2


def test_an_exception_is_not_kept_alive_by_a_reference_cycle() -> None:
    """A failed call frees what it held (a session, a connection) at once, without the garbage collector."""

    class Resource:
        pass

    async def fail(resource: Resource) -> None:
        raise LookupError

    resource = Resource()
    alive = weakref.ref(resource)
    gc.disable()
    try:
        with contextlib.suppress(LookupError):
            run(fail(resource))
        del resource
        while_the_portal_turns = run(double(1))

        assert (while_the_portal_turns, alive()) == (2, None)
    finally:
        gc.enable()


def test_context_variables_go_in_and_do_not_come_out() -> None:
    """The coroutine sees the caller's context; what it sets stays inside."""
    token = COLOUR.set("red")

    async def paint() -> str:
        before = COLOUR.get()
        COLOUR.set("blue")
        return before

    try:
        assert (run(paint()), COLOUR.get()) == ("red", "red")
    finally:
        COLOUR.reset(token)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_an_interrupt_cancels_the_coroutine_before_it_is_raised() -> None:
    """KeyboardInterrupt is raised only after the coroutine's own cleanup has run."""
    events = []

    async def wait_for_ever() -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            events.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        run(wait_for_ever())

    assert events == ["cleaned up"]
    assert run(double(1)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_an_interrupt_cancels_the_statement_on_the_server(server, clean_server) -> None:
    """Scenario 26: Stop while the synchronous side waits ends the query, and the caller hears of it at once."""
    import asyncpg

    async def sleep_on_the_server() -> None:
        connection = await asyncpg.connect(server.url, server_settings={"application_name": "bridge"})
        try:
            await connection.execute("select pg_sleep(600)")
        finally:
            await connection.close()

    def interrupt_when_it_sleeps() -> None:
        end = time.monotonic() + HANG
        while time.monotonic() < end and not clean_server.query(SLEEPING):
            pass
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(interrupt_when_it_sleeps)
        with pytest.raises(KeyboardInterrupt):
            run(sleep_on_the_server())

    clean_server.assert_clean()
    assert "canceling statement due to user request" in clean_server.log_since_mark()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(double, r"It was given double itself\. Call it: `run\(double\(\.\.\.\)\)`", id="the function"),
        pytest.param(42, r"It was given a int\. Give it what an `async def` function returns", id="a value"),
        pytest.param(None, r"It was given a NoneType", id="nothing"),
    ],
)
def test_something_that_is_no_coroutine_is_named(given: object, message: str) -> None:
    """The message says what was given and what to type."""
    with pytest.raises(NotACoroutineError, match=message):
        run(given)


async def test_a_task_is_refused_because_it_has_a_loop_already() -> None:
    """A task of this loop could never end while run() blocks it."""
    task = asyncio.create_task(double(1))

    with pytest.raises(NotACoroutineError, match="Await it there"):
        run(task)

    assert await task == 2


def test_nested_without_a_running_loop_is_asyncio_run() -> None:
    """Nothing is patched when there is nothing to nest in."""
    assert run(double(3), nested=True) == 6
    assert not hasattr(asyncio, "_nest_patched")


def test_nested_refuses_uvloop() -> None:
    """The error names the loop and the way out."""
    uvloop = pytest.importorskip("uvloop")

    async def nest() -> None:
        run(double(1), nested=True)

    message = r"a uvloop\.Loop: nest_asyncio patches .* Leave `nested` out"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(NestedLoopError, match=message):
        runner.run(nest())


def test_nested_runs_on_the_loop_that_is_running(run_script) -> None:
    """Asked for by name, the coroutine may use what belongs to the caller's loop. A process of its own: it patches."""
    run_script("""
import asyncio
from asyncdb_nb import AsyncDBError, Database, run

async def main():
    here = asyncio.get_running_loop()
    lock = asyncio.Lock()
    async def use():
        async with lock:
            await asyncio.sleep(0)
        return asyncio.get_running_loop()
    assert run(use(), nested=True) is here

asyncio.run(main())
""")


def test_importing_or_using_run_patches_nothing(run_script) -> None:
    """nest_asyncio is not even imported before it is asked for."""
    run_script("""
import asyncio, sys
from asyncdb_nb import AsyncDBError, Database, run
run(asyncio.sleep(0))
assert "nest_asyncio" not in sys.modules and not hasattr(asyncio, "_nest_patched")
""")


def test_at_exit_the_portal_ends_like_asyncio_run(run_script) -> None:
    """Tasks are cancelled, asynchronous generators closed, and the loop too: no warning under -W error."""
    done = run_script("""
import asyncio
from asyncdb_nb import AsyncDBError, Database, run

async def background():
    try:
        await asyncio.Event().wait()
    finally:
        print("task cancelled")

async def numbers():
    try:
        yield 1
    finally:
        await asyncio.sleep(0)
        print("generator closed")

async def start():
    global task, generator
    task, generator = asyncio.create_task(background()), numbers()
    await generator.__anext__()
    await asyncio.get_running_loop().run_in_executor(None, int)  # an executor to shut down

run(start())
""")

    assert done.stdout.split("\n")[:2] == ["task cancelled", "generator closed"]


def test_at_exit_the_pooled_connections_close_gracefully(run_script, clean_server) -> None:
    """An engine used under run() needs no dispose(): the server's log has no unexpected EOF."""
    run_script("""
import asyncpg, os  # asyncpg: imported in the loop, it makes asyncio's debug mode speak of a slow callback
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine
from asyncdb_nb import LoopBoundPool, run

engine = create_async_engine(os.environ["DATABASE_URL"].replace("://", "+asyncpg://"), poolclass=LoopBoundPool)

async def one():
    async with engine.connect() as connection:
        return await connection.scalar(text("select 1"))

assert [run(one()), run(one())] == [1, 1]
""")

    clean_server.assert_clean()


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_child_gets_a_portal_of_its_own(run_script) -> None:
    """Child and parent both go on, and the child leaves the parent's loop alone."""
    done = run_script("""
import asyncio, os, sys, warnings
from asyncdb_nb import AsyncDBError, Database, run

async def pid():
    await asyncio.sleep(0.001)
    return os.getpid()

assert run(pid()) == os.getpid()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork with threads
    child = os.fork()
if child == 0:
    assert run(pid()) == os.getpid()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert run(pid()) == os.getpid()
print("both")
""")

    assert done.stdout.splitlines()[-1] == "both"


async def test_a_first_connect_that_run_itself_blocks_is_an_error_at_once(database_url: str) -> None:
    """Each would wait for the other: the portal for its turn, this loop for the portal."""
    async with Database(database_url) as db:
        begun = asyncio.Event()
        event.listen(db.engine.sync_engine, "do_connect", lambda *_: begun.set())
        first = asyncio.create_task(db.frame("select 1 as one"))
        await begun.wait()

        with pytest.raises(AsyncDBError, match=r"event loop \d+, which stands still until run\(\) returns"):
            run(db.frame("select 2 as two"))

        assert len(await first) == 1
        assert len(run(db.frame("select 2 as two"))) == 1
