"""A dask DataFrame that is written is in its table whole and once, or not at all."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import psycopg
import pytest
from pandas.testing import assert_frame_equal
from server_checks import ServerWatch
from sqlalchemy.exc import DBAPIError
from tables import make
from waiting import HANG, wait_until

from asyncdb_nb import Database, WriteError, run
from asyncdb_nb.dataframes.writing import write_connection
from asyncdb_nb.distributed import read_sql_query, read_sql_table, release, to_postgresql
from asyncdb_nb.distributed.partition_writer import PartitionWriter
from asyncdb_nb.distributed.staging import Staging, Write
from asyncdb_nb.errors import PartitionNotWrittenError

pytestmark = pytest.mark.second_tier

ROWS = 1_000
LEFT = "select count(*) from pg_class where relname like 'asyncdb\\_nb%'"


@pytest.fixture
def db(fresh_database_url: str) -> Iterator[Database]:
    db = Database(fresh_database_url)
    yield db
    assert value(db, LEFT) == 0, "a staging table was left"
    gc.collect()
    run(db.aclose())


def value(db: Database, statement: str) -> Any:
    return run(db.frame(statement)).iloc[0, 0]


def numbers(rows: int = ROWS) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": np.arange(rows), "name": [f"name {n % 7}" for n in range(rows)], "share": np.arange(rows) / 3}
    )


META = numbers(1).iloc[:0]


def in_parts(frame: pd.DataFrame, npartitions: int = 4) -> dd.DataFrame:
    return dd.from_pandas(frame, npartitions=npartitions, sort=False)


def rows_of(db: Database, table: str, key: str = "id") -> pd.DataFrame:
    frame = run(db.frame(f'select * from {table} order by "{key}"'))
    frame.attrs.clear()
    return frame


def test_a_new_table_has_every_row_once(db: Database) -> None:
    written = to_postgresql(in_parts(numbers()), "numbers", db)

    assert (written.table, written.rows, written.inserted, written.created) == ("public.numbers", ROWS, ROWS, True)
    assert_frame_equal(rows_of(db, "numbers"), numbers(), check_dtype=False)
    assert value(db, "select relpersistence::text from pg_class where relname = 'numbers'") == "p"


def test_a_key_becomes_a_primary_key_by_the_name_that_postgresql_gives(db: Database) -> None:
    make(db, "create schema shop")
    to_postgresql(in_parts(numbers()), "shop.numbers", db, key="id")

    names = (
        "select string_agg(conname, ' ' order by conname) from pg_constraint where conrelid = 'shop.numbers'::regclass"
    )
    assert set(value(db, names).split()) <= {"numbers_pkey", "numbers_id_not_null"}
    assert value(db, "select count(*) from pg_constraint where contype = 'p' and conname = 'numbers_pkey'") == 1


@pytest.mark.parametrize("if_exists", ["append", "truncate", "replace", "fail"])
def test_what_becomes_of_a_table_that_is_there_is_as_for_write(db: Database, if_exists: Any) -> None:
    make(
        db,
        "create table numbers (share float8, id int8 not null, name varchar(9), made int4 default 7)",
        "insert into numbers values (0, -1, 'old', 0)",
    )
    if if_exists == "fail":
        with pytest.raises(WriteError, match="There is a table"):
            to_postgresql(in_parts(numbers()), "numbers", db, if_exists)
        assert value(db, "select count(*) from numbers") == 1
        return
    written = to_postgresql(in_parts(numbers()), "numbers", db, if_exists)

    found = rows_of(db, "numbers")
    assert written.created == (if_exists == "replace")
    assert (written.rows, written.inserted) == (ROWS, ROWS)
    assert len(found) == ROWS + (if_exists == "append")
    if if_exists == "replace":
        assert found.columns.tolist() == ["id", "name", "share"]
    else:
        assert set(found["made"][found["id"] >= 0]) == {7}


def test_scenario_78_what_was_read_is_written_as_it_was(db: Database) -> None:
    """Also types that a dtype does not say, and the index of a statement."""
    make(
        db,
        """create table kinds as select g as id, (g * 1.25)::numeric(12, 2) as cost, md5(g::text)::uuid as code,
        jsonb_build_object('g', g) as data, array[g, null] as list, date '2024-01-01' + g as day,
        interval '1 month' * (g % 5) as took, '10.0.0.1'::inet as address, nullif(g % 3, 0)::int2 as few
        from generate_series(1, 500) g""",
    )
    columns = (
        "select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attname) "
        "from pg_attribute where attnum > 0 and attrelid = '{}'::regclass"
    )
    for collection, copy in (
        (read_sql_table(db, "kinds", npartitions=3), "copies"),
        (read_sql_query(db, "select * from kinds", "id", 3), "by_index"),
    ):
        to_postgresql(collection, copy, db)
        release(collection)

        assert value(db, columns.format(copy)) == value(db, columns.format("kinds"))
        assert_frame_equal(rows_of(db, copy)[rows_of(db, "kinds").columns], rows_of(db, "kinds"))


def test_an_empty_collection_makes_an_empty_table(db: Database) -> None:
    written = to_postgresql(in_parts(numbers(4), 2).query("id > 10"), "nothing", db)

    assert (written.rows, written.created) == (0, True)
    assert rows_of(db, "nothing").columns.tolist() == ["id", "name", "share"]


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ('Sch:ema "q".Tab.le%s', ""),
        ("täble ' \\ :name", 'co"l:umn %(x)s'),
        ("x" * 63, "y" * 63),
        ("select", "order"),
    ],
    ids=["quotes", "colons", "63 bytes", "keywords"],
)
@pytest.mark.parametrize("if_exists", ["append", "replace", "upsert"])
def test_hostile_names(db: Database, table: str, column: str, if_exists: Any) -> None:
    schema = 'Sch:ema "q"' if "Tab" in table else "public"
    name = table.removeprefix('Sch:ema "q".')
    make(db, f"create schema if not exists {ident(schema)}")
    frame = numbers(20).assign(name=[f"name {n}" for n in range(20)]).rename(columns={"name": column or "name"})
    full = f"{ident(schema)}.{ident(name)}"
    key = frame.columns[1] if if_exists == "upsert" else None
    for _ in range(2):
        to_postgresql(in_parts(frame, 3), full, db, if_exists, key=key)

    there = run(db.frame(f"select * from {full}"))
    assert len(there) == (40 if if_exists == "append" else 20)
    assert there.columns.tolist() == frame.columns.tolist()


def ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("old", [True, False], ids=["as from 18 on", "as before 18"])
@pytest.mark.parametrize("key", ["id", ["share", "id"]], ids=["one column", "two columns"])
def test_an_upsert_touches_the_rows_that_differ_and_no_other(
    db: Database, monkeypatch: pytest.MonkeyPatch, key: Any, old: bool
) -> None:
    """As `db.write` does, and what it reports is what a trigger of the table has seen."""
    if not old:
        monkeypatch.setattr(write_connection, "_HAS_OLD", 10_000)
    columns = ", ".join([key] if isinstance(key, str) else key)
    for table in ("numbers", "others"):
        make(
            db,
            f"create table {table} (share float8, id int8, name text, made int4 default 7, unique ({columns}))",
            f"create table {table}_seen (op text, id int8)",
            f"create function {table}_note() returns trigger language plpgsql as $$ begin "
            f"insert into {table}_seen values (tg_op, new.id); return null; end $$",
            f"create trigger note after insert or update on {table} for each row execute function {table}_note()",
            f"insert into {table} select g / 3.0::float8, g, 'name ' || g % 7, 1 from generate_series(0, 599) g",
            f"update {table} set name = 'stale' where id % 10 = 0",
            f"truncate {table}_seen",
        )
    written = to_postgresql(in_parts(numbers(), 7), "numbers", db, "upsert", key=key)
    same = run(db.write(numbers(), "others", if_exists="upsert", key=key))

    found = [(each.rows, each.inserted, each.updated, each.unchanged, each.created) for each in (written, same)]
    assert found == [(ROWS, 400, 60, 540, False)] * 2
    seen = run(
        db.frame("select op, count(*)::int4 as n, sum(id)::int8 as ids from numbers_seen group by op order by op")
    )
    assert seen.to_numpy().tolist() == [["INSERT", 400, sum(range(600, 1000))], ["UPDATE", 60, sum(range(0, 600, 10))]]
    assert_frame_equal(rows_of(db, "numbers")[numbers().columns], numbers(), check_dtype=False)
    assert_frame_equal(rows_of(db, "numbers"), rows_of(db, "others"))


def test_an_upsert_makes_the_table_and_its_key(db: Database) -> None:
    first = to_postgresql(in_parts(numbers()), "numbers", db, "upsert", key="id")
    second = to_postgresql(in_parts(numbers().assign(name="one")), "numbers", db, "upsert", key="id")

    assert (first.created, first.inserted, first.updated) == (True, ROWS, 0)
    assert (second.created, second.inserted, second.updated, second.unchanged) == (False, 0, ROWS, 0)
    assert value(db, "select count(*) from numbers where name = 'one'") == ROWS


@pytest.mark.parametrize("there", [True, False], ids=["a table", "a new table"])
def test_an_upsert_refuses_a_key_that_two_partitions_have(db: Database, there: bool) -> None:
    if there:
        make(db, "create table numbers (id int8, name text primary key, share float8)")
        make(db, "insert into numbers values (-1, 'name 3', 0)")
    with pytest.raises(
        WriteError, match=r"2 rows of the data have the key name=name 3, .*\n.*Nothing was written into"
    ):
        to_postgresql(in_parts(numbers(11).iloc[[0, 1, 3, 10]], 4), "numbers", db, "upsert", key="name")

    assert value(db, "select max(id) from numbers" if there else "select -1 where to_regclass('numbers') is null") == -1


def test_an_upsert_refuses_a_key_that_is_missing(db: Database) -> None:
    """Though the column itself takes NULLs."""
    make(db, "create table numbers (id int8 unique, name text, share float8)")
    frame = numbers().astype({"id": "Int64"})
    frame.loc[frame["id"] == 700, "id"] = pd.NA
    with pytest.raises(PartitionNotWrittenError, match=r"Partition 2 .*Column 'id' takes no NULL, and in row 200"):
        to_postgresql(in_parts(frame), "numbers", db, "upsert", key="id")

    assert value(db, "select count(*) from numbers") == 0


@pytest.mark.parametrize(
    "made",
    [
        "create table numbers (id int8 generated always as identity primary key, name text, share float8)",
        "create table numbers (id int8 primary key, name text, share float8) partition by range (id); "
        "create table low partition of numbers for values from (minvalue) to (500); "
        "create table high partition of numbers for values from (500) to (maxvalue)",
        "create table stored (id int8 primary key, name text, share float8); "
        "create view numbers as select * from stored",
    ],
    ids=["an identity", "a partitioned table", "a view"],
)
def test_an_upsert_goes_where_write_goes(db: Database, made: str) -> None:
    make(db, *made.split("; "))
    to_postgresql(in_parts(numbers(600)), "numbers", db, "upsert", key="id")
    changed = numbers().assign(name=numbers()["name"].where(numbers()["id"] >= 100, "new"))
    written = to_postgresql(in_parts(changed), "numbers", db, "upsert", key="id")

    assert (written.inserted, written.updated, written.unchanged) == (400, 100, 500)
    assert_frame_equal(rows_of(db, "numbers"), changed, check_dtype=False)


def broken(part: pd.DataFrame, rows: int) -> pd.DataFrame:
    part = part.copy()
    part["share"] = part["share"].astype(object)
    if 700 in set(part["id"]):
        part.loc[part["id"] == 700, "share"] = "seven"
    return part


@pytest.mark.parametrize("if_exists", ["append", "replace"])
def test_a_value_that_does_not_fit_names_partition_column_and_row_and_nothing_is_kept(
    db: Database, if_exists: Any
) -> None:
    make(db, "create table numbers (id int8, name text, share float8)", "insert into numbers values (-1, '', 0)")
    meta = META.astype({"share": object})
    collection = in_parts(numbers(), 4).map_partitions(broken, ROWS, meta=meta)
    types = {"share": "float8"} if if_exists == "replace" else None

    with pytest.raises(
        PartitionNotWrittenError, match=r"Partition 2 .* numbers\. UnfitValueError: Column 'share'.*row 200.*seven"
    ):
        to_postgresql(collection, "numbers", db, if_exists, types=types)

    assert value(db, "select string_agg(id::text, ',') from numbers") == "-1"


def test_a_failure_outside_of_postgresql_keeps_nothing_either(db: Database) -> None:
    def fail(part: pd.DataFrame) -> pd.DataFrame:
        raise ZeroDivisionError("of the user's own")

    collection = in_parts(numbers()).map_partitions(fail, meta=META)
    with pytest.raises(ZeroDivisionError, match="Nothing was written into numbers"):
        to_postgresql(collection, "numbers", db)

    assert value(db, "select to_regclass('numbers') is null")


def test_rows_that_the_server_refuses_together_keep_nothing(db: Database) -> None:
    make(db, "create table numbers (id int8 primary key, name text, share float8)", "insert into numbers values (700)")
    with pytest.raises(
        DBAPIError, match=r"duplicate key.*\n.*\n.*\nKey \(id\)=\(700\) already exists\. Nothing was written"
    ):
        to_postgresql(in_parts(numbers()), "numbers", db)

    assert value(db, "select count(*) from numbers") == 1


def test_a_primary_key_that_two_partitions_have_keeps_the_old_table(db: Database) -> None:
    make(db, "create table numbers as select 1 as old")
    twice = in_parts(pd.concat([numbers(), numbers(1)], ignore_index=True))
    with pytest.raises(DBAPIError, match=r"Key \(id\)=\(0\) is duplicated"):
        to_postgresql(twice, "numbers", db, "replace", key="id")

    assert value(db, "select old from numbers") == 1


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda db, df: to_postgresql(df, "numbers", db, "merge"), "if_exists='merge'"),
        (lambda db, df: to_postgresql(df, "numbers", db, "upsert"), "An upsert needs to know which rows are the same"),
        (lambda db, df: to_postgresql(df, "numbers", db, "upsert", key="no"), "no column 'no'"),
        (lambda db, df: to_postgresql(df[["id"]], "few", db, "upsert", key="id"), "not unique.*create unique index"),
        (lambda db, df: to_postgresql(df["id"], "numbers", db), "not a Series"),
        (lambda db, df: to_postgresql(df.compute(), "numbers", db), "not a DataFrame"),
        (lambda db, df: to_postgresql(df, "numbers", db, key="no"), "no column 'no'"),
        (lambda db, df: to_postgresql(df, "numbers", db, "replace", key="no"), "no column 'no'"),
        (lambda db, df: to_postgresql(df, "numbers", db, "replace", types={"no": "text"}), "no column 'no'"),
        (lambda db, df: to_postgresql(df, "few", db), "has no column 'name'"),
        (lambda db, df: to_postgresql(df, "seen", db, "replace"), "is no table"),
        (lambda db, df: to_postgresql(df, "a.b.c", db), "no name of a table"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(db: Database, write: Any, reason: str) -> None:
    make(db, "create table few (id int8)", "create view seen as select * from few")
    computed = []

    def note(part: pd.DataFrame) -> pd.DataFrame:
        computed.append(len(part))
        return part

    collection = in_parts(numbers()).map_partitions(note, meta=META)
    error = "not a DataFrame" in reason
    with pytest.raises(WriteError, match=reason):
        write(db, collection)

    assert error or not computed


@pytest.mark.parametrize("if_exists", ["truncate", "replace"])
def test_the_table_that_is_read_is_not_emptied(db: Database, if_exists: Any) -> None:
    """Its snapshot locks it: without the refusal, the write would wait for its own collection for ever."""
    make(db, "create table numbers as select g as id from generate_series(1, 100) g")
    collection = read_sql_table(db, "numbers")
    with pytest.raises(WriteError, match="its snapshot keeps the table from being emptied"):
        to_postgresql(collection, "numbers", db, if_exists)
    to_postgresql(collection, "numbers", db)
    release(collection)

    assert value(db, "select count(*) from numbers") == 200


def test_a_partition_that_is_run_again_is_written_once(db: Database) -> None:
    """By one worker after the other, and by two at the same moment."""
    staging = Staging(db, Write(META, "numbers", "append", [], {}, has_index=False))
    writer = PartitionWriter(db, "numbers", run(staging.prepare()), list(numbers().columns), index=False)
    copy = pickle.loads(pickle.dumps(writer))
    threads = [threading.Thread(target=each, args=(numbers(), 0)) for each in (writer, copy, writer)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert [writer(numbers(), 0), copy(numbers(10), 1)] == [ROWS, 10]
    written = run(staging.move(2, ROWS + 10))
    run(staging.close())
    run(copy._database.aclose())

    assert written.inserted == value(db, "select count(*) from numbers") == ROWS + 10


def test_partitions_that_are_missing_are_an_error(db: Database) -> None:
    """Staged rows are UNLOGGED: a server that crashes empties them."""
    staging = Staging(db, Write(META, "numbers", "append", [], {}, has_index=False))
    table = run(staging.prepare())
    PartitionWriter(db, "numbers", table, list(numbers().columns), index=False)(numbers(), 0)
    make(db, f"truncate {table.parts}, {table.rows}")
    with pytest.raises(WriteError, match="Of 1 partitions with 1,000 rows the server has 0"):
        run(staging.move(1, ROWS))
    run(staging.drop())
    run(staging.close())


def test_a_table_that_is_changed_meanwhile_is_an_error(db: Database) -> None:
    """Else the server would round what was staged for a column of another type."""
    make(db, "create table numbers (id int8, name text, share numeric(10, 5))")
    collection = in_parts(numbers(3).assign(share=0.12345), 1).map_partitions(lambda part: alter(part), meta=META)

    def alter(part: pd.DataFrame) -> pd.DataFrame:
        make(db, "alter table numbers alter share type numeric(10, 2)")
        return part

    with pytest.raises(WriteError, match="were changed while its rows were staged"):
        to_postgresql(collection, "numbers", db)
    assert value(db, "select count(*) from numbers") == 0


def test_more_threads_than_connections_wait_for_their_turn(fresh_database_url: str) -> None:
    db = Database(fresh_database_url, pool_size=3, max_overflow=0, pool_timeout=1)
    make(db, "create table numbers as select g as id, repeat('x', 500) as name from generate_series(1, 50000) g")
    import dask

    with dask.config.set(num_workers=24):
        collection = read_sql_table(db, "numbers", npartitions=48)
        written = to_postgresql(collection, "copies", db)
        release(collection)

    assert written.rows == value(db, "select count(distinct id) from copies") == 50_000
    gc.collect()
    run(db.aclose())


def test_a_write_drops_what_a_killed_process_left(db: Database) -> None:
    """And leaves alone what another one is at work on."""
    abandoned = Staging(db, Write(META, "numbers", "append", [], {}, has_index=False))
    at_work = Staging(db, Write(META, "numbers", "append", [], {}, has_index=False))
    left, kept = run(abandoned.prepare()), run(at_work.prepare())
    run(abandoned.close())  # as when its connection is lost

    to_postgresql(in_parts(numbers()), "numbers", db)
    assert value(db, f"select to_regclass('{left.rows}') is null and to_regclass('{left.parts}') is null")
    assert value(db, f"select to_regclass('{kept.rows}') is not null and to_regclass('{kept.parts}') is not null")
    run(at_work.drop())
    run(at_work.close())


@pytest.mark.parametrize("if_exists", ["append", "upsert"])
@pytest.mark.parametrize("moment", ["staging", "moving"])
def test_an_interrupt_keeps_nothing_and_ends_what_still_writes(
    db: Database, fresh_database_url: str, moment: str, if_exists: Any
) -> None:
    """Ctrl-C while threads of dask's send their rows, and while the rows are moved."""
    make(db, "create table numbers (id int8 primary key, name text, share float8)")
    with psycopg.connect(fresh_database_url) as holder:
        interrupt = threading.Thread(target=interrupt_a_waiting_write, args=(holder, moment))
        collection = in_parts(numbers()).map_partitions(Locking(holder, moment), meta=META)
        interrupt.start()
        with pytest.raises(KeyboardInterrupt) as caught:
            to_postgresql(collection, "numbers", db, if_exists, key="id")
        holder.rollback()
        interrupt.join(HANG)

    assert "Nothing was written into numbers." in caught.value.__notes__
    assert value(db, "select count(*) from numbers") == 0
    wait_until(lambda: int(db.engine.pool.checkedout()) == 0)  # type: ignore[attr-defined]


