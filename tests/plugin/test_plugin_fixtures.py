"""What the fixtures and options promise beyond the scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server_checks import ServerWatch
from sqlalchemy import make_url
from suites import RunSuite
from tiers import few_of

from asyncdb_nb.pytest_plugin.secret_url import SecretURL
from asyncdb_nb.server import EmbeddedServer

pytestmark = pytest.mark.usefixtures("clean_server")


def test_every_kind_of_schema_and_scope(run_suite: RunSuite) -> None:
    """A folder's own `asyncdb_schema` has its own template; marker and ini choose the isolation; rows are kept."""
    conftest = """
import pytest

@pytest.fixture(scope="session")
def asyncdb_schema(tmp_path_factory):
    file = tmp_path_factory.mktemp("schema") / "schema.sql"
    file.write_text("create table words (word text); create function one() returns int return 1;")

    def plain(database):
        assert database.engine.dialect.name == "postgresql"

    async def insert(database):
        async with database.session() as session:
            await session.execute(text("insert into words values ('kept')"))

    return [metadata, str(file), plain, insert]
"""
    test = """
import pytest
from sqlalchemy import text

@pytest.mark.parametrize("isolation", [
    pytest.param(name, marks=pytest.mark.asyncdb(isolation=name)) for name in ("rollback", "clone", "none")
])
async def test_rows_of_the_schema_are_there(asyncdb_session, isolation):
    assert (await asyncdb_session.execute(text("select word, one() from words"))).all() == [("kept", 1)]

@pytest.mark.asyncdb(isolation="truncate")
async def test_truncate_refuses_them(asyncdb):
    pass
"""
    plain = """
async def test_the_other_folder_has_no_words(asyncdb_session, asyncdb):
    assert await asyncdb_session.scalar(text("select to_regclass('words')")) is None
    assert await count(asyncdb) == 0
"""
    files = {
        "rows/conftest": "from sqlalchemy import text\nfrom things import metadata\n" + conftest,
        "rows/test_rows": test,
        "test_plain": "from things import count, text\n" + plain,
    }

    result = run_suite(files=files, passed=4, errors=1)

    result.stdout.fnmatch_lines(["asyncdb_schema puts rows into public.words, and isolation *"])


ALONE = """
import pytest

@pytest.mark.asyncdb(isolation="clone")
def test_wants_what_all_want(asyncdb):
    pass

@pytest.mark.asyncdb(isolation="none")
def test_wants_something_else(asyncdb):
    pass
"""


@pytest.mark.second_tier
def test_one_clean_state_for_a_module(run_suite: RunSuite) -> None:
    """`asyncdb_scope = module`: fixtures of the module may put into the database what all of its tests see.

    The module's session may stay in a transaction from test to test; that is no leak.
    """
    module = """
import pytest
import pytest_asyncio
from things import add, count, text

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seeded(asyncdb):
    await add(asyncdb, "seed")

async def test_sees_it(asyncdb, seeded):
    assert await count(asyncdb) == 1
    await add(asyncdb)

async def test_sees_the_test_before(asyncdb, seeded):
    assert await count(asyncdb) == 2

@pytest.mark.asyncio(loop_scope="module")
async def test_begins_a_transaction(asyncdb_session):
    await asyncdb_session.execute(text("insert into things (name) values ('uncommitted')"))

@pytest.mark.asyncio(loop_scope="module")
async def test_goes_on_with_it(asyncdb_session, asyncdb):
    assert await asyncdb_session.scalar(text("select count(*) from things")) == 3
    assert await count(asyncdb) == 2
"""
    options = ("-o", "asyncdb_scope=module", "-o", "asyncdb_isolation=clone")

    result = run_suite(*options, files={"test_one": module, "test_two": module + ALONE}, passed=9, errors=1)

    result.stdout.fnmatch_lines(["This test is marked for isolation 'none', * = module it shares * 'clone'. Give *"])


