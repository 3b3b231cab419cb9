"""Loading event logs: what is understood, and that nothing of a failing file is kept."""

from __future__ import annotations

import asyncio
import csv
import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from tiers import few_of

from asyncdb_nb import Database, EventLogError
from asyncdb_nb.errors import MalformedRowError
from asyncdb_nb.workflows import EventLog, Run, Task, Workflow, load_event_log
from asyncdb_nb.workflows.models import create_tables, in_schema, our_schemas

HEADER = "Case ID,Activity,Complete Timestamp,Resource\n"
ROWS = (
    "1,register,2024-03-01T09:00:00,Ann\n"
    "2,register,2024-03-01T09:30:00,Bob\n"
    "1,check,2024-03-01T10:00:00,Bob\n"
    "1,check,2024-03-01T12:00:00+01:00,\n"
    "1,decide,2024-03-02,Cleo\n"
)


def at(hour: int, minute: int = 0, day: int = 1) -> datetime:
    return datetime(2024, 3, day, hour, minute, tzinfo=UTC)


@pytest.fixture
def write(tmp_path: Path):
    def write(content: str | bytes, name: str = "log.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


async def tasks(db: Database, *columns, schema: str = "log") -> list[tuple]:
    statement = select(*columns).join(Task.run).order_by(Run.case_id, Task.position)
    async with db.session() as session:
        rows = await session.execute(statement, execution_options=in_schema(schema))
        return [tuple(row) for row in rows]


async def runs(db: Database, *columns, schema: str = "log") -> list[tuple]:
    async with db.session() as session:
        rows = await session.execute(select(*columns).order_by(Run.case_id), execution_options=in_schema(schema))
        return [tuple(row) for row in rows]


async def kept(db: Database, schema: str = "log") -> list[int] | None:
    """Rows of each table; None where there are no tables, as after a load that failed."""
    async with db.session() as session:
        if schema not in await our_schemas(await session.connection()):
            return None
        options = in_schema(schema)
        counts = [select(func.count()).select_from(table) for table in (Workflow, Run, Task)]
        return [await session.scalar(count, execution_options=options) for count in counts]


async def test_a_case_becomes_a_run_and_an_event_a_task(db: Database, write):
    log = await load_event_log(db, write(HEADER + ROWS))

    columns = {"case": "Case ID", "activity": "Activity", "timestamp": "Complete Timestamp", "resource": "Resource"}
    assert log == EventLog("log", "log", 2, 5, 5, at(9), at(9, 30), columns)
    assert str(log).startswith(
        "log: 2 cases, 5 tasks, from 5 events, in the schema log; cases began 2024-03-01 to 2024-03-01; case='Case ID'"
    )
    assert await runs(db, Run.case_id, Run.status, Run.retries, Run.queued_at, Run.started_at, Run.finished_at) == [
        ("1", "succeeded", 1, at(9), None, at(0, day=2)),
        ("2", "succeeded", 0, at(9, 30), None, at(9, 30)),
    ]


async def test_a_completion_alone_has_an_elapsed_time_and_no_parts(db: Database, write):
    """The time since the case's task before belongs to it; nobody knows what of it was waiting."""
    await load_event_log(db, write(HEADER + ROWS))

    assert await tasks(db, Task.step, Task.attempt, Task.queued_at, Task.elapsed_seconds, Task.worker) == [
        ("register", 1, at(9), 0, "Ann"),
        ("check", 1, at(9), 3600, "Bob"),
        ("check", 2, at(10), 3600, None),
        ("decide", 1, at(11), 13 * 3600, "Cleo"),
        ("register", 1, at(9, 30), 0, "Bob"),
    ]
    assert set(await tasks(db, Task.started_at, Task.waiting_seconds, Task.working_seconds)) == {(None, None, None)}


async def test_a_column_of_starts_tells_waiting_from_working(db: Database, write):
    path = write(
        "Case ID,Activity,Start Timestamp,Complete Timestamp\n"
        "1,a,2024-03-01 09:00,2024-03-01 09:10\n"
        "1,b,2024-03-01 09:30,2024-03-01 10:00\n"
    )
    await load_event_log(db, path)

    assert await tasks(db, Task.step, Task.waiting_seconds, Task.working_seconds) == [("a", 0, 600), ("b", 1200, 1800)]
    assert await runs(db, Run.started_at, Run.waiting_seconds) == [(at(9), 0)]


async def test_starts_are_paired_with_completions(db: Database, write):
    """First started, first completed; a completion without a start stands alone, a start without one still runs."""
    path = write(
        "case:concept:name,concept:name,time:timestamp,org:resource,lifecycle:transition\n"
        "1,a,2024-03-01T08:00:00Z,,complete\n"
        "1,a,2024-03-01T09:00:00Z,Ann,start\n"
        "1,a,2024-03-01T09:05:00Z,Bob,START\n"
        "1,a,2024-03-01T09:06:00Z,,suspend\n"
        "1,a,2024-03-01T09:10:00Z,Ann,complete\n"
        "1,a,2024-03-01T09:20:00Z,,complete\n"
        "1,b,2024-03-01T10:00:00Z,Cleo,start\n"
        "2,a,2024-03-01T10:00:00Z,Cleo,start\n"
        "2,a,2024-03-01T11:00:00Z,Cleo,ate_abort\n"
        "3,a,2024-03-01T11:00:00Z,,complete\n"
        "3,a,2024-03-01T12:00:00Z,,withdraw\n"
    )
    log = await load_event_log(db, path)

    assert (log.cases, log.tasks, log.events) == (3, 7, 11)
    assert await tasks(db, Task.step, Task.attempt, Task.status, Task.worker, Task.started_at, Task.finished_at) == [
        ("a", 1, "succeeded", None, None, at(8)),
        ("a", 2, "succeeded", "Ann", at(9), at(9, 10)),
        ("a", 3, "succeeded", "Bob", at(9, 5), at(9, 20)),
        ("b", 1, "running", "Cleo", at(10), None),
        ("a", 1, "failed", "Cleo", at(10), at(11)),
        ("a", 1, "succeeded", None, None, at(11)),
        ("a", 2, "cancelled", None, None, at(12)),
    ]
    assert await runs(db, Run.case_id, Run.status) == [("1", "running"), ("2", "failed"), ("3", "cancelled")]


async def test_an_activity_may_mean_failure(db: Database, write):
    """Its tasks are failed, and so are the cases that it occurs in."""
    path = write(
        "case,activity,timestamp\n"
        "1,reject,2024-03-01\n1,pay,2024-03-02\n"
        "2,pay,2024-03-01\n2,reject,2024-03-02\n2,pay,2024-03-03\n"
        "3,pay,2024-03-03\n"
    )
    await load_event_log(db, path, failed=["reject"])

    assert [status for _, status in await runs(db, Run.case_id, Run.status)] == ["failed", "failed", "succeeded"]
    assert set(await tasks(db, Task.step, Task.status, Task.error)) == {
        ("pay", "succeeded", None),
        ("reject", "failed", "reject"),
    }


@pytest.mark.parametrize(
    ("content", "options"),
    few_of(
        [
            ("\ufeff" + HEADER + ROWS, {}),
            (HEADER.replace(",", ";") + ROWS.replace(",", ";"), {}),
            (HEADER.replace(",", "\t") + ROWS.replace(",", "\t"), {}),
            (HEADER + ROWS.rstrip("\n"), {}),
            ((HEADER + ROWS).replace("\n", "\r\n"), {}),
            (HEADER + "\n" + ROWS + "\n\n", {}),
            (HEADER.replace("Activity", '"What, exactly"') + ROWS, {"activity": "What, exactly"}),
            (gzip.compress((HEADER + ROWS).encode()), {}),
            ((HEADER + ROWS.replace("Ann", "Zoë")).encode("cp1252"), {"encoding": "cp1252"}),
            (HEADER + ROWS.replace("2024-03-0", "2024/03/0"), {}),
            ((HEADER + ROWS).replace("2024-03-01T10:00:00", "2024-03-01T10:00:00.123456"), {}),
            ("id," + HEADER + "x," + ROWS.replace("\n", "\nx,").removesuffix("x,"), {"attributes": ["id"]}),
            ("case:id," + HEADER.replace("Case ID", "case:concept:name") + "x," + ROWS.replace("\n", "\nx,")[:-2], {}),
        ],
        5,
    ),
    ids=[
        *("bom", "semicolons", "tabs", "no last line end", "crlf", "empty lines", "named column", "gzip", "cp1252"),
        *("slashes", "microseconds", "attributes", "the standard's name wins"),
    ],
)
async def test_files_come_in_many_forms(db: Database, write, content: str | bytes, options: dict):
    log = await load_event_log(db, write(content), **options)

    assert (log.cases, log.tasks) == (2, 5)
    assert "\ufeff" not in log.columns["case"]


async def test_a_quoted_field_may_hold_line_breaks_and_lines_are_still_counted(db: Database, write):
    path = write(HEADER + '1,"two\nlines, and a comma",2024-03-01,Ann\n')
    await load_event_log(db, path)
    assert await tasks(db, Task.step) == [("two\nlines, and a comma",)]

    with pytest.raises(MalformedRowError) as caught:
        await load_event_log(db, write(path.read_text() + "1,b,never,Ann\n", "other.csv"))

    assert caught.value.line == 4


async def test_costs_attributes_and_time_zones_are_kept(db: Database, write):
    path = write("case,activity,timestamp,eur,note\n1,a,01.03.2024 09:00,12.50,hm\n1,b,01.03.2024 10:00,,\n")
    await load_event_log(
        db, path, cost="eur", attributes=["note"], timestamp_format="%d.%m.%Y %H:%M", timezone="Europe/Berlin"
    )

    assert await tasks(db, Task.cost, Task.context, Task.finished_at) == [
        (pytest.approx(12.5), {"note": "hm"}, at(8)),
        (None, {"note": ""}, at(9)),
    ]
    assert await runs(db, Run.cost) == [(pytest.approx(12.5),)]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    few_of(
        [
            ("", {}, "log.csv is empty"),
            ("\n" + HEADER, {}, "has a header and no rows"),
            ("# export\n" + HEADER + ROWS, {}, "begins with '# export'.*in line 2. Type: .*skip_lines=1"),
            (HEADER + ROWS, {"skip_lines": -1}, "0 or more, not -1"),
            (HEADER + ROWS, {"skip_lines": 99}, "no header in line"),
            (HEADER, {}, "has a header and no rows"),
            (
                "who,what,when\n1,2,2024-03-01\n",
                {},
                "No column is known to be the case.*'who', 'what', 'when'.* Type: load_event_log.*case='who'",
            ),
            (
                "who,what,when\n1,2,3\n",
                {},
                "known to be the case.*, line 2: 'when' '3' is not a time in ISO 8601, such as 2024-02-28 14:30:00.$",
            ),
            (HEADER + ROWS, {"case": "Case"}, "no column 'Case' for case. The header has: 'Case ID'"),
            (HEADER + ROWS, {"case": ""}, "needs a column for case"),
            (
                "case,Case ID,activity,timestamp\n",
                {},
                "Several columns may be the case: 'case', 'Case ID'. Type: .*case='case'",
            ),
            (
                "case,case,activity,timestamp\n",
                {"case": "case"},
                "'case', for case, occurs 2 times. Rename one in the file",
            ),
            ("case,activity,timestamp,timestamp\n", {}, "'timestamp', for timestamp, occurs 2 times. Rename one"),
            (
                "Ticket,who,at\n1,2,2024-03-01\n",
                {"case": "Ticket"},
                "No column is known to be the activity.*activity='who'",
            ),
            (HEADER + ROWS, {"attributes": ["x"]}, "no column 'x' for attributes"),
            ("case;activity;timestamp,a,b\n", {}, "The delimiter may be"),
            (HEADER + ROWS, {"delimiter": ",,"}, "A delimiter is one character, not ',,'"),
            ("1,a,2024-03-01\n1,b,2024-03-02\n", {}, "looks like data: '2024-03-01' is a time.* into a line before it"),
            (HEADER + ROWS, {"encoding": "undefined"}, "no encoding 'undefined'"),
            (HEADER + ROWS, {"encoding": "klingon"}, "no encoding 'klingon'"),
            ("Ticket\n1\n", {}, "The header is one column, 'Ticket', and an event log needs three"),
            (HEADER + ROWS, {"meanings": {"done": "yes"}}, "'done' cannot mean 'yes'. Meanings are start, complete"),
            (HEADER + ROWS, {"meanings": {"erledigt": "complete"}}, "No row has the word 'erledigt'"),
            (HEADER + ROWS, {"schema": "workflows"}, "'workflows' is the sample's.*schema='logs'"),
            (HEADER + ROWS, {"schema": "a-b"}, "'a-b' is no name for a schema.*schema='a_b'"),
            (HEADER + ROWS, {"case": ["Case ID", "Activity"]}, "One column is the case, not 'Case ID', 'Activity'"),
            (HEADER + ROWS, {"timezone": "Mars/Base"}, "no time zone 'Mars/Base'"),
            (
                HEADER + ROWS,
                {"failed": ["rejekt"]},
                "No event has the activity 'rejekt'.* 'check', 'decide', 'register'",
            ),
        ],
        12,
    ),
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
async def test_a_wrong_file_or_option_is_told_in_one_sentence(db: Database, write, content, options, message):
    with pytest.raises(EventLogError, match=message):
        await load_event_log(db, write(content), **options)

    assert await kept(db) is None


GOOD = "9,x,2024-03-01,Ann\n"
LIFE = "case,activity,timestamp,lifecycle,start_timestamp,eur\n"


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    few_of(
        [
            (HEADER + GOOD + "1,a,yesterday,Ann\n", 3, "'Complete Timestamp' 'yesterday' is not a time in ISO 8601"),
            (HEADER + GOOD + "1,a,2024-02-30,Ann\n", 3, "'Complete Timestamp' '2024-02-30' does not exist: day is out"),
            (HEADER + GOOD + "1,a,,Ann\n", 3, "'Complete Timestamp' is missing"),
            (HEADER + GOOD + ",a,2024-03-01,Ann\n", 3, "the case is missing"),
            (HEADER + GOOD + "1, ,2024-03-01,Ann\n", 3, "the activity is missing"),
            (HEADER + GOOD + "1,a,2024-03-01\n", 3, "it has 3 fields and the header has 4"),
            (HEADER + GOOD + "1,a,2024-03-01,Ann,\n", 3, "it has 5 fields and the header has 4"),
            (HEADER + GOOD + "1,a\0,2024-03-01,Ann\n", 3, "it has a NUL byte"),
            ((HEADER + GOOD + "1,a,2024-03-01,Zoë\n").encode("cp1252"), 3, "byte 0xeb at position 18 is not utf-8"),
            (HEADER + GOOD + '1,"a"b,2024-03-01,Ann\n', 3, "',' expected after '\"'"),
            (HEADER + GOOD + '1,"a,2024-03-01,Ann\n' + GOOD, 3, "unexpected end of data"),
            (HEADER + GOOD + f"1,{'a' * 501},2024-03-01,Ann\n", 3, "longer than 500 characters"),
            (HEADER + GOOD + "a" * 4_100_000, 3, "it is longer than 4,000,000 bytes"),
            (gzip.compress((HEADER + GOOD * 9).encode())[:-9], 11, "the gzip data is damaged or cut off"),
            (LIFE + "1,a,2024-03-01,Beginn,,\n", 2, "'lifecycle' 'Beginn' is unknown.*meanings={'Beginn': 'start'}"),
            (LIFE + "1,a,2024-03-01,,,\n", 2, "the lifecycle is missing"),
            (LIFE + "1,a,2024-03-01,complete,2024-03-02,\n", 2, "it starts at 2024-03-02 .* and ends before"),
            (LIFE + "1,a,2024-03-01,complete,soon,\n", 2, "'start_timestamp' 'soon' is not"),
            (LIFE + "1,a,2024-03-01,complete,,1.234\n", 2, "the cost '1.234' may be 1.234 or 1234.*decimal=','"),
            (LIFE + "1,a,2024-03-01,complete,,NULL\n", 2, "the cost 'NULL' is not a number.*missing=.'NULL'"),
            (
                HEADER + GOOD + "1,a,2024-03-01,?\n",
                3,
                "'Resource' is '.', which may stand for a missing value",
            ),
            (LIFE + "1,a,2024-03-01,complete,,1e9\n", 2, "the cost '1e9' is not below 100,000,000"),
            (LIFE + "1,a,2024-03-01,complete,,NaN\n", 2, "the cost 'NaN' is not"),
            (
                LIFE + "1,a,2024-03-01,complete,,99999999.99996\n",
                2,
                "the cost '99999999.99996' is not below 100,000,000",
            ),
        ],
        12,
    ),
    ids=[
        *("no date", "no such day", "empty time", "empty case", "blank activity", "few fields", "many fields", "nul"),
        *("undecodable", "text after quote", "open quote", "long name", "no line ends", "cut gzip"),
        *(
            "lifecycle",
            "no lifecycle",
            "ends before start",
            "bad start",
            "two readings",
            "null cost",
            "missing?",
            "dear",
            "nan",
            "dear when rounded",
        ),
    ],
)
async def test_a_malformed_row_is_named_and_nothing_is_kept(db: Database, write, content, line, reason):
    options = {"cost": "eur"} if "eur" in str(content) else {}

    with pytest.raises(MalformedRowError, match=reason) as caught:
        await load_event_log(db, write(content), **options)

    assert caught.value.line == line
    assert str(caught.value).startswith(f"log.csv, line {line}: ")
    assert await kept(db) is None


