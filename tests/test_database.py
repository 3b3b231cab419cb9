"""`Database` and `connect()` on a real server: `asyncdb_nb.database` and `asyncdb_nb.composition`."""

from __future__ import annotations

import asyncio
import pickle
import re
import sys
import tempfile
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from asyncpg import ClientConfigurationError, InvalidAuthorizationSpecificationError
from server_checks import SECRET, ServerWatch
from sqlalchemy import Connection, event, make_url, select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, ORMExecuteState, Session, mapped_column, with_loader_criteria
from sqlalchemy.pool import NullPool
from tiers import few_of

from asyncdb_nb import Database, connect
from asyncdb_nb.database.catalog import COLUMNS, TABLES, find_table
from asyncdb_nb.dataframes import frame
from asyncdb_nb.engine.application_name import application_name
from asyncdb_nb.engine.connector import CHECK_INTERVAL, Connector, explain
from asyncdb_nb.engine.conninfo.resolve import resolve
from asyncdb_nb.errors import (
    ConnectError,
    DatabaseClosedError,
    DatabaseURLError,
    UnknownOptionError,
    UnknownTableError,
)
from asyncdb_nb.server import EmbeddedServer


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url) as database:
        yield database


async def ask(database: Database, question: str) -> object:
    async with database.session(readonly=True) as session:
        return await session.scalar(text(question))


async def test_a_database_is_made_without_a_connection() -> None:
    """It can stand at module level: a server that is not there is not missed before the first query."""
    async with Database("postgresql://me@127.0.0.1:1/shop") as database:
        with pytest.raises(ConnectError, match=r"No PostgreSQL listens at 127\.0\.0\.1:1 "):
            await ask(database, "select 1")


def test_one_database_serves_every_loop(database_url: str) -> None:
    """`asyncio.run` after `asyncio.run`, and a `Database` from before all of them."""
    database = Database(database_url)

    assert [asyncio.run(ask(database, f"select {number}")) for number in range(3)] == [0, 1, 2]


async def test_its_repr_says_where_it_is_and_what_to_type(database: Database) -> None:
    """Server, database, user, pool and next step; after `aclose()`, that it is closed."""
    words = repr(database)
    await database.aclose()

    for expected in ("from the URL given", "'tests', as user 'postgres'", "5 connections a loop", "await db.frame("):
        assert expected in words
    assert repr(database).startswith("Database, closed")


def test_its_repr_names_a_pool_of_another_class(database_url: str) -> None:
    """Such a pool keeps connections by rules of its own."""
    assert "\n  pool      NullPool\n" in repr(Database(database_url, poolclass=NullPool))


async def test_its_repr_tells_the_connections_that_each_loop_uses(database: Database) -> None:
    """And not how many are idle, which depends on the time: notebooks compare it with what they showed before."""
    before = _loops_told(database)
    async with database.session() as session:
        await session.execute(text("select 1"))
        during = _loops_told(database)
    await asyncio.to_thread(asyncio.run, ask(database, "select 1"))  # a loop that has ended
    after = _loops_told(database)
    elsewhere = await asyncio.to_thread(asyncio.run, _told_inside(database))

    assert (before, during, after) == (["0 connections in use"], ["1 connection in use"], ["0 connections in use"])
    assert elsewhere == ["1 connection in use", "0 connections in use"]


async def _told_inside(database: Database) -> list[str]:
    async with database.session() as session:
        await session.execute(text("select 1"))
        return _loops_told(database)


def _loops_told(database: Database) -> list[str]:
    """What the repr says of each loop; this one comes first."""
    lines = repr(database).partition("  loops ")[2].partition("\n  next")[0].splitlines()
    assert [line.partition(":")[0].endswith(", this one") for line in lines] == [True] + [False] * (len(lines) - 1)
    return [line.partition(": ")[2] for line in lines]


async def test_a_closed_database_says_so(database: Database) -> None:
    """`aclose()` may be called again; everything else is answered with how to open it anew."""
    await ask(database, "select 1")
    await database.aclose()
    await database.aclose()

    with pytest.raises(DatabaseClosedError, match="await connect"):
        database.session()


async def test_a_pickled_database_connects_by_itself(guest_url: str) -> None:
    """URL, password and options travel; connections do not."""
    async with pickle.loads(pickle.dumps(Database(guest_url, pool_size=2))) as copy:
        assert await ask(copy, "select current_user::text") == "guest"
        assert "2 connections a loop" in repr(copy)


