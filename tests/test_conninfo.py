"""Every spelling of a PostgreSQL URL, and what libpq fills in: `asyncdb_nb.engine.conninfo`."""

from __future__ import annotations

import getpass
import os
import re
import ssl
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from asyncdb_nb.engine.conninfo.parameters import Target
from asyncdb_nb.engine.conninfo.resolve import resolve
from asyncdb_nb.errors import DatabaseURLError

SECRET = "hunter2"
ME = getpass.getuser()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home and working directory, and no PostgreSQL variable."""
    for name in [*os.environ]:
        if name.startswith("PG") or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*arguments: object, **keywords: object) -> Target:
    target = resolve(*arguments, **keywords)  # type: ignore[arg-type]
    assert target is not None
    return target


def dialed(target: Target) -> dict[str, object]:
    """What SQLAlchemy hands to asyncpg for this target."""
    dialect = create_async_engine(target.url_without_password).dialect
    return {**dialect.create_connect_args(target.url_without_password)[1], **target.connect_args}


@pytest.mark.parametrize(
    ("spelling", "user", "password", "addresses", "database"),
    [
        pytest.param("postgres://u:p@h:6/d", "u", "p", [("h", 6)], "d", id="postgres"),
        pytest.param("postgresql://u:p@h:6/d", "u", "p", [("h", 6)], "d", id="postgresql"),
        pytest.param("postgresql+asyncpg://u:p@h:6/d", "u", "p", [("h", 6)], "d", id="asyncpg"),
        pytest.param("postgresql+psycopg2://u:p@h:6/d", "u", "p", [("h", 6)], "d", id="another driver"),
        pytest.param(" POSTGRESQL://u:p@h:6/d\n", "u", "p", [("h", 6)], "d", id="capitals and blanks"),
        pytest.param(make_url("postgresql+psycopg://u:p%40@h:6/d"), "u", "p@", [("h", 6)], "d", id="URL object"),
        pytest.param("postgresql://u%40x:%2F%3A%40%25@h/d", "u@x", "/:@%", [("h", 5432)], "d", id="percent-encoded"),
        pytest.param("postgresql://u:p@ss@h/d", "u", "p@ss", [("h", 5432)], "d", id="@ in the password"),
        pytest.param("postgresql://u:a+b#c@h/d", "u", "a+b#c", [("h", 5432)], "d", id="+ and # in the password"),
        pytest.param("postgresql://[::1]:6/d", ME, None, [("::1", 6)], "d", id="IPv6"),
        pytest.param("postgresql://a:1,b,[::1]:3/d", ME, None, [("a", 1), ("b", 5432), ("::1", 3)], "d", id="hosts"),
        pytest.param("postgresql:///d?host=a,b&port=1,2", ME, None, [("a", 1), ("b", 2)], "d", id="hosts in the query"),
        pytest.param(
            "postgresql:///d?host=a:1&host=b:2", ME, None, [("a", 1), ("b", 2)], "d", id="hosts, SQLAlchemy's way"
        ),
        pytest.param("postgresql:///d?host=/tmp&port=6", ME, None, [("/tmp", 6)], "d", id="socket"),
        pytest.param("postgresql://%2Ftmp/d", ME, None, [("/tmp", 5432)], "d", id="socket, encoded"),
        pytest.param(
            "postgresql:///d?host=/cloudsql/a:b:c", ME, None, [("/cloudsql/a:b:c", 5432)], "d", id="cloud socket"
        ),
        pytest.param("postgresql://h", ME, None, [("h", 5432)], ME, id="host only"),
        pytest.param("postgresql://", ME, None, [], ME, id="nothing"),
        pytest.param("postgresql://u@/", "u", None, [], "u", id="user only"),
        pytest.param("postgresql://h/d?user=u&password=p", "u", "p", [("h", 5432)], "d", id="user in the query"),
        pytest.param(
            r"host=h user=u password='it\'s' dbname=d", "u", "it's", [("h", 5432)], "d", id="connection string"
        ),
    ],
)
def test_a_spelling_is_understood(
    spelling: str, user: str, password: str | None, addresses: list[tuple[str, int]], database: str
) -> None:
    """Every spelling names the same five things, and SQLAlchemy hands them to asyncpg."""
    target = found(spelling)

    sent = dialed(target)
    hosts = [sent["host"]] if isinstance(sent.get("host"), str) else sent.get("host", [])
    ports = [sent["port"]] if isinstance(sent.get("port"), int) else sent.get("port", [])
    assert (target.user, target.parameters.get("password"), target.database) == (user, password, database)
    assert list(zip(hosts, ports, strict=True)) == target.addresses == addresses
    assert (sent["user"], sent["password"], sent["database"]) == (user, password or "", database)
    assert target.url.password == password


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sslmode=require", {"ssl": "require"}),
        ("ssl=verify-full", {"ssl": "verify-full"}),
        ("sslmode=verify-ca&sslrootcert=/a b.pem", {"ssl": "verify-ca", "dsn": "postgresql://?sslrootcert=%2Fa+b.pem"}),
        ("connect_timeout=3", {"timeout": 3.0}),
        ("connect_timeout=0", {"timeout": None}),
        ("", {"timeout": 15.0}),
        ("application_name=my+app", {"server_settings": {"application_name": "my app"}}),
        ("options=-c%20search_path%3Dx", {"server_settings": {"options": "-c search_path=x"}}),
        ("search_path=x&app.tenant=5", {"server_settings": {"search_path": "x", "app.tenant": "5"}}),
        ("target_session_attrs=primary", {"target_session_attrs": "primary"}),
        (
            "prepared_statement_cache_size=0&command_timeout=1.5",
            {"prepared_statement_cache_size": 0, "command_timeout": 1.5},
        ),
        ("keepalives_idle=30&channel_binding=prefer&gssencmode=disable", {"server_settings": {}}),
    ],
)
def test_libpqs_parameters_reach_asyncpg(query: str, expected: dict[str, object]) -> None:
    """Names of libpq and asyncpg have their effect; what only tunes a socket is left out; the rest is a setting."""
    arguments = found(f"postgresql://u@h/d?{query}").connect_args

    assert {name: arguments[name] for name in expected} == expected


def test_sslrootcert_system_trusts_public_authorities() -> None:
    """`sslrootcert=system` means the platform's certificates and a checked host name, as in libpq 16."""
    context = found("postgresql://h/d?sslrootcert=system").connect_args["ssl"]

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        pytest.param("postgress://u:hunter2@h/d", "'postgress' is not a scheme", id="typing error"),
        pytest.param("mysql+aiomysql://u:hunter2@h/d", "mysql+aiomysql:// is not PostgreSQL", id="MySQL"),
        pytest.param("sqlite:///hunter2.db", "sqlite:// is not PostgreSQL", id="SQLite"),
        pytest.param("jdbc:postgresql://h/d?password=hunter2", "'jdbc:postgresql' is not a scheme", id="JDBC"),
        pytest.param("postgresql+nodriver://u:hunter2@h/d", "The driver 'nodriver' is not known", id="unknown driver"),
        pytest.param(make_url("mysql://u:hunter2@h/d"), "mysql:// is not PostgreSQL", id="URL object of MySQL"),
        pytest.param("warehouse", "'warehouse' is neither a URL nor the name of a service", id="bare word"),
        pytest.param("u:hunter2@h/d", "This is neither a URL nor", id="no scheme"),
        pytest.param("postgresql:/u:hunter2@h/d", "This is neither a URL nor", id="one slash"),
        pytest.param("", "This is neither a URL nor", id="empty"),
        pytest.param(b"postgresql://u:hunter2@h/d", "text, not bytes", id="bytes"),
        pytest.param("postgresql://u:hunter2@h:x/d", "port is not a number", id="port in letters"),
        pytest.param("postgresql://u:hunter2@h:70000/d", "port is not a number", id="port too large"),
        pytest.param("postgresql://u:12/hunter2@h/d", "percent-encoded", id="/ in the password"),
        pytest.param("postgresql://u:hunter?2@h/d", "percent-encoded", id="? in the password"),
        pytest.param("postgresql://u:hunter2", "percent-encoded", id="host forgotten"),
        pytest.param("postgresql://a,b,c/d?password=hunter2&port=1,2", "3 hosts and 2 ports", id="ports for hosts"),
        pytest.param("postgresql://u:hunter2@h/d?sslmod=require", "Type sslmode=", id="parameter mistyped"),
        pytest.param("postgresql://u:hunter2@h/d?sslmode=on", "sslmode='on' is not one of", id="sslmode"),
        pytest.param(
            "postgresql://u:hunter2@h/d?target_session_attrs=nonsense",
            "target_session_attrs='nonsense' is not one of any, primary, standby, read-write, read-only",
            id="target_session_attrs",
        ),
        pytest.param(
            "postgresql://u:hunter2@h/d?target_session_attrs=readwrite",
            "Type target_session_attrs=read-write.",
            id="target_session_attrs mistyped",
        ),
        pytest.param(
            "postgresql://u:hunter2@h/d?ssl_min_protocol_version=1.2",
            "ssl_min_protocol_version='1.2' is not one of TLSv1, ",
            id="TLS version",
        ),
        pytest.param("postgresql://u:hunter2@h/d?sslnegotiation=x", "sslnegotiation='x' is not", id="negotiation"),
        pytest.param("postgresql://u:hunter2@h/d?connect_timeout=soon", "not a number of seconds", id="timeout"),
        pytest.param("postgresql://u:hunter2@h/d?statement_cache_size=no", "is not a number", id="cache size"),
        pytest.param("postgresql://u:hunter2@h/d?channel_binding=require", "cannot do channel_binding", id="unsafe"),
        pytest.param("password=hunter2 host=h 'oops", "reads like a connection string", id="connection string"),
        pytest.param("DATABASE_URL=postgresql://u:hunter2@h/d", "Something stands before the URL", id="line of .env"),
        pytest.param("'postgresql+asyncpg://u:hunter2@h/d'", "Something stands before the URL", id="quotes"),
        pytest.param("Server=h;Port=1;User Id=u;Password=hunter2;", "This is neither a URL", id="ADO.NET"),
        pytest.param("Host=h Password=hunter2", "This is neither a URL", id="capitals"),
        pytest.param("service=nowhere password=hunter2", "The service 'nowhere' is not in", id="service"),
    ],
)
def test_what_cannot_be_read_is_answered_with_what_to_type(spelling: str, message: str) -> None:
    """A wrong URL is a `DatabaseURLError` that says what is wrong and what to type, and never repeats the password."""
    with pytest.raises(DatabaseURLError, match=re.escape(message)) as caught:
        resolve(spelling)

    text = "".join(traceback.format_exception_only(caught.value))
    assert "hunter" not in text
    assert re.search(r"Type|Correct|Leave|Give|Add|write", text)


