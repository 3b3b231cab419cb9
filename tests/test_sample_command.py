"""`asyncdb-nb sample seed|reset`: the sample in any database, mended or filled, also while a class is connected."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from server_checks import SECRET

from asyncdb_nb import Database, cli
from asyncdb_nb.workflows import ensure_sample
from asyncdb_nb.workflows.sample import restore

SIZE = "30 workflows, 3,000 runs, 16,052 tasks"
Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sample(capsys: pytest.CaptureFixture[str], fresh_database_url: str) -> Told:
    """Run `asyncdb-nb sample ACTION` on an empty database; status, stdout, stderr."""

    def run(*arguments: str, url: str = fresh_database_url) -> tuple[int, str, str]:
        status = cli.main(["sample", *arguments, "--url", url])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def connection(fresh_database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(fresh_database_url, autocommit=True) as opened:
        yield opened


def contents(connection: psycopg.Connection) -> list[Any]:
    """A digest of every row, ids included."""
    return [
        connection.execute(
            f"select count(*), md5(string_agg(t::text, ',' order by id)) from workflows.{table} t"
        ).fetchone()
        for table in ("workflow", "run", "task")
    ]


def test_seed_fills_a_database_and_leaves_a_sample_alone(sample: Told, connection: psycopg.Connection) -> None:
    """A second time nothing changes, whatever somebody has made of it."""
    status, out, err = sample("seed")
    assert (status, err) == (0, "")
    assert out.startswith("Loaded into database 'test_")
    assert out.endswith(f"as 'postgres': {SIZE}.\n")

    connection.execute("update workflows.workflow set priority = 5")
    assert sample("seed") == (0, f"The sample is there already: {SIZE}. Nothing was changed.\n", "")
    assert connection.execute("select min(priority) from workflows.workflow").fetchone() == (5,)


@pytest.mark.second_tier
def test_reset_puts_back_every_row_with_its_id(sample: Told, connection: psycopg.Connection) -> None:
    """After changes, deletions and additions in its tables; a log beside it stays."""
    sample("seed")
    before = contents(connection)
    connection.execute("create schema permits create table task (id int)")
    connection.execute("update workflows.task set cost = cost * 2")
    connection.execute("delete from workflows.run where id % 3 = 0")
    connection.execute("insert into workflows.workflow (name) values ('mine'), ('yours')")

    status, out, err = sample("reset", "--yes")

    assert (status, err) == (0, "")
    first, last = out.splitlines()
    assert "the sample has 30 workflows, 2,000 runs, " in first
    assert "2 workflows that somebody added will be deleted with all their runs; 1 other connection" in first
    assert last == f"Now it is as it was first loaded: {SIZE}."
    assert contents(connection) == before
    assert connection.execute("select to_regclass('permits.task') is not null").fetchone() == (True,)


def test_reset_fills_an_empty_database_without_a_question(sample: Told, connection: psycopg.Connection) -> None:
    status, out, _ = sample("reset")

    assert status == 0
    assert "there is no sample yet." in out
    assert contents(connection)[1][0] == 3000


@pytest.mark.second_tier
@pytest.mark.parametrize(
    "damage",
    [
        "alter table workflows.task drop column cost",
        "drop table workflows.task",
        "alter table workflows.run drop constraint ck_run_priority",
        "drop index workflows.ix_run_queued_at",
        "alter table workflows.workflow alter column priority type bigint",
        "create function pg_temp.f() returns trigger language plpgsql as 'begin return null; end'; "
        "create trigger no_rows before insert on workflows.run for each row execute function pg_temp.f()",
        "alter table workflows.workflow enable row level security",
    ],
    ids=["column", "table", "check", "index", "type", "trigger", "row security"],
)
def test_reset_mends_tables_that_are_built_otherwise(
    damage: str, sample: Told, fresh_database_url: str, connection: psycopg.Connection
) -> None:
    """Seed does not touch them, and says what to type."""
    sample("seed")
    before = contents(connection)
    connection.execute(damage)

    status, out, err = sample("seed")
    assert (status, out) == (1, "")
    assert err.startswith(
        "asyncdb-nb: The tables of the sample are not built as they were. Type: asyncdb-nb sample reset"
    )
    status, out, err = sample("reset", "--yes")
    assert (status, err) == (0, "")
    assert "they will be dropped and made anew, and rights that were granted on them have to be granted again" in out
    assert contents(connection) == before
    assert sample("seed") == (0, f"The sample is there already: {SIZE}. Nothing was changed.\n", "")


def test_what_depends_on_damaged_tables_is_not_dropped(sample: Told, connection: psycopg.Connection) -> None:
    sample("seed")
    connection.execute("create view mine as select id from workflows.task")
    connection.execute("alter table workflows.task drop column cost")

    status, _, err = sample("reset", "--yes")

    assert status == 1
    assert "are not built as they were, and public.mine would be lost with them." in err
    assert connection.execute("select count(*) from mine").fetchone() == (16052,)


@pytest.mark.second_tier
def test_what_depends_on_sound_tables_goes_on(sample: Told, connection: psycopg.Connection) -> None:
    """A view over the sample, and the rights that others have on it."""
    sample("seed")
    connection.execute("create view mine as select id from workflows.task")
    connection.execute("grant select on workflows.task to public")

    assert sample("reset", "--yes")[0] == 0
    assert connection.execute("select count(*) from mine").fetchone() == (16052,)
    assert connection.execute("select has_table_privilege('public', 'workflows.task', 'select')").fetchone() == (True,)


@pytest.mark.second_tier
def test_readers_are_not_waited_for_and_see_no_gap(sample: Told, fresh_database_url: str) -> None:
    """One reads on in its old snapshot; another finds the whole sample afterwards."""
    sample("seed")
    with psycopg.connect(fresh_database_url) as reader:
        reader.execute("set transaction isolation level repeatable read")
        assert reader.execute("select count(*) from workflows.task").fetchone() == (16052,)

        assert sample("reset", "--yes")[0] == 0
        assert reader.execute("select count(*) from workflows.task").fetchone() == (16052,)
        reader.rollback()
        assert reader.execute("select count(*) from workflows.task").fetchone() == (16052,)


@pytest.mark.second_tier
def test_who_is_changing_it_is_named_and_not_waited_for_long(
    sample: Told, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample("seed")
    monkeypatch.setattr(restore, "WAIT", "200ms")
    with psycopg.connect(fresh_database_url, application_name="notebook of Ada") as writer:
        writer.execute("update workflows.task set cost = 1 where id = 1")

        status, _, err = sample("reset", "--yes")

        assert status == 1
        pid = writer.info.backend_pid
        assert f"are held by process {pid} of 'postgres', 'notebook of Ada', in a transaction that is open." in err
        assert "Nothing was changed." in err
        writer.rollback()
    assert sample("reset", "--yes")[0] == 0


def test_a_schema_of_somebody_else_is_left_alone(sample: Told, connection: psycopg.Connection) -> None:
    connection.execute("create schema workflows create table run (mine int)")

    for action in (["seed"], ["reset", "--yes"]):
        status, _, err = sample(*action)
        assert status == 1
        assert "This database has a schema 'workflows' that asyncdb_nb did not make" in err
    assert connection.execute("select count(*) from workflows.run").fetchone() == (0,)


def test_without_a_terminal_it_does_not_begin(sample: Told, connection: psycopg.Connection) -> None:
    """The command to type is complete."""
    sample("seed")
    connection.execute("delete from workflows.run")

    status, _, err = sample("reset")

    assert status == 1
    assert err.startswith(
        "asyncdb-nb: Nothing was changed. To go on without a question: asyncdb-nb sample reset --url "
    )
    assert err.endswith(" --yes\n")
    assert contents(connection)[1][0] == 0


@pytest.mark.second_tier
@pytest.mark.parametrize(("answer", "runs"), [("y\n", 3000), ("\n", 0), ("no\n", 0)], ids=["yes", "nothing", "no"])
def test_at_a_terminal_it_asks(answer: str, runs: int, sample: Told, fresh_database_url: str) -> None:
    """Only a yes goes on."""
    sample("seed")
    with psycopg.connect(fresh_database_url, autocommit=True) as opened:
        opened.execute("delete from workflows.run")
    us, terminal = pty.openpty()
    command = [sys.executable, "-m", "asyncdb_nb.cli", "sample", "reset", "--url", fresh_database_url]
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, text=True) as process:
        os.write(us, answer.encode())
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(us)
    os.close(terminal)

    assert "Put the sample back as it was? [y/N]" in out
    assert ("Nothing was changed." in out) == (runs == 0)
    with psycopg.connect(fresh_database_url) as opened:
        assert opened.execute("select count(*) from workflows.run").fetchone() == (runs,)


def test_no_password_is_printed_and_a_missing_right_is_told(sample: Told, guest_url: str) -> None:
    """A learner may not reset the class's sample."""

    async def fill() -> None:
        async with Database(guest_url.replace(f"guest:{SECRET}@", "postgres@")) as db:
            await ensure_sample(db)

    asyncio.run(fill())

    said = [sample("reset", url=guest_url), sample("reset", "--yes", url=guest_url), sample("seed", url=guest_url)]

    assert [status for status, _, _ in said] == [1, 1, 1]
    assert all(
        "Nothing was changed. Name a user in --url who owns the schema `workflows`." in err for _, _, err in said
    )
    assert SECRET not in str(said)
    with psycopg.connect(guest_url.replace(f"guest:{SECRET}@", "postgres@"), autocommit=True) as owner:
        owner.execute("drop schema workflows cascade")
