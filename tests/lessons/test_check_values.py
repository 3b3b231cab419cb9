"""`check()` of frames and values: each wrong answer is told its true reason, and every form of the right one passes."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from asyncdb_nb import Database
from asyncdb_nb.errors import ExerciseError
from asyncdb_nb.lessons import check
from asyncdb_nb.lessons.exercises import EXERCISES
from asyncdb_nb.workflows import WorkflowRepository

Change = Callable[[pd.DataFrame], Any]

OWNERS = """
select owner, sum(cost) as cost from workflows.run join workflows.workflow on workflow.id = workflow_id
group by owner order by cost desc
"""
REGIONS = """
select context ->> 'region' as region, sum((context -> 'input' ->> 'rows')::int) as rows
from workflows.run group by 1 order by 2 desc
"""


async def test_an_exercise_that_there_is_not_is_an_error(db: Database) -> None:
    with pytest.raises(ExerciseError, match=r"There is no exercise '12\.1'\. There are: 01\.1, 02\.1"):
        await check("12.1", db, 1)
    with pytest.raises(ExerciseError, match=r'Type `await check\("10\.2", db, safe, table\)`\.'):
        await check("10.2", db, ["a"])
    with pytest.raises(ExerciseError, match=r'Type `await check\("11\.1", db, few\)`\.'):
        await check("11.1", 3, db)


async def test_a_check_that_was_not_awaited_says_so(db: Database) -> None:
    assert "Nothing was checked yet" in repr(check("11.1", db, 3))


async def test_a_hint_comes_with_the_second_try_and_goes_with_the_right_answer(db: Database) -> None:
    """Each exercise counts by itself; an answer that is not there yet is no try."""
    few = 8
    said = [repr(await check("11.1", db, answer)) for answer in (..., 1, 1, few, 1)]

    assert said[0] == "Not yet: `few` is still `...`, and your answer belongs in the place of the dots."
    assert "Hint" not in said[1]
    assert said[2].splitlines()[1].startswith("Hint: ")
    assert said[3] == "Right! One variant fewer would not be enough."
    assert "Hint" not in said[4]


@pytest.mark.parametrize("number", EXERCISES)
async def test_what_is_not_there_yet_is_no_answer(number: str, db: Database) -> None:
    """Neither the dots, nor nothing, nor a call without its await."""
    asked = EXERCISES[number].asked
    for answer, words in (
        (..., f"`{asked[0]}` is still `...`"),
        (None, f"`{asked[0]}` is None"),
        (db.frame("select 1"), f"`{asked[0]}` is a call that has not run: `await` is missing"),
    ):
        verdict = await check(number, db, *[answer] * len(asked))
        assert not verdict.right
        assert words in verdict.sentence
        if hasattr(answer, "close"):
            answer.close()


async def test_a_forgotten_await_is_told_once(db: Database) -> None:
    """No warning comes later, beside the line that is right; and the call can still be awaited."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        verdict = await check("01.1", db, db.frame("select 1 as a"))
        gc.collect()

    assert verdict.sentence == "`dearest` is a call that has not run: `await` is missing before it."
    assert warned == []
    dearest = db.frame("select 1 as a")
    await check("01.1", db, dearest)
    assert len(await dearest) == 1


async def test_what_is_read_in_parts_is_told_so(db: Database) -> None:
    """An `await` before it would be wrong, too."""
    verdict = await check("05.2", db, db.frames("select cost from workflows.task", rows=4_000))

    assert verdict.sentence == "`total` is read in parts: `async for part in ...:` takes one after the other."