async def test_connections_that_the_server_ended_are_replaced_unnoticed(
    database: Database, clean_server: ServerWatch
) -> None:
    """The ping at checkout finds them: no query fails after a server's restart or a laptop's sleep."""
    await asyncio.gather(*(ask(database, "select 1") for _ in range(3)))
    clean_server.end_backends()

    assert await ask(database, "select 2") == 2


async def test_a_filter_on_ones_own_session_class_holds_in_frames(shop: Database, fresh_database_url: str) -> None:
    """A tenant's rows stay the tenant's, also in `db.frame()`, which goes through the session."""

    class Base(DeclarativeBase): ...

    class Customer(Base):
        __tablename__ = "customer"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Tenant(Session): ...

    @event.listens_for(Tenant, "do_orm_execute")
    def only_mine(state: ORMExecuteState) -> None:
        state.statement = state.statement.options(with_loader_criteria(Customer, Customer.id == 2))

    async with shop.session() as session:
        await session.execute(text("insert into customer values (1, 'a'), (2, 'b')"))
    async with Database(fresh_database_url, sessionmaker=Tenant) as tenant:
        frame = await tenant.frame(select(Customer.id))

    assert frame["id"].tolist() == [2]


async def test_what_ones_own_session_begins_with_holds_in_frames(database_url: str) -> None:
    """A listener that names the tenant to the server comes first; the transaction is read-only all the same."""

    class Tenant(Session): ...

    @event.listens_for(Tenant, "after_begin")
    def name_the_tenant(session: Session, transaction: object, connection: Connection) -> None:
        connection.execute(text("select set_config('app.tenant', '7', true)"))

    settings = "select current_setting('app.tenant') as tenant, current_setting('transaction_read_only') as readonly"
    async with Database(database_url, sessionmaker=Tenant) as tenant:
        whole = await tenant.frame(settings)
        [part] = [part async for part in tenant.frames(settings)]

    assert whole.iloc[0].tolist() == part.iloc[0].tolist() == ["7", "on"]


async def test_frames_of_an_engine_in_autocommit_are_read_only_and_whole(
    shop: Database, fresh_database_url: str
) -> None:
    async with Database(fresh_database_url, isolation_level="AUTOCOMMIT") as database:
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await database.frame("insert into customer values (1, 'x') returning id")
        parts = [len(part) async for part in database.frames("select generate_series(1, 10)", rows=4)]

    assert parts == [4, 4, 2]


async def test_a_function_that_raises_notices_costs_no_row(shop: Database) -> None:
    """asyncpg's own COPY loses what was sent just before a NOTICE."""
    async with shop.session() as session:
        await session.execute(
            text(
                "create function told(n int) returns int language plpgsql as "
                "$$ begin raise notice 'it is %', n; return n; end $$"
            )
        )
    statement = "select told(n) as n from generate_series(1, 3) as n"

    assert (await shop.frame(statement))["n"].tolist() == [1, 2, 3]
    assert [part["n"].tolist() async for part in shop.frames(f"{statement} -- in parts", rows=2)] == [[1, 2], [3]]
    async with shop.session() as session:
        assert (await frame(session, f"{statement} -- in a session"))["n"].tolist() == [1, 2, 3]


async def test_ones_own_session_class_is_used(database_url: str) -> None:
    """An `async_sessionmaker`, an `AsyncSession` class and a `Session` class each reach `db.session()`."""

    class Mine(Session): ...

    class MineToo(AsyncSession):
        sync_session_class = Mine

    for own in (Mine, MineToo, async_sessionmaker(class_=MineToo), async_sessionmaker(sync_session_class=Mine)):
        async with Database(database_url, sessionmaker=own) as database, database.session() as session:
            assert isinstance(session.sync_session, Mine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"password": "wrong"}, "The password for user 'guest' is wrong", id="password"),
        pytest.param({"password": None}, "asks for the password of user 'guest', and none was given", id="no password"),
        pytest.param({"database": "shop"}, "has no database 'shop'", id="database"),
        pytest.param({"username": "nobody"}, "has no user 'nobody'", id="user"),
        pytest.param({"query": {"host": "/nowhere"}}, "No PostgreSQL listens on the socket in /nowhere", id="socket"),
        pytest.param({"query": {"host": "127.0.0.1", "port": "1"}}, "No PostgreSQL listens at 127.0.0.1:1", id="port"),
        pytest.param({"query": {"host": "no.invalid"}}, "The host of no.invalid:5432 is not known", id="host"),
        pytest.param(
            {"setting": "target_session_attrs"},
            "is what target_session_attrs=standby asks for. Type another value, such as any",
            id="no standby",
        ),
        pytest.param({"setting": "no_such"}, 'unrecognized configuration parameter "no_such"', id="setting"),
        pytest.param(
            {"query": {"host": "127.0.0.1", "sslmode": "verify-full", "sslrootcert": "/nowhere.pem"}},
            "The file /nowhere.pem, named for TLS, is not there",
            id="certificate",
        ),
    ],
)
async def test_what_is_wrong_is_said_in_one_sentence(guest_url: str, change: dict, message: str) -> None:
    """`connect()` names the part of the URL that is wrong, and what to type; a bare engine's user reads the same."""
    setting = change.pop("setting", None)
    url = make_url(guest_url)._replace(**change)
    url = url.update_query_dict({setting: "standby" if setting == "target_session_attrs" else "1"}) if setting else url

    with pytest.raises(ConnectError) as caught:
        await connect(url)

    assert message in str(caught.value)
    assert any(word in str(caught.value) for word in ("Type", "Start", "Correct"))


