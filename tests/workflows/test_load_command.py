"""`asyncdb-nb load FILE`."""

from __future__ import annotations

import inspect
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from asyncdb_nb import EventLogError
from asyncdb_nb.cli import main
from asyncdb_nb.cli.command_line import command, shown
from asyncdb_nb.workflows import load_event_log
from asyncdb_nb.workflows.event_log.preparation import complete, prepared
from asyncdb_nb.workflows.event_log.proposal import propose
from asyncdb_nb.workflows.event_log.unreadable import UnreadableError
from asyncdb_nb.workflows.event_log.vocabulary import Words

LOG = "case;what;time\n1;a;2024-03-01\n1;b;2024-03-02\n"


def proposed(said: str) -> list[str]:
    """The words of the command in what was said."""
    return shlex.split(said.partition("Type: ")[2].splitlines()[0])[1:]


def test_it_says_what_it_loaded_and_what_is_wrong(
    fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Each message has the whole command that helps, with what was typed already, and typing it helps."""
    (path := tmp_path / "log.csv").write_text(LOG)
    assert main(["load", str(path), "--url", fresh_database_url, "--failed", "b"]) == 1
    assert "No column is known to be the activity. " in (said := capsys.readouterr().err)

    assert main(proposed(said)) == 0

    assert "log: 1 case, 2 tasks, from 2 events" in capsys.readouterr().out
    assert main(proposed(said)) == 1
    assert main(proposed(capsys.readouterr().err)) == 0


FOREIGN = {
    "sap.csv": (
        "1 case, 2 tasks",
        "Belegnummer;Vorgang;Datum;Zeit\n4711;Anlegen;20240301;093000\n4711;Buchen;20240301;240000\n",
    ),
    "airflow.csv": (
        "2 cases, 3 tasks",
        "dag_id,run_id,task_id,state,start_date,end_date\n"
        "d,r1,t1,success,2024-03-01T09:00:00+00:00,2024-03-01T09:01:00+00:00\n"
        "d,r1,t2,running,2024-03-01T09:01:00+00:00,\n"
        "d,r2,t1,failed,2024-03-01T09:00:00+00:00,2024-03-01T09:01:00+00:00\n",
    ),
    "service now.csv": (
        "2 cases, 3 tasks",
        "number,incident_state,sys_updated_at,assigned_to\n"
        "INC1,New,29/2/2016 01:23,?\nINC1,Active,29/2/2016 08:53,Resolver 1\nINC2,New,1/3/2016 09:00,?\n",
    ),
    "sap's names.csv": (
        "1 case, 2 tasks",
        "MANDT;VBELN;AKTIVITAET;ERDAT;ERZET;ERNAM\n"
        "100;4711;Anlegen;20240301;093000;A\n100;4711;Buchen;20240301;240000;B\n",
    ),
    "whole service now.csv": (
        "2 cases, 3 tasks",
        "number,incident_state,sys_updated_at,opened_at,closed_at\n"
        "INC1,New,29/2/2016 01:23,29/2/2016 01:16,5/3/2016 12:00\n"
        "INC1,Active,29/2/2016 08:53,29/2/2016 01:16,5/3/2016 12:00\nINC2,New,1/3/2016 09:00,29/2/2016 04:40,?\n",
    ),
    "no end.csv": (
        "1 case, 3 tasks",
        "Case,Task,Begin,End\n1,a,2024-03-01T10:00,2024-03-01T11:00\n1,b,2024-03-01T11:00,0001-01-01T00:00\n"
        "1,c,2024-03-01T11:00,9999-12-31T23:59\n",
    ),
    "titled.csv": (
        "1 case, 2 tasks",
        "Incidents;;\nMade on;01.03.2024;\n\nTicket;Schritt;Zeit\n1;a;06.05.2024 09:30\n1;b;13.05.2024 10:00\n",
    ),
    "last rows.csv": (
        "1 case, 3 tasks",
        "Ticket;Schritt;Zeit;EUR\n1;a;06.05.2024 09:30;5\n1;b;13.05.2024 10:00;6\n1;c;13.05.2024 11:00;6\n"
        "Total;;;17\n\n(3 rows)\n",
    ),
    "wide.csv": (
        "1 case, 2 tasks",
        f"{','.join(f'c{n}' for n in range(200))},Ticket,Schritt,Zeit\n"
        f"{'x,' * 200}1,a,06.05.2024 09:30\n{'x,' * 200}1,b,13.05.2024 10:00\n",
    ),
    "starts.csv": (
        "1 case, 2 tasks",
        "id;event;time;Event Type\n1;a;2024-03-01 08:00;START\n1;a;2024-03-01 09:00;END\n1;b;2024-03-01 09:00;START\n",
    ),
    "author.csv": (
        "1 case, 2 tasks",
        "key,created,author,from,to\nP,2024-03-01,x,Open,Review\nP,2024-03-02,x,Review,Done\n",
    ),
    "zones.csv": ("1 case, 2 tasks", "id,step,when\n1,a,2024-03-01 09:00 CET\n1,b,2024-07-01 09:00 CEST\n"),
    "months.csv": ("1 case, 2 tasks", "Dossier;Étape;Date\n1;a;1 mars 2024 09:00\n1;b;12 août 2024 10:00\n"),
    "cp1252.csv": ("1 case, 1 task", "Ticket;Tätigkeit;Zeit\n1;Prüfen;06.05.2024 09:30\n".encode("cp1252")),
    "utf-16.csv": ("1 case, 1 task", "Ticket;Schritt;Zeit\n1;a;06.05.2024 09:30\n".encode("utf-16-le")),
    "ctime.csv": ("1 case, 1 task", "case,activity,timestamp\n1,a,Fri Mar  1 10:00:00 2024\n"),
    "epoch.csv": ("1 case, 2 tasks", "id,event,ts\n1,a,1711123456789\n1,b,1711123466789\n"),
    "mac.csv": ("1 case, 2 tasks", "Ticket;Schritt;Zeit\r1;open;06.05.2024 09:30\r1;close;13.05.2024 10:00\r"),
    "us.csv": (
        "1 case, 2 tasks",
        "Order No,Step,When,Began\n1,a,3/14/2024 1:05 PM,3/14/2024 1:00 PM\n1,b,3/15/2024 1:05 PM,\n",
    ),
    "bar^.csv": ("1 case, 1 task", "case^activity^timestamp\n1^a^2024-03-01\n"),
    "-dash.csv": (
        "1 case, 1 task",
        'case,activity,timestamp,lifecycle\n1,"a",2024-03-01,Beginn\n1,"a",2024-03-02,"Fertig=ja"\n',
    ),
}


@pytest.mark.second_tier
def test_scenario_73_what_it_proposes_loads_files_of_other_programs(
    fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """One message each, with the whole command; and so can each be deleted."""
    monkeypatch.chdir(tmp_path)
    for name, (_, content) in FOREIGN.items():
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        words = ["load", f"./{name}", "--url", fresh_database_url]
        assert main(words) == 1, name

        words = proposed(capsys.readouterr().err)

        assert main(words) == 0, (words, capsys.readouterr().err)
        out = capsys.readouterr().out
        assert out.startswith(f"{Path(name).stem}: {FOREIGN[name][0]}, ")
        assert main(shlex.split(out.partition("again: ")[2])[1:]) == 0


OPEN_ENDS = {
    "some": ["2024-03-01 09:00", "NULL", "0000-00-00", "9999-12-31"],
    "none but words": ["NULL", "0000-00-00", "9999-12-31 00:00:00"],
    "nothing at all": ["", ""],
    "far away": ["2024-03-01 09:00", "1900-01-01", "2999-12-31", "0001-01-01 00:00:00.0000000", "1899-12-30"],
    "as in the US": ["3/13/2024 09:00", "12/31/9999 23:59", "1/1/0001 00:00", "01/01/1900 00:00"],
    "as in Germany": ["13.03.2024 09:00", "31.12.9999 23:59", "00.00.0000 00:00", "01.01.0001"],
    "SAP's": ["20240313;090000", "00000000;000000", "99991231;235959", "00000000;", ";"],
}


@pytest.mark.parametrize("name", OPEN_ENDS)
def test_an_end_that_is_open_is_proposed_as_one(name: str, tmp_path: Path):
    """However a program writes it: its column is that of the ends, and the tasks are running."""
    ends = OPEN_ENDS[name]
    start = {"as in the US": "2/28/2024 09:00", "as in Germany": "28.02.2024 09:00", "SAP's": "20240228;090000"}
    names = "BEGDA;BEGZT;ENDDA;ENDZT" if name == "SAP's" else "Begin;End"
    rows = "".join(f"1;{n};{start.get(name, '2024-02-28')};{end}\n" for n, end in enumerate(ends))
    (path := tmp_path / "log.csv").write_text(f"Case;Task;{names}\n{rows}")

    options = completed(path)
    with prepared(path, options) as log:
        events = list(log.parser.events(log.file.records()))

    closed = [at is not None for _, _, _, at, _, phase, *_ in events if phase == "complete"]
    assert len(closed) == sum("2024" in end for end in ends)
    assert [phase for *_, phase, _, _, _, _ in events].count("start") == len(ends) - len(closed)


def completed(path: Path) -> dict[str, Any]:
    """All options that the first message proposes for a file."""
    options = {name: each.default for name, each in inspect.signature(load_event_log).parameters.items()}
    with pytest.raises(EventLogError) as caught, prepared(path, options):
        pass
    complete(caught.value, path, options)
    return options | caught.value.options


def test_what_was_is_proposed_rather_than_what_was_planned(tmp_path: Path):
    header = ["Case", "Task", "Planned Start", "Planned End", "Start", "End", "Due date"]
    rows = [[case, "a", *(f"2024-03-0{day}" for day in range(1, 6))] for case in "112"]

    options = propose(header, rows, {}).options

    assert (options["start"], options["timestamp"]) == ("Start", "End")


def test_as_many_bad_rows_as_good_ones_are_no_proposal(tmp_path: Path):
    """Two ways of writing dates in one file: half of it would be lost."""
    (path := tmp_path / "log.csv").write_text("id,step,when\n1,a,13/03/2024 09:00\n1,b,03/14/2024 10:00\n")
    options = {name: each.default for name, each in inspect.signature(load_event_log).parameters.items()}
    with pytest.raises(EventLogError) as caught, prepared(path, options):
        pass

    complete(caught.value, path, options)

    assert not caught.value.options
    assert "line 3: 'when' '03/14/2024 10:00' is not of the format '%d/%m/%Y %H:%M'" in caught.value.problem


def test_a_clock_goes_with_the_date_beside_it(tmp_path: Path):
    """Not with the first date of the row."""
    rows = [["1", "a", "20240101", "20240301", "103000"], ["1", "b", "20240101", "20240301", "103000"]]

    assert propose(["case", "task", "AEDAT", "ERDAT", "ERZET"], rows, {}).options["timestamp"] == ["ERDAT", "ERZET"]


def test_what_cannot_be_proposed_is_told_and_nothing_is_proposed(tmp_path: Path):
    """A command that would fail is none."""
    for content, told in (
        ("id,event,date\n1,a,45352.375\n", "As Excel counts days it may be one"),
        ("Id,Date,Task,Date\n1,2024-03-01,a,x\n", "The column 'Date', for timestamp, occurs 2 times. Rename one"),
        ('"case,activity,timestamp"\n"1,a,2024-03-01"\n', "Quotes before and after the whole line"),
    ):
        (path := tmp_path / "log.csv").write_text(content)
        options = {name: each.default for name, each in inspect.signature(load_event_log).parameters.items()}
        with pytest.raises(EventLogError) as caught, prepared(path, options):
            pass
        complete(caught.value, path, options)

        assert told in caught.value.problem
        assert not caught.value.options


def test_bad_rows_are_not_proposed_where_all_are(
    fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Nor under the name of a file that is there."""
    monkeypatch.chdir(tmp_path)
    for rows, proposed in (("1,a,x\n1,b,x\n", ""), ("1,a,x\n1,b,2024-03-01\n", "--bad-rows log.bad2.csv")):
        Path("log.csv").write_text(f"case,activity,timestamp\n{rows}")
        Path("log.bad.csv").touch()

        assert main(["load", "log.csv", "--url", fresh_database_url]) == 1

        assert capsys.readouterr().err.partition("aside: ")[2].rstrip().endswith(proposed)


def test_an_activity_is_what_has_a_name_rather_than_a_number():
    """As in the jobs of GitHub Actions."""
    header = ["run_id", "job_id", "name", "conclusion", "started_at", "completed_at"]
    times = ["2024-03-01T10:00:00Z", "2024-03-01T10:01:00Z"]
    rows = [[run, job, name, "failure", *times] for run, job, name in (("1", "7", "build"), ("2", "8", "build"))]

    assert propose(header, rows, {}).options["activity"] == "name"


def test_a_time_without_its_leading_zero_is_no_reason_to_leave_the_times_out():
    """As a spreadsheet saves 09:30:00 of SAP's: the row is refused, instead of every task at midnight."""
    rows = [["1", "a", "20240301", "103000"], ["1", "b", "20240301", "93000"]]

    assert propose(["case", "activity", "ERDAT", "ERZET"], rows, {}).options["timestamp"] == ["ERDAT", "ERZET"]


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (["Unsuccessful", "not ok", "Incomplete", "nicht bestanden", "abgelehnt", "fallito"], "fail"),
        (["Resolved", "komplett", "completado", "complété", "erledigt"], "complete"),
        (["In Bearbeitung", "en cours", "commencé", "Begonnen"], "start"),
        (["up_for_retry", "deferred", "Unbekannt", "zugewiesen", "-"], "ignore"),
    ],
)
def test_the_meaning_that_is_proposed_for_a_word_is_the_likely_one(words: list[str], meaning: str):
    """A success least of all, where the word denies one."""
    with pytest.raises(UnreadableError) as caught:
        Words("status", {}, words).meaning(words[0])

    assert caught.value.options["meanings"] == dict.fromkeys(words, meaning)