async def test_nothing_is_kept_when_the_last_of_many_parts_is_wrong(db: Database, write):
    """By then most of the file has been sent. What was there before stays, and so does the caller's own work."""
    await load_event_log(db, write(HEADER + ROWS, "before.csv"))
    before = await kept(db, "before")
    async with db.session() as session:
        await create_tables(await session.connection())
    bad = write(HEADER + GOOD * 12_000 + "1,a,never,Ann\n")

    async with db.session() as session:
        session.add(Workflow(name="mine"))
        with pytest.raises(MalformedRowError, match="line 12,002"):
            await load_event_log(session, bad)

    assert await kept(db) is None
    assert await kept(db, "before") == before
    async with db.session() as session:
        assert await session.scalar(select(func.count()).where(Workflow.name == "mine")) == 1


COPYING = text("select count(*) from pg_stat_activity where query like 'COPY %'")


async def test_a_cancelled_load_keeps_nothing(db: Database, write):
    loading = asyncio.create_task(load_event_log(db, write(HEADER + GOOD * 60_000)))
    async with db.session() as session:
        while not await session.scalar(COPYING):
            assert not loading.done()
            await session.rollback()  # the server's view is that of the transaction's first look

    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading

    assert await kept(db) is None


async def test_a_log_is_loaded_again_only_when_asked(db: Database, write):
    path = write(HEADER + ROWS)
    await load_event_log(db, path)

    with pytest.raises(EventLogError, match=r"'log' is loaded already, from log.csv.*replace=True"):
        await load_event_log(db, path)

    assert (await load_event_log(db, write(HEADER + GOOD), replace=True)).cases == 1
    assert await kept(db) == [1, 1, 1]