def test_a_target_never_shows_its_password() -> None:
    """Neither the repr of a target nor its URL's repr or text has the password."""
    target = found(f"postgresql://u:{SECRET}@h/d")

    assert (
        SECRET not in f"{target!r} {target} {target.url!r} {target.url} {target.server} {target.url_without_password!r}"
    )


SERVICES = """\
# comment
[prod]
host=db.example.org
port=6543
user=reader
dbname=shop
password=50%off
sslmode=require

[other]
host=/run/other
"""


@pytest.mark.parametrize("spelling", ["service=prod", "prod", "postgresql:///?service=prod", None], ids=repr)
def test_a_service_is_read_from_the_service_file(spelling: str | None, home: Path) -> None:
    """A service may be named in a URL, in a connection string, as a bare word or by keyword; a `%` in it is a `%`."""
    (home / ".pg_service.conf").write_text(SERVICES)

    target = found(spelling, service=None if spelling else "prod")

    assert (target.addresses, target.user, target.database) == ([("db.example.org", 6543)], "reader", "shop")
    assert (target.parameters["password"], target.connect_args["ssl"]) == ("50%off", "require")
    assert target.origin == f"service 'prod' in {home / '.pg_service.conf'}"


def test_what_is_typed_wins_over_the_service_and_that_over_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is libpq's: typed, service, environment, default."""
    (home / "services").write_text(SERVICES)
    monkeypatch.setenv("PGSERVICEFILE", str(home / "services"))
    monkeypatch.setenv("PGUSER", "from_environment")
    monkeypatch.setenv("PGAPPNAME", "from_environment")

    target = found("postgresql:///typed?service=prod")

    assert (target.database, target.user) == ("typed", "reader")
    assert target.connect_args["server_settings"] == {"application_name": "from_environment"}


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://another.invalid/d", None),
        ("postgresql://db.example.org/d", "50%off"),
        ("postgresql:///d", "50%off"),
        ("postgresql://another.invalid/d?service=prod", "50%off"),
    ],
)
@pytest.mark.parametrize("where", ["typed", "$DATABASE_URL"])
def test_another_host_gets_the_password_of_a_service_only_where_both_are_named_together(
    url: str, password: str | None, where: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".pg_service.conf").write_text(SERVICES)
    monkeypatch.setenv("PGSERVICE", "prod")
    if where != "typed":
        monkeypatch.setenv("DATABASE_URL", url)

    target = found(url if where == "typed" else None)

    assert target.parameters.get("password") == password
    assert ("PGSERVICE" in target.withheld) == (password is None)