def test_nothing_is_proposed_where_columns_are_too_few():
    rows = [["1", "a", "2024-03-01"], ["1", "b", "2024-03-01"]]

    assert propose(["", "activity", "timestamp"], rows, {}).options == {"timestamp": "timestamp"}


def test_where_every_row_is_bad_it_says_what_helps(
    fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text("case,activity,timestamp\n1,a,1711123456\n1,b,1711123457\n")
    assert main(["load", "log.csv", "--url", fresh_database_url, "--bad-rows", "bad.csv"]) == 1

    assert main(proposed(capsys.readouterr().err)) == 0

    assert "1 case, 2 tasks, from 2 events, in the schema" in capsys.readouterr().out


def test_a_schema_of_somebody_else_is_answered_by_the_whole_command(
    fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (path := tmp_path / "log.csv").write_text("case,activity,timestamp\n1,a,2024-03-01\n")
    assert main(["load", str(path), "--url", fresh_database_url, "--schema", "public"]) == 1

    assert main(proposed(capsys.readouterr().err)) == 0

    assert "in the schema public_log;" in capsys.readouterr().out


def test_a_file_whose_name_is_no_text_is_loaded(
    fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    path = os.fsdecode(b"caf\xe9.csv")
    try:
        Path(path).write_text("case,activity,timestamp\n1,a,2024-03-01\n")
    except OSError:
        pytest.skip("this file system takes no such name")

    assert main(["load", path, "--url", fresh_database_url]) == 0

    assert capsys.readouterr().out.startswith("caf?: 1 case, 1 task, ")


def test_bad_rows_are_left_out_as_it_says(
    fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text("case,activity,timestamp\n1,a,2024-03-01\n1,b,yesterday\n")
    assert main(["load", "log.csv", "--url", fresh_database_url]) == 1
    said = capsys.readouterr().err
    assert said.startswith("asyncdb-nb: log.csv, line 3: 'timestamp' 'yesterday' is not a time in ISO 8601")

    assert main(shlex.split(said.partition("aside: ")[2])[1:]) == 0

    assert "(1 bad row left out)" in capsys.readouterr().out
    assert Path("log.bad.csv").read_text().splitlines()[1].startswith("3,")


def test_what_was_loaded_can_be_deleted_as_it_says(
    fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Also under a name that the shell would take apart."""
    (path := tmp_path / "log.csv").write_text(LOG)
    url = ["--url", fresh_database_url]
    main(["load", str(path), *url, "--activity", "what", "--timestamp", "time", "--name", "my log"])

    said = capsys.readouterr().out.splitlines()[-1]
    _, *unload = shlex.split(said.partition("again: ")[2])

    assert unload == ["unload", "my log", *url]
    assert main(["unload", "log", *url]) == 1
    assert capsys.readouterr().err == "asyncdb-nb: There is no event log 'log'. Loaded are: 'my log'.\n"
    assert main(unload) == 0
    assert capsys.readouterr().out == "my log is deleted, with its 1 run.\n"
    assert main(unload) == 1
    assert capsys.readouterr().err == "asyncdb-nb: There is no event log 'my log'. None is loaded.\n"


def test_a_log_in_two_schemas_is_asked_for(fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (path := tmp_path / "log.csv").write_text(LOG)
    url = ["--url", fresh_database_url]
    for schema in ("one", "two"):
        main(["load", str(path), *url, "--activity", "what", "--timestamp", "time", "--schema", schema])

    assert main(["unload", "log", *url]) == 1
    assert main(proposed(capsys.readouterr().err)) == 0
    assert main(["unload", "log", *url]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--meaning", "done"], "A meaning is written WORD=MEANING"),
        (["--meaning", "done=yes"], "'done' cannot mean 'yes'"),
        (["--decimal", ";"], "The decimal mark is '.' or ','"),
    ],
)
def test_a_wrong_option_is_told_in_one_sentence(
    fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
):
    (path := tmp_path / "log.csv").write_text("case,activity,timestamp\n1,a,2024-03-01\n")

    assert main(["load", str(path), "--url", fresh_database_url, *words]) == 1

    assert capsys.readouterr().err.startswith(f"asyncdb-nb: {message}")


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({"case": "Case ID", "url": None, "replace": True}, "--case 'Case ID' --replace"),
        (
            {"timestamp": ["Date", "Time"], "missing": ["?", ""]},
            "--timestamp Date --timestamp Time --missing '?' --missing ''",
        ),
        ({"meaning": {"Ende": "complete"}, "replace": False}, "--meaning Ende=complete"),
        (
            {"timestamp_format": "%d.%m.%Y", "missing": ["--", ""]},
            "--timestamp-format %d.%m.%Y --missing=-- --missing ''",
        ),
    ],
)
def test_a_command_is_written_as_a_shell_takes_it(options: dict, written: str):
    assert command("load", "a b.csv", options=options) == f"asyncdb-nb load 'a b.csv' {written}"


def test_a_password_is_not_written():
    assert shown("postgresql://me:se@cret@host/db") == "postgresql://me:***@host/db"
    assert shown("postgresql://me@host/db") == "postgresql://me@host/db"
    assert shown("postgresql:///db?host=/run") == "postgresql:///db?host=/run"


@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@127.0.0.1:1/db", "postgresql://me@127.0.0.1:1/db?password=secret"]
)
def test_no_password_is_in_what_is_proposed(url: str, monkeypatch: pytest.MonkeyPatch):
    from asyncdb_nb.cli.load import _command

    assert "secret" not in _command("log.csv", url, {})