WRONG_OWNERS: list[tuple[str, Change, str]] = [
    ("a list", lambda f: f.values.tolist(), "`dearest` is a list, and a DataFrame"),
    ("a series", lambda f: f.set_index("owner")["cost"], "`dearest` is a Series, and a DataFrame"),
    ("another name", lambda f: f.rename(columns={"cost": "sum"}), "no column `cost`; its columns are: `owner`, `sum`."),
    ("as index", lambda f: f.set_index("owner"), "`owner` is the index of `dearest`, and should be a column."),
    ("one column more", lambda f: f.assign(runs=3), "a column that was not asked for: `runs`."),
    ("texts", lambda f: f.assign(cost=f["cost"].map("{:,.2f}".format)), "in row 0 it is a str, '5,565.63' (dtype "),
    ("the wrong way round", lambda f: f[::-1], "Every row is right, but not the order: 'sales' stands below"),
    ("by name", lambda f: f.sort_values("owner"), "Every row is right, but not the order: 'people' stands below"),
    ("only some", lambda f: f.head(3), "There are 3 rows, and should be 7: "),
    (
        "a total",
        lambda f: pd.concat([f, f.head(1).assign(owner="all")]),
        "a row for 'all', which is none of the values",
    ),
    ("twice", lambda f: pd.concat([f, f.tail(1)]), " has 2 rows, and should have one."),
    ("too much", lambda f: f.assign(cost=f["cost"].astype(float) * 1.01), "`cost` of 'finance' is 5621"),
    ("means", lambda f: f.assign(cost=f["cost"].astype(float) / 100), ", which is too small."),
    ("missing", lambda f: f.assign(cost=f["cost"].astype(float).where(f.index != 2)), "in row 2 it is missing"),
    ("truth", lambda f: f.assign(cost=True), "in row 0 it is a bool, True"),
    ("the dearest alone", lambda f: f.head(1), "There is 1 row, and should be 7: "),
    ("an empty one", lambda f: f.head(0), "There are 0 rows, and should be 7: "),
]
RIGHT_OWNERS: list[tuple[str, Change]] = [
    ("as it is", lambda f: f),
    ("floats", lambda f: f.assign(cost=f["cost"].astype(float))),
    ("rounded", lambda f: f.assign(cost=f["cost"].astype(float).round().astype(int))),
    ("columns the other way round", lambda f: f[["cost", "owner"]]),
    ("an index of its own", lambda f: f.set_index(pd.Index([7, 3, 4, 1, 9, 2, 0]))),
    ("object", lambda f: f.astype(object)),
    ("Arrow", lambda f: f.convert_dtypes(dtype_backend="pyarrow")),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in WRONG_OWNERS], ids=[c[0] for c in WRONG_OWNERS])
async def test_01_1_what_is_wrong_with_the_owners_is_told(
    change: Change, words: str, db: Database, faulty: Any
) -> None:
    assert words in await faulty("01.1", change(await db.frame(OWNERS)))


@pytest.mark.parametrize("change", [case[1] for case in RIGHT_OWNERS], ids=[case[0] for case in RIGHT_OWNERS])
async def test_01_1_the_owners_may_look_different(change: Change, db: Database, right: Any) -> None:
    await right("01.1", change(await db.frame(OWNERS)))


WRONG_REGIONS: list[tuple[str, Change, str]] = [
    ("a table", lambda f: pa.Table.from_pandas(f), "`regions` is a Table, and a DataFrame"),
    ("a dict", lambda f: f.to_dict(), "`regions` is a dict, and a DataFrame"),
    ("grouped", lambda f: f.groupby("region").sum(), "`region` is the index of `regions`"),
    ("no name", lambda f: f.rename(columns={"rows": "sum"}), "has no column `rows`"),
    (
        "texts",
        lambda f: f.assign(rows=f["rows"].astype(str)),
        "`rows` should have numbers, and in row 0 it is a str, '",
    ),
    ("upwards", lambda f: f[::-1], "not the order: "),
    ("by name", lambda f: f.sort_values("region"), "not the order: 'us-east' stands below"),
    ("counts", lambda f: f.assign(rows=1000), "`rows` of 'us-east' is 1000, which is too small."),
    ("one off", lambda f: f.assign(rows=f["rows"] + 1), "which is too large."),
    ("two", lambda f: f.head(2), "There are 2 rows, and should be 3: 'eu-central' has none."),
    ("quotes", lambda f: f.assign(region='"' + f["region"] + '"'), "a row for '\"us-east\"', which is none of"),
    ("no region", lambda f: f.assign(region=None), "`region` should have texts, and in row 0 it is missing"),
    ("two names", lambda f: pd.concat([f, f[["rows"]]], axis=1), "has the column `rows` 2 times."),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in WRONG_REGIONS], ids=[c[0] for c in WRONG_REGIONS])
async def test_05_1_what_is_wrong_with_the_regions_is_told(
    change: Change, words: str, db: Database, faulty: Any
) -> None:
    assert words in await faulty("05.1", change(await db.frame(REGIONS)))


@pytest.mark.parametrize(
    "change",
    [lambda f: f, lambda f: f[["rows", "region"]], lambda f: f.assign(rows=f["rows"].astype(float))],
    ids=["as it is", "columns", "floats"],
)
async def test_05_1_the_regions_may_look_different(change: Change, db: Database, right: Any) -> None:
    await right("05.1", change(await db.frame(REGIONS)))


