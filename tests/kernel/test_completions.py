"""Names of the database are completed in cells of SQL, and in the strings of calls, before anything was asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel, KernelMaker, needs_matchers
from waiting import HANG, wait_until

from asyncdb_nb.jupyter.completions import sql_at

pytestmark = [pytest.mark.keeps_connections, needs_matchers]


@pytest.fixture(scope="module")
def kernel(start_kernel: KernelMaker) -> Iterator[Kernel]:
    kernel = start_kernel("completions")
    kernel.run("from asyncdb_nb import connect, Database\ndb = await connect()\n%config Completer.use_jedi = False")
    kernel.run(
        'await db.execute(\'create schema zoo; create table zoo.zebra (stripes int, "Name" text); '
        "create table zookeeper (id int)')"
    )
    yield kernel
    kernel.run("await db.execute('drop schema zoo cascade; drop table zookeeper')")


def complete(kernel: Kernel, code: str, place: int | None = None) -> list[str]:
    """Ask as a frontend does, and give whole texts: those that are offered in the place of what is typed."""
    kernel.client.complete(code, len(code) if place is None else place)
    return list(kernel.client.get_shell_msg(timeout=HANG)["content"]["matches"])


def soon(kernel: Kernel, code: str, *expected: str) -> None:
    """Completing waits 80 ms for the server, which a busy machine can miss: the next time the answer is there."""
    wait_until(lambda: set(expected) <= set(complete(kernel, code)))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("%%asql\nselect * from zeb", ["zoo.zebra"]),
        ("%%asql --write found =\ndelete from zook", ["zookeeper"]),
        ("found = %asql select * from zoo.", ["zebra"]),
        ("%asql select z. from zoo.zebra z", []),
        ("rows = await db.frame('select * from zoo.zeb", ["zebra"]),
        ('rows = await db.frame("select * from zoo.zeb', ["zebra"]),
        ('rows = await db.table("""\nselect z.na\nfrom zoo.zebra z', []),
        ("await db.explain('select stri from zoo.zebra", []),
        ('await db.describe("zoo.z', ["zebra"]),
        ("await db.profile('zook", ["zookeeper"]),
        ("await db.view('zoo.ze", ["zebra"]),
    ],
)
def test_scenario_77_names_are_offered_where_sql_is_typed(kernel: Kernel, code: str, expected: list[str]) -> None:
    soon(kernel, code, *expected)


def test_what_follows_the_cursor_counts(kernel: Kernel) -> None:
    for code, place in (
        ("%%asql\nselect z. from zoo.zebra z", len("%%asql\nselect z.")),
        ("await db.frame('select z. from zoo.zebra z', {})", len("await db.frame('select z.")),
        ('await db.frame("""\nselect z.\nfrom zoo.zebra z\n""")', len('await db.frame("""\nselect z.')),
    ):
        wait_until(lambda code=code, place=place: complete(kernel, code, place) == ['"Name"', "stripes"])


def test_quotes_do_not_end_the_string_that_they_stand_in(kernel: Kernel) -> None:
    soon(kernel, "%%asql\nselect na from zoo.zebra")
    code = 'await db.frame("select na from zoo.zebra")'
    assert '\\"Name\\"' in complete(kernel, code, len('await db.frame("select na'))
    assert '"Name"' in complete(kernel, code.replace('"', "'"), len('await db.frame("select na'))


@pytest.mark.parametrize(
    "code",
    [
        "zoo",
        "text = 'select * from zoo.",
        "await db.frame(f'select * from zoo.",
        'await db.frame(rf"""select * from zoo.',
        "await db.frame('select 1', 'zoo.",
        "await other.frame('select * from zoo.",
        "await db.frame('select * from zoo.zebra')\nzook",
        "%%asql --db nowhere\nselect * from zoo.",
    ],
)
def test_nothing_is_offered_elsewhere(kernel: Kernel, code: str) -> None:
    assert not {"zebra", "zoo.zebra", "zookeeper"} & set(complete(kernel, code))


@pytest.mark.second_tier
def test_ddl_is_noticed_whoever_does_it(kernel: Kernel, start_kernel: KernelMaker) -> None:
    soon(kernel, "%%asql\nselect * from zoo.", "zebra")
    other = start_kernel("other")
    other.run("from asyncdb_nb import connect\ndb = await connect()")

    other.run("await db.execute('alter table zoo.zebra rename column stripes to lines; create table zoo.giraffe ()')")
    soon(kernel, "%%asql\nselect * from zoo.", "zebra", "giraffe")
    soon(kernel, "%%asql\nselect lin from zoo.zebra")
    other.run("await db.execute('alter table zoo.zebra rename column lines to stripes; drop table zoo.giraffe')")

    wait_until(lambda: complete(kernel, "%%asql\nselect * from zoo.") == ["zebra"])


def test_the_database_is_the_one_of_the_cell_or_the_call(kernel: Kernel) -> None:
    kernel.run("shop = Database(db.url.set(database='postgres'))\nawait shop.frame('select 1');")

    soon(kernel, "await db.frame('select * from zoo.", "zebra")
    assert complete(kernel, "%%asql --db shop\nselect * from zoo.") == []
    assert complete(kernel, "await shop.frame('select * from zoo.") == []
    kernel.run("await shop.aclose()")
    assert complete(kernel, "await shop.frame('select * from zoo.") == []  # and no error


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ('await db.frame("a|b")', "a|b"),
        ("await db.frame('a|b', {'x': 1})", "a|b"),
        ('await db.frame("""a\n|b""", "c")', "a\n|b"),
        ("await db.frame(r'a|\nb", "a|"),
        ('await db.frame("a\\"|b")', 'a\\"|b'),
        ("await db.describe('a|')", "table a|"),
        ("%%asql x =\na\n|b", "a\n|b"),
        ("x = %asql --db d a|b\nc", "a|b"),
        ("%%asql a|", None),
        ("await db.frame('a') |", None),
        ("x % asql a|", None),
    ],
)
def test_the_sql_is_found(code: str, text: str | None) -> None:
    place = code.index("|")
    found = sql_at(code.replace("|", ""), place)

    assert (None if found is None else f"{found.text[: found.cursor]}|{found.text[found.cursor :]}") == text