@pytest.mark.second_tier
def test_strict_mode_and_tests_without_a_loop(run_suite: RunSuite) -> None:
    """The fixtures are the same for marked tests, and for plain ones that run loops or engines of their own.

    The header says what is tested on, and how.
    """
    plain = """
import asyncio
import pytest
from asyncdb_nb import Database, run
from sqlalchemy.ext.asyncio import create_async_engine
from things import add, count, text

def test_with_a_loop_of_its_own(asyncdb):
    asyncio.run(add(asyncdb))

def test_by_run(asyncdb):
    assert run(count(asyncdb)) == 0

@pytest.mark.asyncdb(isolation="clone")
def test_with_an_engine_of_its_own(asyncdb):
    async def ask():
        await add(asyncdb)
        engine = create_async_engine(asyncdb.url)
        async with engine.connect() as connection:
            found = (await connection.execute(text("select name from things"))).scalar()
        await engine.dispose()
        return found

    assert asyncio.run(ask()) == "one"

def test_with_a_database_of_its_own(asyncdb_url):
    async def ask():
        async with Database(asyncdb_url) as database, database.session() as session:
            return await session.scalar(text("select 1"))

    assert asyncio.run(ask()) == 1
"""
    marked = """
@pytest.mark.asyncio
async def test_async(asyncdb):
    assert await count(asyncdb) == 0
    await add(asyncdb)
"""
    strict = run_suite("-o", "asyncio_mode=strict", files={"test_it": plain + marked}, passed=5)
    run_suite(mode="plain", files={"test_it": plain}, passed=4)

    strict.stdout.fnmatch_lines(["asyncdb_nb: PostgreSQL * at *, isolation rollback, leaks error"])


@pytest.mark.second_tier
def test_what_rollback_cannot_do_is_said_and_does_no_harm(run_suite: RunSuite) -> None:
    """Two tasks that wait for each other, another isolation level, a killed backend, a COMMIT typed as text."""
    suite = """
import asyncio
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from asyncdb_nb import CommitRolledBackError
from asyncdb_nb.errors import OneConnectionError, OneTransactionError
from asyncdb_nb.pytest_plugin.isolation import connection_turns
from things import add, count, text

async def test_two_tasks_that_wait_for_each_other(asyncdb, monkeypatch):
    monkeypatch.setattr(connection_turns, "TURN_SECONDS", 0.2)
    async with asyncdb.session() as session:
        await session.execute(text("select 1"))
        with pytest.raises(OneConnectionError, match="isolation=.clone."):
            await asyncio.create_task(add(asyncdb))

async def test_another_level(asyncdb):
    with pytest.raises(OneTransactionError, match="SERIALIZABLE"):
        async with asyncdb.engine.connect() as connection:
            await connection.execution_options(isolation_level="SERIALIZABLE")
            await connection.execute(text("select 1"))

async def test_a_killed_backend(asyncdb):
    await add(asyncdb)
    with pytest.raises(Exception, match="terminat|clos"):
        async with asyncdb.session() as session:
            await session.execute(text("select pg_terminate_backend(pg_backend_pid())"))
    assert await count(asyncdb) == 0
    await add(asyncdb)

async def test_a_commit_typed_as_text(asyncdb):
    assert await count(asyncdb) == 0
    with pytest.raises(OneTransactionError, match="COMMIT or ROLLBACK as a statement"):
        async with asyncdb.engine.begin() as connection:
            await connection.execute(text("insert into things (name) values ('committed')"))
            await connection.execute(text("commit"))
            await connection.execute(text("select 1"))

async def test_a_limit_in_time_ends_with_its_session(asyncdb):
    assert await count(asyncdb) == 0
    async with asyncdb.session(timeout=0.05) as session:
        await session.execute(text("select 1"))
    async with asyncdb.session() as session:
        await session.execute(text("select pg_sleep(0.1)"))

async def test_two_transactions_that_overlap(asyncdb):
    first, second = AsyncSession(asyncdb.engine), AsyncSession(asyncdb.engine)
    await first.execute(text("select 1"))
    await second.execute(text("select 1"))
    await first.commit()
    with pytest.raises(OneTransactionError, match="began within the other and outlived it"):
        await second.commit()
    await second.close()
    await first.close()

async def test_a_caught_error_spoils_a_scope_as_it_does_elsewhere(asyncdb):
    with pytest.raises(CommitRolledBackError):
        async with asyncdb.session() as session:
            await session.execute(text("insert into things (name) values ('lost')"))
            with pytest.raises(DBAPIError):
                await session.execute(text("select * from nowhere"))
    assert await count(asyncdb) == 0
    await add(asyncdb)
    assert await count(asyncdb) == 1
"""
    run_suite(files={"test_it": suite}, passed=7)


