"""What holds of tables of millions of rows: `pytest -m soak tests/explore/test_large.py` takes some minutes."""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from server_checks import ServerWatch
from waiting import until

from asyncdb_nb import Database

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3_600)]

ROWS = 10_000_000
EXPORTED = (
    "select id, id % 7 as seven, (id * 1.005)::numeric(12, 3) as cost, case when id % 3 > 0 then code end as code, "
    "at, id / 3.0::float8 as share, jsonb_build_object('id', id) as j from large.rows where id <= {rows} order by id"
)
STOPPED = 20  # times
EXPORT = """
import asyncio, re
from pathlib import Path
from asyncdb_nb import Database

async def main():
    async with Database({url!r}) as db:
        for rows in (200_000, {rows}):
            await db.export({statement!r}.format(rows=rows), {path!r})
            print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def url(database_url: str) -> Iterator[str]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create schema large")
        connection.execute(
            "create unlogged table large.rows as select g as id, g % 10 as ten, (random() * 1e6)::int as number, "
            "md5(g::text) as code, timestamptz '2024-01-01' + g * interval '1 s' as at "
            f"from generate_series(1, {ROWS}) as g"
        )
        connection.execute("alter table large.rows add primary key (id)")
        connection.execute("vacuum analyze large.rows")
    yield database_url
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop schema large cascade")


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with Database(url) as db:
        yield db


async def test_a_profile_takes_one_pass_and_little_more(db: Database) -> None:
    """Three statements, of which one looks at all rows."""
    profile = await db.profile("large.rows")
    said = db.history()

    assert len(said) == 2  # and the question for its columns, which is the package's own
    assert profile.rows == ROWS
    the_pass = said["ms"].max() / 1000
    beyond = said["ms"].sum() / 1000 - the_pass
    print(f"profile of {ROWS:,} rows: the pass {the_pass:.1f} s, {beyond:.2f} s beyond")  # noqa: T201
    assert beyond < 3


async def test_a_profile_is_stopped_at_any_moment(db: Database, clean_server: ServerWatch) -> None:
    begun = time.monotonic()
    await db.profile("large.rows")
    whole = time.monotonic() - begun
    at_work = "select 1 from pg_stat_activity where datname = 'tests' and state = 'active' and pid <> pg_backend_pid()"
    took = []
    for _ in range(STOPPED):
        task = asyncio.create_task(_profile(db))
        await asyncio.sleep(random.uniform(0, whole))
        begun = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: not clean_server.query(at_work))
        took.append(time.monotonic() - begun)

    print(f"stopped {STOPPED} times within {max(took):.2f} s")  # noqa: T201
    assert max(took) < 1


async def _profile(db: Database) -> None:
    await db.profile("large.rows")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
async def test_an_export_has_every_value_at_flat_memory(
    db: Database, url: str, tmp_path: Path, suffix: str, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    rows, path = 5_000_000, tmp_path / f"large{suffix}"
    code = EXPORT.format(url=url, rows=rows, statement=EXPORTED, path=str(path))
    few, many = map(int, run_script(code, timeout=3_000).stdout.split())
    print(f"{suffix}: {few} MB at the peak for 200,000 rows, {many} MB for {rows:,}")  # noqa: T201

    file = _parts(path)
    rest = pa.table({})
    seen = 0
    async for batch in db.batches(EXPORTED.format(rows=rows)):
        expected = pa.Table.from_batches([batch]).replace_schema_metadata(None)
        while rest.num_rows < expected.num_rows:
            more = pa.Table.from_batches([next(file)])
            rest = pa.concat_tables([rest, more]) if rest.num_rows else more
        assert rest.slice(0, expected.num_rows).equals(expected)
        rest = rest.slice(expected.num_rows)
        seen += expected.num_rows
    assert (seen, rest.num_rows, next(file, None)) == (rows, 0, None)
    assert many < few + 100


def _parts(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".parquet":
        yield from pq.ParquetFile(path).iter_batches()
        return
    with pyarrow.ipc.open_file(pa.memory_map(str(path))) as reader:
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


async def test_a_view_of_a_large_table_turns_its_pages(db: Database) -> None:
    """By an index where there is one; figures only."""
    took = {}
    view = await db.view("large.rows", timeout=600)
    for name, asked in (
        ("first page", {}),
        ("sorted by its key", {"sort": 0}),
        ("sorted by a column without an index", {"sort": 2}),
        ("page 1,000 by its key", {"sort": 0, "first": 100_000}),
        ("filtered", {"filters": {3: "abcde"}}),
    ):
        begun = time.monotonic()
        assert len((await view.page(**asked)).rows) > 0  # type: ignore[arg-type]
        took[name] = f"{time.monotonic() - begun:.2f} s"
    print(took)  # noqa: T201