def refusal(text: str, after: str = "") -> InvalidAuthorizationSpecificationError:
    """As a server with TLS, which the embedded one has not, words it; `after` the one that asyncpg tried first."""
    error = InvalidAuthorizationSpecificationError(text)
    error.__cause__ = InvalidAuthorizationSpecificationError(after) if after else None
    return error


ENTRY = 'no pg_hba.conf entry for host "192.0.2.1", user "me", database "shop", '


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        pytest.param(refusal(ENTRY + "no encryption"), "Type sslmode=require", id="encryption was not tried"),
        pytest.param(
            refusal(ENTRY + "no encryption", after=ENTRY + "SSL encryption"), "Type another user", id="tried both"
        ),
        pytest.param(refusal(ENTRY + "SSL encryption"), "Type another user", id="tried encrypted only"),
        pytest.param(
            refusal('no pg_hba.conf entry for host "[local]", user "me", database "shop", no encryption'),
            "Type another user",
            id="socket",
        ),
        pytest.param(refusal('role "me" is not permitted to log in'), 'ALTER ROLE "me" LOGIN', id="no login"),
        pytest.param(
            ClientConfigurationError('root certificate file "/me/.postgresql/root.crt" does not exist'),
            "Type sslrootcert=FILE, or sslrootcert=system",
            id="no authority",
        ),
    ],
)
def test_a_refusal_comes_with_the_remedy_that_helps(error: Exception, remedy: str) -> None:
    """Encryption is advised only where it was not tried."""
    said = explain(error, resolve("postgresql://me@db/shop?sslmode=verify-full"))

    assert remedy in said
    assert said.count("Type") == 1


async def test_what_is_no_postgresql_is_said_so() -> None:
    """A port on which something else listens: it hangs up, or does not speak TLS."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(ConnectError, match="may be no PostgreSQL server"):
            await connect(f"postgresql://127.0.0.1:{port}/shop?sslmode=disable")


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    """`connect_timeout`, or asyncpg's `timeout`, ends the wait, and the message says how to wait longer."""
    silent = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(ConnectError, match=r"did not answer within 0\.2 seconds.*connect_timeout=60"):
            await connect(f"postgresql://127.0.0.1:{port}/shop?connect_timeout=0.2")
        with pytest.raises(ConnectError, match=r"within 0\.3 seconds\. Check .* type connect_args={\"timeout\": 60}\."):
            await connect(f"postgresql://127.0.0.1:{port}/shop", connect_args={"timeout": 0.3})
        silent.set()


def verbose(error: BaseException) -> str:
    """Its tracebacks with local variables, by the standard library and by IPython's `%xmode Verbose`.

    Without the frames of this file, which know the password and are the caller's own.
    """
    from IPython.core.ultratb import VerboseTB

    below = error.__traceback__
    while below is not None and below.tb_frame.f_code.co_filename == __file__:
        below = below.tb_next
    error.__traceback__ = below
    standard = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    return "".join(standard) + VerboseTB().text(type(error), error, below)


