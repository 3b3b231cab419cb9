"""SQL in cells: frames on the kernel's loop, values as binds, and something sensible where nothing can be awaited."""

from __future__ import annotations

import re

import pytest
from kernels import Kernel, KernelMaker, asleep
from server_checks import ServerWatch
from tiers import few_of
from waiting import wait_until

from asyncdb_nb.jupyter.magic_awaits import with_awaits

pytestmark = pytest.mark.keeps_connections


@pytest.fixture(scope="module")
def kernel(start_kernel: KernelMaker) -> Kernel:
    kernel = start_kernel("magics")
    assert kernel.run("%load_ext asyncdb_nb\nimport asyncio").status == "ok"
    return kernel


def test_a_cell_of_sql_shows_a_frame(kernel: Kernel) -> None:
    reply = kernel.run("%%asql\nselect 1 as one, 'a:b' as colon")

    assert reply.last.splitlines()[0].split() == ["one", "colon"]


def test_a_cell_of_sql_fills_a_variable(kernel: Kernel) -> None:
    assert kernel.run("%%asql found =\nselect 42 as answer").shown == []
    assert kernel.run('found["answer"].tolist()').last == "[42]"


def test_a_line_of_sql_is_an_expression(kernel: Kernel) -> None:
    kernel.run("number = 4")

    assert kernel.run("df = %asql select :number::int * 2 as twice\ndf['twice'].tolist()").last == "[8]"


def test_values_are_bound_and_never_pasted(kernel: Kernel) -> None:
    kernel.run("""name = "x'; drop table nothing; --" """)

    reply = kernel.run("df = %asql select :name as name, ':name' as literal -- :comment\ndf.iloc[0].tolist()")

    assert reply.last == """["x'; drop table nothing; --", ':name']"""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("%asql select :unheard_of", "there is no such variable. Type `unheard_of = ...` before."),
        ("%asql --db nowhere select 1", "No variable 'nowhere' holds a Database."),
        ("%%asql class =\nselect 1", "'class' is a word of Python, and no name. Type `%%asql name =`."),
        ("%%asql --write --explain\nselect 1", "--write and --explain cannot be given at once. Type one of them."),
        ("%%asql --write x = --explain\nselect 1", "--write and --explain cannot be given at once. Type one of them."),
        ("%%asql two words\nselect 1", "cannot be read. Type `%%asql`"),
        ("%%asql found = --explian\nselect 1", "There is no option --explian. Type one of --db, --write,"),
        ("%%asql found = select 1\nselect 2", "cannot be read. Type `%%asql`"),
        ("%asql drop table x", "returns no rows"),
        ("%asyncdb dcotor", "`%asyncdb dcotor` cannot be read. Type `%asyncdb`, `%asyncdb doctor` or"),
        ("%asyncdb doctor nowhere", "No variable 'nowhere' holds a Database. Type `nowhere = await connect(...)`"),
    ],
)
def test_a_mistake_is_named(kernel: Kernel, code: str, says: str) -> None:
    assert says in kernel.run(code).last


@pytest.mark.parametrize(
    "code",
    [
        "def rows():\n    df = %asql select 7 as seven\n    return df\nrows()['seven'].tolist()",
        "async def rows():\n    df = %asql select 7 as seven\n    return df\n(await rows())['seven'].tolist()",
        "for _ in range(2):\n    df = %asql select 7 as seven\ndf['seven'].tolist()",
        "%%time\ndf = %asql select 7 as seven\nprint(df['seven'].tolist())",
        "%%capture kept\ndf = %asql select 7 as seven\nprint(df['seven'].tolist())",
    ],
    ids=["def", "async def", "for", "%%time", "%%capture"],
)
def test_it_works_wherever_python_stands(kernel: Kernel, code: str) -> None:
    reply = kernel.run(code)
    shown = reply.last + reply.stdout + (kernel.run("print(kept.stdout)").stdout if "capture" in code else "")

    assert reply.status == "ok"
    assert "[7]" in shown


