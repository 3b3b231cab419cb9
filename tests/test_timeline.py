"""What `trace()` records of loops and connections, how it tells it, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from server_checks import ServerWatch
from sqlalchemy import Engine, event, text
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from asyncdb_nb import Database, LoopBoundPool, WrongLoopError, trace
from asyncdb_nb.diagnostics import Trace, listeners
from asyncdb_nb.explore.palette import DARK, LIGHT, Palette

mpl.use("agg")

USUAL_STORY = """\
loop 1
  connection 1
    connected
    checked out
    select 42
    checked in
  loop closed
  connection 1
  ✗ checked out (on loop 2)
  ✗ select 42 (on loop 2)
  ✗ failed: RuntimeError: Task attached to a different loop (on loop 2)
  ✗ checked in (on loop 2)
  ✗ closed (on loop 3)
loop 2
  loop closed
loop 3
  disposed
  loop closed"""

OUR_STORY = """\
loop 1
  connection 1
    connected
    checked out
    select 42
    checked in
    closed
  loop closed
loop 2
  connection 2
    connected
    checked out
    select 42
    checked in
    closed
  loop closed
loop 3
  disposed
  loop closed"""

DTYPES = {
    "seconds": "float64",
    "event": "str",
    "loop": "Int64",
    "connection": "Int64",
    "home": "Int64",
    "astray": "bool",
    "took": "Float64",
    "detail": "str",
}


async def ask(engine: AsyncEngine) -> int | None:
    async with engine.connect() as connection:
        return await connection.scalar(text("select 42"))


PROGRAM = """
import asyncio, pickle, sys
from test_timeline import two_loops
sys.stdout.buffer.write(pickle.dumps(two_loops(sys.argv[1]).events))
"""


def two_loops(url: str, **options: object) -> Trace:
    """The program of all lessons: one engine, two loops, and a third to dispose of it."""
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), **options)
    with trace() as recorded:
        for _ in range(2):
            with contextlib.suppress(RuntimeError):  # the usual pool's, which the story tells
                asyncio.run(ask(engine))
        asyncio.run(engine.dispose())
    return recorded


@pytest.fixture
def usual(database_url: str) -> Trace:
    """Recorded with the usual pool, in a process of its own: what that leaves behind is what the lessons are about."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, database_url]
    done = subprocess.run(command, capture_output=True, cwd=Path(__file__).parent, check=True)
    recorded = Trace()
    recorded._recorder.events = pickle.loads(done.stdout)
    return recorded


@pytest.fixture
def ours(database_url: str) -> Trace:
    return two_loops(database_url, poolclass=LoopBoundPool)


def pixels(recorded: Trace, **options: object) -> bytes:
    """A picture as bytes, and its figure forgotten."""
    import matplotlib.pyplot as plt

    figure = recorded.plot(**options).figure
    figure.canvas.draw()
    drawn = bytes(figure.canvas.buffer_rgba())
    plt.close(figure)
    return drawn


def test_our_pool_ends_every_connection_before_its_loop(ours: Trace) -> None:
    """The story has no times and no ids, so a notebook can store it."""
    assert str(ours) == OUR_STORY
    assert repr(ours) == "<Trace: 3 loops, 2 connections, 2 statements, 0 astray. Next: print(t), t.plot(), t.frame()>"


@pytest.mark.second_tier
@pytest.mark.keeps_connections
def test_the_usual_pool_uses_a_connection_after_its_loop(usual: Trace) -> None:
    """Bare SQLAlchemy is recorded as well, and what it does too late, or on a wrong loop, is marked."""
    assert str(usual) == USUAL_STORY


def test_the_frame_has_the_same_dtypes_whatever_happened(ours: Trace) -> None:
    empty = Trace().frame()
    full = ours.frame()

    for frame in (empty, full):
        assert list(frame.columns) == list(DTYPES)
        assert frame.dtypes.to_list() == [pd.Series([], dtype=dtype).dtype for dtype in DTYPES.values()]
    assert full["seconds"].is_monotonic_increasing
    statements = full[full["event"] == "statement"]
    assert statements["detail"].to_list() == ["select 42"] * 2
    assert statements["took"].between(0, 5).all()
    assert full["loop"].notna().all()


async def test_a_cancelled_statement_is_told(database_url: str) -> None:
    async with Database(database_url) as db:
        with trace() as recorded, pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), db.session() as session:
                await session.execute(text("select pg_sleep(600)"))

    assert "    select pg_sleep(600)\n    cancelled\n" in str(recorded)
    [statement] = [each for each in recorded.events if each.kind == "statement"]
    assert statement.took is not None


async def test_a_connection_from_before_keeps_its_loop_and_its_statements(database_url: str) -> None:
    """What was open before the block is recorded from then on, as a connection of the loop that opened it."""
    async with Database(database_url) as db, db.session() as session:
        await session.execute(text("select 1"))
        with trace() as recorded:
            await session.execute(text("select 2"))
            told_so_far = str(recorded)

    assert told_so_far == str(recorded) == "loop 1\n  connection 1\n    select 2"


async def test_a_connection_on_a_wrong_loop_is_astray_while_its_own_loop_lives(database_url: str) -> None:
    async with Database(database_url) as db:
        with trace() as recorded:
            async with db.engine.begin() as connection:
                with pytest.raises(WrongLoopError):
                    await asyncio.to_thread(asyncio.run, connection.execute(text("select 42")))

    assert "    checked out\n  ✗ failed: WrongLoopError (on loop 2)\n    checked in" in str(recorded)