class Locking:
    """Locks the table that the rows wait in, or that they go into, before the first partition is written."""

    def __init__(self, holder: psycopg.Connection[Any], moment: str) -> None:
        self._holder = holder
        self._moment = moment
        self._lock = threading.Lock()

    def __call__(self, part: pd.DataFrame) -> pd.DataFrame:
        with self._lock:
            for (name,) in self._holder.execute(
                f"select oid::regclass::text from pg_class where {is_in(self._moment)}"
            ):
                self._holder.execute(f"lock table {name} in share mode")
        return part

    def __dask_tokenize__(self) -> str:
        return self._moment


def is_in(moment: str) -> str:
    return r"relname ~ '^asyncdb_nb_staging_[0-9a-f]+$'" if moment == "staging" else "relname = 'numbers'"


def interrupt_a_waiting_write(holder: psycopg.Connection[Any], moment: str) -> None:
    waiting = f"select 1 from pg_locks l join pg_class c on c.oid = l.relation where not granted and {is_in(moment)}"
    dropping = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like 'DROP TABLE IF EXISTS%'"
    with psycopg.connect(holder.info.dsn, autocommit=True) as watch:
        wait_until(lambda: watch.execute(waiting).fetchall())
        os.kill(os.getpid(), signal.SIGINT)
        if moment == "staging":
            wait_until(lambda: watch.execute(dropping).fetchall())
            holder.rollback()


@pytest.mark.second_tier
@pytest.mark.keeps_connections
def test_what_a_killed_process_left_is_dropped_by_the_next_write(
    fresh_database_url: str, db: Database, server_watch: ServerWatch
) -> None:
    make(db, "create table numbers (id int8)")
    process = subprocess.Popen([sys.executable, "-c", VICTIM, fresh_database_url])
    wait_until(lambda: value(db, "select count(*) from pg_class where relname ~ '^asyncdb_nb_staging_[0-9a-f]+$'"))
    process.kill()
    process.wait()
    assert value(db, LEFT) > 0
    server_watch.wait_for_backends(1)

    to_postgresql(in_parts(numbers()[["id"]]), "numbers", db)
    assert value(db, "select count(*) from numbers") == ROWS


VICTIM = """
import sys, time, dask.dataframe as dd, pandas as pd
from asyncdb_nb import Database
from asyncdb_nb.distributed import to_postgresql

def wait(part):
    if len(part):
        time.sleep(1000)
    return part

frame = pd.DataFrame({"id": range(10)})
to_postgresql(dd.from_pandas(frame, npartitions=2).map_partitions(wait, meta=frame), "numbers", Database(sys.argv[1]))
"""