@pytest.mark.second_tier
def test_a_statement_that_fails_outside_of_a_transaction_is_undone_alone(run_suite: RunSuite) -> None:
    """By SQLAlchemy under AUTOCOMMIT and by the driver; what came before it stays, and the test goes on."""
    suite = """
import asyncio
import pytest
from things import add, count, text

ADD = "insert into things (name) values ('one')"
DRIVER = [
    lambda raw: raw.execute(ADD),
    lambda raw: raw.fetch(ADD),
    lambda raw: raw.fetch("select * from nowhere"),
    lambda raw: raw.executemany("insert into things (name) values ($1)", [("two",), ("one",)]),
    lambda raw: raw.copy_records_to_table("things", records=[("two",), ("one",)], columns=["name"]),
    lambda raw: raw.copy_from_query("select 1/0", output="/dev/null"),
    lambda raw: asyncio.wait_for(raw.execute("select pg_sleep(60)"), 0.05),
]

async def test_autocommit(asyncdb):
    await add(asyncdb)
    engine = asyncdb.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("insert into things (name) values ('kept')"))
        for statement in (ADD, "select * from nowhere", "select 1/0"):
            with pytest.raises(Exception):
                await connection.execute(text(statement))
        await connection.execute(text("insert into things (name) values ('after')"))
    assert await count(asyncdb) == 3

@pytest.mark.parametrize("way", DRIVER)
async def test_the_driver(asyncdb, way):
    await add(asyncdb)
    async with asyncdb.engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        with pytest.raises(Exception):
            await way(raw)
        await raw.execute("insert into things (name) values ('after')")
    assert (await asyncdb.frame("select name from things order by id"))["name"].to_list() == ["one", "after"]

async def test_in_a_transaction_it_ends_all_of_it(asyncdb):
    with pytest.raises(Exception, match="aborted"):
        async with asyncdb.engine.begin() as connection:
            with pytest.raises(Exception, match="division"):
                await connection.execute(text("select 1/0"))
            await connection.execute(text("select 1"))
    assert await count(asyncdb) == 0
"""
    run_suite(files={"test_it": suite}, passed=9)


@pytest.mark.second_tier
def test_what_ends_the_one_transaction_is_refused_or_reaches_no_other_test(run_suite: RunSuite) -> None:
    """Two phases, and texts after which another transaction is open."""
    suite = """
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from asyncdb_nb.errors import OneTransactionError
from things import add, count, insert, text, things

TEXTS = [["commit"], ["commit; begin"], ["commit", "begin"], ["rollback; begin"], ["end", "begin"]]

@pytest.mark.parametrize("texts", TEXTS)
@pytest.mark.parametrize("level", ["AUTOCOMMIT", "READ COMMITTED"])
async def test_a_text(asyncdb, texts, level):
    assert await count(asyncdb) == 0
    await add(asyncdb)
    with pytest.raises(Exception, match="COMMIT or ROLLBACK as a statement"):
        async with asyncdb.engine.execution_options(isolation_level=level).begin() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            await connection.execute(text("insert into things (name) values ('two')"))
            for each in texts:
                await raw.execute(each)
            await connection.execute(text("select 1"))

async def test_two_phases(asyncdb):
    assert await count(asyncdb) == 0
    with pytest.raises(OneTransactionError, match="PREPARE TRANSACTION"):
        async with AsyncSession(asyncdb.engine, twophase=True) as session:
            await session.execute(insert(things).values(name="two"))
            await session.commit()
    await add(asyncdb)

async def test_nothing_is_left(asyncdb):
    assert await count(asyncdb) == 0
"""
    run_suite(files={"test_it": suite}, passed=12)


def test_a_transaction_that_is_cancelled_again_and_again_is_undone_alone(run_suite: RunSuite) -> None:
    """As anyio's scopes do it at every await: SQLAlchemy then closes by force what was about to close by itself."""
    suite = """
import anyio
import pytest
from things import add, count, insert, text, things

pytestmark = pytest.mark.anyio

async def test_it(asyncdb):
    await add(asyncdb)
    with anyio.CancelScope() as scope:
        async with asyncdb.session() as session:
            await session.execute(insert(things).values(name="two"))
            scope.cancel()
            await session.execute(text("select pg_sleep(60)"))
    assert await count(asyncdb) == 1
"""
    run_suite(mode="anyio", files={"test_it": suite}, passed=1)


