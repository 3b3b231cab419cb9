"""Costs as people write them: one meaning, or a question."""

from __future__ import annotations

import pytest

from asyncdb_nb import EventLogError
from asyncdb_nb.workflows.event_log.decimals import Decimals
from asyncdb_nb.workflows.event_log.unreadable import UnreadableError


@pytest.mark.parametrize(
    ("values", "options", "numbers"),
    [
        (["12.50", "3", "-0.125"], {}, ["12.50", "3", "-0.125"]),
        (["81,74", "1234,567", ",5"], {}, ["81.74", "1234.567", "0.5"]),
        (["1.234,50", "1.234", "2"], {}, ["1234.50", "1234", "2"]),
        (["1,234.50", "1,234"], {}, ["1234.50", "1234"]),
        (["81,74", "-1.000,5", "1.234"], {}, ["81.74", "-1000.5", "1234"]),
        (["0.5", "1,234,567", "1,234"], {}, ["0.5", "1234567", "1234"]),
        (["1.234.567", "81,5"], {}, ["1234567", "81.5"]),
        (["1'234.50", "1’234.50"], {}, ["1234.50", "1234.50"]),
        (["1 234,50", "1\u00a0234,50", "1\u202f234"], {}, ["1234.50", "1234.50", "1234"]),
        (["1 234"], {}, ["1234"]),
        (["12.50-", "+3"], {}, ["-12.50", "3"]),
        (["1.5E+02", "2e-1"], {}, ["150", "0.2"]),
        (["1.234", "5,5"], {"decimal": ","}, ["1234", "5.5"]),
        (["1.234", "1,234"], {"decimal": "."}, ["1.234", "1234"]),
        (["1.234", "1,5"], {"thousands": "."}, ["1234", "1.5"]),
        (["1\u00a0234,5"], {"thousands": " ", "decimal": ","}, ["1234.5"]),
    ],
)
def test_a_number_is_read_by_the_marks_that_it_shows(values: list[str], options: dict, numbers: list[str]) -> None:
    read = Decimals(**options).read

    assert [f"{read(value):f}" for value in values] == numbers


@pytest.mark.parametrize(
    ("values", "options", "reason", "remedy"),
    [
        (["1.234"], {}, "may be 1.234 or 1234, and no number before it shows which", {"decimal": "."}),
        (["1,234"], {}, "may be 1.234 or 1234", {"decimal": ","}),
        (["123", "1.234"], {}, "may be 1.234 or 1234", {"decimal": "."}),
        (["81,74", "1.234"], {}, "may be 1234, as ',' stands before the decimals elsewhere", {"decimal": ","}),
        (["81,74", "81.75"], {}, "does not go with the decimal mark ',' of the others", {}),
        (["1,5"], {"decimal": "."}, "does not go with the decimal mark '.'", {}),
        (["1.234"], {"decimal": ",", "thousands": " "}, "is not a number", {}),
        (["1,00,000.50"], {}, "is not a number", {}),
        (["1 234 5"], {}, "is not a number", {}),
        (["12.03.2024"], {}, "is not a number", {}),
        (["€ 5"], {}, "is not a number", {}),
        (["-5-"], {}, "is not a number", {}),
        (["NaN"], {}, "is not a number", {}),
        (["inf"], {}, "is not a number", {}),
        (["."], {}, "is not a number", {}),
        (["١٢"], {}, "is not a number", {}),
    ],
)
def test_a_number_with_two_readings_or_none_is_refused(
    values: list[str], options: dict, reason: str, remedy: dict
) -> None:
    decimals = Decimals(**options)
    *before, last = values
    for value in before:
        decimals.read(value)

    with pytest.raises(UnreadableError, match=reason) as caught:
        decimals.read(last)

    assert caught.value.options == remedy


def test_what_is_no_number_teaches_nothing() -> None:
    """A date among the costs does not change how the next cost is read."""
    decimals = Decimals()
    for value in ("12.03.2024", "1.234", "abc"):
        decimals.learn(value)

    assert str(decimals.read("81,74")) == "81.74"


@pytest.mark.parametrize("options", [{"decimal": ";"}, {"thousands": "ab"}, {"decimal": ",", "thousands": ","}])
def test_a_mark_that_is_none_is_refused(options: dict) -> None:
    with pytest.raises(EventLogError, match="mark"):
        Decimals(**options)
