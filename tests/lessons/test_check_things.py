"""`check()` of pictures, tests, logs and measurements."""

from __future__ import annotations

import linecache
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from asyncdb_nb import Database, LoopBoundPool
from asyncdb_nb.lessons import check
from asyncdb_nb.workflows import WorkflowRepository, load_event_log

# --- 06.3 ---


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


async def steps_of(db: Database) -> pd.DataFrame:
    async with db.session(readonly=True) as session:
        steps = await WorkflowRepository(session).durations(by="step")
    steps["hours"] = steps["p90_seconds"] / 3600
    return steps


def across(steps: pd.DataFrame, x: str = "step", y: str = "hours", **names: str) -> Any:
    axes = steps.plot.barh(x=x, y=y, legend=False, ylabel="step")
    axes.set(**({"title": "Reviews take long", "xlabel": "hours"} | names))
    return axes


def by_hand(steps: pd.DataFrame) -> Any:
    axes = plt.figure().add_subplot()
    axes.bar(list(steps["step"]), list(steps["p90_seconds"]))
    axes.set_title("Reviews take long", loc="left")
    axes.set_ylabel("seconds")
    return axes


def shuffled(steps: pd.DataFrame) -> Any:
    return across(steps.assign(step=list(steps["step"][::-1])))


def line(steps: pd.DataFrame) -> Any:
    return steps.plot(x="step", y="hours", title="Reviews take long", ylabel="hours")


def nameless(steps: pd.DataFrame) -> Any:
    axes = across(steps)
    axes.set_yticklabels([])
    return axes


PICTURES: list[tuple[str, Any, str]] = [
    ("a figure", lambda s: across(s).figure, "`axes` is a Figure; what is asked for are its axes."),
    ("a frame", lambda s: s, "`axes` is a DataFrame, and matplotlib's Axes are asked for."),
    ("several", lambda s: [across(s)], "`axes` is a list, and matplotlib's Axes are asked for."),
    ("the mean", lambda s: across(s, y="mean_seconds"), "is not as long, beside the longest, as its `p90_seconds`."),
    ("the median", lambda s: across(s, y="p50_seconds"), "is not as long, beside the longest, as its `p90_seconds`."),
    ("some", lambda s: across(s.head(5)), "The picture has 5 bars, and there are 10 steps."),
    ("two columns", lambda s: s.plot.barh(x="step", y=["hours", "mean_seconds"]), "The picture has 20 bars, and"),
    ("one", lambda s: across(s.head(1)), "The picture has 1 bar, and there are 10 steps."),
    ("a line", line, "The picture has 0 bars, and there are 10 steps."),
    ("by number", lambda s: s["hours"].plot.barh(title="Long", xlabel="hours"), "names no bar 'enrich'."),
    ("no names", nameless, "The axis of the steps names no bar 'enrich'."),
    ("shuffled names", shuffled, "is not as long, beside the longest, as its `p90_seconds`."),
    ("no title", lambda s: across(s, title=""), "The figure has no title."),
    ("no name", lambda s: across(s, xlabel=""), "The axis of the numbers has no name."),
]


@pytest.mark.second_tier
@pytest.mark.parametrize(("draw", "words"), [case[1:] for case in PICTURES], ids=[case[0] for case in PICTURES])
async def test_06_3_what_is_wrong_with_the_picture_is_told(draw: Any, words: str, db: Database, faulty: Any) -> None:
    assert words in await faulty("06.3", draw(await steps_of(db)))


@pytest.mark.parametrize(
    "draw",
    [
        across,
        by_hand,
        lambda s: across(s[::-1], y="p90_seconds"),
        lambda s: across(s.assign(days=s["hours"] / 24), y="days"),
        lambda s: s.plot.bar(x="step", y="hours", title="Long", ylabel="hours"),
        lambda s: s.set_index("step")["hours"].sort_index().plot.barh(title="Long", xlabel="hours"),
    ],
    ids=["across", "by hand", "the other way round", "days", "upright", "by name"],
)
async def test_06_3_bars_may_stand_or_lie_in_any_unit(draw: Any, db: Database, right: Any) -> None:
    await right("06.3", draw(await steps_of(db)))


# --- 08.1 ---

