"""Passwords that change or are wrong: which source is named, and which is read again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from server_checks import SECRET
from sqlalchemy import event, make_url, text

from asyncdb_nb import Database, connect
from asyncdb_nb.errors import ConnectError

STALE = "stale-password"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home and working directory, and no PostgreSQL variable."""
    for name in [*os.environ]:
        if name.startswith("PG") or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def url(guest_url: str) -> Any:
    """The URL of a user whom the server asks for a password, without it."""
    return make_url(guest_url)._replace(password=None)


def dsn(url: Any) -> str:
    return str(url.render_as_string(hide_password=False))


def keep(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o600)
    return file


def env_file(home: Path, url: Any) -> str:
    keep(home / ".env", f"DATABASE_URL={dsn(url.set(password=STALE))}\n")
    return f"DATABASE_URL in {home / '.env'}"


def libpqs_variables_in_env_file(home: Path, url: Any) -> str:
    values = {"PGHOST": url.query["host"], "PGUSER": "guest", "PGDATABASE": "tests", "PGPASSWORD": STALE}
    keep(home / ".env", "".join(f"{name}={value}\n" for name, value in values.items()))
    return f"PGHOST in {home / '.env'}"


def passfile(home: Path, url: Any) -> str:
    keep(home / ".pgpass", f"# comment\n*:*:*:guest:{STALE}\n")
    os.environ["DATABASE_URL"] = dsn(url)
    return f"line 2 of {home / '.pgpass'}"


def service_file(home: Path, url: Any) -> str:
    section = f"host={url.query['host']}\nuser=guest\ndbname=tests\npassword={STALE}\n"
    keep(home / ".pg_service.conf", f"[own]\n{section}")
    os.environ["PGSERVICE"] = "own"
    return f"service 'own' in {home / '.pg_service.conf'}"


def variable(home: Path, url: Any) -> str:
    os.environ |= {"DATABASE_URL": dsn(url), "PGPASSWORD": STALE}
    return "$PGPASSWORD"


def url_in_a_variable(home: Path, url: Any) -> str:
    os.environ["DATABASE_URL"] = dsn(url.set(password=STALE))
    return "$DATABASE_URL"


SOURCES = [env_file, libpqs_variables_in_env_file, passfile, service_file, variable, url_in_a_variable]


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def source(request: pytest.FixtureRequest, home: Path, url: Any) -> Iterator[str]:
    """A stale password in one place; where that is, in words."""
    before = dict(os.environ)
    yield request.param(home, url)
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


def rotate(home: Path) -> None:
    """Write the password that holds now wherever the stale one is."""
    for file in (home / ".env", home / ".pgpass", home / ".pg_service.conf"):
        with suppress(FileNotFoundError):
            file.write_text(file.read_text().replace(STALE, SECRET))
    for name, value in os.environ.items():
        os.environ[name] = value.replace(STALE, SECRET)


async def test_a_wrong_password_is_told_with_the_place_it_is_from(source: str) -> None:
    """Nobody is sent to a URL that was never typed, or told that there was no password."""
    with pytest.raises(ConnectError) as caught:
        await connect()

    said = str(caught.value)
    assert "The password for user 'guest' is wrong" in said
    assert f"It was read from {source}. Correct it there" in said
    assert STALE not in said


async def test_scenario_70_a_refused_password_is_read_again(source: str, home: Path) -> None:
    """A `Database` that stands at module level follows a password that was changed where it is kept."""
    async with Database() as db:
        with pytest.raises(ConnectError):
            await db.frame("select 1 as one")
        rotate(home)

        assert (await db.frame("select current_user as name"))["name"].tolist() == ["guest"]


async def test_a_first_password_is_found_where_there_was_none(url: Any, home: Path) -> None:
    """As when `~/.pgpass` is written while the kernel runs."""
    async with Database(url) as db:
        with pytest.raises(ConnectError, match="asks for the password of user 'guest', and none was given"):
            await db.frame("select 1 as one")
        keep(home / ".pgpass", f"*:*:tests:guest:{SECRET}\n")

        assert (await db.frame("select 1 as one"))["one"].tolist() == [1]


