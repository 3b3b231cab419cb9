"""A bar for what takes long, where someone looks."""

from __future__ import annotations

import sys

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import frame
from asyncdb_nb.dataframes.query import progress

LONG = "select g, repeat('x', 500) as x from generate_series(1, 60000) g"


async def test_a_bar_shows_rows_and_bytes_and_goes_away(
    session: AsyncSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    monkeypatch.setattr(progress, "PATIENCE", 0)

    await frame(session, LONG, max_rows=60_000, truncate=True)

    shown = capsys.readouterr().err
    assert "MB" in shown
    assert "60.0k" in shown  # the total
    assert shown.endswith("\r")


async def test_there_is_no_bar_for_what_is_quick(
    session: AsyncSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "is_watched", lambda: True)

    await frame(session, "select 1 as a")

    assert capsys.readouterr().err == ""


async def test_there_is_no_bar_where_nobody_looks(
    session: AsyncSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0)

    await frame(session, LONG)

    assert capsys.readouterr().err == ""


def test_there_is_no_bar_where_tqdm_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm's bar for notebooks does not heed its own variable, and stored outputs would never be the same."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert progress.is_watched()

    monkeypatch.setenv("TQDM_DISABLE", "1")

    assert not progress.is_watched()


def test_the_bar_counts_each_row_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    monkeypatch.setattr(progress, "PATIENCE", 0)
    monkeypatch.setattr(progress, "PAUSE", 0)
    shown = progress.Progress()

    for rows in (1_000, 2_000, 3_000):
        shown.seen(rows)
    bar = capsys.readouterr().err
    shown.close()

    assert "3.00k rows" in bar.rpartition("\r")[2]