GOOD = """
async def test_others_stay_open(asyncdb):
    async with asyncdb.session() as session:
        await session.execute(text("insert into task values ('notify', 'open')"))
    await finish(asyncdb, "load")
    assert [*(await asyncdb.frame("select name from task where status = 'open'"))["name"]] == ["notify"]
"""
BLIND = GOOD.partition("    assert")[0] + "    assert True\n"
LEAK = "    left = AsyncSession(asyncdb.engine)\n    await left.scalar(text('select 1'))\n"
TESTS: list[tuple[str, str, str]] = [
    ("asserts nothing", GOOD.partition("    assert")[0], "passes also with the `finish` that finishes every task"),
    ("asserts what is always true", BLIND, "passes also with the `finish` that finishes every task"),
    ("the lesson's own", GOOD.replace("'open')\"", "'done')\"").replace('["notify"]', "[]"), "passes also with the"),
    ("does not finish", GOOD.replace('await finish(asyncdb, "load")', "pass"), "With the right `finish` the"),
    ("expects none", GOOD.replace('["notify"]', "[]"), "the test does not pass: AssertionError"),
    ("expects all", GOOD.replace('["notify"]', '["load", "notify"]'), "the test does not pass: AssertionError"),
    ("no fixture", GOOD.replace("(asyncdb)", "(database)"), "the test does not pass: failed on setup"),
    ("no such name", GOOD.replace("finish(", "finnish("), "the test does not pass: NameError: name 'finnish'"),
    ("wrong SQL", GOOD.replace("insert into task", "insert into tasks"), "the test does not pass: "),
    ("no test", GOOD.replace("test_others_stay_open", "others_stay_open"), "pytest finds no test in it: the function"),
    ("not async", "def test_others_stay_open(asyncdb):\n    assert 0\n", "`test_others_stay_open` is not `async`"),
    ("skipped", "@pytest.mark.skip\n" + GOOD.lstrip(), "The test was skipped."),
    ("leaks", GOOD.replace("    await fin", f"{LEAK}    await fin"), "the test does not pass: "),
]


def defined(source: str) -> Any:
    """The function that a cell with this source defines."""
    name = f"<cell {abs(hash(source))}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"pytest": pytest}
    exec(compile(source, name, "exec"), namespace)
    return next(value for key, value in namespace.items() if key.endswith("others_stay_open"))


@pytest.mark.second_tier
@pytest.mark.parametrize(("source", "words"), [case[1:] for case in TESTS], ids=[case[0] for case in TESTS])
async def test_08_1_what_is_wrong_with_the_test_is_told(source: str, words: str, db: Database) -> None:
    """Each is run with both functions."""
    verdict = await check("08.1", db, defined(source))

    assert not verdict.right
    assert words in verdict.sentence


@pytest.mark.second_tier
async def test_08_1_a_test_that_can_fail_is_right(db: Database, right: Any, faulty: Any) -> None:
    await right("08.1", defined(GOOD))
    assert "`test_others_stay_open` is a str, and a function is asked for." in await faulty("08.1", GOOD)


@pytest.mark.second_tier
async def test_08_1_a_count_does_as_well(db: Database, right: Any) -> None:
    counting = """
async def test_others_stay_open(asyncdb_session, asyncdb):
    await asyncdb_session.execute(text("insert into task values ('notify', 'open')"))
    await asyncdb_session.commit()
    await finish(asyncdb, "load")
    assert await asyncdb_session.scalar(text("select count(*) from task where status = 'open'")) == 1
"""
    await right("08.1", defined(counting))


# --- 09 ---

TICKETS = "Ticket;Schritt;Zeit\n1;open;06.05.2024 09:30\n1;close;07.05.2024 10:00\n2;open;06.05.2024 11:15"
NAMED = {"case": "Ticket", "activity": "Schritt", "timestamp": "Zeit", "timestamp_format": "%d.%m.%Y %H:%M"}
BERLIN: dict[str, Any] = {**NAMED, "timezone": "Europe/Berlin"}


@pytest.fixture
async def empty(fresh_database_url: str) -> AsyncIterator[Database]:
    async with Database(fresh_database_url) as db:
        yield db


LOADS: list[tuple[str, dict[str, Any], str]] = [
    ("no zone", NAMED, "Step 'open' of ticket 1 was done on 06.05.2024 at 09:30 UTC, and that is not what"),
    ("Moscow", BERLIN | {"timezone": "Europe/Moscow"}, "was done on 06.05.2024 at 06:30 UTC, and that is not what"),
    ("winter", BERLIN | {"timezone": "Etc/GMT-1"}, "was done on 06.05.2024 at 08:30 UTC, and that is not what"),
    ("month first", BERLIN | {"timestamp_format": "%m.%d.%Y %H:%M"}, "was done on 05.06.2024 at 07:30 UTC, and"),
    ("the step as case", BERLIN | {"case": "Schritt", "activity": "Ticket"}, "The case was taken from the column 'Sch"),
]


@pytest.mark.parametrize(("options", "words"), [case[1:] for case in LOADS], ids=[case[0] for case in LOADS])
async def test_09_1_what_is_wrong_with_the_load_is_told(
    options: dict[str, Any], words: str, empty: Database, tmp_path: Path, faulty: Any
) -> None:
    (tmp_path / "tickets.csv").write_text(TICKETS)

    assert words in await faulty("09.1", await load_event_log(empty, tmp_path / "tickets.csv", **options), db=empty)