async def test_a_missing_file_is_named(db: Database, tmp_path: Path):
    with pytest.raises(EventLogError, match=r"nowhere\.csv cannot be read: No such file or directory"):
        await load_event_log(db, tmp_path / "nowhere.csv")


async def test_the_progress_bar_counts_the_files_bytes(db: Database, write, capsys: pytest.CaptureFixture[str]):
    await load_event_log(db, write(HEADER + ROWS), progress=True)
    assert "log.csv: 100%" in capsys.readouterr().err

    await load_event_log(db, write(HEADER + ROWS), replace=True)
    assert capsys.readouterr().err == ""


async def test_scenario_72_events_of_one_moment_are_paired_in_any_order(db: Database, write):
    """A log that counts whole seconds may list the completion of a task before its start."""
    log = "case,activity,timestamp,lifecycle\n"
    log += "1,a,2024-03-01 09:00:00,complete\n1,a,2024-03-01 09:00:00,start\n"
    log += "2,a,2024-03-01 09:00:00,start\n2,a,2024-03-01 09:05:00,start\n"
    log += "2,a,2024-03-01 09:05:00,complete\n2,a,2024-03-01 09:10:00,complete\n"
    await load_event_log(db, write(log))

    assert await tasks(db, Run.case_id, Task.status, Task.started_at, Task.finished_at) == [
        ("1", "succeeded", at(9), at(9)),
        ("2", "succeeded", at(9), at(9, 5)),
        ("2", "succeeded", at(9, 5), at(9, 10)),
    ]
    assert {status for (status,) in await runs(db, Run.status)} == {"succeeded"}


