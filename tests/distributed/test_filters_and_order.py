"""Rows that the server leaves out are those that pandas would, and an index is looked up in an order of its own."""

from __future__ import annotations

import datetime as dt
import gc
from collections.abc import Iterator
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from server_checks import ServerWatch
from sqlalchemy.exc import DBAPIError
from tables import make
from waiting import wait_until

from asyncdb_nb import Database, FrameError, UnsplittableError, run
from asyncdb_nb.distributed import read_sql_query, read_sql_table, release

pytestmark = pytest.mark.second_tier

MAKE = """create table runs as select g as id, 'name ' || g % 7 as name, nullif(g % 5, 0)::int2 as few,
    (g * 1.25)::numeric(12, 2) as cost, timestamptz '2024-01-01' + g * interval '1 min' as at,
    md5(g::text)::uuid as code from generate_series(1, 2000) g"""
NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def db(fresh_database_url: str) -> Iterator[Database]:
    db = Database(fresh_database_url)
    make(db, MAKE)
    yield db
    gc.collect()
    run(db.aclose())


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ([("id", ">", 1500), ("name", "==", "name 3")], lambda f: (f["id"] > 1500) & (f["name"] == "name 3")),
        ([("id", "<=", 10)], lambda f: f["id"] <= 10),
        ([("few", "!=", 1)], lambda f: (f["few"] != 1).fillna(False)),
        ([("id", "in", [3, 5, 4000])], lambda f: f["id"].isin([3, 5])),
        ([("name", "not in", {"name 1", "name 2"})], lambda f: ~f["name"].isin(["name 1", "name 2"])),
        ([[("id", "<", 5), ("name", "=", "name 1")], [("id", ">=", 1999)]],
         lambda f: ((f["id"] < 5) & (f["name"] == "name 1")) | (f["id"] >= 1999)),
        ([("at", "<", NOON)], lambda f: f["at"] < NOON),
        ([("cost", "==", 12.5)], lambda f: f["id"] == 10),
        ([("id", "in", [])], lambda f: f["id"] < 0),
        ([], lambda f: f["id"] > 0),
    ],
)  # fmt: skip
def test_filters_are_those_of_pandas(db: Database, filters: Any, wanted: Any) -> None:
    whole = run(db.frame("select * from runs order by id"))
    whole.attrs.clear()
    expected = whole[wanted(whole)].reset_index(drop=True)
    table = read_sql_table(db, "runs", npartitions=3, filters=filters)
    query = read_sql_query(db, "select * from runs", "id", 3, filters=filters)

    assert_frame_equal(table.compute().reset_index(drop=True), expected)
    assert_frame_equal(query.compute().reset_index(), expected)
    release(table)
    release(query)


def test_the_server_filters_and_is_sent_values_apart_and_only_the_columns_that_are_used(
    db: Database, clean_server: ServerWatch
) -> None:
    """By its own log, from a table and from a statement with colons of its own."""
    make(db, 'create table "odd:name" as select id, name as "na:me", cost, few from runs')
    with_colons = 'select id::int8, "na:me", cost, few, (array[1, 2, 3])[1:2] as part, \':id\' as text from "odd:name"'
    clean_server.query("alter system set log_statement = 'all'")
    clean_server.query("select pg_reload_conf()")
    wait_until(lambda: clean_server.query("show log_statement")[0][0] == "all")
    filters = [("na:me", "==", "name '3"), ("id", ">", 77777)]
    logs = []
    for collection in (
        read_sql_table(db, '"odd:name"', npartitions=2, filters=filters),
        read_sql_query(db, with_colons, "id", 2, filters=filters),
    ):
        clean_server.mark()
        assert len(collection["cost"].compute()) == 0
        log = clean_server.log_since_mark().replace("\n\t", " ")  # a statement of several lines
        logs.append([line for line in log.splitlines() if '"cost"' in line])
        release(collection)
    clean_server.query("alter system reset log_statement")
    clean_server.query("select pg_reload_conf()")

    for lines in logs:
        assert lines
        assert all("name '3" not in line and "$1" in line for line in lines if "COPY" not in line), lines
        assert not [line for line in lines if '"few"' in line.partition("select")[2].partition("from (")[0]]