async def test_09_1_what_is_no_load_is_told(empty: Database, tmp_path: Path, faulty: Any, right: Any) -> None:
    """Another kind of answer, another file, a log that is gone, and the right one."""
    path = tmp_path / "tickets.csv"
    path.write_text(TICKETS)
    loaded = await load_event_log(empty, path, **BERLIN)
    await right("09.1", loaded, db=empty)
    assert "`loaded` is a PosixPath, and what `load_event_log` returns is an EventLog." in await faulty("09.1", path)
    assert "`loaded` is a DataFrame, and" in await faulty("09.1", await empty.frame("select 1 as a"), db=empty)
    assert "`loaded` is a str, and" in await faulty("09.1", str(loaded), db=empty)
    path.write_text(TICKETS.rpartition("\n")[0])
    fewer = await load_event_log(empty, path, **BERLIN, replace=True)
    assert "The log has 2 tasks of 1 cases, and its file has others." in await faulty("09.1", fewer, db=empty)
    path.write_text(TICKETS.replace("close", "end"))
    other = await load_event_log(empty, path, **BERLIN, replace=True)
    assert "The log has 3 tasks of 2 cases, and its file has others." in await faulty("09.1", other, db=empty)
    await empty.execute("drop schema tickets cascade")
    assert "there is no table tickets.task." in await faulty("09.1", loaded, db=empty)


WAYS = """
select way, count(*) as cases from (
    select string_agg(step, ' > ' order by position) as way from permits.task group by run_id
) as each_case group by way order by cases desc, way
"""


@pytest.fixture(scope="module")
def permits_url(server: Any, server_watch: Any, tmp_path_factory: Any) -> str:
    import asyncio

    server_watch.query("create database permits")
    url = str(server.url).replace("/postgres?", "/permits?")
    ways = ["a b", "a b", "a b", "a c b", "a c b", "a c c b", "b"]
    rows = [
        f"{case},{step},2024-03-04 {9 + hour:02}:00"
        for case, way in enumerate(ways)
        for hour, step in enumerate(way.split())
    ]
    path = tmp_path_factory.mktemp("permits") / "permits.csv"
    path.write_text("\n".join(["case,activity,timestamp", *rows]))

    async def load() -> None:
        async with Database(url) as db:
            await load_event_log(db, path)

    asyncio.run(load())
    return url


@pytest.fixture
async def permits(permits_url: str) -> AsyncIterator[Database]:
    async with Database(permits_url) as db:
        yield db


VARIANTS: list[tuple[str, Any, str]] = [
    ("a list", lambda f: f.values.tolist(), "`variants` is a list, and a DataFrame"),
    ("another name", lambda f: f.rename(columns={"way": "path"}), "no column `way`"),
    ("as index", lambda f: f.set_index("way"), "`way` is the index of `variants`"),
    ("another arrow", lambda f: f.assign(way=f["way"].str.replace(" > ", ">")), "a row for 'a>b', which is none of"),
    ("steps as lists", lambda f: f.assign(way=f["way"].str.split(" > ")), "`way` should have texts, and in row 0"),
    ("the rarest first", lambda f: f[::-1], "not the order: "),
    ("by name", lambda f: f.sort_values("way", ascending=False), "not the order: "),
    ("the common ones", lambda f: f.head(2), "There are 2 rows, and should be 4: "),
    (
        "shares",
        lambda f: f.assign(cases=f["cases"] / 7),
        "`cases` of 'a > b' is 0.42857142857142855, which is too small.",
    ),
    ("one off", lambda f: f.assign(cases=f["cases"] + 1), "`cases` of 'a > b' is 4, which is too large."),
    ("one for each case", lambda f: f.loc[f.index.repeat(f["cases"])], "'a > b' has 3 rows, and should have one."),
    ("with a total", lambda f: f.assign(all=7), "a column that was not asked for: `all`."),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in VARIANTS], ids=[case[0] for case in VARIANTS])
async def test_09_2_what_is_wrong_with_the_ways_is_told(
    change: Any, words: str, permits: Database, faulty: Any
) -> None:
    assert words in await faulty("09.2", change(await permits.frame(WAYS)), db=permits)


async def test_09_2_equal_ways_may_stand_in_any_order(permits: Database, right: Any) -> None:
    """Two of them are taken once each."""
    ways = await permits.frame(WAYS)

    await right("09.2", ways, db=permits)
    await right("09.2", ways.iloc[[0, 1, 3, 2]], db=permits)
    await right("09.2", ways.reset_index(drop=True)[["cases", "way"]], db=permits)


# --- 10 ---

