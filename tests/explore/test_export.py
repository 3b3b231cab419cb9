"""A result becomes a file whole or not at all, and its values are what they were."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import os
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from server_checks import ServerWatch
from sqlalchemy.exc import DBAPIError
from waiting import wait_until

from asyncdb_nb import Database
from asyncdb_nb.errors import ExportError, FrameError
from asyncdb_nb.explore.interval_text import iso_interval

VALUES = """
select g as id, (g * 1.005)::numeric(12, 3) as cost, g / 3.0 as share, 9007199254740993 + g as big,
  timestamptz '2024-01-01 12:00+02' + g * interval '1 ms' as at, timestamp '2024-01-01' + g * interval '1 us' as local,
  date '2024-01-01' + g as day, time '01:02:03' as clock, g % 2 = 0 as even, 0.1::float8 * g as x,
  case when g % 3 = 0 then null when g % 3 = 1 then '' else '=1+' || g || E'"\\n;,é' end as note,
  array[g, null] as list, jsonb_build_object('a', 1.10) as j, '\\x00ff'::bytea as b,
  interval '1 year 2 mons -3 days 04:05:06.5' as wait, gen_random_uuid() as u, int4range(1, 5) as r
from generate_series(1, {rows}) g order by g
"""
SMALL, MANY = VALUES.format(rows=7), VALUES.format(rows=70_000)  # more than one part


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url, numeric="float", dates="timestamp") as db:  # which exports do not heed
        yield db


async def stable(db: Database, statement: str) -> str:
    """A table of the rows, so that two reads see the same uuids."""
    await db.execute(f"drop table if exists exported; create table exported as {statement}")
    return "select * from exported order by id"


@pytest.mark.parametrize("rows", [SMALL, pytest.param(MANY, marks=pytest.mark.second_tier)], ids=["few", "many"])
async def test_arrow_and_parquet_come_back_equal(db: Database, tmp_path: Path, rows: str) -> None:
    statement = await stable(db, rows)
    expected = await db.table(statement, numeric="decimal", dates="date")

    arrow = await db.export(statement, tmp_path / "all.arrow")
    parquet = await db.export(statement, tmp_path / "all.parquet")

    with pyarrow.ipc.open_file(tmp_path / "all.arrow") as reader:
        assert reader.read_all().equals(expected.replace_schema_metadata(None))
    back = pq.read_table(tmp_path / "all.parquet")
    assert back.drop_columns("wait").equals(expected.replace_schema_metadata(None).drop_columns("wait"))
    assert back["wait"].to_pylist() == ["P1Y2M-3DT4H5M6.5S"] * len(back)
    assert (arrow.rows, arrow.notes) == (expected.num_rows, ())
    assert parquet.notes == ("wait: intervals in ISO 8601, as text",)
    assert repr(parquet) == f"all.parquet: {expected.num_rows:,} rows\n  {parquet.notes[0]}"
    assert (parquet.path, parquet.size) == (tmp_path / "all.parquet", (tmp_path / "all.parquet").stat().st_size)
    assert sorted(os.listdir(tmp_path)) == ["all.arrow", "all.parquet"]
    await db.execute("drop table exported")


async def test_csv_has_what_the_server_would_write(db: Database, tmp_path: Path) -> None:
    """Read by Python's csv, and compared with the server's own text of each value."""
    statement = await stable(db, SMALL)
    done = await db.export(statement, tmp_path / "all.CSV")

    with (tmp_path / "all.CSV").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    texts = await db.frame(
        f"""select id::text, cost::text, share::text, big::text, to_char(at at time zone 'UTC',
        'YYYY-MM-DD HH24:MI:SS.US"Z"'), to_char(local, 'YYYY-MM-DD HH24:MI:SS.US'), day::text, clock::text || '.000000',
        even::text, x::text, coalesce(note, ''), '[' || id || ', null]', j::text, b::text, 'P1Y2M-3DT4H5M6.5S', u::text
        from ({statement}) e"""
    )
    assert head == (await db.table(statement)).column_names
    for row, expected in zip(rows, texts.to_numpy().tolist(), strict=True):
        assert row[:16] == expected
    raw = (tmp_path / "all.CSV").read_text(encoding="utf-8")
    assert '0.1,"","[1' in raw
    assert '0.30000000000000004,,"[3' in raw  # an empty text and NULL differ
    assert done.notes[:2] == ("list: JSON, as text", "b: bytes in hexadecimal, as text")
    await db.execute("drop table exported")


async def test_excel_has_numbers_times_and_texts_and_says_what_it_has_not(db: Database, tmp_path: Path) -> None:
    statement = await stable(db, SMALL)
    done = await db.export(statement, tmp_path / "all.xlsx")

    book = openpyxl.load_workbook(tmp_path / "all.xlsx")
    head, first, second, third = [[cell.value for cell in row] for row in book.active.iter_rows(max_row=4)]
    cells = dict(zip(head, first, strict=True))
    assert head == (await db.table(statement)).column_names
    assert (cells["id"], cells["cost"], cells["even"], cells["x"]) == (1, 1.005, False, 0.1)
    assert cells["share"] == "0.33333333333333333333"
    assert cells["big"] == "9007199254740994"
    assert cells["at"] == dt.datetime(2024, 1, 1, 10, 0, 0, 1000)
    assert cells["day"] in (dt.date(2024, 1, 2), dt.datetime(2024, 1, 2))
    assert cells["clock"] == dt.time(1, 2, 3)
    assert cells["u"] == (await db.frame(statement))["u"].astype(str)[0]
    assert (cells["wait"], cells["b"], cells["list"]) == ("P1Y2M-3DT4H5M6.5S", "\\x00ff", "[1, null]")
    note = head.index("note")
    assert (first[note], third[note]) == ("", None)
    assert second[note] == '=1+2"\n;,é'
    assert book.active.cell(3, note + 1).data_type == "s"  # and not a formula
    said = "\n".join(done.notes)
    assert "big: numbers of more than 15 digits, as text\n" in said
    assert "share: numbers of more than 15 digits, as text; `round(…, 2)` in the statement" in said
    assert "at: Excel has no time zones: the times are UTC" in said
    assert "local: Excel shows milliseconds: microseconds are cut off" in said
    await db.execute("drop table exported")


async def test_what_a_note_says_to_type_gives_excel_numbers(db: Database, tmp_path: Path) -> None:
    done = await db.export("select avg(x) as third from (values (0), (0), (1)) as v (x)", tmp_path / "text.xlsx")
    assert done.notes == (
        "third: numbers of more than 15 digits, as text; `round(…, 2)` in the statement cuts those behind the point",
    )

    statement = "select round(avg(x), 2) as third from (values (0), (0), (1)) as v (x)"
    done = await db.export(statement, tmp_path / "number.xlsx")
    assert done.notes == ()
    assert openpyxl.load_workbook(tmp_path / "number.xlsx").active["A2"].value == 0.33


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("'NaN'::numeric", "NaN"),
        ("'-Infinity'::float8", "-inf"),
        ("1e30::numeric", 1e30),
        ("date '1899-12-31'", "1899-12-31"),
        ("date '0044-03-15 BC'", None),
        ("'infinity'::date", None),
        ("'https://example.org'", "https://example.org"),
        ("'{1}'", "{1}"),
        ("E'a\\x01b'", "a_x0001_b"),
        ("123456789012345.5::numeric", "123456789012345.5"),
        ("12345678901234.5::numeric", 12345678901234.5),
        ("null", None),
        ("null::text", None),
        ("null::float8", None),
        ("'NaN'::float8", "nan"),
        ("timestamp '0044-03-15 BC'", "-0043-03-15 00:00:00.000000"),
        ("timestamptz '9999-12-31 23:00+00'", dt.datetime(9999, 12, 31, 23)),
    ],
)
async def test_values_that_excel_has_not(db: Database, tmp_path: Path, value: str, written: object) -> None:
    await db.export(f"select {value} as v", tmp_path / "one.xlsx")

    assert openpyxl.load_workbook(tmp_path / "one.xlsx").active.cell(2, 1).value == written


@pytest.mark.parametrize("name", ["e.parquet", "e.arrow", "e.csv", "e.xlsx"])
async def test_an_empty_result_has_its_columns(db: Database, tmp_path: Path, name: str) -> None:
    done = await db.export("select 1 as a, 'x' as b where false", tmp_path / name)

    assert done.rows == 0
    assert b"a" in (tmp_path / name).read_bytes()


async def test_values_are_bound(db: Database, tmp_path: Path) -> None:
    await db.export("select :a as a, ':b' as b", tmp_path / "x.parquet", {"a": "it's"})

    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == [{"a": "it's", "b": ":b"}]


@pytest.mark.second_tier
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.csv", "x.xlsx"])
async def test_an_error_leaves_what_was_there_and_nothing_else(db: Database, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("before")

    with pytest.raises(DBAPIError, match="division by zero"):
        await db.export("select g, 1 / (299999 - g) from generate_series(1, 300000) g", tmp_path / name)

    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "before"
    await db.export("select 1 as a", tmp_path / name)
    assert (tmp_path / name).read_bytes() != b"before"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["x.parquet", "x.xlsx"])
async def test_a_stop_leaves_nothing(db: Database, tmp_path: Path, name: str, clean_server: ServerWatch) -> None:
    statement = "select g, case when g > 200000 then pg_sleep(600)::text end from generate_series(1, 200001) g"
    task = asyncio.create_task(db.export(statement, tmp_path / name))
    asleep = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
    await asyncio.to_thread(wait_until, lambda: bool(clean_server.query(asleep)))

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert os.listdir(tmp_path) == []


async def test_a_wrong_path_is_refused_at_the_call(db: Database, tmp_path: Path) -> None:
    for path, said in (
        ("x.txt", r"Name a path that ends in \.parquet, \.arrow, \.csv, \.xlsx, behind the statement\."),
        ("x", "suffix"),
        ("nowhere/x.csv", "There is no folder"),
    ):
        with pytest.raises(ExportError, match=said):
            db.export("select 1", tmp_path / path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ExportError, match="is a folder"):
        db.export("select 1", tmp_path / "folder.csv")
    with pytest.raises(FrameError, match="returns no rows"):
        await db.export("create table never ()", tmp_path / "x.csv")
    assert os.listdir(tmp_path) == ["folder.csv"]


@pytest.mark.parametrize(
    ("statement", "name", "said"),
    [
        ("select 1 as a, 2 as a", "x.parquet", "Two columns are named 'a'"),
        ("select repeat('x', 40000) as long", "x.xlsx", "Row 1 has 40,000 characters in column 'long'"),
        pytest.param(
            "select g from generate_series(1, 1048576) g",
            "x.xlsx",
            "more than 1,048,575 rows",
            marks=pytest.mark.second_tier,
        ),
    ],
)
async def test_what_a_format_cannot_hold_is_refused(
    db: Database, tmp_path: Path, statement: str, name: str, said: str
) -> None:
    with pytest.raises(ExportError, match=said):
        await db.export(statement, tmp_path / name)
    assert os.listdir(tmp_path) == []


async def test_a_link_is_followed_and_the_umask_heeded(db: Database, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "file.csv")

    await db.export("select 1 as a", tmp_path / "link.csv")

    assert (tmp_path / "link.csv").is_symlink()
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "file.csv").stat().st_mode == plain.stat().st_mode


async def test_intervals_are_written_as_postgresql_writes_them_in_iso_8601(db: Database) -> None:
    for text in ("1 year 2 mons -3 days 04:05:06.5", "-14 mons", "-00:00:00.000001", "0", "25:59:59", "-1 day +1 hour"):
        async with db.session() as session:
            from sqlalchemy import text as sql

            await session.execute(sql("set local intervalstyle = iso_8601"))
            [iso] = (await session.execute(sql(f"select cast(interval '{text}' as text)"))).one()
            fields = "extract(year from i)*12 + extract(month from i), extract(day from i), "
            fields += "extract(epoch from i - date_trunc('day', i)) * 1000000"
            months, days, micro = (
                await session.execute(sql(f"select {fields} from (select interval '{text}' i) v"))
            ).one()
        assert iso_interval(int(months), int(days), int(micro)) == iso


def test_decimals_keep_their_digits_in_json() -> None:
    from asyncdb_nb.explore.arrow_files import readable

    assert readable([Decimal("1.10"), {"a": b"\x00"}, (1, pa.MonthDayNano([1, 0, 0]))]) == [
        "1.10",
        {"a": "\\x00"},
        [1, "P1M"],
    ]