@pytest.mark.parametrize(
    ("filters", "error", "reason"),
    [
        ([("no", ">", 1)], DBAPIError, "no"),
        ([("id", ">", "seven")], Exception, "seven"),
        ([("id", "like", "x")], FrameError, "none of"),
        ([("id", ">", None)], FrameError, "None"),
        ([("id", "!=", pd.NA)], FrameError, "None"),
        ([("id", "not in", [1, pd.NaT])], FrameError, "None"),
        ([("few", "not in", [1, float("nan")])], DBAPIError, "NaN"),
        ([("id", "in", 3)], FrameError, "take a list"),
        ([("id", "==", [3])], FrameError, "take a list"),
        (["id > 3"], FrameError, "filters are"),
        ([("id", ">")], FrameError, "filters are"),
    ],
)
def test_filters_that_cannot_be_are_refused_at_once_and_nothing_is_kept(
    db: Database, clean_server: ServerWatch, filters: Any, error: type[Exception], reason: str
) -> None:
    for make_collection in (
        lambda: read_sql_table(db, "runs", filters=filters),
        lambda: read_sql_query(db, "select * from runs", "id", 2, filters=filters),
    ):
        with pytest.raises(error, match=reason):
            make_collection()

    assert not [one for one in clean_server.backends() if one.state == "idle in transaction"]


WORDS = ["a", "B", "c", "D", "é", "Z", "z", "f", "E", "ß", "aa", "Ab", "aC", "~", "_x", "10", "9"]
WORD = f"create type word as enum ({', '.join(repr(word) for word in sorted(WORDS, key=str.casefold))})"


@pytest.fixture
def keyed(db: Database) -> pd.DataFrame:
    """A table `keyed` by a column whose order on the server is not Python's, and the frame of it."""
    rows = ", ".join(f"('{word}', {number})" for number, word in enumerate(WORDS * 2))
    make(
        db,
        WORD,
        "create table keyed (key word, number int8)",
        f"insert into keyed values {rows}",
    )
    frame = run(db.frame("select * from keyed order by key, number"))
    frame.attrs.clear()
    assert not frame["key"].is_monotonic_increasing, "the server's order is Python's, and this proves nothing"
    return frame


def test_a_key_is_looked_up_right_whatever_the_order_of_the_server(db: Database, keyed: pd.DataFrame) -> None:
    """`loc` of one, of those that are there and those that are not, and of a slice."""
    collection = read_sql_query(db, "select * from keyed", "key", 4)
    whole = keyed.set_index("key").sort_index()

    assert not collection.known_divisions
    assert collection.npartitions > 1
    for word in dict.fromkeys(keyed["key"]):
        assert sorted(collection.loc[word].compute()["number"]) == sorted(whole.loc[[word], "number"]), word
    for low, high in (("B", "a"), ("b", "g"), ("A", "s"), ("0", "~~"), ("h", "r")):
        found = collection.loc[low:high].compute()
        assert sorted(found["number"]) == sorted(whole.loc[low:high, "number"]), (low, high)
    release(collection)


def test_a_join_by_such_a_key_is_that_of_pandas(db: Database, keyed: pd.DataFrame) -> None:
    collection = read_sql_query(db, "select * from keyed", "key", 4)
    other = pd.DataFrame({"size": range(len(set(keyed["key"])))}, index=sorted(set(keyed["key"])))
    joined = collection.join(dd.from_pandas(other, npartitions=3)).compute()
    expected = keyed.set_index("key").join(other)

    assert sorted(zip(joined["number"], joined["size"], strict=True)) == sorted(
        zip(expected["number"], expected["size"], strict=True)
    )
    release(collection)


def test_a_key_in_the_order_of_its_code_points_has_known_divisions(db: Database) -> None:
    rows = ", ".join(f"('{word}', {number})" for number, word in enumerate(WORDS))
    make(db, 'create table coded (key text collate "C", number int8)', f"insert into coded values {rows}")
    collection = read_sql_query(db, "select * from coded", "key", 4)

    assert collection.known_divisions
    assert collection.compute().index.tolist() == sorted(WORDS)
    for word in WORDS:
        assert len(collection.loc[word].compute()) == 1
    release(collection)


@pytest.mark.parametrize(
    ("key", "expression"),
    [("code", "code"), ("even", "id % 2 = 0"), ("octets", "code::text::bytea"), ("number", "id::whole_number")],
)
def test_a_key_that_has_no_min_has_known_divisions(db: Database, key: str, expression: str) -> None:
    make(db, "create domain whole as int8", "create domain whole_number as whole")
    statement = f"select id, {expression} as {key} from runs"
    collection = read_sql_query(db, statement, key, 3)
    values = run(db.frame(statement))[key]

    assert collection.known_divisions
    assert [collection.divisions[0], collection.divisions[-1]] == [min(values), max(values)]
    assert collection.npartitions > 1
    assert sorted(collection.compute()["id"]) == list(range(1, 2001))
    assert len(collection.loc[values[7]].compute()) == (values == values[7]).sum()
    release(collection)


def test_a_key_without_an_order_in_pandas_is_refused(db: Database) -> None:
    with pytest.raises(UnsplittableError, match="have no order in pandas"):
        read_sql_query(db, "select id, id * interval '1 day 1 month' as took from runs", "took", 3)