async def test_an_end_that_is_open_is_a_running_task(db: Database, write):
    """With a column of statuses, what is still queued is no task, and what has failed keeps its word for it."""
    log = "dag_id,run_id,task_id,state,start_date,end_date\n"
    log += "d,r1,t1,success,2024-03-01T09:00:00+00:00,2024-03-01T09:01:00+00:00\n"
    log += "d,r1,t2,running,2024-03-01T09:01:00+00:00,\nd,r1,t3,queued,,\n"
    log += "d,r2,t1,Upstream-Failed,2024-03-01T09:00:00+00:00,2024-03-01T09:00:00+00:00\n"
    log += "d,r3,t1,skipped,2024-03-01T09:00:00+00:00,2024-03-01T09:00:00+00:00\nd,r3,t2,,2024-03-01T09:01:00+00:00,\n"
    names = {"case": "run_id", "activity": "task_id", "start": "start_date", "timestamp": "end_date", "status": "state"}
    loaded = await load_event_log(db, write(log), **names)

    assert await tasks(db, Run.case_id, Run.status, Task.step, Task.status, Task.error, Task.finished_at) == [
        ("r1", "running", "t1", "succeeded", None, at(9, 1)),
        ("r1", "running", "t2", "running", None, None),
        ("r2", "failed", "t1", "failed", "Upstream-Failed", at(9)),
        ("r3", "running", "t1", "cancelled", None, at(9)),
        ("r3", "running", "t2", "running", None, None),
    ]
    assert (loaded.events, loaded.tasks) == (6, 5)


