"""dask collections of one snapshot, read in this process: the frame that `db.frame` gives, in partitions."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterator
from typing import Any

import dask
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal
from server_checks import ServerWatch
from sqlalchemy import text
from tables import make
from tiers import few_of
from waiting import wait_until

from asyncdb_nb import Database, FrameError, SnapshotGoneError, UnknownTableError, UnsplittableError, run
from asyncdb_nb.distributed import partition_reader, read_sql_query, read_sql_table, release

MAKE = """create table runs as select g as id, ('name ' || g % 7) collate "C" as name,
    nullif(g % 5, 0)::int2 as retries, g % 2 = 0 as ok,
    (g * 1.25)::numeric(12, 2) as cost, timestamptz '2024-01-01' + g * interval '1 min' as at,
    md5(g::text)::uuid as code from generate_series(1, 9000) g"""


@pytest.fixture
def db(fresh_database_url: str) -> Iterator[Database]:
    db = Database(fresh_database_url)
    make(db, MAKE)
    yield db
    gc.collect()
    run(db.aclose())


@pytest.fixture
def whole(db: Database) -> pd.DataFrame:
    return run(db.frame("select * from runs order by id"))


def exporters(watch: ServerWatch) -> list[Any]:
    return [one for one in watch.backends() if one.state == "idle in transaction"]


def plain(frame: Any) -> Any:
    frame.attrs.clear()
    return frame


def test_a_key_that_pandas_takes_for_missing_is_refused(db: Database) -> None:
    """NaN comes last in PostgreSQL's order: a range that begins with it is not empty."""
    statement = "select g, case when g > 50 then 'NaN' else g::float8 end as key from generate_series(1, 100) g"

    with pytest.raises(UnsplittableError, match="key has a NaN"):
        read_sql_query(db, statement, index_col="key", npartitions=2)


@pytest.mark.parametrize("exporter", [False, True], ids=["of a reader", "of a reader and the exporter"])
def test_a_partition_whose_connection_is_lost_is_read_again_from_the_same_snapshot(
    db: Database, whole: pd.DataFrame, server_watch: ServerWatch, monkeypatch: pytest.MonkeyPatch, exporter: bool
) -> None:
    """Terminated when it has read its rows: its commit fails. When the snapshot has ended too, the error says so."""
    lost: list[int] = []

    async def read(session: Any, *args: Any, **options: Any) -> Any:
        made = await original(session, *args, **options)
        if not lost:
            lost.append(await session.scalar(text("select pg_backend_pid()")))
            for pid in [*lost, *[one.pid for one in exporters(server_watch) if exporter and one.pid not in lost]]:
                server_watch.query("select pg_terminate_backend(%s, 60000)", pid)
        return made

    original = partition_reader.frame
    collection = read_sql_table(db, "runs", npartitions=3)
    make(db, "update runs set name = 'other'")
    monkeypatch.setattr(partition_reader, "frame", read)
    with dask.config.set(scheduler="single-threaded"):
        if exporter:
            with pytest.raises(SnapshotGoneError):
                collection.compute()
        else:
            assert_frame_equal(plain(collection.compute().reset_index(drop=True)), plain(whole))
    release(collection)

    assert len(lost) == 1


@pytest.mark.parametrize("backend", [None, "pyarrow"])
def test_a_table_is_the_frame_in_partitions(db: Database, backend: Any) -> None:
    one = plain(run(db.frame("select * from runs order by id", dtype_backend=backend)))
    collection = read_sql_table(db, "runs", npartitions=3, dtype_backend=backend)

    assert collection.npartitions == 3
    assert collection.dtypes.equals(one.dtypes)
    assert_frame_equal(plain(collection.compute()).reset_index(drop=True), one)
    assert len(collection) == 9_000
    release(collection)


def test_only_the_columns_that_are_used_are_read(db: Database, whole: pd.DataFrame, clean_server: ServerWatch) -> None:
    collection = read_sql_table(db, "public.runs", npartitions=2)
    clean_server.query("alter system set log_statement = 'all'")
    clean_server.query("select pg_reload_conf()")
    wait_until(lambda: clean_server.query("show log_statement")[0][0] == "all")
    clean_server.mark()
    found = collection.groupby("name")["cost"].sum().compute().sort_index()
    log = clean_server.log_since_mark()
    clean_server.query("alter system reset log_statement")
    clean_server.query("select pg_reload_conf()")
    release(collection)

    assert_series_equal(found, whole.groupby("name")["cost"].sum().sort_index())
    copies = [line for line in log.splitlines() if "from only public.runs" in line]
    assert copies
    assert not [line for line in log.splitlines() if '"retries"' in line]


def test_a_statement_has_known_divisions_and_a_sorted_index(db: Database, whole: pd.DataFrame) -> None:
    collection = read_sql_query(db, "select id, name, cost from runs where id > 500;", "id", 4)

    assert collection.divisions == (501, 2625, 4750, 6875, 9000)
    found = plain(collection.compute())
    assert_frame_equal(found, plain(whole[whole["id"] > 500].set_index("id")[["name", "cost"]]))
    assert collection.loc[510:519].compute().index.tolist() == list(range(510, 520))
    assert collection["cost"].compute().index.name == "id"
    release(collection)


