"""What ends a write in its middle: a full disk, a connection that is cut, the last row. All rows or none, one error."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from proxy import Proxy
from server_checks import ServerWatch
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from asyncdb_nb import Database, write
from asyncdb_nb.dataframes.writing.writing import Write

ROWS = 100_000
DATA = pd.DataFrame({"k": np.arange(ROWS), "v": "a text of some length"})


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url, pool_size=1, max_overflow=0) as db:
        yield db


@pytest.fixture
def small_tablespace(server_watch: ServerWatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tablespace on a disk of 4 MB."""
    [[data]] = server_watch.query("show data_directory")
    owner = Path(data).stat()
    place = Path(data).parent / "small disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size=4m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}", "tmpfs"]
    try:
        if shutil.which("mount") is None or subprocess.run([*mount, str(place)], capture_output=True).returncode:
            pytest.skip("a tmpfs of 4 MB is filled, so that no real disk is, and this user may not mount one")
        server_watch.query(f"create tablespace small location '{place}'")
        yield "small"
        server_watch.query("drop tablespace small")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True)
        os.rmdir(place)


@pytest.mark.parametrize("if_exists", ["append", "upsert"])
async def test_a_full_disk_ends_the_write_with_one_error_and_keeps_nothing(
    db: Database, small_tablespace: str, if_exists: Any
) -> None:
    """The session works on, and so does the table, for what there is room for."""
    made = f"create table on_small (k int unique, v text) tablespace {small_tablespace}"
    await db.execute(made)
    try:
        async with db.session() as session:
            await session.execute(text("insert into on_small values (-1, 'before')"))
            with pytest.raises(DBAPIError, match="No space left on device"):
                await write(session, DATA, "on_small", if_exists=if_exists, key="k")
            assert await session.scalar(text("select count(*) from on_small")) == 1
        assert (await db.frame("select k from on_small"))["k"].tolist() == [-1]
        await db.execute("drop table on_small")
        await db.execute(made)
        assert (await db.write(DATA[:10], "on_small", if_exists=if_exists, key="k")).inserted == 10
    finally:
        await db.execute("drop table on_small")


@pytest.mark.keeps_connections  # one is cut
@pytest.mark.parametrize("if_exists", ["append", "upsert", "replace"])
async def test_a_line_that_is_cut_among_the_rows_ends_the_write_with_one_error_and_keeps_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch, clean_server: ServerWatch, if_exists: Any
) -> None:
    socket = parse_qs(urlsplit(database_url).query)["host"][0] + "/.s.PGSQL.5432"
    seen = Write._seen
    async with Proxy(socket) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/tests"

        def cut(self: Write, rows: int, size: int) -> None:
            seen(self, rows, size)
            if rows > ROWS // 2:
                proxy.cut()

        async with Database(url, pool_size=1, max_overflow=0) as db:
            await db.write(DATA[:2].assign(k=[-1, -2]), "cut_off", if_exists="replace", key="k")
            with monkeypatch.context() as patch, pytest.raises(DBAPIError) as caught:
                patch.setattr(Write, "_seen", cut)
                await db.write(DATA, "cut_off", if_exists=if_exists, key="k")
            assert caught.value.connection_invalidated
            clean_server.wait_for_backends(0)
            assert (await db.frame("select k from cut_off order by k"))["k"].tolist() == [-2, -1]
            assert (await db.write(DATA[:5], "cut_off", if_exists=if_exists, key="k")).rows == 5
            await db.execute("drop table cut_off")


LAST = {
    "a check": "create table last (k int check (k < {last}), v text)",
    "a key": "create table last (k int primary key, v text); insert into last values ({last}, 'before')",
    "a foreign key": "create table firsts (k int primary key); "
    "insert into firsts select generate_series(0, {last} - 1); create table last (k int references firsts, v text)",
    "a trigger": "create table last (k int, v text); create function last_row() returns trigger language plpgsql as "
    "$$ begin if new.k = {last} then raise exception 'not this one'; end if; return new; end $$; "
    "create trigger last_row before insert on last for each row execute function last_row()",
    "a domain": "create domain small_int as int check (value < {last}); create table last (k small_int, v text)",
    "a partition": "create table last (k int, v text) partition by range (k); "
    "create table last_1 partition of last for values from (minvalue) to ({last})",
}


@pytest.mark.parametrize("made", LAST.values(), ids=LAST.keys())
async def test_what_the_server_refuses_at_the_last_row_keeps_none_and_names_it(
    db: Database, clean_server: ServerWatch, made: str
) -> None:
    await db.execute(made.format(last=ROWS - 1))
    before = (await db.frame("select k from last"))["k"].tolist()
    try:
        with pytest.raises(DBAPIError) as caught:
            await db.write(DATA, "last")

        assert f"It was row {ROWS - 1:,} of the data: k={ROWS - 1}" in "".join(caught.value.__notes__)
        assert (await db.frame("select k from last"))["k"].tolist() == before
        assert (await db.write(DATA[:-1], "last")).inserted == ROWS - 1
    finally:
        await db.execute(
            "drop table last; drop table if exists firsts; drop function if exists last_row; "
            "drop domain if exists small_int"
        )


async def test_a_constraint_that_is_deferred_fails_at_the_commit_and_keeps_nothing(db: Database) -> None:
    await db.execute("create table deferred (k int unique deferrable initially deferred, v text)")
    try:
        with pytest.raises(IntegrityError, match="deferred_k_key"):
            await db.write(pd.concat([DATA[:100], DATA[99:100]]), "deferred")

        assert (await db.frame("select * from deferred")).empty
    finally:
        await db.execute("drop table deferred")