@pytest.mark.parametrize(
    ("state", "start", "end", "reason"),
    few_of(
        [
            ("running", "2024-03-01", "2024-03-02", "it is still running, and 'end' says that it has ended"),
            ("success", "2024-03-01", "", "it has ended, and 'end' is missing"),
            ("failed", "2024-03-01", "", "it has ended, and 'end' is missing"),
            ("", "", "", "'end' is missing"),
            ("Neu", "2024-03-01", "", "'state' 'Neu' is unknown.*meanings={'Neu': 'complete'}"),
            ("", "2024-03-02", "2024-03-01", "it starts at 2024-03-02 .* and ends before"),
        ],
        2,
    ),
)
async def test_a_row_that_contradicts_itself_is_refused(db: Database, write, state, start, end, reason):
    names = {"start": "start", "timestamp": "end", "status": "state"}

    with pytest.raises(MalformedRowError, match=reason):
        await load_event_log(db, write(f"case,activity,state,start,end\n1,a,{state},{start},{end}\n"), **names)


async def test_values_are_what_the_caller_says_they_are(db: Database, write):
    """Date and time in two columns, decimal commas, words for missing values, statuses in another language."""
    log = "Fall;Schritt;Datum;Uhrzeit;Wer;Stand;Betrag;Notiz\n"
    log += "1;a;06.05.2024;09:30;?;erledigt;1.081,74;NULL\n1;b;06.05.2024;24:00;Ann;abgelehnt;?;x\n"
    options = {
        "case": "Fall",
        "activity": "Schritt",
        "timestamp": ["Datum", "Uhrzeit"],
        "resource": "Wer",
        "status": "Stand",
        "cost": "Betrag",
        "attributes": ["Notiz"],
        "timestamp_format": "%d.%m.%Y %H:%M",
        "timezone": "Europe/Berlin",
        "missing": ["?", "NULL"],
        "meanings": {"Erledigt": "complete", "abgelehnt": "fail"},
    }
    loaded = await load_event_log(db, write(log), **options)

    assert await tasks(db, Task.finished_at, Task.worker, Task.status, Task.error, Task.cost, Task.context) == [
        (datetime(2024, 5, 6, 7, 30, tzinfo=UTC), None, "succeeded", None, Decimal("1081.74"), {"Notiz": None}),
        (datetime(2024, 5, 6, 22, 0, tzinfo=UTC), "Ann", "failed", "abgelehnt", None, {"Notiz": "x"}),
    ]
    assert loaded.columns["timestamp"] == "Datum + Uhrzeit"


