"""A failing query shows the lines that the user wrote and the message; `%tb` and `%debug` have the rest."""

from __future__ import annotations

import re

import IPython
import pytest
from kernels import Kernel, KernelMaker
from pandas_versions import PANDAS
from tiers import few_of

pytestmark = pytest.mark.keeps_connections

HELPER = "async def report(table):\n    return await db.frame(f'select * from {table}')"
LIBRARIES = ("asyncdb_nb/", "sqlalchemy/", "asyncpg/")


@pytest.fixture
def analyst(kernel: Kernel) -> Kernel:
    """The kernel, with a function of the user's own."""
    kernel.run(HELPER)
    return kernel


@pytest.mark.parametrize(
    "code",
    few_of(
        [
            "await report('wokflow')",
            "%asql select * from wokflow",
            "async with db.session() as session:\n    await session.execute(text('select * from wokflow'))",
            "await connect('postgresql://me@127.0.0.1:1/nothing')",
            "await db.describe('wokflow')",
            "await asyncio.wait_for(report('wokflow'), 10)",
            "run(db.frame('select * from wokflow'))",
        ],
        2,
    ),
    ids=["frame", "magic", "session", "connect", "describe", "wait_for", "run"],
)
def test_an_error_shows_the_users_own_lines_and_the_message(analyst: Kernel, code: str) -> None:
    shown = analyst.run(code).last

    assert "----> " in shown
    assert "wokflow" in shown or "127.0.0.1:1" in shown
    assert shown.endswith("(Frames of libraries are left out: `%tb` shows them.)")
    assert not [name for name in LIBRARIES if name in shown]
    assert len(shown.splitlines()) < 24


@pytest.mark.skipif(
    IPython.version_info < (8,),
    reason="IPython 7.34 of Colab is allowed, and numbers no cell in a traceback: there is nothing to compare",
)
def test_the_history_names_the_cell_as_the_error_does(analyst: Kernel) -> None:
    """Also where the line is an earlier cell's: that of a function."""
    cells = ["await db.frame('select wokflow')", "await report('wokflow')", "%asql select * from wokflow"]
    shown = [analyst.run(code).last for code in cells]
    told = analyst.run("print(*db.history()['where'].head(3)[::-1], sep='\\n')").stdout.splitlines()

    lines = [re.findall(r"In ?\[(\d+)\], line (\d+)", each) for each in shown]
    assert told == ["In [{}], line {}".format(*of_it[-1]) for of_it in lines]


STATEMENT = "select *\nfrom pg_class\nwhere relname = = 'a'\norder by 1"
CARET = "Line 3: where relname = = 'a'\n                        ^\n"


@pytest.mark.parametrize(
    "code",
    [
        f"%%asql\n{STATEMENT}",
        f'await db.frame("""{STATEMENT}""")',
        f'async with db.session() as session:\n    await session.execute(text("""{STATEMENT}"""))',
        f'await db.explain("""{STATEMENT}""")',
        f'await db.profile("""{STATEMENT}""")',
        f'await db.view("""{STATEMENT}""")',
        f"%%asql --explain\n{STATEMENT}",
    ],
    ids=["magic", "frame", "session", "explain", "profile", "view", "magic explain"],
)
def test_a_syntax_error_shows_its_line_and_a_caret(analyst: Kernel, code: str) -> None:
    """Also of a statement that the session executes by itself, whose error stays as it was."""
    shown = analyst.run(code).last

    assert shown.count(CARET) == 1
    assert "----> 4 where" in shown or not code.startswith("%%")
    assert "run_cell_magic" not in shown


def test_a_cell_of_sql_is_shown_as_its_lines_with_an_arrow_at_the_one_that_failed(analyst: Kernel) -> None:
    shown = analyst.run(f"%%asql slow =\n{STATEMENT}").last

    assert "\n      1 %%asql slow =\n      2 select *\n      3 from pg_class\n----> 4 where relname = = 'a'\n" in shown
    assert "----> 1 %%asql\n      2 select 1/0" in analyst.run("%%asql\nselect 1/0").last


def test_every_frame_of_the_users_is_shown(analyst: Kernel) -> None:
    shown = analyst.run("await report('wokflow')").last

    assert "await report('wokflow')" in shown
    assert "return await db.frame(f'select * from {table}')" in shown


@pytest.mark.parametrize(
    "code",
    few_of(
        [
            "await asyncio.wait_for(db.frame('select pg_sleep(600)'), 2)",
            "async with asyncio.timeout(2):\n    await db.frame('select pg_sleep(600)')",
        ],
        1,
    ),
    ids=["wait_for", "timeout"],
)
def test_a_timeout_that_ended_a_query_is_shown_as_short(analyst: Kernel, code: str) -> None:
    analyst.run("await db.frame('select 1 as one')")  # what is imported and opened first must not take the two seconds

    reply = analyst.run(code)

    assert reply.error == "TimeoutError"
    assert "db.frame('select pg_sleep(600)')" in reply.last
    assert reply.last.endswith("(Frames of libraries are left out: `%tb` shows them.)")
    assert "The transaction was rolled back." in reply.last
    assert len(reply.last.splitlines()) < 24