async def test_a_ping_that_fails_is_recorded(database_url: str, server_watch: ServerWatch) -> None:
    """An error that has no `Connection` belongs to the loop; the program goes on as it would without a recording."""
    async with Database(database_url) as db:
        pid = (await db.frame("select pg_backend_pid() as pid"))["pid"].item()
        with trace() as recorded:
            server_watch.query("select pg_terminate_backend(%s, 5000)", pid)
            assert (await db.frame("select 42 as answer"))["answer"].item() == 42

    assert "  connection 1\n    invalidated: " in str(recorded)
    assert "\n  connection 2\n    connected\n    checked out\n" in str(recorded)


async def test_statements_of_detached_connections_are_recorded(database_url: str) -> None:
    """A connection that was detached after its first statement is still the same one."""
    async with Database(database_url) as db:
        with trace() as recorded:
            for first in ("select 1", None):
                async with db.engine.connect() as connection:
                    if first is not None:
                        await connection.execute(text(first))
                    (await connection.get_raw_connection()).detach()
                    await connection.execute(text("select 2"))

    statements = [each for each in recorded.events if each.kind == "statement"]
    assert [each.detail for each in statements] == ["select 1", "select 2", "select 2"]
    assert statements[0].connection == statements[1].connection


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not run there")
def test_uvloop_is_recorded_as_well(database_url: str) -> None:
    import uvloop

    engine = create_async_engine(database_url.replace("postgresql:", "postgresql+asyncpg:"), poolclass=LoopBoundPool)
    with trace() as recorded:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(ask(engine))
        last = recorded.events[-1]

    assert last.kind == "loop closed"
    assert str(recorded).startswith("loop 1\n  connection 1\n    connected\n")


def test_frames_are_recorded_as_their_statements(database_url: str) -> None:
    async def program() -> None:
        async with Database(database_url) as db:
            await db.frame("select generate_series(1, 100000) as number")

    with trace() as recorded:
        asyncio.run(program())

    details = [each.detail for each in recorded.events if each.kind == "statement"]
    assert "select generate_series(1, 100000) as number" in details


def test_nothing_of_it_stays(ours: Trace) -> None:
    """After the block, also after an error, there is no listener, no wrapped method and no mark on a class."""

    def touched() -> list[object]:
        loop_class = asyncio.BaseEventLoop
        marks = [kind.__dict__.get("_has_events") for kind in (Engine, Dialect)]
        heard = [event.contains(*listener) for listener in listeners._LISTENERS]
        return [loop_class.run_forever, loop_class.close, *marks, *heard]

    before = touched()
    assert not any(kind.__dict__.get("_has_events") for kind in (Engine, Dialect))

    with pytest.raises(ZeroDivisionError), trace(), trace():
        assert touched() != before
        raise ZeroDivisionError

    assert touched() == before


def test_being_watched_keeps_nothing_alive() -> None:
    with trace() as recorded:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        recorded._recorder._number(loop)
        loop.close()
        alive = len(recorded._recorder._loops)
        del loop
        gc.collect()

        assert (alive, len(recorded._recorder._loops)) == (1, 0)


@pytest.mark.keeps_connections
def test_the_picture_names_its_lanes_and_its_errors(usual: Trace) -> None:
    """A lane for each loop and, under it, its connections; the errors are written out below; no colour stands alone."""
    import matplotlib.pyplot as plt

    ax = usual.plot(title="the usual pool")

    assert [label.get_text() for label in ax.get_yticklabels()] == ["loop 1", "connection 1", "loop 2", "loop 3"]
    assert ax.get_title(loc="left") == "the usual pool"
    assert ax.get_ylabel() == "loops and their connections"
    assert ax.get_xlabel() == "events, in their order →\n✗ 1  RuntimeError: Task attached to a different loop"
    hatched = [bar for bar in ax.patches if bar.get_hatch()]
    assert len(hatched) == 1
    plt.close(ax.figure)


def test_the_picture_is_the_same_in_every_run(database_url: str) -> None:
    first, second = (two_loops(database_url, poolclass=LoopBoundPool) for _ in range(2))

    assert pixels(first) == pixels(second)
    assert pixels(first, scale="time") != pixels(second, scale="time")


def test_the_paper_is_light_or_dark_as_asked_or_as_the_style_says(ours: Trace) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.colors import to_hex

    with plt.style.context("dark_background"):
        styled = ours.plot()
    asked, plain = ours.plot(dark=True), ours.plot()

    papers = [to_hex(ax.get_facecolor()) for ax in (styled, asked, plain)]
    assert papers == [DARK.paper, DARK.paper, LIGHT.paper]
    plt.close("all")


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_what_is_drawn_together_differs_in_lightness(colours: Palette) -> None:
    """Also without its hue, a bar can be told from the paper and from the bars beside it (WCAG's contrast ratio)."""
    beside = {"loop": ("paper", "faint", "open", "out"), "statement": ("out",), "deep": ("astray",)}

    for name, others in beside.items():
        for other in others:
            assert contrast(getattr(colours, name), getattr(colours, other)) > 1.8, (name, other)


def contrast(one: str, other: str) -> float:
    """The quotient of two colours' luminances, the brighter by the darker."""
    from matplotlib.colors import to_rgb

    linear = [
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(each)] for each in (one, other)
    ]
    darker, brighter = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear)
    return (brighter + 0.05) / (darker + 0.05)


def test_an_empty_recording_can_be_shown() -> None:
    import matplotlib.pyplot as plt

    with trace() as recorded:
        pass

    assert str(recorded) == "No connection did anything."
    plt.close(recorded.plot().figure)