async def test_a_password_is_not_taken_for_another_user(home: Path, url: Any) -> None:
    """What is read again counts only for the same server, database and user."""
    keep(home / ".env", f"DATABASE_URL={dsn(url.set(password=STALE))}\n")
    async with Database() as db:
        keep(home / ".env", f"DATABASE_URL={dsn(url.set(password=SECRET, username='postgres'))}\n")

        with pytest.raises(ConnectError, match="password for user 'guest' is wrong"):
            await db.frame("select 1 as one")


@pytest.mark.parametrize("kept", [SECRET, None], ids=["another one in the URL", "none in the URL"])
async def test_a_listeners_password_is_told_as_its_own(kept: str | None, url: Any) -> None:
    """`do_connect` is SQLAlchemy's way to passwords that rotate; the URL has nothing to do with them."""
    passwords = [STALE, SECRET]
    async with Database(url._replace(password=kept)) as db:

        @event.listens_for(db.engine.sync_engine, "do_connect")
        def give(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
            parameters["password"] = passwords.pop(0)

        with pytest.raises(ConnectError, match=r"is wrong.* It was given by a do_connect listener") as caught:
            await db.frame("select 1 as one")
        assert not re.search("URL|none was given", str(caught.value))
        assert (await db.frame("select 1 as one"))["one"].tolist() == [1]


async def test_a_listener_that_changes_the_user_is_believed(url: Any) -> None:
    """The message names the user that was tried."""
    async with Database(url) as db:

        @event.listens_for(db.engine.sync_engine, "do_connect")
        def give(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
            parameters["user"] = "nobody"

        with pytest.raises(ConnectError, match=r"has no user 'nobody' \(from a do_connect listener"):
            await db.frame("select 1 as one")


@pytest.mark.parametrize("kind", ["function", "coroutine", "text"])
async def test_a_password_of_connect_args_is_told_as_such(kind: str, url: Any) -> None:
    """A function is asked for each connection, so it can rotate."""
    passwords = [STALE, SECRET]

    async def later() -> str:
        return passwords.pop(0)

    given: Any = {"function": lambda: passwords.pop(0), "coroutine": later, "text": STALE}[kind]
    words = "connect_args" if kind == "text" else "the function in connect_args"
    async with Database(url, connect_args={"password": given}) as db:
        with pytest.raises(ConnectError, match=rf"is wrong.* It was given by {words}\['password'\]\. Correct it there"):
            await db.frame("select 1 as one")
        if kind != "text":
            assert (await db.frame("select 1 as one"))["one"].tolist() == [1]


async def test_a_withheld_password_is_told(url: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a `.env` names the server, `$PGPASSWORD` is not for it; the line to type lets the user in."""
    file = keep(home / ".env", f"DATABASE_URL={dsn(url)}\n")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    with pytest.raises(ConnectError, match=rf"\$PGPASSWORD was not used, because DATABASE_URL in {file}") as caught:
        await connect()

    line = str(caught.value).rpartition(" ")[2]
    keep(home / ".pgpass", line.replace("PASSWORD", SECRET) + "\n")
    async with await connect() as db, db.session() as session:
        assert await session.scalar(text("select current_user")) == "guest"


async def test_the_withheld_password_of_a_service_is_told(
    url: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for the host of the service that the environment names, not for one that is typed; so is the line."""
    keep(home / ".pg_service.conf", f"[own]\nhost=a.invalid\npassword={SECRET}\n")
    monkeypatch.setenv("PGSERVICE", "own")
    with pytest.raises(ConnectError, match=r"\$PGSERVICE names was not used: it is for that service's host") as caught:
        await connect(dsn(url))

    line = str(caught.value).rpartition(" ")[2]
    keep(home / ".pgpass", line.replace("PASSWORD", SECRET) + "\n")
    async with await connect(dsn(url)) as db, db.session() as session:
        assert await session.scalar(text("select current_user")) == "guest"