def test_an_earlier_error_that_the_users_code_has_met_is_shown_as_short(analyst: Kernel) -> None:
    shown = analyst.run(
        "from asyncdb_nb import to_frame\n"
        "try:\n    await report('first')\nexcept Exception as error:\n    failed = error\n"
        "try:\n    raise failed\nexcept Exception:\n    to_frame([1, 'a', None, {}])"
    ).last

    assert 'relation "first" does not exist' in shown
    assert "During handling of the above exception" in shown
    assert not [name for name in LIBRARIES if name in shown]


TO_SQL = """
many = await db.frame("select g::numeric / 3 as v, g as i from generate_series(1, 3000) g")
async with db.session() as session:
    connection = await session.connection()
    await connection.run_sync(lambda sync: many.to_sql("no_such", sync, index=False{more}))
"""


@pytest.mark.parametrize("more", ["", ", method='multi'"])
def test_an_error_of_many_binds_is_shown_short(analyst: Kernel, more: str) -> None:
    """pandas has an error of its own for SQLAlchemy's, with all of the statement in it."""
    shown = analyst.run(TO_SQL.replace("{more}", more)).last

    own = "DatabaseError: Execution failed on sql 'INSERT INTO no_such" if PANDAS >= (3, 0) else "DBAPIError"
    assert own in shown
    assert "lambda sync: many.to_sql" in shown
    assert not [name for name in (*LIBRARIES, "pandas/io") if name in shown]
    assert len(shown) < 7000


GROUP = """async with asyncio.TaskGroup() as group:
    for table in ("wokflow", "evnet"):
        group.create_task(report(table))"""


def test_a_group_shows_the_users_own_lines_of_each_of_its_errors(analyst: Kernel) -> None:
    shown = analyst.run(GROUP)

    assert (shown.error, shown.stderr) == ("ExceptionGroup", "")
    assert "async with asyncio.TaskGroup() as group:" in shown.last
    assert shown.last.count("return await db.frame(f'select * from {table}')") == shown.last.count("\nError ") >= 1
    assert 'relation "wokflow" does not exist' in shown.last or 'relation "evnet" does not exist' in shown.last
    assert not [name for name in LIBRARIES if name in shown.last]

    whole = analyst.run(re.search("`(import sys, .*)` shows them", shown.last)[1]).stderr  # type: ignore[index]
    assert all(name in whole for name in LIBRARIES)


def test_a_group_without_an_error_of_the_database_is_shown_as_ever(analyst: Kernel) -> None:
    shown = analyst.run("raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])")

    assert shown.error == "ExceptionGroup"
    shown_by_ipython_7 = "two (2 sub-exceptions)" in shown.last
    assert "ValueError: a" in shown.stderr or shown_by_ipython_7


def test_the_whole_traceback_is_a_percent_tb_away(analyst: Kernel) -> None:
    """The errors are as they were: with all frames, and with what led to them."""
    analyst.run("await report('wokflow')")

    whole = analyst.run("%tb").last

    assert all(name in whole for name in LIBRARIES)
    assert "The above exception was the direct cause" in whole
    assert "are left out" not in whole
    seen = "import sys, traceback\n[frame.name for frame in traceback.extract_tb(sys.last_traceback)][-1]"
    assert analyst.run(seen).last.startswith("'_handle_exception"), "%debug begins there: in SQLAlchemy"


@pytest.mark.parametrize(
    ("mode", "shown"), [("Minimal", (False, False)), ("Plain", (False, True)), ("Verbose", (True, False))]
)
def test_the_mode_of_tracebacks_is_kept(analyst: Kernel, mode: str, shown: tuple[bool, bool]) -> None:
    """Minimal has no frames in any case, and Verbose is for those who want all of them."""
    analyst.run(f"%xmode {mode}")
    reply = analyst.run("await report('wokflow')").last
    analyst.run("%xmode Context")

    assert ("sqlalchemy/engine" in reply, "left out" in reply) == shown
    assert 'relation "wokflow" does not exist' in reply


def test_other_errors_are_shown_as_ever(analyst: Kernel) -> None:
    """Also when they come out of a library."""
    shown = analyst.run("await asyncio.wait_for(asyncio.sleep(5), 0.01)")

    assert shown.error == "TimeoutError"
    assert "tasks.py" in shown.last or "timeouts.py" in shown.last


OWN = """
def own(shell, kind, error, traceback, tb_offset=None):
    print("mine:", kind.__name__)
get_ipython().set_custom_exc((Exception,), own)
"""


@pytest.mark.second_tier
def test_a_users_own_way_to_show_errors_stays(start_kernel: KernelMaker) -> None:
    """Set before or after: nothing of it is replaced, and nothing is taken off with ours."""
    kernel = start_kernel("before")
    kernel.run(OWN)
    kernel.run("%load_ext asyncdb_nb\nfrom asyncdb_nb import connect")
    kernel.run("db = await connect()")
    before = kernel.run("await db.frame('select nonsense')").stdout

    kernel.run("get_ipython().set_custom_exc((), None)\n%unload_ext asyncdb_nb\n%load_ext asyncdb_nb")
    ours = kernel.run("await db.frame('select nonsense')").last
    kernel.run(OWN)
    after = kernel.run("await db.frame('select nonsense')").stdout
    kernel.run("%unload_ext asyncdb_nb")
    unloaded = kernel.run("await db.frame('select nonsense')").stdout

    assert "are left out" in ours
    assert before == after == unloaded == "mine: ProgrammingError\n"