@pytest.mark.parametrize(
    "first", few_of(["%load_ext asyncdb_nb", "from asyncdb_nb import connect\ndb = await connect()"], 1)
)
def test_it_works_in_the_very_cell_that_makes_it_known(start_kernel: KernelMaker, first: str) -> None:
    """IPython has read that cell before, and has written no `await` into it. `connect()` is enough."""
    fresh = start_kernel("late")

    assert fresh.run(f"{first}\ndf = %asql select 7 as seven\ndf['seven'].tolist()").last == "[7]"
    assert fresh.run("%%asql found =\nselect 8 as eight").status == "ok"
    assert (
        fresh.run("async def nine():\n    df = %asql select 9 as nine\n    return df\n(await nine()).size").last == "1"
    )
    assert fresh.run("found['eight'].tolist()").last == "[8]"


@pytest.mark.second_tier
@pytest.mark.parametrize(
    "first", few_of(["%load_ext asyncdb_nb", "from asyncdb_nb import connect\ndb = await connect()"], 1)
)
def test_the_doctor_asks_for_the_next_cell_and_the_status_does_not(start_kernel: KernelMaker, first: str) -> None:
    """The doctor looks at the cell's own loop, which takes an `await`."""
    fresh = start_kernel("late")

    reply = fresh.run(f"{first}\n%asyncdb\n%asyncdb doctor")

    assert "Database" in reply.stdout
    assert "MagicError" in reply.last
    assert "Type `%asyncdb doctor` in the next cell." in reply.last
    assert fresh.run("%asyncdb doctor").last.endswith("Nothing is wrong.")


@pytest.mark.parametrize(
    ("code", "measured"),
    [
        ("%%asql --explain\nselect :limit::int as a", False),
        ("%%asql --analyze --db db\nselect :limit::int as a", True),
        ("%%asql --db db --analyze\nselect :limit::int as a", True),
        ("%%asql\nexplain select :limit::int as a", False),
        ("%%asql\nexplain (analyze, buffers) select :limit::int as a", True),
        ("%asql --analyze select :limit::int as a", True),
        ("%asql explain select 1", False),
        ("%%asql plan =\nexplain analyze select 1", True),
    ],
)
def test_a_plan_is_a_tree(kernel: Kernel, code: str, measured: bool) -> None:
    kernel.run("limit = 5; plan = None; db = await __import__('asyncdb_nb').connect()")

    reply = kernel.run(code)
    shown = kernel.run("print(plan)").stdout if "plan =" in code else reply.last

    assert reply.status == "ok"
    assert "node\n" in shown
    assert "Result" in shown
    assert ("own ms" in shown) is measured


def test_an_explain_of_another_format_is_as_the_server_writes_it(kernel: Kernel) -> None:
    assert "QUERY PLAN" in kernel.run("%%asql\nexplain (format yaml) select 1").last


def test_analyze_of_what_writes_is_refused(kernel: Kernel) -> None:
    assert "analyze=True runs the statement" in kernel.run("%%asql --analyze\ndelete from pg_class").last


def test_stop_stops_it(kernel: Kernel, clean_server: ServerWatch) -> None:
    sent = kernel.start("%%asql\nselect pg_sleep(600)")
    wait_until(lambda: asleep(clean_server, "magics"))

    kernel.interrupt()

    reply = kernel.wait(sent)
    assert reply.error == "CancelledError"
    assert reply.last.endswith(" s in line 1: %%asql. The transaction was rolled back.")


def test_a_background_task_goes_on_meanwhile(kernel: Kernel) -> None:
    kernel.run(
        "ticks = []\nasync def tick():\n    while True:\n        ticks.append(1)\n        await asyncio.sleep(0.01)\n"
        "task = asyncio.create_task(tick())"
    )

    kernel.run("%%asql\nselect pg_sleep(0.3)")

    assert int(kernel.run("task.cancel(); len(ticks)").last) > 10


def test_status_shows_each_database_and_its_loops(kernel: Kernel) -> None:
    kernel.run("%asql select 1")

    shown = kernel.run("%asyncdb status").stdout

    assert "db = Database" in shown
    assert "loops     event loop 1, this one: 0 connections in use" in shown
    assert re.search(r"  idle      [12] connections?, kept for the next query\n$", shown)


