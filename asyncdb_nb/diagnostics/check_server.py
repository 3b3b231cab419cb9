"""
Look at the server: whether it can be reached, its timeouts, and which programs of ours are connected and what they do.

Programs of ours are known by their `application_name`, which begins with `asyncdb_nb`; see
`engine/application_name.py`. PostgreSQL shows the statements of other users' connections to superusers and members of
`pg_read_all_stats` only.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from asyncdb_nb.database.database import Database
from asyncdb_nb.diagnostics.check_pooler import look_at_pooler
from asyncdb_nb.diagnostics.finding import Finding, Level
from asyncdb_nb.engine.search_path import EQ, IS_LIKE, MINUS, NE
from asyncdb_nb.errors import AsyncDBError

LONG_SECONDS = 60  # from when on an open transaction that does nothing is wrong
SHOWN = 10  # connections that are told one by one
CROWDED = 0.9  # of the connections that the server allows

# ruff: noqa: S608  the statements are put together from constants

_SERVER = f"""
SELECT pg_catalog.current_setting('server_version') AS version, pg_catalog.current_database() AS database,
       current_user AS "user",
       cast(pg_catalog.current_setting('max_connections') AS pg_catalog.int4)
         {MINUS} cast(pg_catalog.current_setting('superuser_reserved_connections') AS pg_catalog.int4) AS allowed,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
        WHERE backend_type {EQ} 'client backend') AS connected
"""

_SETTINGS = f"""
SELECT name, cast(setting AS pg_catalog.int8) AS milliseconds FROM pg_catalog.pg_settings
WHERE name {EQ} ANY (pg_catalog.string_to_array(:names, ','))
"""

_BACKENDS = f"""
SELECT pid, application_name, coalesce(state, 'hidden') AS state,
       pg_catalog.left(pg_catalog.regexp_replace(query, '\\s+', ' ', 'g'), 80) AS query,
       cast(extract(epoch FROM pg_catalog.clock_timestamp() {MINUS} state_change) AS pg_catalog.float8) AS seconds,
       pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(pid), ', ') AS blocked_by
FROM pg_catalog.pg_stat_activity
WHERE backend_type {EQ} 'client backend' AND application_name {IS_LIKE} 'asyncdb\\_nb%'
  AND pid {NE} pg_catalog.pg_backend_pid()