@pytest.mark.parametrize(
    ("key", "how"), few_of([("at", "percentile"), ("at", "width"), ("name", "percentile"), ("id", "width")], 2)
)
def test_divisions_are_of_the_type_of_the_key(db: Database, key: str, how: Any) -> None:
    collection = read_sql_query(db, "select * from runs", key, 3, how=how)
    index = collection.compute().index

    assert index.is_monotonic_increasing
    assert collection.divisions[0] == index[0]
    assert collection.divisions[-1] == index[-1]
    assert len(index) == 9_000
    release(collection)


def test_an_empty_result_has_its_columns(db: Database) -> None:
    dtypes = read_sql_table(db, "runs").dtypes
    make(db, "delete from runs")
    table, query = read_sql_table(db, "runs"), read_sql_query(db, "select * from runs", "id", 3)

    assert table.compute().dtypes.equals(dtypes)
    assert len(query.compute()) == 0
    assert query.dtypes.equals(dtypes.drop("id"))
    release(table)
    release(query)


def test_every_partition_is_of_the_moment_in_which_the_collection_was_made(db: Database) -> None:
    collection = read_sql_table(db, "runs", npartitions=3)
    make(db, "delete from runs where id > 10", "update runs set name = 'changed'")

    assert len(collection) == 9_000
    assert "changed" not in set(collection["name"].compute())
    release(collection)


def test_the_snapshot_ends_when_it_is_released(db: Database, clean_server: ServerWatch) -> None:
    collection = read_sql_table(db, "runs", npartitions=3)
    made_of_it = collection[collection["ok"]]["id"].sum()
    assert len(exporters(clean_server)) == 1
    release(made_of_it)
    release(collection)

    assert not exporters(clean_server)
    with pytest.raises(SnapshotGoneError, match="Take another one"):
        made_of_it.compute()


def test_the_snapshot_lasts_as_long_as_a_collection_that_is_made_of_it(db: Database, clean_server: ServerWatch) -> None:
    made_of_it = read_sql_table(db, "runs", npartitions=3).groupby("name")["id"].count()
    gc.collect()
    assert made_of_it.compute().sum() == 9_000
    assert len(exporters(clean_server)) == 1
    del made_of_it
    gc.collect()

    wait_until(lambda: not exporters(clean_server))


def test_scenario_81_an_exporter_that_was_ended_is_one_clear_error(db: Database, clean_server: ServerWatch) -> None:
    collection = read_sql_table(db, "runs", npartitions=3)
    clean_server.query("select pg_terminate_backend(%s, 5000)", exporters(clean_server)[0].pid)

    with pytest.raises(SnapshotGoneError, match="is gone"):
        collection.compute()
    release(collection)


@pytest.mark.parametrize(
    ("make_collection", "error", "reason"),
    few_of(
        [
            (lambda db: read_sql_table(db, "rums"), UnknownTableError, "Did you mean runs"),
            (lambda db: read_sql_table(db, "seen"), UnsplittableError, "is a view"),
            (lambda db: read_sql_table(db, "runs", max_row=3), FrameError, "no option 'max_row'"),
            (
                lambda db: read_sql_query(db, "select * from runs", "retries", 2),
                UnsplittableError,
                "1,800 rows have no retries",
            ),
            (lambda db: read_sql_query(db, "select random() as x", "x", 2), UnsplittableError, "VOLATILE"),
        ],
        2,
    ),
    ids=["no such table", "a view", "no such option", "NULLs in the index", "a volatile function"],
)
def test_what_cannot_be_read_is_refused_with_the_reason_and_nothing_is_kept(
    db: Database, clean_server: ServerWatch, make_collection: Any, error: type[Exception], reason: str
) -> None:
    make(db, "create view seen as select * from runs")
    with pytest.raises(error, match=reason):
        make_collection(db)

    assert not exporters(clean_server)


def test_no_password_is_in_the_graph(fresh_database_url: str, db: Database) -> None:
    secret = "not-to-be-seen"
    with_password = Database(fresh_database_url.replace("//postgres@", f"//postgres:{secret}@"))
    collection = read_sql_table(with_password, "runs", npartitions=2)
    graph = dict(collection.dask)

    assert secret.encode() not in pickle.dumps(graph)
    assert secret.encode() not in pickle.dumps(collection.expr)
    assert secret not in repr(graph) + repr(collection.expr)
    release(collection)
    run(with_password.aclose())


def test_the_name_of_a_collection_is_that_of_its_snapshot(db: Database) -> None:
    """Two collections of two moments are never one to dask's cache."""
    one, other = read_sql_table(db, "runs"), read_sql_table(db, "runs")

    assert one._name != other._name
    assert dask.base.tokenize(one) == dask.base.tokenize(one)
    release(one)
    release(other)
