"""On a cluster of two processes: workers connect by themselves, to the same snapshot, and one may die."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pandas as pd
import psycopg
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal
from server_checks import SECRET, ServerWatch
from waiting import HANG, wait_until

from asyncdb_nb import Database, SnapshotGoneError, run
from asyncdb_nb.distributed import read_sql_table, release

pytestmark = [
    pytest.mark.second_tier,
    pytest.mark.keeps_connections,  # dask ends its workers' processes without a word
    pytest.mark.timeout(900),
]


@pytest.fixture
def db(guest_url: str, database_url: str, client: Any) -> Iterator[Database]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop table if exists runs")
        connection.execute("create table runs as select g as id, g % 7 as kind, (g * 1.25)::numeric(12, 2) as cost "
                           "from generate_series(1, 20000) g")  # fmt: skip
        connection.execute("grant select on runs to guest")
    client.wait_for_workers(2, timeout=5 * HANG)
    db = Database(guest_url)
    yield db
    run(db.aclose())
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(  # the snapshot of a test that failed: it would keep the table for ever
            "select pg_terminate_backend(pid, 60000) from pg_stat_activity where usename = 'guest'"
        )
        connection.execute("drop table runs")  # the role goes with its rights


def test_partitions_are_read_by_the_workers_without_our_password(db: Database, client: Any) -> None:
    one = run(db.frame("select * from runs order by id"))
    collection = read_sql_table(db, "runs", npartitions=4)
    found = collection.compute().reset_index(drop=True)
    grouped = collection.groupby("kind")["cost"].sum().compute().sort_index()
    release(collection)

    one.attrs.clear()
    assert_frame_equal(found, one)
    assert_series_equal(grouped, one.groupby("kind")["cost"].sum())


def test_writers_beside_it_are_not_seen(db: Database, database_url: str, client: Any) -> None:
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute("update runs set cost = cost + 1, kind = 8")
                connection.execute("insert into runs values (0, 0, 0)")

    collection = read_sql_table(db, "runs", npartitions=8)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [collection["kind"].sum().compute() for _ in range(3)]
        numbers = [len(collection) for _ in range(3)]
    finally:
        stop.set()
        writer.join()
        release(collection)

    assert found == [sum(g % 7 for g in range(1, 20_001))] * 3
    assert numbers == [20_000] * 3


def test_a_partition_of_a_worker_that_dies_is_read_again_from_the_same_snapshot(
    db: Database, database_url: str, client: Any
) -> None:
    collection = read_sql_table(db, "runs", npartitions=6)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("delete from runs where id > 100")
    waiting = collection.map_partitions(_slowly, meta=("n", "int64"))
    future = client.compute(waiting.sum())
    victim = next(iter(client.run(os.getpid).values()))
    os.kill(victim, signal.SIGKILL)

    assert future.result(HANG) == 20_000
    wait_until(lambda: len(client.scheduler_info()["workers"]) == 2)
    release(collection)


def test_scenario_81_kills_at_any_moment_are_the_right_result_or_one_clear_error(
    db: Database, server_watch: ServerWatch, client: Any
) -> None:
    kill_at_many_moments(db, server_watch, client, 6)


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_a_hundred_kills_are_the_right_result_or_one_clear_error(
    db: Database, server_watch: ServerWatch, client: Any
) -> None:
    kill_at_many_moments(db, server_watch, client, 100)


def kill_at_many_moments(db: Database, watch: ServerWatch, client: Any, number: int) -> None:
    """Kill a worker, or the transaction that keeps the snapshot, while partitions are read; in turn."""
    chance, right, gone = random.Random(7), 0, 0
    for turn in range(number):
        client.wait_for_workers(2, timeout=5 * HANG)
        collection = read_sql_table(db, "runs", npartitions=8)
        # now: later, a worker's own transaction may be idle for a moment, and its end is another error
        [exporter] = [one for one in watch.backends() if one.state == "idle in transaction"]
        future = client.compute(collection.map_partitions(_slowly, meta=("n", "int64")).sum())
        time.sleep(chance.random() * 2)
        if turn % 2:
            os.kill(chance.choice(list(client.run(os.getpid).values())), signal.SIGKILL)
        else:
            watch.query("select pg_terminate_backend(%s, 5000)", exporter.pid)
        try:
            assert future.result(5 * HANG) == 20_000
            right += 1
        except SnapshotGoneError:
            gone += 1
        release(collection)
        wait_until(lambda: not [one for one in watch.backends() if one.state == "idle in transaction"])  # other workers
    assert right >= number // 2, "a worker that dies is no error"
    assert right + gone == number


def _slowly(part: pd.DataFrame) -> int:
    time.sleep(0.3)
    return len(part)


def test_scenario_81_an_exporter_that_was_ended_is_one_clear_error(
    db: Database, server_watch: ServerWatch, client: Any
) -> None:
    collection = read_sql_table(db, "runs", npartitions=4)
    [exporter] = [one for one in server_watch.backends() if one.state == "idle in transaction"]
    server_watch.query("select pg_terminate_backend(%s, 5000)", exporter.pid)

    with pytest.raises(SnapshotGoneError, match="is gone"):
        collection.compute()
    release(collection)


def test_a_worker_without_a_password_says_so(db: Database, client: Any) -> None:
    def without() -> None:
        os.environ.pop("PGPASSWORD", None)

    collection = read_sql_table(db, "runs", npartitions=2)
    client.run(without)
    client.run(_forget)
    try:
        with pytest.raises(Exception, match="password"):
            collection.compute()
    finally:
        client.run(os.environ.__setitem__, "PGPASSWORD", SECRET)
        client.run(_forget)
        release(collection)


def _forget() -> None:
    """Have a worker connect anew."""
    from asyncdb_nb.database import without_password

    for _, database in without_password._arrived:
        run(database.aclose())