@pytest.mark.parametrize(
    ("value", "remedy", "read"),
    [
        ("2024-03-31 02:30,1", {"nonexistent": "forward"}, (datetime(2024, 3, 31, 1, 30, tzinfo=UTC), 1)),
        ("2024-10-27 02:30,1", {"ambiguous": "first"}, (datetime(2024, 10, 27, 0, 30, tzinfo=UTC), 1)),
        ('2024-07-01,"1,234"', {"decimal": "."}, (datetime(2024, 6, 30, 22, tzinfo=UTC), 1234)),
        ('2024-07-01,"81,74"', {}, (datetime(2024, 6, 30, 22, tzinfo=UTC), Decimal("81.74"))),
    ],
    ids=["an hour that never came", "an hour that came twice", "two readings", "a decimal comma"],
)
async def test_an_option_says_how_a_value_is_read(db: Database, write, value: str, remedy: dict, read: tuple):
    """What a refusal proposes is one; where nothing has to be asked, there is no refusal."""
    path = write(f"case,activity,timestamp,eur\n1,a,{value}\n")
    options = {"cost": "eur", "timezone": "Europe/Berlin"}
    if remedy:
        with pytest.raises(MalformedRowError, match="line 2: ") as caught:
            await load_event_log(db, path, **options)
        assert caught.value.options == remedy

    await load_event_log(db, path, **options, **remedy)

    assert await tasks(db, Task.finished_at, Task.cost) == [read]


