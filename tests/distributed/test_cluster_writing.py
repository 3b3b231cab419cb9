"""On a cluster of two processes: workers write by themselves, and one may die, at any moment."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import psycopg
import pytest
from server_checks import SECRET
from waiting import HANG

from asyncdb_nb import Database, WriteError, run
from asyncdb_nb.distributed import read_sql_table, release, to_postgresql
from asyncdb_nb.errors import PartitionNotWrittenError

pytestmark = [
    pytest.mark.second_tier,
    pytest.mark.keeps_connections,  # dask ends its workers' processes without a word
    pytest.mark.timeout(900),
]

ROWS = 20_000
LEFT = r"select relname from pg_class where relname like 'asyncdb\_nb%'"


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create schema lake authorization guest")
        yield connection
        left = connection.execute(LEFT).fetchall()
        connection.execute("drop schema lake cascade")
        assert not left


@pytest.fixture
def db(guest_url: str, admin: psycopg.Connection[Any], client: Any) -> Iterator[Database]:
    client.wait_for_workers(2, timeout=5 * HANG)  # of those that another test has killed
    db = Database(guest_url)
    yield db
    run(db.aclose())


def numbers(npartitions: int = 6) -> dd.DataFrame:
    frame = pd.DataFrame({"id": np.arange(ROWS), "name": [f"name {n % 7}" for n in range(ROWS)]})
    return dd.from_pandas(frame, npartitions=npartitions, sort=False)


def counted(admin: psycopg.Connection[Any], table: str) -> tuple[Any, ...] | None:
    return admin.execute(f"select count(*), count(distinct id), sum(id) from {table}").fetchone()


RIGHT = (ROWS, ROWS, ROWS * (ROWS - 1) // 2)


@pytest.mark.parametrize("if_exists", ["append", "replace"])
def test_the_workers_write_without_our_password(
    db: Database, admin: psycopg.Connection[Any], client: Any, if_exists: Any
) -> None:
    from dask.distributed import get_worker

    def note(part: pd.DataFrame) -> pd.DataFrame:
        return part.assign(worker=str(get_worker().name))

    admin.execute(
        "create table lake.numbers (id int8, name text, worker text); alter table lake.numbers owner to guest"
    )
    meta = numbers().head(0).assign(worker=pd.Series(dtype="str"))
    written = to_postgresql(numbers().map_partitions(note, meta=meta), "lake.numbers", db, if_exists)

    assert written.rows == ROWS
    assert counted(admin, "lake.numbers") == RIGHT
    assert admin.execute("select count(distinct worker) from lake.numbers").fetchone() == (2,)


def test_the_workers_upsert_what_differs(db: Database, admin: psycopg.Connection[Any]) -> None:
    """One row of two is there, and one of six of these is stale: `xmin` says which transaction wrote a row."""
    to_postgresql(numbers().query("id % 2 == 0"), "lake.numbers", db, key="id")
    admin.execute("update lake.numbers set name = 'stale' where id % 6 = 0")
    before = dict(admin.execute("select id, xmin::text from lake.numbers").fetchall())
    written = to_postgresql(numbers(), "lake.numbers", db, "upsert", key="id")

    stale = len(range(0, ROWS, 6))
    assert (written.rows, written.inserted, written.updated) == (ROWS, ROWS // 2, stale)
    assert written.unchanged == ROWS // 2 - stale
    assert counted(admin, "lake.numbers") == RIGHT
    after = dict(admin.execute("select id, xmin::text from lake.numbers").fetchall())
    assert {key for key in before if after[key] != before[key]} == set(range(0, ROWS, 6))
    assert admin.execute("select count(*) from lake.numbers where name <> 'name ' || id % 7").fetchone() == (0,)


def test_an_upsert_of_a_key_that_two_workers_have_names_it(db: Database, admin: psycopg.Connection[Any]) -> None:
    admin.execute("create table lake.numbers (id int8 primary key, name text); alter table lake.numbers owner to guest")

    def moved(part: pd.DataFrame) -> pd.DataFrame:
        return part.assign(id=part["id"].where(part["id"] != 15_000, 7))

    with pytest.raises(WriteError, match="2 rows of the data have the key id=7, and only one can be kept"):
        to_postgresql(numbers().map_partitions(moved, meta=numbers().head(0)), "lake.numbers", db, "upsert", key="id")

    assert counted(admin, "lake.numbers") == (0, 0, None)


def test_no_password_is_in_the_graph(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def compute(*tasks: Any, **options: Any) -> Any:
        seen.append(pickle.dumps([dict(task.dask) for task in tasks]))
        return original(*tasks, **options)

    original = dask.compute
    monkeypatch.setattr(dask, "compute", compute)
    to_postgresql(numbers(), "lake.numbers", db)

    assert b"lake.numbers" in seen[0]
    assert SECRET.encode() not in seen[0]


def test_a_table_is_read_and_written_by_the_workers(db: Database, admin: psycopg.Connection[Any]) -> None:
    to_postgresql(numbers(), "lake.numbers", db, key="id")
    collection = read_sql_table(db, "lake.numbers", npartitions=5)
    to_postgresql(collection[collection["name"] == "name 3"], "lake.threes", db)
    to_postgresql(collection, "lake.numbers_2", db)
    release(collection)

    assert counted(admin, "lake.numbers_2") == RIGHT
    assert admin.execute("select count(*) from lake.threes").fetchone() == (len(range(3, ROWS, 7)),)


@pytest.mark.parametrize("if_exists", ["append", "upsert"])
@pytest.mark.parametrize("moment", ["before its commit", "after its commit"])
def test_a_worker_that_dies_leaves_no_row_twice_and_none_out(
    db: Database, admin: psycopg.Connection[Any], client: Any, guest_url: str, moment: str, if_exists: Any
) -> None:
    """Killed when its rows are sent, and when they are committed and dask does not know it yet."""
    admin.execute("create table lake.victims (id int8 primary key); alter table lake.victims owner to guest")
    collection = numbers().map_partitions(doom_this_worker, guest_url, moment, meta=numbers().head(0))
    try:
        written = to_postgresql(collection, "lake.numbers", db, if_exists, key="id")
    finally:
        client.run(undo)

    assert written.rows == ROWS
    assert counted(admin, "lake.numbers") == RIGHT
    assert admin.execute("select count(*) from lake.victims").fetchone() == (1,)


def doom_this_worker(part: pd.DataFrame, url: str, moment: str) -> pd.DataFrame:
    """Have the first worker that gets as far as that die of it, once."""
    from asyncdb_nb.distributed import partition_writer

    writer: Any = partition_writer.PartitionWriter
    write, whole = partition_writer.write, writer._write

    def die() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            inserted = connection.execute("insert into lake.victims values (1) on conflict do nothing").rowcount
        if inserted:
            os.kill(os.getpid(), signal.SIGKILL)

    async def write_and_die(*args: Any, **options: Any) -> Any:
        written = await write(*args, **options)
        die()
        return written

    async def commit_and_die(*args: Any) -> int:
        rows: int = await whole(*args)
        die()
        return rows

    if not hasattr(partition_writer, "undo"):
        vars(partition_writer)["undo"] = (write, whole)
        if moment == "before its commit":
            vars(partition_writer)["write"] = write_and_die
        else:
            writer._write = commit_and_die
    return part


def undo() -> None:
    from asyncdb_nb.distributed import partition_writer

    module: Any = partition_writer
    if hasattr(module, "undo"):
        module.write, module.PartitionWriter._write = module.undo
        del module.undo


def test_a_value_that_does_not_fit_is_one_error_with_partition_and_cause(
    db: Database, admin: psycopg.Connection[Any]
) -> None:
    def broken(part: pd.DataFrame) -> pd.DataFrame:
        return part.assign(id=part["id"].where(part["id"] != 15_000, 2**40))

    admin.execute("create table lake.numbers (id int4, name text); alter table lake.numbers owner to guest")
    with pytest.raises(PartitionNotWrittenError, match=r"Partition 4 .*lake\.numbers.*'id' is integer.*1099511627776"):
        to_postgresql(numbers().map_partitions(broken, meta=numbers().head(0)), "lake.numbers", db)

    assert counted(admin, "lake.numbers") == (0, 0, None)


def test_a_partition_that_kills_its_workers_is_one_error(
    db: Database, admin: psycopg.Connection[Any], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When dask gives up; here after the first of them."""
    monkeypatch.setattr(client.cluster.scheduler, "allowed_failures", 0)

    def die(part: pd.DataFrame) -> pd.DataFrame:
        if 0 in set(part["id"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return part

    with pytest.raises(Exception, match="died") as caught:
        to_postgresql(numbers().map_partitions(die, meta=numbers().head(0)), "lake.numbers", db)

    assert "Nothing was written into lake.numbers." in caught.value.__notes__
    assert admin.execute("select to_regclass('lake.numbers')").fetchone() == (None,)