ORDER BY state {EQ} 'idle', state_change
"""

_PREPARED = f"""
SELECT gid, cast(extract(epoch FROM pg_catalog.clock_timestamp() {MINUS} prepared) AS pg_catalog.float8) AS seconds
FROM pg_catalog.pg_prepared_xacts WHERE database {EQ} pg_catalog.current_database() ORDER BY prepared
"""

_TIMEOUTS = {
    "statement_timeout": (
        "a statement may run for {}",
        "statements may run for ever",
        "Limit a session's: `db.session(timeout=60)`; a user's: ALTER ROLE name SET statement_timeout = '10min'.",
    ),
    "idle_in_transaction_session_timeout": (
        "a transaction that does nothing is ended after {}",
        "a forgotten transaction holds its locks for ever",
        "ALTER ROLE name SET idle_in_transaction_session_timeout = '5min'.",
    ),
    "client_connection_check_interval": (
        "the query of a killed client ends within {}",
        "the query of a killed client runs to its end",
        "PostgreSQL 14 and later on Linux can: ALTER ROLE name SET client_connection_check_interval = '1s'.",
    ),
}


async def look_at_server(database: Database) -> list[Finding]:
    """Ask the server, on one connection of the database's engine.

    Returns:
        Findings about the server and the connections; one alone when it cannot be reached.
    """
    try:
        async with database.engine.connect() as connection:
            server = (await connection.execute(text(_SERVER))).one()
            settings = await connection.execute(text(_SETTINGS), {"names": ",".join(_TIMEOUTS)})
            timeouts = {row.name: row.milliseconds for row in settings}
            backends = (await connection.execute(text(_BACKENDS))).all()
            prepared = (await connection.execute(text(_PREPARED))).all()
        pooler = await look_at_pooler(database)
    except (AsyncDBError, SQLAlchemyError) as error:
        return [Finding("server", Level.WRONG, str(error).splitlines()[0], " ".join(getattr(error, "__notes__", ())))]
    return [*_of_server(server), *pooler, *_of_timeouts(timeouts), *_of_backends(backends), *_of_prepared(prepared)]


def _of_server(server: Any) -> list[Finding]:
    fact = f"PostgreSQL {server.version}, database {server.database!r}, as user {server.user!r}"
    room = f"{server.connected} of {server.allowed} connections are in use"
    crowded = server.connected >= CROWDED * server.allowed
    advice = "Shut down kernels that nobody uses, or type a smaller pool_size." if crowded else ""
    return [
        Finding("server", Level.OK, fact),
        Finding("server", Level.WRONG if crowded else Level.OK, room, advice),
    ]


def _of_timeouts(timeouts: dict[str, int]) -> list[Finding]:
    findings = []
    for name, (limited, unlimited, advice) in _TIMEOUTS.items():
        milliseconds = timeouts.get(name, 0)
        if milliseconds:
            fact = f"{name}: {limited.format(_span(milliseconds / 1000))}"
            findings.append(Finding("server", Level.OK, fact))
        else:
            findings.append(Finding("server", Level.NOTE, f"{name} is off: {unlimited}", advice))
    return findings


def _of_backends(backends: Any) -> list[Finding]:
    if not backends:
        return [Finding("connections", Level.OK, "No other connection of ours is there.")]
    findings = [_of_backend(backend) for backend in backends[:SHOWN]]
    if len(backends) > SHOWN:
        advice = "select * from pg_stat_activity where application_name like 'asyncdb%'"
        findings.append(Finding("connections", Level.NOTE, f"and {len(backends) - SHOWN} more", advice))
    return findings


def _of_backend(backend: Any) -> Finding:
    seconds = max(backend.seconds or 0.0, 0.0)
    who = f"{backend.application_name} (process {backend.pid} of the server)"
    fact = f"{who}: {backend.state} for {_span(seconds)}"
    if backend.blocked_by:
        holder = "a prepared transaction" if backend.blocked_by == "0" else f"process {backend.blocked_by}"
        advice = f"It waits for a lock of {holder}; end that one's transaction."
        return Finding("connections", Level.WRONG, f"{fact}: {backend.query}", advice)
    if backend.state == "active":
        advice = f"To stop it: press Stop in its notebook, or select pg_cancel_backend({backend.pid})."
        return Finding("connections", Level.OK, f"{fact}: {backend.query}", advice)
    if backend.state.startswith("idle in transaction"):
        level = Level.WRONG if seconds >= LONG_SECONDS else Level.NOTE
        advice = (
            f"A session is open there: leave its block, or `await session.rollback()`; "
            f"else select pg_terminate_backend({backend.pid})."
        )
        return Finding("connections", level, f"{fact}, after: {backend.query}", advice)
    advice = "Kept for its next query; `idle_timeout` closes it, and so does `await db.aclose()`."
    return Finding("connections", Level.OK, fact, advice)


def _of_prepared(prepared: Any) -> list[Finding]:
    findings = []
    for each in prepared[:SHOWN]:
        fact = f"The prepared transaction {each.gid!r} keeps its locks since {_span(max(each.seconds, 0.0))}"
        gid = each.gid.replace("'", "''")
        advice = f"If nothing decides about it any more: ROLLBACK PREPARED '{gid}', or COMMIT PREPARED '{gid}'."
        findings.append(
            Finding("connections", Level.WRONG if each.seconds >= LONG_SECONDS else Level.NOTE, fact, advice)
        )
    return findings


def _span(seconds: float) -> str:
    """Say a time in the largest unit that fits: 0.5 s, 12 s, 5 min, 3 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