async def test_a_status_tells_starts_from_ends_where_there_is_one_time(db: Database, write):
    log = "case,activity,timestamp,status\n1,a,2024-03-01 09:00,started\n1,a,2024-03-01 09:10,failed\n"
    await load_event_log(db, write(log), status="status")

    assert await tasks(db, Task.started_at, Task.finished_at, Task.status) == [(at(9), at(9, 10), "failed")]


@pytest.mark.parametrize(
    "meanings",
    [{"\u2713": "complete", "\u2717": "fail"}, {"A1": "complete", "A-1": "fail"}, {"D": "complete", "d": "fail"}],
)
async def test_words_that_differ_in_a_mark_alone_are_two_words(db: Database, write, meanings: dict[str, str]):
    rows = "".join(f"1,{step},2024-03-01,{word}\n" for step, word in zip("ab", meanings, strict=True))
    await load_event_log(db, write("case,activity,timestamp,status\n" + rows), status="status", meanings=meanings)

    assert await tasks(db, Task.step, Task.status) == [("a", "succeeded"), ("b", "failed")]


@pytest.mark.parametrize(("told", "value"), [("OK-", "OK+"), ("?!", "!?")])
async def test_a_word_that_is_told_explains_no_other(db: Database, write, told: str, value: str):
    log = f"case,activity,timestamp,status\n1,a,2024-03-01,{told}\n1,b,2024-03-01,{value}\n"
    with pytest.raises(MalformedRowError, match=r"line 3.* is unknown"):
        await load_event_log(db, write(log), status="status", meanings={told: "fail"})


async def test_a_missing_status_is_asked_for_and_no_completion(db: Database, write):
    """What is proposed says that it is missing; of a transition, that it is ignored."""
    with pytest.raises(MalformedRowError) as caught:
        await load_event_log(
            db, write("case,activity,timestamp,st\n1,a,2024-03-01,ok\n1,b,2024-03-01,N/A\n"), status="st"
        )
    assert caught.value.options == {"missing": ["N/A"]}

    with pytest.raises(MalformedRowError) as caught:
        await load_event_log(db, write("case,activity,timestamp,lifecycle\n1,a,2024-03-01,-\n"))
    assert caught.value.options == {"meanings": {"-": "ignore"}}


@pytest.mark.parametrize("value", ["0", "-1", "0.0"])
async def test_a_count_since_1970_that_stands_for_none_is_asked_for(db: Database, write, value: str):
    """It is 1970-01-01, of which the same is asked."""
    log = write(f"case,activity,start,end\n1,a,1704103200,{value}\n1,b,1704103200,1704103300\n")
    options = {"case": "case", "activity": "activity", "start": "start", "timestamp": "end"}
    with pytest.raises(MalformedRowError, match=f"'end' is '{value}', which may stand for a missing value") as caught:
        await load_event_log(db, log, **options, timestamp_format="epoch_s")

    assert caught.value.options == {"missing": [value]}
    await load_event_log(db, log, **options, timestamp_format="epoch_s", **caught.value.options)
    assert await tasks(db, Task.step, Task.status) == [("a", "running"), ("b", "succeeded")]


async def test_a_cost_of_0_is_a_cost_where_a_count_of_0_is_no_time(db: Database, write):
    log = write("case,activity,start,end,cost\n0,a,1704103200,0,0\n0,b,1704103200,1704103300,-1\n")
    options = {"case": "case", "activity": "activity", "start": "start", "timestamp": "end", "cost": "cost"}
    await load_event_log(db, log, **options, timestamp_format="epoch_s", missing=["0", "-1"])

    assert await tasks(db, Task.step, Task.status, Task.cost) == [("a", "running", 0), ("b", "succeeded", -1)]


