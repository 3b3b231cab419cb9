"""`asyncdb-nb load FILE`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from asyncdb_nb.cli import main
from asyncdb_nb.cli.command_line import command, shown
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
        Path(name).write_bytes(content.encode())
        words = ["load", f"./{name}", "--url", fresh_database_url]
        assert main(words) == 1, name

        words = proposed(capsys.readouterr().err)

        assert main(words) == 0, (words, capsys.readouterr().err)
        out = capsys.readouterr().out
        assert out.startswith(f"{Path(name).stem}: {FOREIGN[name][0]}, ")
        assert main(shlex.split(out.partition("again: ")[2])[1:]) == 0


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