@pytest.mark.parametrize(
    ("tail", "options"),
    few_of(
        [
            pytest.param("@127.0.0.1:1/x", {}, id="refused"),
            pytest.param("@127.0.0.1:x/x", {}, id="unreadable port"),
            pytest.param("@127.0.0.1/x?sslmode=on", {}, id="unreadable parameter"),
            pytest.param("@127.0.0.1/x", {"no_such_option": 1}, id="unknown option"),
            pytest.param("@127.0.0.1:1/x", {"connect_args": {"password": SECRET}}, id="given beside the URL"),
            pytest.param("+wrong@/tests?host=SOCKET", {}, id="refused by the server"),
        ],
        2,
    ),
)
@pytest.mark.parametrize("way", ["connect", "Database"])
async def test_no_traceback_shows_the_password(guest_url: str, tail: str, options: dict, way: str) -> None:
    """Not in the locals of any frame, ours, SQLAlchemy's or asyncpg's, nor in the arguments of the calls."""
    spelling = f"postgresql://guest:{SECRET}{tail}".replace("SOCKET", str(make_url(guest_url).query["host"]))

    async def fail() -> None:
        if way == "connect":
            await connect(spelling, **options)
        async with Database(spelling, **options) as database, database.engine.connect():
            pass

    task = asyncio.ensure_future(fail())
    await asyncio.wait([task])
    error = task.exception()

    assert isinstance(error, (ConnectError, DatabaseURLError, TypeError))
    assert "asyncdb_nb/" in verbose(error)
    assert SECRET not in verbose(error)


async def test_a_cancelled_connect_shows_no_password() -> None:
    """The frames of a `CancelledError` are cut as well."""
    started = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started.set()
        try:
            await reader.read()
        finally:
            writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as other:
        database = Database(f"postgresql://guest:{SECRET}@127.0.0.1:{other.sockets[0].getsockname()[1]}/x")
        task = asyncio.ensure_future(ask(database, "select 1"))
        await started.wait()
        task.cancel()

        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert SECRET not in verbose(caught.value)


async def test_the_server_is_told_who_is_connected_and_to_look_whether_they_live(database_url: str) -> None:
    """`application_name` names the notebook or script, and `client_connection_check_interval` is a second."""
    async with Database(database_url) as database:
        assert await ask(database, "show application_name") == application_name()
        assert await ask(database, f"show {CHECK_INTERVAL}") == "1s"


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ({"application_name": "mine", CHECK_INTERVAL: "5s"}, {}),
        ({}, {"connect_args": {"server_settings": {"application_name": "mine", CHECK_INTERVAL: "5s"}}}),
        ({"options": f"-c application_name=mine -c {CHECK_INTERVAL}=5s"}, {}),
    ],
    ids=["URL", "connect_args", "options"],
)
async def test_ones_own_settings_win(database_url: str, query: dict[str, str], options: dict) -> None:
    """Wherever they were made."""
    async with Database(make_url(database_url).update_query_dict(query), **options) as database:
        assert await ask(database, "show application_name") == "mine"
        assert await ask(database, f"show {CHECK_INTERVAL}") == "5s"


async def test_a_server_that_refuses_the_check_is_asked_without_it_and_remembered(database_url: str) -> None:
    """An old server or a pooler costs one more attempt, the first time only.

    The server refuses it for real: the interval that is sent is one it cannot read.
    """
    import asyncpg

    attempts: list[dict[str, str]] = []

    async def opener(**arguments: object) -> object:
        settings = dict(arguments["server_settings"])  # type: ignore[call-overload]
        attempts.append(settings)
        if CHECK_INTERVAL in settings:
            settings[CHECK_INTERVAL] = "not an interval"
        return await asyncpg.connect(**{**arguments, "server_settings": settings})

    async with (
        Database(database_url, connect_args={"async_creator_fn": opener}) as database,
        database.engine.connect(),
        database.engine.connect(),
    ):
        pass

    assert [CHECK_INTERVAL in settings for settings in attempts] == [True, False, False]