def test_what_no_transaction_ends_is_not_there_in_the_next_test(run_suite: RunSuite) -> None:
    """Statements prepared of a table as it was, on a loop that goes on; and locks of the connection's."""
    suite = """
import pytest
from things import text

async def columns(db):
    async with db.session() as session:
        return list((await session.execute(text("select * from things"))).keys())

@pytest.mark.parametrize("number", [1, 2])
async def test_alters_a_table(asyncdb, number):
    assert await columns(asyncdb) == ["id", "name"]
    await asyncdb.execute("alter table things add column more int")
    assert (await asyncdb.frame("select * from things")).columns.to_list() == ["id", "name", "more"]
    async with asyncdb.session() as session:
        await session.execute(text("alter table things add column most int"))
    assert await columns(asyncdb) == ["id", "name", "more", "most"]

@pytest.mark.parametrize("number", [1, 2])
async def test_takes_a_lock(asyncdb, number):
    held = "select from pg_locks where locktype = 'advisory' and objid = 77"
    assert len(await asyncdb.frame(held)) == 0
    async with asyncdb.session() as session:
        await session.execute(text("select pg_advisory_lock(77)"))
    assert len(await asyncdb.frame(held)) == 1
"""
    run_suite(mode="session loop", files={"test_it": suite}, passed=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "asyncdb_isolation=rolback"], "asyncdb_isolation: 'rolback' is not one of rollback, clone,"),
        (["-o", "asyncdb_leaks=loud"], "asyncdb_leaks: 'loud' is not one of error, warn, off."),
        (["--asyncdb-leaks=loud"], "argument --asyncdb-leaks: invalid choice: 'loud'"),
    ],
    ids=["isolation", "leaks", "option"],
)
def test_a_misspelt_option_is_refused(pytester: pytest.Pytester, options: list[str], message: str) -> None:
    result = pytester.runpytest_inprocess("-p", "no:asyncio", *options)

    assert any(message in line for line in result.errlines)


@pytest.fixture
def builder_url(server: EmbeddedServer, clean_server: ServerWatch) -> Iterator[str]:
    """The server, for a user who may create databases and nothing else."""
    clean_server.query("create role builder login createdb")
    yield make_url(server.url).set(username="builder").render_as_string()
    clean_server.query("drop role builder")


@pytest.mark.second_tier
def test_databases_of_a_run_that_was_killed_are_dropped(
    run_suite: RunSuite, clean_server: ServerWatch, builder_url: str
) -> None:
    """Those of a run that lives are left alone, because it holds a lock; so are those of another user."""
    clean_server.query("create database asyncdb_test_00c0ffee_main_1 owner builder")
    clean_server.query("create database asyncdb_test_0badcafe_main_1 owner builder")
    clean_server.query("create database asyncdb_test_0000beef_main_1")
    clean_server.query(f"select pg_advisory_lock_shared({0x61646231}, {0x0BADCAFE})")

    run_suite("--asyncdb-url", builder_url, files={"test_it": "def test_it(asyncdb):\n    pass\n"}, passed=1)

    names = [name for (name,) in clean_server.query("select datname from pg_database where datname like 'asyncdb_t%'")]
    clean_server.query("select pg_advisory_unlock_all()")
    for name in names:
        clean_server.query(f"drop database {name}")
    assert sorted(names) == ["asyncdb_test_0000beef_main_1", "asyncdb_test_0badcafe_main_1"]


@pytest.mark.parametrize(
    ("spelling", "shown"),
    [
        ("postgresql://me:hush@db/shop", "<URL postgresql+asyncpg://me@db:5432/shop>"),
        ("postgresql://db/shop?user=me&password=hush", "<URL postgresql+asyncpg://me@db:5432/shop>"),
        ("host=db user=me password=hush dbname=shop", "<URL postgresql+asyncpg://me@db:5432/shop>"),
        ("postgresql://me:/hush@db/shop", "<URL that cannot be read>"),
    ],
)
def test_the_url_that_pytest_may_print_hides_the_password(spelling: str, shown: str) -> None:
    assert repr(SecretURL(spelling)) == shown


ASYNC_ENV = """
import asyncio
from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import async_engine_from_config

def migrate(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    section = context.config.get_section(context.config.config_ini_section)
    engine = async_engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()

asyncio.run(main())
"""
PLAIN_ENV = """
from alembic import context
from sqlalchemy import engine_from_config, pool

section = context.config.get_section(context.config.config_ini_section)
with engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


FIRST_VERSION = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "1", None

def upgrade():
    op.create_table("migrated", sa.Column("id", sa.Integer, primary_key=True))
"""


