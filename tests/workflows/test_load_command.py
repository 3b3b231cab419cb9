"""`asyncdb-nb load FILE`."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from asyncdb_nb.cli import main

LOG = "case;what;time\n1;a;2024-03-01\n1;b;2024-03-02\n"


def test_it_says_what_it_loaded_and_what_is_wrong(
    fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Each message names the option that helps, and doing so helps."""
    (path := tmp_path / "log.csv").write_text(LOG)
    command = ["load", str(path), "--url", fresh_database_url]

    assert main(command) == 1
    assert "No column is known to be the activity. " in (said := capsys.readouterr().err)
    assert "--activity" in said
    command += ["--activity", "what", "--timestamp", "time", "--failed", "b"]
    assert main(command) == 0
    assert "log: 1 case, 2 tasks, from 2 events" in capsys.readouterr().out
    assert main(command) == 1
    assert "--replace" in capsys.readouterr().err
    assert main([*command, "--replace", "--name", "log"]) == 0


def test_what_was_loaded_can_be_taken_out_as_it_says(
    fresh_database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Also under a name that the shell would take apart."""
    (path := tmp_path / "log.csv").write_text(LOG)
    url = ["--url", fresh_database_url]
    main(["load", str(path), *url, "--activity", "what", "--timestamp", "time", "--name", "my log"])

    said = capsys.readouterr().out.splitlines()[-1]
    _, unload, name, *_ = shlex.split(said.partition("again: ")[2])

    assert (unload, name) == ("unload", "my log")
    assert main(["unload", "log", *url]) == 1
    assert capsys.readouterr().err == "asyncdb-nb: There is no event log 'log'. Loaded are: 'my log'.\n"
    assert main(["unload", name, *url]) == 0
    assert capsys.readouterr().out == "my log is out again, with its 1 run.\n"
    assert main(["unload", name, *url]) == 1
    assert capsys.readouterr().err == "asyncdb-nb: There is no event log 'my log'. None is loaded.\n"