@pytest.mark.parametrize(
    ("session_name", "argv", "expected"),
    [
        ("/analyses/2024/analysis.ipynb", "ipykernel_launcher.py", "asyncdb_nb: analysis.ipynb"),
        ("", "/usr/lib/python3/ipykernel_launcher.py", "asyncdb_nb: notebook"),
        ("", "jobs/nightly.py", "asyncdb_nb: nightly.py"),
        ("", "/lib/python3/pytest/__main__.py", "asyncdb_nb: pytest"),
        ("", "-c", "asyncdb_nb: python"),
        ("Übersicht.ipynb", "", "asyncdb_nb: ?bersicht.ipynb"),
        ("x" * 80, "", f"asyncdb_nb: {'x' * 51}"),
    ],
)
def test_the_application_name_names_the_notebook_or_the_script(
    session_name: str, argv: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In ASCII and at most 63 bytes, which is all that PostgreSQL keeps."""
    monkeypatch.setenv("JPY_SESSION_NAME", session_name)
    monkeypatch.setattr(sys, "argv", [argv])

    assert application_name() == expected


async def test_scenario_35_a_set_up_cell_run_fifty_times_is_one_database(
    database_url: str, clean_server: ServerWatch
) -> None:
    """Row 35: one pool for a URL and a loop, and no more backends than the pool's size."""
    databases = set()
    for _ in range(50):
        db = await connect(database_url, pool_size=3)
        databases.add(db)
        await asyncio.gather(*(ask(db, "select 1") for _ in range(3)))
    backends = clean_server.backends(application_name())
    await db.aclose()

    assert len(databases) == 1
    assert 1 <= len(backends) <= 3


async def test_connect_tells_arguments_apart_and_forgets_a_closed_database(database_url: str) -> None:
    """Another spelling of the same place is the same database; other options or another session class are not."""
    first = await connect(database_url)
    same = await connect(make_url(database_url).set(drivername="postgresql+asyncpg"))
    others = [await connect(database_url, pool_size=1)]
    makers = [async_sessionmaker(), async_sessionmaker()]
    others += [await connect(database_url, sessionmaker=maker) for maker in makers]
    await first.aclose()
    again = await connect(database_url)

    assert first is same
    assert len({first, again, *others}) == 5
    for database in (again, *others):
        await database.aclose()


def test_threads_that_connect_at_once_get_one_database(database_url: str) -> None:
    """Each on a loop of its own."""
    found: list[Database] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        found.append(asyncio.run(connect(database_url, pool_size=4)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(found[0].aclose())

    assert len(found) == 4
    assert len(set(found)) == 1


async def test_a_second_connect_is_one_round_trip(database_url: str) -> None:
    """The ping that the checkout makes anyway; no statement beside it."""
    database = await connect(database_url)
    statements: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    await connect(database_url)
    await database.aclose()

    assert statements == []


@pytest.fixture
def embedded_home() -> Iterator[str]:
    """A home for the embedded server, with a short path that the server's system user can enter."""
    with tempfile.TemporaryDirectory(prefix="adb-") as directory:
        Path(directory).chmod(0o711)
        yield directory
        EmbeddedServer(Path(directory) / "server").stop()


def test_without_a_url_the_sample_workflows_are_there(run_script, embedded_home: str) -> None:  # type: ignore[no-untyped-def]
    """`connect()` starts the embedded server, loads the sample once, and the repr says so."""
    done = run_script(
        "import asyncio, asyncdb_nb\n"
        "async def main():\n"
        "    db = await asyncdb_nb.connect()\n"
        "    assert db is await asyncdb_nb.connect()\n"
        "    print(db)\n"
        "    async with db.session() as session:\n"
        "        from sqlalchemy import text\n"
        "        print('workflows:', await session.scalar(text('select count(*) from workflows.workflow')))\n"
        "asyncio.run(main())\n",
        clean=False,  # asyncio's debug mode remarks on stderr that the first import is slow
        env={"DATABASE_URL": "", "ASYNCDB_NB_HOME": embedded_home},
    )

    assert done.returncode == 0, done.stderr
    assert "the embedded server, with the sample workflows" in done.stdout
    assert int(done.stdout.rpartition("workflows: ")[2]) > 0


@pytest.mark.second_tier
def test_after_a_stop_of_the_embedded_server_the_message_says_what_to_run(  # type: ignore[no-untyped-def]
    run_script, embedded_home: str
) -> None:
    """And doing so helps: the same `Database` works again."""
    done = run_script(
        "import asyncio, asyncdb_nb\n"
        "from asyncdb_nb.server import embedded_server\n"
        "async def main():\n"
        "    db = await asyncdb_nb.connect()\n"
        "    await db.frame('select 1')\n"
        "    await asyncio.to_thread(embedded_server().stop)\n"
        "    try:\n"
        "        await db.frame('select 2')\n"
        "    except asyncdb_nb.ConnectError as error:\n"
        "        print(error)\n"
        "    await asyncdb_nb.connect()\n"
        "    print(await db.frame('select 3 as three'))\n"
        "asyncio.run(main())\n",
        clean=False,  # asyncio's debug mode remarks on stderr that the first import is slow
        env={"DATABASE_URL": "", "ASYNCDB_NB_HOME": embedded_home},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == (
        "The embedded server is stopped. Run the cell with `await connect()` again, which starts it."
    )
    assert done.stdout.split()[-3:] == ["three", "0", "3"]


async def test_a_connect_that_was_not_awaited_says_what_to_type(database_url: str) -> None:
    """Whatever is done with it; and nothing has begun that could warn later."""
    db = connect(f"{database_url}&password={SECRET}")

    assert repr(db) == "Nothing is connected yet. Type: await connect(...)"
    for use in (lambda: db.frame("select 1"), lambda: db.session(), lambda: db["x"]):
        with pytest.raises((AttributeError, TypeError), match=r"connected yet\. Type: db = await connect\(\.\.\.\)$"):
            use()
    with pytest.raises(TypeError, match=r"nothing to enter yet\. Nothing is connected yet\. Type: await connect"):
        async with connect(database_url):  # type: ignore[attr-defined]
            pass
    assert asyncio.iscoroutine(db)


@pytest.fixture
async def shop(fresh_database_url: str) -> AsyncIterator[Database]:
    async with Database(fresh_database_url) as database:
        async with database.session() as session:
            for statement in (
                "create table customer (id int primary key, email text not null unique)",
                'create table "Order" (id bigint generated always as identity primary key, '
                "customer_id int references customer, cost numeric(12, 2) default 0)",
                "create view big as select * from customer",
                "create schema old",
                "create table old.invoice (id int)",
                "analyze customer",
            ):
                await session.execute(text(statement))
        yield database


async def test_tables_lists_what_there_is(shop: Database) -> None:
    """Schema, table, kind, estimated rows and bytes, without PostgreSQL's own tables."""
    tables = await shop.tables()

    assert list(tables.columns) == ["schema", "table", "kind", "rows", "bytes", "rights", "comment"]
    assert tables[["schema", "table", "kind"]].values.tolist() == [
        ["old", "invoice", "table"],
        ["public", "Order", "table"],
        ["public", "big", "view"],
        ["public", "customer", "table"],
    ]


async def test_describe_lists_the_columns_of_a_table(shop: Database) -> None:
    """Name, type as SQL writes it, nullable, default and key."""
    columns = await shop.describe("Order")

    assert list(columns.columns) == [
        *("column", "type", "nullable", "default", "key", "referenced_by", "indexes", "readable", "comment")
    ]
    assert columns["column"].tolist() == ["id", "customer_id", "cost"]
    assert columns["type"].tolist() == ["bigint", "integer", "numeric(12,2)"]
    assert columns["nullable"].tolist() == [False, True, True]
    assert columns["key"].tolist()[:2] == ["primary key", "references customer"]


async def test_describe_names_all_columns_of_a_key(shop: Database) -> None:
    """Half of a key of two columns is neither unique nor a reference by itself."""
    async with shop.session() as session:
        await session.execute(text("create table pair (a int, b int, primary key (a, b))"))
        await session.execute(
            text(
                'create table part (id int primary key, "A" int, b int, email text unique, unique ("A", b), '
                'foreign key ("A", b) references pair, check ("A" < b))'
            )
        )

    columns = (await shop.describe("part")).set_index("column")["key"]

    assert columns["id"] == "primary key"
    assert columns["email"] == "unique"
    assert columns["b"] == 'unique ("A", b), foreign key ("A", b) REFERENCES pair(a, b)'
    assert (await shop.describe("pair"))["key"].tolist() == ["primary key (a, b)"] * 2


async def test_describe_tells_references_indexes_and_comments(shop: Database) -> None:
    """Foreign keys the other way, and what no key stands for."""
    async with shop.session() as session:
        for statement in (
            "create table town (id int primary key, name text, zone int, place int, unique (zone, place))",
            'create table street (id int, town int references town, "Z" int, place int, '
            'foreign key ("Z", place) references town (zone, place))',
            "create index on town (name)",
            "create unique index on town (zone, lower(name)) where place > 0",
            "comment on column town.name is 'as it is <written>'",
            "comment on table town is 'a place'",
        ):
            await session.execute(text(statement))

    town = (await shop.describe("town")).set_index("column")
    tables = (await shop.tables()).set_index("table")

    assert town["referenced_by"].fillna("").to_dict() == {
        "id": "street (town)", "name": "", "zone": 'street ("Z", place)', "place": 'street ("Z", place)',
    }  # fmt: skip
    unique = "unique btree (zone, lower(name)) WHERE (place > 0)"
    assert town["indexes"].fillna("").to_dict() == {
        "id": "", "name": f"btree (name), {unique}", "zone": unique, "place": unique,
    }  # fmt: skip
    assert town["comment"].fillna("").tolist() == ["", "as it is <written>", "", ""]
    assert town["readable"].all()
    assert tables["comment"]["town"] == "a place"
    assert tables["rights"]["town"] == "select, insert, update, delete"


async def test_what_one_may_not_read_is_told(shop: Database) -> None:
    async with shop.session() as session:
        for statement in (
            "create role clerk",
            "create table till (id int, secret int)",
            "grant select (id), insert on till to clerk",
            "set local role clerk",
        ):
            await session.execute(text(statement))
        tables = (await frame(session, TABLES)).set_index("table")["rights"]
        till = await find_table(session, "till")
        columns = (await frame(session, COLUMNS, {"oid": till})).set_index("column")["readable"]
        await session.rollback()

    assert tables["till"] == "select of some columns, insert"
    assert tables["customer"] == ""
    assert tables["invoice"] == ""
    assert columns.to_dict() == {"id": True, "secret": False}


@pytest.mark.parametrize("name", ['"a""b"', 'public."a""b"', 'a"b', '"x.y"', "x.y", 'Public."x.y"'])
async def test_describe_reads_quotes_as_sql_does(shop: Database, name: str) -> None:
    """A doubled quote is one of the name's, and a dot inside quotes is no end of a schema."""
    async with shop.session() as session:
        await session.execute(text('create table "a""b" (one int)'))
        await session.execute(text('create table "x.y" (one int)'))

    assert (await shop.describe(name))["column"].tolist() == ["one"]


async def test_a_table_of_postgresqls_own_is_proposed_only_to_who_names_one(shop: Database) -> None:
    """`runs` is nearer to `information_schema.routines` than to anything here, and not meant."""
    with pytest.raises(ProgrammingError) as raised:
        await shop.frame("select * from runs")
    assert not getattr(raised.value, "__notes__", ())

    async with shop.session() as session:
        await session.execute(text("create table old.run (id int)"))
    with pytest.raises(ProgrammingError) as raised:
        await shop.frame("select * from runs")
    assert raised.value.__notes__ == ["Did you mean old.run? `await db.tables()` lists all of them."]

    with pytest.raises(UnknownTableError, match=r"Did you mean information_schema\.routines"):
        await shop.describe("information_schema.routine")


@pytest.mark.parametrize(
    ("size", "overflow", "words"),
    [
        (2, -1, "2 connections a loop, any number more when busy"),
        (0, 10, "any number of connections a loop"),
        (1, 0, "1 connection a loop, 0 more when busy"),
    ],
)
def test_a_pool_without_a_limit_is_shown_as_one(size: int, overflow: int, words: str) -> None:
    db = Database("postgresql://u@h.invalid/d", pool_size=size, max_overflow=overflow, idle_timeout=None)

    assert f"pool      {words}\n" in repr(db)


@pytest.mark.parametrize("reader", ["frame", "table", "frames", "batches", "explain", "profile", "view"])
async def test_a_value_given_as_an_option_is_answered_with_where_it_goes(shop: Database, reader: str) -> None:
    with pytest.raises(UnknownOptionError) as raised:
        getattr(shop, reader)("select :id", id=3)

    assert (
        f"db.{reader}() has no option 'id'. A value for :id goes into a mapping after the statement: "
        f'`db.{reader}("...", {{"id": ...}})`. Its options are ' in str(raised.value)
    )
    assert "exclusive" not in str(raised.value)


async def test_a_value_goes_behind_the_path_of_an_export(shop: Database, tmp_path: Path) -> None:
    with pytest.raises(UnknownOptionError, match=re.escape('`db.export("...", path, {"id": ...})`')):
        shop.export("select :id", tmp_path / "ids.csv", id=3)  # type: ignore[call-arg]


async def test_what_takes_no_values_for_binds_speaks_of_none(shop: Database) -> None:
    with pytest.raises(UnknownOptionError) as raised:
        shop.write([], "customer", id=3)

    assert str(raised.value).startswith("db.write() has no option 'id'. Its options are if_exists, ")


async def test_describe_says_of_a_query_that_it_is_one(shop: Database) -> None:
    with pytest.raises(UnknownTableError) as raised:
        await shop.describe("select * from customer")

    assert "That is a query, and a name is wanted here" in str(raised.value)
    assert "Nor is" not in str(raised.value)


@pytest.mark.parametrize("name", ["customer", "CUSTOMER", "public.customer", '"Order"', "old.invoice", "big"])
async def test_describe_takes_the_names_that_sql_takes(shop: Database, name: str) -> None:
    """With or without schema, quoted, or in capitals."""
    assert (await shop.describe(name))["column"].tolist()[0] == "id"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("custmer", "customer"),
        ("publik.custmer", "customer"),
        ("invoice", "old.invoice"),
        ("ordr", '"Order"'),
        ("old_invoice", "old.invoice"),
        ("pg_stat_activty", "pg_stat_activity"),
    ],
)
async def test_a_wrong_name_is_answered_with_the_nearest(shop: Database, name: str, near: str) -> None:
    """A table that is not there, or not on the search path; in a statement, too, and the nearest one first."""
    with pytest.raises(UnknownTableError, match=f"no table or view '{name}'. Did you mean {near}"):
        await shop.describe(name)
    for reading in (shop.frame(f"table {name}"), shop.table(f"table {name}"), anext(shop.frames(f"table {name}"))):
        with pytest.raises(ProgrammingError) as raised:
            await reading
        assert raised.value.__notes__[0].startswith(f"Did you mean {near}")


async def test_a_name_like_none_is_answered_with_none(shop: Database) -> None:
    with pytest.raises(UnknownTableError, match=r"view 'xyzzy'. `await db.tables\(\)` lists"):
        await shop.describe("xyzzy")
    for statement in ("table xyzzy", "select nothing.x from customer"):
        with pytest.raises(ProgrammingError) as raised:
            await shop.frame(statement)
        assert not getattr(raised.value, "__notes__", ())


async def test_the_nearest_of_tables_with_one_name_is_in_the_schema_that_was_meant(shop: Database) -> None:
    """`workflws.run` is `workflows.run`, though others have a `run`, too."""
    async with shop.session() as session:
        for schema in ("workflows", "archive"):
            await session.execute(text(f"create schema {schema}"))
            await session.execute(text(f"create table {schema}.workflow (id int)"))
            await session.execute(text(f"create table {schema}.run (id int)"))

    for name, near in (
        ("wrkflow", r"\w+.workflow or \w+.workflow\?"),
        ("workflws.run", "workflows.run or archive.run"),
    ):
        with pytest.raises(UnknownTableError, match=f"Did you mean {near}"):
            await shop.describe(name)


@pytest.mark.parametrize("part", ["host", "user", "password", "dbname"])
def test_a_part_of_the_url_is_no_option(part: str) -> None:
    with pytest.raises(TypeError, match=rf"The {part} is part of the URL\. Type: connect"):
        Database("postgresql://127.0.0.1:1/x", **{part: "hidden"})


def test_a_forgotten_await_says_what_to_type() -> None:
    """What the calls return before they are awaited has a repr for the reader of a cell, who is then not warned."""
    database = Database("postgresql://127.0.0.1:1/x")
    calls = [database.frame("select 1"), database.table("select 1"), database.tables(), database.describe("runs")]

    assert [repr(call).partition("Type: ")[2] for call in calls] == [
        "await db.frame(...)",
        "await db.table(...)",
        "await db.tables()",
        "await db.describe('runs')",
    ]


async def test_frames_reads_in_parts(shop: Database) -> None:
    """`db.frames()` streams, and leaving the loop early gives the connection back."""
    numbers = "select * from generate_series(1, 25) as n"
    parts = [part["n"].tolist() async for part in shop.frames(numbers, rows=10)]
    async with aclosing(shop.frames(numbers, rows=10)) as stream:
        async for _ in stream:
            break

    assert parts == [[*range(1, 11)], [*range(11, 21)], [*range(21, 26)]]
    assert shop.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_frame_is_read_only_and_leaves_nothing_open(shop: Database, clean_server: ServerWatch) -> None:
    """`db.frame()` cannot change anything, and no backend stays in its transaction."""
    frame = await shop.frame("select 1 as one")
    with pytest.raises(DBAPIError, match="read-only transaction"):
        await shop.frame("insert into customer values (1, 'x') returning id")

    assert frame["one"].tolist() == [1]
    assert {backend.state for backend in clean_server.backends(application_name())} == {"idle"}


def test_a_connector_has_no_secret_in_its_repr() -> None:
    """It stands among the engine's arguments, which a traceback may show."""
    target = resolve(f"postgresql://guest:{SECRET}@127.0.0.1/x")
    assert target is not None

    assert SECRET not in repr(Connector(target, target.connect_args))