@pytest.mark.parametrize(
    "env", [PLAIN_ENV, pytest.param(ASYNC_ENV, marks=pytest.mark.second_tier)], ids=["plain", "async"]
)
@pytest.mark.second_tier
def test_alembic_migrates_the_template_once(run_suite: RunSuite, pytester: pytest.Pytester, env: str) -> None:
    """By an `env.py` of either template of Alembic's; the URL in alembic.ini is not used."""
    pytest.importorskip("alembic")
    pytester.makefile(".ini", alembic="[alembic]\nscript_location = %(here)s/migrations\nsqlalchemy.url = driver://no")
    conftest = """
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def asyncdb_schema():
    return Path(__file__).parent / "alembic.ini"
"""
    suite = """
import pytest
from sqlalchemy import text

@pytest.mark.parametrize("isolation", [
    pytest.param(name, marks=pytest.mark.asyncdb(isolation=name)) for name in ("rollback", "clone", "truncate")
])
async def test_the_table_is_there(asyncdb_session, isolation):
    assert await asyncdb_session.scalar(text("select count(*) from migrated")) == 0
    assert await asyncdb_session.scalar(text("select version_num from alembic_version")) == "1"
"""
    files = {"migrations/env": env, "migrations/versions/first": FIRST_VERSION, "conftest": conftest, "test_it": suite}

    run_suite(files=files, passed=3)


RELATIVE = """
import pytest

@pytest.fixture(scope="session")
def asyncdb_schema():
    return {source}
"""
SEES_ITS_TABLE = """
from sqlalchemy import text

async def test_the_table_is_there(asyncdb_session):
    assert await asyncdb_session.scalar(text("select count(*) from {table}")) == 0
"""


@pytest.mark.parametrize("source", ["'alembic.ini'", "__import__('alembic.config').config.Config('alembic.ini')"])
@pytest.mark.second_tier
def test_paths_of_a_schema_count_from_the_rootdir(
    run_suite: RunSuite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Wherever pytest is started; so do the paths in alembic.ini, and the folder that it adds to the import path."""
    pytest.importorskip("alembic")
    ini = "[alembic]\nscript_location = db/migrations\nprepend_sys_path = .\npath_separator = os"
    pytester.makefile(".ini", alembic=ini)
    monkeypatch.chdir(pytester.mkdir("tests"))
    Path(pytester.path, "schema.sql").write_text("create table words (word text)")
    files = {
        "application": "name = 'migrated'\n",
        "db/migrations/env": "import application\n" + PLAIN_ENV,
        "db/migrations/versions/first": FIRST_VERSION,
        "tests/conftest": RELATIVE.format(source=f"[{source}, 'schema.sql']"),
        "tests/test_it": SEES_ITS_TABLE.format(table="migrated, words"),
    }
    run_suite(files=files, passed=1)


@pytest.mark.second_tier
@pytest.mark.parametrize(
    ("source", "named", "meant"),
    few_of(
        [
            ("'alembc.ini'", "alembc.ini", " Did you mean 'alembic.ini'?"),
            ("[metadata, __import__('pathlib').Path('sql/shema.sql')]", "sql/shema.sql", ""),
            ("__import__('alembic.config').config.Config('alembc.ini')", "alembc.ini", " Did you mean 'alembic.ini'?"),
        ],
        1,
    ),
)
def test_a_file_that_is_not_there_is_named_with_its_path(
    run_suite: RunSuite, pytester: pytest.Pytester, source: str, named: str, meant: str
) -> None:
    """And the file that may be meant."""
    pytest.importorskip("alembic")
    pytester.makefile(".ini", alembic="[alembic]\nscript_location = migrations")
    files = {
        "conftest": "from things import metadata\n" + RELATIVE.format(source=source),
        "test_it": "def test_it(asyncdb):\n    pass\n",
    }

    result = run_suite(files=files, errors=1)

    sentence = f"asyncdb_schema names '{named}', and there is no file {pytester.path / named}.{meant} A relative path *"
    result.stdout.fnmatch_lines([sentence])
    result.stdout.no_fnmatch_line("*script_location*")