async def test_a_count_of_0_is_1970_where_nothing_is_missing(db: Database, write):
    log = write("case,activity,timestamp\n1,a,0\n1,b,1704103200\n")
    loaded = await load_event_log(db, log, timestamp_format="epoch_s", missing="")

    assert loaded.first == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("value", ["infinity", "[NULL]", "<null>", "—", "1753-01-01 00:00:00", "1601-01-01"])
async def test_what_databases_write_for_an_open_end_is_asked_for(db: Database, write, value: str):
    log = write(f"case,activity,start,end\n1,a,2024-03-01,{value}\n1,b,2024-03-01,2024-03-02\n")
    with pytest.raises(EventLogError) as caught:
        await load_event_log(db, log)

    assert caught.value.options["missing"] == [value]
    await load_event_log(db, log, **caught.value.options)
    assert await tasks(db, Task.step, Task.status) == [("a", "running"), ("b", "succeeded")]


async def test_a_day_that_stands_for_none_is_asked_for(db: Database, write):
    with pytest.raises(MalformedRowError, match="'9999-12-31', which may stand for a missing value"):
        await load_event_log(db, write("case,activity,timestamp\n1,a,9999-12-31\n"))


async def test_a_word_for_missing_values_does_not_make_values_of_the_others(db: Database, write):
    path = write(HEADER + "1,a,2024-03-01,NULL\n1,b,2024-03-01,n/a\n")
    with pytest.raises(MalformedRowError, match="line 3: 'Resource' is 'n/a'") as caught:
        await load_event_log(db, path, missing=["NULL"])
    assert caught.value.options == {"missing": ["NULL", "n/a"]}

    await load_event_log(db, path, missing=["NULL", ""])

    assert await tasks(db, Task.worker) == [(None,), ("n/a",)]


async def test_words_for_missing_values_may_be_values(db: Database, write):
    """Whoever says so has a colleague of that name."""
    path = write(HEADER + "1,a,2024-03-01,None\n")
    with pytest.raises(MalformedRowError, match=r"missing=.'None'"):
        await load_event_log(db, path)

    await load_event_log(db, path, missing=[])

    assert await tasks(db, Task.worker) == [("None",)]


async def test_bad_rows_are_set_aside_with_line_and_reason(db: Database, write, tmp_path: Path):
    """The others are loaded; and the file of the bad ones, once mended, is a log itself."""
    bad = '1,a,yesterday,Ann\n1,"a"b,2024-03-01,Ann\n1,c\n2,d,2024-03-01T08:00:00,Zo\xeb\n'
    aside = tmp_path / "bad.csv"
    loaded = await load_event_log(db, write((HEADER + ROWS + bad).encode("cp1252")), bad_rows=aside)

    assert (loaded.events, loaded.bad_rows) == (5, 4)
    assert "from 5 events (4 bad rows left out)" in str(loaded)
    with aside.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["line", "reason", "Case ID", "Activity", "Complete Timestamp", "Resource"]
    assert [row[0] for row in rows] == ["7", "8", "9", "10"]
    assert "'yesterday' is not a time" in rows[0][1]
    assert rows[1][2:] == ['1,"a"b,2024-03-01,Ann']
    assert "byte 0xeb" in rows[3][1]

    mended = aside.read_text().splitlines()[0] + "\n" + ",".join(["7", "", "1", "a", "2024-03-05", "Ann"])
    assert (await load_event_log(db, write(mended, "mended.csv"))).events == 1


async def test_bad_rows_never_cost_a_file(db: Database, write, tmp_path: Path):
    """The log itself, or anything that is there, is not written over; what is left of a failed load goes."""
    path, aside = write(HEADER + "1,a,yesterday,Ann\n"), tmp_path / "bad.csv"
    with pytest.raises(EventLogError, match="is there already"):
        await load_event_log(db, path, bad_rows=path)
    with pytest.raises(EventLogError, match="cannot be written: No such file or directory"):
        await load_event_log(db, path, bad_rows=tmp_path / "nowhere" / "bad.csv")

    with pytest.raises(MalformedRowError, match=r"line 2: .*'yesterday' is not a time"):
        await load_event_log(db, path, bad_rows=aside)

    assert not aside.exists()
    assert await kept(db) is None