def test_an_unknown_service_is_answered_with_those_there_are(home: Path) -> None:
    """The message names the file and the services in it."""
    (home / ".pg_service.conf").write_text(SERVICES)

    with pytest.raises(
        DatabaseURLError, match=r"'pord' is not in .*\.pg_service\.conf \(services there: other, prod\)"
    ):
        resolve(service="pord")


@pytest.mark.parametrize(
    ("environment", "dotenv", "origin", "address"),
    [
        pytest.param(
            {"DATABASE_URL": "postgres://a/d", "PGHOST": "b"}, "postgres://c/d", "$DATABASE_URL", "a:5432", id="URL"
        ),
        pytest.param({"PGHOST": "b"}, "postgres://c/d", "DATABASE_URL in {home}/.env", "c:5432", id=".env"),
        pytest.param({"PGHOST": "b", "PGPORT": "7"}, None, "$PGHOST", "b:7", id="PGHOST"),
        pytest.param(
            {"PGSERVICE": "prod"},
            None,
            "$PGSERVICE: service 'prod' in {home}/.pg_service.conf",
            "db.example.org:6543",
            id="PGSERVICE",
        ),
    ],
)
def test_without_a_url_the_environment_names_the_server(
    environment: dict[str, str],
    dotenv: str | None,
    origin: str,
    address: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """First `$DATABASE_URL`, then a `.env` in this folder or above, then libpq's variables; the target says which."""
    (home / ".pg_service.conf").write_text(SERVICES)
    (home / "deep").mkdir()
    monkeypatch.chdir(home / "deep")
    if dotenv:
        (home / ".env").write_text(f"DATABASE_URL={dotenv}\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    target = found()

    assert (target.origin, target.server) == (origin.format(home=home), address)
    assert os.environ.get("DATABASE_URL") == environment.get("DATABASE_URL")


def test_a_url_in_the_environment_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user typed nothing, so the message says where it comes from."""
    monkeypatch.setenv("DATABASE_URL", "mysql://u:hunter2@h/d")

    with pytest.raises(DatabaseURLError, match=r"^\$DATABASE_URL cannot be used. mysql:// is not PostgreSQL"):
        resolve()


def test_with_nothing_at_all_there_is_no_target() -> None:
    """`connect()` then starts the embedded server."""
    assert resolve() is None


PASSWORDS = r"""
# comment
db.example.org:5432:other:u:wrong database
db.example.org:*:shop:u:with\:colon\\and backslash
localhost:5432:*:*:for the socket
/run/elsewhere:*:*:*:elsewhere
"""


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://u@db.example.org/shop", r"with:colon\and backslash"),
        ("postgresql://u:typed@db.example.org/shop", "typed"),
        ("postgresql://someone@db.example.org/shop", None),
        ("postgresql://u@x,db.example.org/shop", None),
        ("postgresql://u@db.example.org,db.example.org:6543/shop", r"with:colon\and backslash"),
        ("postgresql:///shop", "for the socket"),
        ("postgresql:///shop?host=/run/elsewhere", "elsewhere"),
    ],
)
def test_the_password_file_is_read_as_libpq_reads_it(url: str, password: str | None, home: Path) -> None:
    """First match wins; `*` matches all; a backslash escapes; a socket's default directory counts as localhost.

    libpq looks for each host's own; asyncpg sends all of them one, which has to be that of each.
    """
    (home / ".pgpass").write_text(PASSWORDS)
    (home / ".pgpass").chmod(0o600)

    assert found(url).parameters.get("password") == password


def test_a_password_file_that_others_can_read_is_ignored_aloud(home: Path) -> None:
    """As in psql: it is not used, and a warning says what to type."""
    (home / ".pgpass").write_text("*:*:*:*:secret\n")
    (home / ".pgpass").chmod(0o644)

    with pytest.warns(UserWarning, match="chmod 600"):
        target = found("postgresql://h/d")

    assert "password" not in target.parameters
