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
        (["$81.74", "$ 5", "-$5", "$-5.50", "6"], {}, ["81.74", "5", "-5", "-5.50", "6"]),
        (["81,74 €", "1.234,50 EUR", "€ 3"], {}, ["81.74", "1234.50", "3"]),
        (["EUR1,234.50", "Euro 2.00"], {}, ["1234.50", "2.00"]),
        (["($81.74)", "$(5.00)", "(6.50)", "(7) $"], {}, ["-81.74", "-5.00", "-6.50", "-7"]),
        (["CHF 1'234.50", "Fr. 2.-", "3.-- CHF", "CHF 4.–"], {}, ["1234.50", "2", "3", "4"]),
        (["R$ 1.234,50", "R$3,00"], {}, ["1234.50", "3.00"]),
        (["US$ 1,234.50", "US$ 1"], {}, ["1234.50", "1"]),
        (["−5.50", "+£6", "7.25- GBP"], {}, ["-5.50", "6", "-7.25"]),
        (["1 234,50 kr", "2,00 kr."], {}, ["1234.50", "2.00"]),
        (["1\u202f234,50\u00a0€"], {}, ["1234.50"]),
        (["¥1,234,567", "¥ 5"], {}, ["1234567", "5"]),
        (["1\u00a0234,5"], {"thousands": " ", "decimal": ","}, ["1234.5"]),
    ],
)
def test_a_number_is_read_by_the_marks_that_it_shows(values: list[str], options: dict, numbers: list[str]) -> None:
    read = Decimals(**options).read

    assert [f"{read(value):f}" for value in values] == numbers


@pytest.mark.parametrize(
    ("values", "options", "reason", "remedy"),
    [
        (["1.234"], {}, "may be 1.234 or 1234, and no number before it shows which", {"decimal": ","}),
        (["1,234"], {}, "may be 1.234 or 1234", {"decimal": "."}),
        (["123", "1.234"], {}, "may be 1.234 or 1234", {"decimal": ","}),
        (["81,74", "1.234"], {}, "may be 1234, as ',' stands before the decimals elsewhere", {"decimal": ","}),
        (["81,74", "81.75"], {}, "does not go with the decimal mark ',' of the others", {}),
        (["1,5"], {"decimal": "."}, "does not go with the decimal mark '.'", {}),
        (["1.234"], {"decimal": ",", "thousands": " "}, "is not a number", {}),
        (["1,00,000.50"], {}, "is not a number", {}),
        (["1 234 5"], {}, "is not a number", {}),
        (["12.03.2024"], {}, "is not a number", {}),
        (["$ 5", "€ 5"], {}, "is in €, and others are in \\$", {}),
        (["5 USD", "$5"], {}, "is in \\$, and others are in USD", {}),
        (["5 PCS"], {}, "is not a number", {}),
        (["5 EURO"], {}, "is not a number", {}),
        (["(-5)"], {}, "is not a number", {}),
        (["($5"], {}, "is not a number", {}),
        (["5%"], {}, "is not a number", {}),
        (["$1.234"], {}, "may be 1.234 or 1234", {"decimal": ","}),
        (["$"], {}, "is not a number", {}),
        (["5-10"], {}, "is not a number", {}),
        (["$5 5"], {}, "is not a number", {}),
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