TOTALS: list[tuple[str, Callable[[Decimal], Any], str]] = [
    ("float", float, "is a float, which holds some sixteen digits"),
    ("numpy", np.float64, "is a float, which holds some sixteen digits"),
    ("int", int, "`total` is an int, and cannot hold the digits behind the point."),
    ("text", str, "is '16680.0100', a str, and a number is asked for."),
    ("a list of sums", lambda t: [t], "`total` is a list, and one value is asked for."),
    ("a series", lambda t: pd.Series([t]), "`total` is a Series, and one value is asked for."),
    ("a frame", lambda t: pd.DataFrame({"cost": [t]}), "`total` is a DataFrame, and one value is asked for."),
    ("a digit less", lambda t: t - Decimal("0.0001"), ", which is too small."),
    ("the last part only", lambda t: t / 4, ", which is too small."),
    ("twice", lambda t: t * 2, ", which is too large."),
    ("rounded", lambda t: t.quantize(Decimal(1)), ", which is too small."),
    ("NaN", lambda t: Decimal("NaN"), "`total` is missing (Decimal('NaN')), and so is every sum"),
    ("missing", lambda t: pd.NA, "`total` is missing (<NA>), and so is every sum"),
    ("true", lambda t: True, "is True, a bool, and a number is asked for."),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in TOTALS], ids=[case[0] for case in TOTALS])
async def test_05_2_what_is_wrong_with_the_total_is_told(change: Any, words: str, db: Database, faulty: Any) -> None:
    total = (await db.frame("select sum(cost) as cost from workflows.task"))["cost"][0]

    assert words in await faulty("05.2", change(total))


async def test_05_2_an_exact_total_is_right(db: Database, right: Any) -> None:
    total = (await db.frame("select sum(cost) as cost from workflows.task"))["cost"][0]

    await right("05.2", total)
    await right("05.2", total.normalize())


async def fullest(db: Database) -> pd.Timestamp:
    async with db.session(readonly=True) as session:
        throughput = await WorkflowRepository(session).throughput()
    return pd.Timestamp(throughput.loc[throughput["in_flight"].idxmax(), "day"])


DAYS: list[tuple[str, Any, str]] = [
    ("a row", 45, "`fullest` is the number 45, and a day is asked for."),
    ("a numpy row", np.int64(45), "`fullest` is the number 45, and a day is asked for."),
    ("words", "the fifteenth", "`fullest` is 'the fifteenth', which is no day."),
    ("a weekday", "Thursday, perhaps", "which is no day."),
    ("the day before", date(2024, 2, 14), "in flight at midnight, and there is a day with more."),
    ("most queued", "2024-02-22", "in flight at midnight, and there is a day with more."),
    ("another year", date(2023, 2, 15), "On 2023-02-15 no run of the sample came in or was finished."),
    ("a series", pd.Series([date(2024, 2, 15)]), "`fullest` is a Series, and one value is asked for."),
    ("a frame", pd.DataFrame({"day": [date(2024, 2, 15)]}), "`fullest` is a DataFrame, and one value is asked for."),
    ("nothing", pd.NaT, "`fullest` is a missing value, and a day is asked for."),
    ("days", [date(2024, 2, 15)], "`fullest` is a list, and one value is asked for."),
    ("a class", date, "which is no day."),
]


@pytest.mark.parametrize(("answer", "words"), [case[1:] for case in DAYS], ids=[case[0] for case in DAYS])
async def test_06_1_what_is_wrong_with_the_day_is_told(answer: Any, words: str, faulty: Any) -> None:
    assert words in await faulty("06.1", answer)


@pytest.mark.parametrize(
    "form",
    [lambda t: t, lambda t: t.date(), lambda t: str(t.date()), lambda t: t.to_numpy(), lambda t: t.tz_localize("UTC")],
    ids=["Timestamp", "date", "str", "numpy", "UTC"],
)
async def test_06_1_a_day_may_be_written_in_any_way(form: Any, db: Database, right: Any) -> None:
    await right("06.1", form(await fullest(db)))


STEPS: list[tuple[str, Any, str]] = [
    ("the dearest in time", "score", "took the most time, and those of another step cost more money."),
    ("another step", "load", "The repetitions of 'load' cost "),
    ("a third", "transform", "The repetitions of 'transform' cost "),
    ("no step", "Review", "There is no step 'Review'."),
    ("a workflow", "invoices-import", "There is no step 'invoices-import'."),
    ("with a blank", "review ", "There is no step 'review '."),
    ("a number", 3, "`dearest` is an int, and the name of a step is asked for."),
    ("a series", pd.Series(["review"]), "`dearest` is a Series, and one value is asked for."),
    ("a frame", pd.DataFrame({"step": ["review"]}), "`dearest` is a DataFrame, and one value is asked for."),
    ("a list", ["review"], "`dearest` is a list, and one value is asked for."),
    ("the cost", Decimal("1190.0980"), "`dearest` is a Decimal, and the name of a step is asked for."),
]


