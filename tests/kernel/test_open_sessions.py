"""After a cell nothing is broken or idle in transaction unnoticed, and a forgotten `await` explains itself."""

from __future__ import annotations

import pytest
from kernels import Kernel, KernelMaker
from server_checks import ServerWatch

pytestmark = pytest.mark.keeps_connections


def idle_in_transaction(watch: ServerWatch, kernel: Kernel) -> list[str]:
    return [one.query for one in watch.backends(kernel.name) if one.state and one.state.startswith("idle in tr")]


@pytest.mark.parametrize(
    "code",
    [
        'frame = await db.frame("select 1 as one")',
        "async with db.session() as session:\n    one = await session.scalar(text('select 1'))",
        "tables = await db.tables()",
    ],
    ids=["frame", "session", "tables"],
)
def test_scenario_28_a_cell_that_read_leaves_no_transaction_open(
    kernel: Kernel, clean_server: ServerWatch, code: str
) -> None:
    assert kernel.run(code).status == "ok"

    assert not idle_in_transaction(clean_server, kernel)


def test_scenario_29_a_good_cell_works_after_one_with_an_error(kernel: Kernel) -> None:
    """Also in a session that outlives both: it is rolled back, because nothing else can be done with it."""
    kernel.run("held = AsyncSession(db.engine)\nawait held.execute(text('select 1'))")

    sent = kernel.start("await held.execute(text('select nonsense'))")
    reply = kernel.wait(sent)
    said = reply.stdout or kernel.hear_output(sent)  # the server is asked first

    assert reply.error == "ProgrammingError"
    assert said == "The transaction of `held` was rolled back: what it had not committed is gone.\n"
    assert kernel.run("await held.scalar(text('select 29'))").last == "29"
    kernel.run("await held.close()")


def test_a_session_whose_connection_is_lost_is_told(kernel: Kernel) -> None:
    kernel.run("held = AsyncSession(db.engine)\nawait held.execute(text('select 1'))")

    reply = kernel.run("await held.execute(text('select pg_terminate_backend(pg_backend_pid())'))")

    assert reply.stdout == "The transaction of `held` was rolled back: what it had not committed is gone.\n"
    assert kernel.run("await held.scalar(text('select 29'))").last == "29"
    kernel.run("await held.close()")


def test_a_queued_cell_waits_until_the_session_is_mended(kernel: Kernel) -> None:
    kernel.run("held = AsyncSession(db.engine)\nawait held.execute(text('select 1'))")

    kernel.start("await held.execute(text('select nonsense'))")
    queued = kernel.start("await held.scalar(text('select 29'))")

    assert kernel.wait(queued).last == "29"
    kernel.run("await held.close()")


def test_an_error_of_another_kind_leaves_healthy_work_alone(kernel: Kernel) -> None:
    kernel.run("held = AsyncSession(db.engine)\nawait held.execute(text('create temporary table mine (i int)'))")

    assert kernel.run("1 / 0").stdout == ""

    assert kernel.run("await held.scalar(text('select count(*) from mine'))").last == "0"
    kernel.run("await held.close()")


def test_a_session_that_is_held_open_is_mentioned_once(kernel: Kernel) -> None:
    reply = kernel.run("held = AsyncSession(db.engine)\nawait held.scalar(text('select 1'))")

    assert reply.stdout == (
        "`held` holds a transaction open on the server. When it is done with: `await held.close()`.\n"
    )
    assert kernel.run("1").stdout == ""
    kernel.run("await held.close()")


def test_scenario_34_a_forgotten_await_says_what_to_type(start_kernel: KernelMaker) -> None:
    """And nothing warns later, not even at exit."""
    kernel = start_kernel("forgotten")
    kernel.run("import warnings; warnings.simplefilter('always')\nfrom asyncdb_nb import connect\ndb = await connect()")

    assert kernel.run('db.frame("select 1")').last == "Nothing was read yet. Type: await db.frame(...)"
    assert kernel.run("db.aclose()").last == "Nothing has run yet. Type: await aclose(...)"
    assert kernel.run("connect()").last.endswith("Type: await connect(...)")
    for _ in range(5):  # `_`, `__` and `___` let go of them
        assert kernel.run("import gc; gc.collect(); None").stderr == ""
    kernel.shutdown()
    assert "never awaited" not in kernel.output


def test_scenario_35_a_set_up_cell_run_again_adds_no_pool(kernel: Kernel, clean_server: ServerWatch) -> None:
    kernel.run("before = db")

    for _ in range(50):
        kernel.run("from asyncdb_nb import connect\ndb = await connect()")

    assert kernel.run("db is before").last == "True"
    assert len(clean_server.backends(kernel.name)) <= 5