WEIGHED = {
    "way": "usual pool, with a ping",
    "first loop": 20,
    "second loop": 0,
    "connections opened": 1,
    "left behind": 1,
}
PINGED: list[tuple[str, Any, str]] = [
    ("a frame", pd.DataFrame([WEIGHED]), "`pinged` is a DataFrame, and `weigh` returns a dict."),
    ("a list", [WEIGHED], "`pinged` is a list, and `weigh` returns a dict."),
    ("a name", "no", "`pinged` is a str, and `weigh` returns a dict."),
    (
        "another name",
        WEIGHED | {"way": "ping"},
        "It was weighed as 'ping', and 'usual pool, with a ping' is asked for.",
    ),
    ("used before", WEIGHED | {"first loop": 0}, "On the first loop 0 of 20 answers were right: weigh a new engine."),
    (
        "another pool",
        WEIGHED | {"second loop": 20},
        "On the second loop every answer was right, which this pool does n",
    ),
    ("made by hand", {"way": WEIGHED["way"]}, "`pinged` has no 'first loop', so `weigh` did not make it."),
    ("in part", {k: v for k, v in WEIGHED.items() if k != "left behind"}, "`pinged` has no 'left behind', so"),
]


@pytest.mark.parametrize(("answer", "words"), [case[1:] for case in PINGED], ids=[case[0] for case in PINGED])
async def test_10_1_what_is_wrong_with_the_weighing_is_told(answer: Any, words: str, db: Database, faulty: Any) -> None:
    assert words in await faulty("10.1", create_async_engine(db.url, pool_pre_ping=True), answer)


async def test_10_1_what_is_wrong_with_the_engine_is_told(db: Database, faulty: Any, right: Any) -> None:
    assert "The pool of `engine` does not ping" in await faulty("10.1", create_async_engine(db.url), WEIGHED)
    assert "`engine` is a URL, and" in await faulty("10.1", db.url, WEIGHED)
    for pool in (NullPool, LoopBoundPool):
        engine = create_async_engine(db.url, poolclass=pool, pool_pre_ping=True)
        assert f"The pool of `engine` is a {pool.__name__}, and the usual" in await faulty("10.1", engine, WEIGHED)
    await right("10.1", create_async_engine(db.url, pool_pre_ping=True), WEIGHED)
    await right("10.1", create_async_engine(db.url, pool_pre_ping=True), WEIGHED | {"second loop": 1})


TABLE = pd.DataFrame(
    [
        ("usual pool", 20, 0, 1, 1),
        ("pool of one", 20, 20, 1, 1),
        ("NullPool", 20, 20, 40, 0),
        ("engine for each loop", 20, 20, 2, 0),
        ("LoopBoundPool", 20, 20, 2, 0),
    ],
    columns=["way", "first loop", "second loop", "connections opened", "left behind"],
).set_index("way")
SAFE = ["LoopBoundPool", "engine for each loop", "NullPool"]
CHOICES: list[tuple[str, Any, str]] = [
    ("a name", "LoopBoundPool", "`safe` is a str, and a list of names is asked for."),
    ("a frame", TABLE, "`safe` is a DataFrame, and a list of names is asked for."),
    ("a number", 3, "`safe` is an int, and a list of names is asked for."),
    ("one", SAFE[:1], "`safe` has 1 ways, and should have 3: 'NullPool' is missing."),
    ("none", [], "`safe` has 0 ways, and should have 3: 'NullPool' is missing."),
    ("the cheapest", ["usual pool", *SAFE], "`safe` has 'usual pool', which gave 20 right answers and not 40."),
    ("one leaks", ["pool of one", *SAFE], "`safe` has 'pool of one', which left 1 behind."),
    ("as in the table", SAFE[::-1], "'NullPool' stands before 'engine for each loop', and opens more connections."),
    ("not by name", [SAFE[1], SAFE[0], SAFE[2]], "they open as many connections, and by name come in the other order."),
    ("another spelling", ["loopboundpool"], "`safe` has 'loopboundpool', which is none of the ways in `table`."),
    ("twice", [SAFE[0], *SAFE], "`safe` has 'LoopBoundPool' 2 times."),
    ("rows", [0, 1], "`safe` has 0, which is none of the ways in `table`."),
]


@pytest.mark.parametrize(("answer", "words"), [case[1:] for case in CHOICES], ids=[case[0] for case in CHOICES])
async def test_10_2_what_is_wrong_with_the_choice_is_told(answer: Any, words: str, faulty: Any) -> None:
    assert words in await faulty("10.2", answer, TABLE)


@pytest.mark.parametrize("form", [list, tuple, pd.Series, pd.Index], ids=lambda form: form.__name__)
async def test_10_2_the_choice_may_be_any_list(form: Any, right: Any) -> None:
    await right("10.2", form(SAFE), TABLE)
