"""What the server says stands under the cell that asked."""

from __future__ import annotations

import pytest
from kernels import Kernel, KernelMaker

pytestmark = pytest.mark.keeps_connections


@pytest.fixture(scope="module")
def kernel(start_kernel: KernelMaker) -> Kernel:
    kernel = start_kernel("notices")
    reply = kernel.run(
        "import asyncio, time\nfrom asyncdb_nb import connect, run\ndb = await connect()\nawait db.frame('select 1')"
    )
    assert (reply.status, reply.stdout) == ("ok", "")
    return kernel


SAY = "do $$ begin raise notice 'look'; raise warning 'out' using hint = 'there'; end $$"


@pytest.mark.parametrize(
    "cell",
    [
        f"await db.execute({SAY!r});",
        f"run(db.execute({SAY!r}));",
        f"await asyncio.create_task(db.execute({SAY!r}));",
        f"from sqlalchemy import text\nasync with db.session() as s:\n    await s.execute(text({SAY!r}))",
    ],
    ids=["await", "run", "task", "session"],
)
def test_scenario_82_it_stands_under_the_cell_that_asked_and_not_the_one_that_connected(
    kernel: Kernel, cell: str
) -> None:
    reply = kernel.run(cell)

    assert reply.stdout == "NOTICE:  look\nWARNING:  out\nHINT:  there\n"
    assert reply.stderr == ""
    assert kernel.run("1 + 1").stdout == ""


def test_a_cell_of_sql_shows_it_before_its_rows_or_among_what_a_script_did(kernel: Kernel) -> None:
    kernel.run(
        "%%asql --write\ncreate function said(n int) returns int language plpgsql as "
        "$$ begin raise notice 'it is %', n; return n; end $$"
    )
    read = kernel.run("%%asql\nselect said(n) as n from generate_series(1, 2) n")
    written = kernel.run("%%asql --write\ndrop table if exists never;\nselect said(7);\ndrop function said")

    assert (read.stdout, read.last.split()) == ("NOTICE:  it is 1\nNOTICE:  it is 2\n", ["n", "0", "1", "1", "2"])
    assert written.stdout == (
        "line 1: DROP TABLE\nNOTICE:  it is 7\nline 2: SELECT, 1 row\nline 3: DROP FUNCTION\nCommitted.\n"
    )


def test_a_flood_is_cut_off_and_counted(kernel: Kernel) -> None:
    lines = kernel.run(
        "await db.execute(\"do $$ begin for i in 1..1200 loop raise notice 'step %', i; end loop; end $$\");"
    ).stdout.splitlines()

    assert lines[49:] == ["NOTICE:  step 50", "… and 1,150 more messages of the server."]


def test_an_error_comes_after_it(kernel: Kernel) -> None:
    reply = kernel.run("await db.execute(\"do $$ begin raise notice 'first'; raise 'then'; end $$\")")

    assert reply.stdout == "NOTICE:  first\n"
    assert "then" in reply.last


@pytest.mark.second_tier
def test_after_unload_it_is_the_logs_again(start_kernel: KernelMaker) -> None:
    kernel = start_kernel("unloaded")
    kernel.run("%load_ext asyncdb_nb\nfrom asyncdb_nb import connect\ndb = await connect()")
    kernel.run("%unload_ext asyncdb_nb")

    kernel.run(
        "import logging\nlogged = []\nhandler = logging.Handler()\n"
        "handler.emit = lambda record: logged.append(record.getMessage())\n"
        "logging.getLogger('asyncdb_nb.notices').addHandler(handler)"
    )
    reply = kernel.run(f"await db.execute({SAY!r});\nlogged")

    assert (reply.stdout, reply.last) == ("", "['WARNING:  out\\nHINT:  there']")
