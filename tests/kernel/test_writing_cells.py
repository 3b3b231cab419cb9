"""`%%asql --write`: a script that changes something, and says what each of its statements did."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel, KernelMaker, asleep
from server_checks import ServerWatch
from waiting import wait_until

pytestmark = pytest.mark.keeps_connections


@pytest.fixture(scope="module")
def kernel(start_kernel: KernelMaker) -> Iterator[Kernel]:
    kernel = start_kernel("writing")
    assert kernel.run("%load_ext asyncdb_nb").status == "ok"
    assert kernel.run("%asql --write create table written (id int primary key, day date)").status == "ok"
    yield kernel
    kernel.run("%asql --write drop table written")


def test_a_script_says_what_each_statement_did_and_shows_the_last_rows(kernel: Kernel) -> None:
    kernel.run("first = 1")

    reply = kernel.run(
        "%%asql --write\ninsert into written values (:first), (2);\n\ncomment on table written is 'a;b';\n"
        "delete from written where id = 2;\nselect count(*) as n from written"
    )

    assert reply.stdout.splitlines() == [
        *["line 1: INSERT, 2 rows", "line 3: COMMENT", "line 4: DELETE, 1 row", "line 5: SELECT, 1 row", "Committed."]
    ]
    assert reply.last.split() == ["n", "0", "1"]
    assert kernel.run("df = %asql select id from written\ndf['id'].tolist()").last == "[1]"


def test_scenario_82_a_script_that_fails_shows_the_line_with_a_caret_and_keeps_nothing(kernel: Kernel) -> None:
    reply = kernel.run("%%asql --write\ninsert into written values (5);\nselect 1\n  frm written")

    assert reply.stdout == "line 1: INSERT, 1 row\n"
    assert "----> 4   frm written" in reply.last
    assert "Line 3:   frm written\n" + " " * 14 + "^" in reply.last
    assert "statement 2 of 2, on line 2. Nothing of the script is kept" in reply.last
    assert kernel.run("df = %asql select id from written where id = 5\nlen(df)").last == "0"


def test_stop_keeps_nothing(kernel: Kernel, clean_server: ServerWatch) -> None:
    sent = kernel.start("%%asql --write\ninsert into written values (6);\nselect pg_sleep(600)")
    wait_until(lambda: asleep(clean_server, "writing"))

    kernel.interrupt()

    assert kernel.wait(sent).last.endswith("The transaction was rolled back.")
    assert kernel.run("df = %asql select id from written where id = 6\nlen(df)").last == "0"


def test_without_the_option_nothing_is_written_and_the_error_says_both_ways(kernel: Kernel) -> None:
    for cell in ("%%asql\ninsert into written values (7)", "%%asql\ninsert into written values (7) returning id"):
        shown = kernel.run(cell).last
        assert "`%%asql --write`" in shown
        assert "`await db.execute(...)`" in shown


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%asql --wriet select 1", "There is no option --wriet. Type one of --db, --write, --explain"),
        ("%asql --numeric exact select 1", "`--numeric exact` says nothing. Type `--numeric decimal` or"),
        ("%asql --db", "`--db` says nothing. Type `--db NAME`."),
    ],
)
def test_a_wrong_option_is_named(kernel: Kernel, line: str, says: str) -> None:
    assert says in kernel.run(line).last