@pytest.mark.parametrize(("answer", "words"), [case[1:] for case in STEPS], ids=[case[0] for case in STEPS])
async def test_06_2_what_is_wrong_with_the_step_is_told(answer: Any, words: str, faulty: Any) -> None:
    assert words in await faulty("06.2", answer)


async def test_06_2_the_dearest_step_is_right(db: Database, right: Any) -> None:
    async with db.session(readonly=True) as session:
        retries = await WorkflowRepository(session).retries()

    await right("06.2", retries.loc[retries["extra_cost"].idxmax(), "step"])


NUMBERS: list[tuple[str, Any, str]] = [
    ("one", 1, "The commonest variant has "),
    ("one less", 7, ", which is less than nine in ten."),
    ("none", 0, "which is less than nine in ten."),
    ("one more", 9, "9 variants are enough, but fewer are enough, too."),
    ("ten", 10, "10 variants are enough, but fewer are enough, too."),
    ("too many", 1000, "`few` is 1000, and there are "),
    ("negative", -1, "`few` is -1, and there are "),
    ("a share", 0.9, "`few` is 0.9, and a whole number is asked for."),
    ("text", "8", "`few` is a str, and a number is asked for."),
    ("a list", [8], "`few` is a list, and one value is asked for."),
    ("a series", pd.Series([0.5]), "`few` is a Series, and one value is asked for."),
    ("true", True, "`few` is a bool, and a number is asked for."),
]


@pytest.mark.parametrize(("answer", "words"), [case[1:] for case in NUMBERS], ids=[case[0] for case in NUMBERS])
async def test_11_1_what_is_wrong_with_the_number_is_told(answer: Any, words: str, faulty: Any) -> None:
    assert words in await faulty("11.1", answer)


@pytest.mark.parametrize("form", [int, float, np.int64, Decimal], ids=lambda form: form.__name__)
async def test_11_1_the_number_may_be_of_any_kind(form: Any, db: Database, right: Any) -> None:
    async with db.session(readonly=True) as session:
        paths = await WorkflowRepository(session).variants(workflow="invoices-import")

    await right("11.1", form(int((paths["share"].cumsum() < 0.9).sum()) + 1))


REPEATED: list[tuple[str, Any, str]] = [
    *[(step, step, f"{step!r} follows itself ") for step in ("notify", "review", "load", "validate", "enrich")],
    ("no step", "Fetch", "There is no step 'Fetch'."),
    ("a pair", ("fetch", "fetch"), "`stubborn` is a tuple, and one value is asked for."),
    ("a series", pd.Series(["fetch"]), "`stubborn` is a Series, and one value is asked for."),
    ("a number", 209, "`stubborn` is an int, and the name of a step is asked for."),
    ("missing", np.nan, "`stubborn` is a float, and the name of a step is asked for."),
    ("an empty text", "", "There is no step ''."),
]


@pytest.mark.second_tier
@pytest.mark.parametrize(("answer", "words"), [case[1:] for case in REPEATED], ids=[case[0] for case in REPEATED])
async def test_11_2_what_is_wrong_with_the_step_is_told(answer: Any, words: str, faulty: Any) -> None:
    assert words in await faulty("11.2", answer)


async def test_11_2_the_step_that_follows_itself_most_is_right(db: Database, right: Any) -> None:
    async with db.session(readonly=True) as session:
        frame = (await WorkflowRepository(session).flow()).frame()

    await right("11.2", frame[frame["from_step"] == frame["to_step"]]["from_step"].iloc[0])


async def test_what_is_right_is_what_the_database_says(fresh_database_url: str, right: Any, faulty: Any) -> None:
    """With another sample another answer is right: no answer is written down in the check."""
    from asyncdb_nb.workflows import seed_workflows

    async with Database(fresh_database_url) as db:
        await seed_workflows(db, runs=150, workflows=6, seed=11)
        await right("05.2", (await db.frame("select sum(cost) as cost from workflows.task"))["cost"][0], db=db)
        assert "which is too large" in await faulty("05.2", Decimal("16680.0100"), db=db)
        await right("01.1", await db.frame(OWNERS), db=db)
        day = (await fullest(db)).date()
        await right("06.1", datetime(day.year, day.month, day.day), db=db)
