"""What `asyncdb-nb doctor` and `examine()` find, what they advise, and the exit status for scripts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib import metadata

import psycopg
import pytest
from sqlalchemy import text

from asyncdb_nb import Database, cli
from asyncdb_nb.diagnostics import Diagnosis, Level, examine
from asyncdb_nb.diagnostics import check_server as doctor_server
from asyncdb_nb.server import EmbeddedServer


def topic(diagnosis: Diagnosis, name: str) -> list[tuple[Level, str, str]]:
    return [(each.level, each.fact, each.advice) for each in diagnosis.findings if each.topic == name]


async def test_a_healthy_server_is_told_with_its_timeouts(database_url: str) -> None:
    """Every timeout is named, with what it means; one that is off is a note with what to type."""
    async with Database(database_url, connect_args={"server_settings": {"statement_timeout": "90s"}}) as db:
        diagnosis = await examine(db)

    facts = {fact for _, fact, _ in topic(diagnosis, "server")}
    assert diagnosis.ok
    assert "statement_timeout: a statement may run for 90 s" in facts
    assert "client_connection_check_interval: the query of a killed client ends within 1 s" in facts
    off = "idle_in_transaction_session_timeout is off: a forgotten transaction holds its locks for ever"
    advice = "ALTER ROLE name SET idle_in_transaction_session_timeout = '5min'."
    assert (Level.NOTE, off, advice) in topic(diagnosis, "server")
    assert topic(diagnosis, "connections") == [(Level.OK, "No other connection of ours is there.", "")]
    assert str(diagnosis).endswith("\n\nNothing is wrong.")


async def test_what_other_connections_do_is_told_with_advice(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that has been forgotten is wrong, and so is one that waits for its lock; idle is in order."""
    monkeypatch.setattr(doctor_server, "LONG_SECONDS", 0)
    async with Database(database_url, idle_timeout=None) as db, Database(database_url) as doctors:
        async with db.session() as forgotten, db.session() as waiting:
            await forgotten.execute(text("select pg_advisory_xact_lock(41)"))
            pid = await forgotten.scalar(text("select pg_backend_pid()"))
            blocked = asyncio.create_task(waiting.execute(text("select pg_advisory_xact_lock(41)")))
            while not any(
                "waits for a lock" in advice for _, _, advice in topic(await examine(doctors), "connections")
            ):
                await asyncio.sleep(0.01)
            found = topic(await examine(doctors), "connections")
            await forgotten.commit()
            await blocked
        after = topic(await examine(doctors), "connections")

    by_advice = {advice.partition(" of ")[0].partition(":")[0]: (level, fact) for level, fact, advice in found}
    assert by_advice["A session is open there"][0] is Level.WRONG
    assert f"(process {pid} of the server): idle in transaction for" in by_advice["A session is open there"][1]
    assert any(advice == f"It waits for a lock of process {pid}; end that one's transaction." for _, _, advice in found)
    assert [level for level, _, _ in after] == [Level.OK, Level.OK]
    assert all("idle for" in fact for _, fact, _ in after)


async def test_a_prepared_transaction_is_told_and_who_waits_for_it(
    fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It outlives its connection, keeps its locks, and has no process that could be ended."""
    monkeypatch.setattr(doctor_server, "LONG_SECONDS", 0)
    async with Database(fresh_database_url) as db, Database(fresh_database_url) as doctors:
        await db.execute("create table held (id int)")
        with psycopg.connect(fresh_database_url, autocommit=True) as other:
            other.execute("begin")
            other.execute("lock table held")
            other.execute("prepare transaction 'it''s ours'")
            waiting = asyncio.create_task(db.execute("insert into held values (1)"))
            while not any("waits for a lock" in each[2] for each in topic(await examine(doctors), "connections")):
                await asyncio.sleep(0.01)
            found = topic(await examine(doctors), "connections")
            other.execute("rollback prepared 'it''s ours'")
        await waiting

    level, fact, advice = found[-1]
    assert (level, fact.split(" since ")[0]) == (
        Level.WRONG,
        """The prepared transaction "it's ours" keeps its locks""",
    )
    assert advice.startswith("If nothing decides about it any more: ROLLBACK PREPARED 'it''s ours', or")
    assert "It waits for a lock of a prepared transaction; end that one's transaction." in [each[2] for each in found]


async def test_a_running_statement_is_shown_with_how_to_stop_it(database_url: str) -> None:
    async with Database(database_url) as db, Database(database_url) as doctors:
        running = asyncio.create_task(db.frame("select pg_sleep(600)"))
        while not (found := [each for each in topic(await examine(doctors), "connections") if "pg_sleep" in each[1]]):
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])

    [(level, _, advice)] = found
    assert level is Level.OK
    assert advice.startswith("To stop it: press Stop in its notebook, or select pg_cancel_backend(")


async def test_a_missing_or_old_package_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.version

    def version(name: str) -> str:
        if name == "tqdm":
            raise metadata.PackageNotFoundError(name)
        return "0.29.0" if name == "asyncpg" else installed(name)

    monkeypatch.setattr(metadata, "version", version)
    diagnosis = await examine(url="postgresql://nobody@127.0.0.1:1/nothing")

    assert (Level.WRONG, "asyncpg is 0.29.0, and >=0.30 is needed.", "`pip install 'asyncpg>=0.30'`") in topic(
        diagnosis, "versions"
    )
    assert (Level.WRONG, "tqdm is missing, and >=4.66 is needed.", "`pip install 'tqdm>=4.66'`") in topic(
        diagnosis, "versions"
    )
    assert str(diagnosis).endswith("\n\n3 things wrong.")


@pytest.mark.parametrize("name", ["nest_asyncio", "nest_asyncio2", "uvloop"])
def test_who_patched_the_loop_is_named(name: str) -> None:
    """nest_asyncio replaces asyncio's functions for the whole process; uvloop is a loop of its own."""
    code = f"""
import asyncio, {name}
from asyncdb_nb.diagnostics.check_environment import look_at_loop
async def look(): return look_at_loop()
loop = {"uvloop.new_event_loop()" if name == "uvloop" else "asyncio.new_event_loop()"}
{"" if name == "uvloop" else f"{name}.apply(loop)"}
for finding in loop.run_until_complete(look()): print(finding.fact, finding.advice)
loop.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    if name == "uvloop":
        assert done.stdout == "The running loop is uvloop.Loop. \n"
    else:
        assert f"{name} has replaced asyncio.run, its run_forever(), its run_until_complete()." in done.stdout
        assert "Take the patch out" in done.stdout


def test_without_a_running_loop_it_says_so() -> None:
    from asyncdb_nb.diagnostics.check_environment import look_at_loop

    [finding] = look_at_loop()

    assert finding.fact == "No event loop is running here."


def test_the_exit_status_is_for_scripts(
    server: EmbeddedServer, capsys: pytest.CaptureFixture[str], learner: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """0: nothing is wrong; 1: something is. A server that is stopped is not started, and no password is shown."""
    assert cli.main(["doctor", "--url", server.url]) == 0
    assert cli.main(["doctor", "--url", "postgresql://me:s3cret@127.0.0.1:1/shop"]) == 1
    printed = capsys.readouterr()
    assert "No PostgreSQL listens at 127.0.0.1:1" in printed.out
    assert "s3cret" not in printed.out + printed.err
    for name in ("DATABASE_URL", "PGHOST", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ASYNCDB_NB_HOME", learner["ASYNCDB_NB_HOME"] + "/elsewhere")
    monkeypatch.chdir("/")

    assert cli.main(["doctor"]) == 0
    assert "No server is named, and the embedded one is stopped." in capsys.readouterr().out
