"""The IPython terminal, whose loop runs only during a cell: Ctrl-C, broken sessions and the end, as in a kernel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from kernels import asleep
from server_checks import ServerWatch
from waiting import HANG, wait_until

PROMPT = r"In \[\d+\]: $"


@pytest.fixture
def terminal(clean_server: ServerWatch, database_url: str, tmp_path: Path) -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", "--no-confirm-exit"],
        env={
            "DATABASE_URL": f"{database_url}&application_name=terminal",
            "HOME": str(tmp_path),
            "TERM": "dumb",
            "PATH": "",
        },
        encoding="utf-8",
        timeout=HANG,
        dimensions=(50, 200),
    )
    child.expect(PROMPT)
    ask(child, "from asyncdb_nb import connect; from sqlalchemy import text; db = await connect()")
    yield child
    child.close(force=True)


def ask(terminal: pexpect.spawn, line: str) -> str:
    terminal.sendline(line)
    terminal.expect(PROMPT)
    return terminal.before


def test_ctrl_c_stops_the_query_and_the_next_line_works(terminal: pexpect.spawn, clean_server: ServerWatch) -> None:
    ask(terminal, "session = await db.session().__aenter__()")
    terminal.sendline("await session.execute(text('select pg_sleep(600)'))")
    wait_until(lambda: asleep(clean_server, "terminal"))

    terminal.sendintr()

    terminal.expect(PROMPT)
    assert "Stopped after " in terminal.before
    assert "Traceback" not in terminal.before
    assert terminal.before.count("The transaction of `session` was rolled back:") == 1
    wait_until(lambda: asleep(clean_server, "terminal", 0))
    assert "24" in ask(terminal, "await session.scalar(text('select 24'))")
    said = ask(terminal, "await session.execute(text('select nonsense'))")
    assert said.count("The transaction of `session` was rolled back:") == 1
    ask(terminal, "await session.close()")
    end(terminal)


@pytest.mark.second_tier
def test_a_synchronous_line_is_interrupted_as_ever(terminal: pexpect.spawn) -> None:
    ask(terminal, "import time")
    terminal.sendline("print('he' + 're'); [time.sleep(0.01) for _ in range(9999)]")
    terminal.expect("here")

    terminal.sendintr()

    terminal.expect(PROMPT)
    assert "KeyboardInterrupt" in terminal.before
    end(terminal)


@pytest.mark.second_tier
def test_ctrl_c_ends_a_calculation_in_an_awaiting_line(terminal: pexpect.spawn) -> None:
    ask(terminal, "import asyncio, time")
    terminal.sendline("await asyncio.sleep(0); print('he' + 're'); [time.sleep(0.01) for _ in range(9999)]")
    terminal.expect("here")

    terminal.sendintr()

    terminal.expect(PROMPT)
    assert "Stopped after " in terminal.before
    assert "'well'" in ask(terminal, "await asyncio.sleep(0, 'well')")
    end(terminal)


@pytest.mark.second_tier
def test_sql_works_and_the_end_leaves_nothing(terminal: pexpect.spawn, clean_server: ServerWatch) -> None:
    ask(terminal, "%load_ext asyncdb_nb")
    ask(terminal, "df = %asql select 7 as seven")
    assert "[7]" in ask(terminal, "df['seven'].tolist()")

    end(terminal)

    assert not clean_server.wait_for_backends(0, "terminal")


def end(terminal: pexpect.spawn) -> None:
    terminal.sendline("exit")
    terminal.expect(pexpect.EOF)