def test_status_counts_no_connection_that_a_stop_has_ended(kernel: Kernel, clean_server: ServerWatch) -> None:
    """Their places in the pool are kept, and empty; `gather` ends with the first of them."""
    kernel.run("%asql select 1\nawait db.engine.dispose()")
    sent = kernel.start("await asyncio.gather(*(db.frame('select pg_sleep(600)') for _ in range(3)))")
    wait_until(lambda: asleep(clean_server, "magics", 3))
    kernel.interrupt()
    kernel.wait(sent)

    wait_until(lambda: "event loop 1, this one: 0 connections in use" in kernel.run("%asyncdb").stdout)
    shown = kernel.run("%asyncdb").stdout
    assert shown.endswith("  idle      no connection\n")
    wait_until(lambda: not clean_server.backends("magics"))


def test_a_line_of_sql_is_sent_as_it_was_typed(kernel: Kernel) -> None:
    """IPython puts the values of `{name}` and `$name` into the lines of other magics."""
    kernel.run("a, b, table = 1, 2, 'pg_class'")

    kernel.run("df = %asql select '{a,b}'::text[] as list, '{table}' as name, $$hi$$ as word")

    assert kernel.run("df.iloc[0].tolist()").last == "[['a', 'b'], '{table}', 'hi']"


def test_status_shows_a_closed_database(kernel: Kernel) -> None:
    kernel.run("shut = type(db)(db.url)\nawait shut.aclose()")

    reply = kernel.run("%asyncdb\ndel shut")

    assert reply.status == "ok"
    assert "shut = Database, closed" in reply.stdout


@pytest.mark.parametrize("line", ["%asyncdb doctor", "%asyncdb doctor db", "found = %asyncdb doctor\nfound"])
def test_the_doctor_examines_the_database(kernel: Kernel, line: str) -> None:
    kernel.run("%asql select 1")

    reply = kernel.run(line)

    assert "PostgreSQL 18" in reply.last
    assert "database 'tests'" in reply.last
    assert reply.last.splitlines()[-1] == "Nothing is wrong."


@pytest.mark.second_tier
def test_the_doctor_takes_the_only_database_and_asks_which_of_several(start_kernel: KernelMaker) -> None:
    kernel = start_kernel("doctor")
    kernel.run("%load_ext asyncdb_nb\nfrom asyncdb_nb import Database, connect\nshop = again = await connect()\nshop")

    only = kernel.run("%asyncdb doctor").last
    several = kernel.run("store = Database(shop.url)\n%asyncdb doctor").last

    assert "database 'tests'" in only
    assert "Several variables hold a Database: shop, store. Type `%asyncdb doctor shop`.\n" in several


# --- the source -------------------------------------------------------------------------------------------------------

CALL = "get_ipython().run_line_magic('asql', 'select 1')"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"{CALL}\n", f"await {CALL}\n"),
        (f"é = '{'é' * 9}'; df = {CALL}\n", f"é = '{'é' * 9}'; df = await {CALL}\n"),
        (f"x = [{CALL} for _ in '12']\n", f"x = [await {CALL} for _ in '12']\n"),
        (f"await {CALL}\n", f"await {CALL}\n"),
        (f"def f():\n    return {CALL}\n", f'def f():\n    return __import__("asyncdb_nb").run({CALL})\n'),
        (f"async def f():\n    return {CALL}\n", f"async def f():\n    return await {CALL}\n"),
        (f'text = "{CALL}"\n', f'text = "{CALL}"\n'),
        (f"get_ipython().run_line_magic('time', '')\n{CALL}; {CALL}\n", None),
        (f"{CALL} +\n", f"{CALL} +\n"),
    ],
)
def test_the_await_is_written_where_the_magic_is_called(source: str, expected: str | None) -> None:
    lines = with_awaits(source.splitlines(keepends=True), ["asql"], can_await=True)

    if expected is None:
        expected = f"get_ipython().run_line_magic('time', '')\nawait {CALL}; await {CALL}\n"
    assert "".join(lines) == expected


@pytest.mark.second_tier
def test_it_works_where_cells_do_not_await(start_kernel: KernelMaker) -> None:
    kernel = start_kernel("autoawait")
    kernel.run("from asyncdb_nb import connect\ndb = await connect()")

    kernel.run("%autoawait False")

    assert kernel.run("%asql select 8 as n").last.endswith("8")
    assert kernel.run("df = %asql select 9 as n\ndf.n.tolist()").last == "[9]"
    assert kernel.run("%%asql\nselect 10 as n").last.endswith("10")
    kernel.run("%autoawait True\nawait db.aclose()")
