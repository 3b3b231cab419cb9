"""Times of event logs: each has one meaning, or is refused with what to type."""

from __future__ import annotations

from datetime import datetime

import pytest

from asyncdb_nb import EventLogError
from asyncdb_nb.workflows.event_log.time_format_proposals import ISO, forms_of
from asyncdb_nb.workflows.event_log.time_reading import Times
from asyncdb_nb.workflows.event_log.unreadable import UnreadableError

BERLIN = {"zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("value", "options", "utc"),
    [
        ("2024-03-01", {}, "2024-03-01 00:00:00"),
        ("2024/03/01 09:30", {}, "2024-03-01 09:30:00"),
        ("2024-03-01T09:30:15.123456789Z", {}, "2024-03-01 09:30:15.123456"),
        ("2024-03-01 09:30:15,5", {}, "2024-03-01 09:30:15.500000"),
        ("20240301 093015", {}, "2024-03-01 09:30:15"),
        ("2024-03-01T09+01", {}, "2024-03-01 08:00:00"),
        ("2024-03-01 09:30:00 +0100", {}, "2024-03-01 08:30:00"),
        ("2024-03-01 09:30:00 UTC", BERLIN, "2024-03-01 09:30:00"),
        ("2024-03-01t09:30:00z", BERLIN, "2024-03-01 09:30:00"),
        ("2024-03-01 09:30 America/New_York", BERLIN, "2024-03-01 14:30:00"),
        ("2024-03-01T09:30+01:00[Europe/Berlin]", {}, "2024-03-01 08:30:00"),
        ("2024-02-29 24:00", {}, "2024-03-01 00:00:00"),
        ("20240229 240000", {}, "2024-03-01 00:00:00"),
        ("29.02.2024 24:00", {"form": "%d.%m.%Y %H:%M"}, "2024-03-01 00:00:00"),
        ("1.3.24", {"form": "%d.%m.%y"}, "2024-03-01 00:00:00"),
        ("1.3.2024 010500", {"form": "%d.%m.%Y %H%M%S"}, "2024-03-01 01:05:00"),
        ("240301 0105007", {"form": "%y%m%d %H%M%S%f"}, "2024-03-01 01:05:00.700000"),
        ("20240301", {"form": "20%y%m%d"}, "2024-03-01 00:00:00"),
        ("3/1/2024 12:05 am", {"form": "%m/%d/%Y %I:%M %p"}, "2024-03-01 00:05:00"),
        ("01.03.2024 09:30 UTC", {"form": "%d.%m.%Y %H:%M %Z", **BERLIN}, "2024-03-01 09:30:00"),
        ("01.03.2024 09:30 Europe/Berlin", {"form": "%d.%m.%Y %H:%M %Z"}, "2024-03-01 08:30:00"),
        ("2024-03-01 09:30:00 CET", BERLIN, "2024-03-01 08:30:00"),
        ("2024-10-27 02:30 CEST", BERLIN, "2024-10-27 00:30:00"),
        ("2024-10-27 02:30 MEZ", BERLIN, "2024-10-27 01:30:00"),
        (
            "07/01/2024 9:00 AM PDT",
            {"form": "%m/%d/%Y %I:%M %p %Z", "zone": "America/Los_Angeles"},
            "2024-07-01 16:00:00",
        ),
        ("3. März 2024 09:30", {"form": "%d. %b %Y %H:%M"}, "2024-03-03 09:30:00"),
        ("3/1/2024 9:05\u202fAM", {"form": "%m/%d/%Y %I:%M %p"}, "2024-03-01 09:05:00"),
        ("2024-03-01\u00a009:30", {}, "2024-03-01 09:30:00"),
        ("1.3.2024 09:30", {"form": "%d.%m.%Y %H:%M:%S.%f"}, "2024-03-01 09:30:00"),
        ("1.3.2024 09:30:15", {"form": "%d.%m.%Y %H:%M:%S.%f"}, "2024-03-01 09:30:15"),
        ("1.3.2024 09:30:15.5", {"form": "%d.%m.%Y %H:%M:%S.%f"}, "2024-03-01 09:30:15.500000"),
        ("3. Mrz. 2024", {"form": "%d. %B %Y"}, "2024-03-03 00:00:00"),
        ("3 déc. 2024", {"form": "%d %b. %Y"}, "2024-12-03 00:00:00"),
        ("3/1/2024 12:05 A.M.", {"form": "%m/%d/%Y %I:%M %p"}, "2024-03-01 00:05:00"),
        ("3/1/2024 12:05 p. m.", {"form": "%m/%d/%Y %I:%M %p"}, "2024-03-01 12:05:00"),
        ("1711123456", {"form": "epoch_s", **BERLIN}, "2024-03-22 16:04:16"),
        ("1711123456.789", {"form": "epoch_s"}, "2024-03-22 16:04:16.789000"),
        ("1711123456789", {"form": "epoch_ms"}, "2024-03-22 16:04:16.789000"),
        ("1711123456789123456", {"form": "epoch_ns"}, "2024-03-22 16:04:16.789123"),
        ("-1", {"form": "epoch_s"}, "1969-12-31 23:59:59"),
        ("2024-07-01 09:30", BERLIN, "2024-07-01 07:30:00"),
        ("2024-10-27 02:30", {**BERLIN, "ambiguous": "first"}, "2024-10-27 00:30:00"),
        ("2024-10-27 02:30", {**BERLIN, "ambiguous": "second"}, "2024-10-27 01:30:00"),
        ("2024-10-27 03:00", BERLIN, "2024-10-27 02:00:00"),
        ("2024-03-31 02:30", {**BERLIN, "nonexistent": "forward"}, "2024-03-31 01:30:00"),
        ("2024-10-27 02:30+02:00", BERLIN, "2024-10-27 00:30:00"),
    ],
)
def test_a_time_is_the_moment_that_it_says(value: str, options: dict, utc: str) -> None:
    assert str(Times(**options).read(value)) == f"{utc}+00:00"


@pytest.mark.parametrize(
    ("value", "options", "reason", "remedy"),
    [
        ("1711081230000", {}, "is not a time in ISO 8601", {}),
        ("1711121343012", {}, "is not a time in ISO 8601", {}),
        ("2024-03-01x09:30", {}, "is not a time in ISO 8601", {}),
        ("09:30", {}, "is not a time in ISO 8601", {}),
        ("01.03.2024", {}, "is not a time in ISO 8601", {}),
        ("45352.39", {}, "As Excel counts days", {}),
        ("2023-02-29", {}, "does not exist: day is out of range", {}),
        ("30.02.2024", {"form": "%d.%m.%Y"}, "does not exist: day is out of range", {}),
        ("2024-03-01", {"form": "%d.%m.%Y"}, "is not of the format '%d.%m.%Y'", {}),
        ("1711123456789", {"form": "epoch_s"}, "is before the year 1 or after 9999", {}),
        ("20240301 10500", {"form": "%Y%m%d %H%M%S"}, "is not of the format '%Y%m%d %H%M%S'", {}),
        ("20240301 10500 UTC", {"form": "%Y%m%d %H%M%S %Z"}, "is not of the format", {}),
        ("1122024", {"form": "%d%m%Y"}, "is not of the format '%d%m%Y'", {}),
        ("1.7e9", {"form": "epoch_s"}, "is not of the format 'epoch_s'", {}),
        ("0001-01-01T00:00+05:00", {}, "is before the year 1", {}),
        (
            "01.03.2024 CET",
            {"form": "%d.%m.%Y %Z"},
            "has the zone 'CET', which stands for different ones",
            {"timezone": "Europe/Berlin"},
        ),
        (
            "2024-03-01 09:30 CEST",
            BERLIN,
            "has the zone 'CEST', which the clocks of Europe/Berlin do not show then",
            {},
        ),
        ("2024-03-01 10:00 XYZ", BERLIN, "has the zone 'XYZ', which the clocks of Europe/Berlin do not show", {}),
        ("1 sum 2024", {"form": "%d %b %Y"}, "is not of the format", {}),
        ("2024-03-01 09:30 Mars/Base", {}, "has a zone that does not exist, 'Mars/Base'", {}),
        ("2024-10-27 02:30", BERLIN, "comes twice in Europe/Berlin", {"ambiguous": "first"}),
        ("2024-03-31 02:30", BERLIN, "does not exist in Europe/Berlin", {"nonexistent": "forward"}),
    ],
)
def test_a_time_that_is_not_certain_is_refused(value: str, options: dict, reason: str, remedy: dict) -> None:
    """Among them epoch times that `datetime.fromisoformat` reads as days of the year 1711."""
    with pytest.raises(UnreadableError, match=reason) as caught:
        Times(**options).read(value)

    assert caught.value.options == remedy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "%H:%M"}, "does not tell the whole date"),
        ({"form": "%Y-%m"}, "does not tell the whole date"),
        ({"form": "%Y-%m-%d %Q"}, "'Q' is a bad directive"),
        ({"form": "%Z %Y-%m-%d"}, "%Z, a zone's name, comes last"),
        ({"zone": "Mars/Base"}, "no time zone 'Mars/Base'"),
        ({"zone": "../etc"}, "no time zone"),
        ({"ambiguous": "earliest"}, "ambiguous is 'raise' or 'first' or 'second', not 'earliest'"),
        ({"nonexistent": "back"}, "nonexistent is 'raise' or 'forward', not 'back'"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_read(options: dict, message: str) -> None:
    with pytest.raises(EventLogError, match=message):
        Times(**options)


@pytest.mark.parametrize(
    ("values", "forms"),
    [
        (["2024-03-01", "2024-03-01T10:00Z"], [ISO]),
        (["06.05.2024 09:30", "13.05.2024 10:00"], ["%d.%m.%Y %H:%M"]),
        (["03/04/2024", "04/05/2024"], ["%d/%m/%Y", "%m/%d/%Y"]),
        (["03/04/2024", "13/05/2024"], ["%d/%m/%Y"]),
        (["03/04/2024", "03/14/2024"], ["%m/%d/%Y"]),
        (["3/4/24 1:05 PM", "3/14/24 11:00 AM"], ["%m/%d/%y %I:%M %p"]),
        (["24-03-01"], ["%d-%m-%y", "%y-%m-%d"]),
        (["1711123456", "1711123457"], ["epoch_s"]),
        (["1711123456789"], ["epoch_ms"]),
        (["2024030109"], ["epoch_s", "%Y%m%d%H"]),
        (["20240301093000"], ["%Y%m%d%H%M%S"]),
        (["10/Oct/2000:13:55:36 -0700"], ["%d/%b/%Y:%H:%M:%S %z"]),
        (["1 March 2024 10:00:00 UTC"], ["%d %b %Y %H:%M:%S %Z"]),
        (["2024-3-1 9:05"], ["%Y-%m-%d %H:%M"]),
        (["01.03.2024 09:00", "13.03.2024 10:00:30"], ["%d.%m.%Y %H:%M:%S"]),
        (["01/14/2024 09:00:00.123", "01/13/2024 09:00:00"], ["%m/%d/%Y %H:%M:%S.%f"]),
        (["01.03.2024 09:00 Uhr"], ["%d.%m.%Y %H:%M Uhr"]),
        (["Friday, March 1, 2024 9:00\u202fAM"], ["%A, %b %d, %Y %I:%M %p"]),
        (["1 mars 2024 09:00", "12 août 2024 09:00", "3 mai 2024 10:00"], ["%d %b %Y %H:%M"]),
        (["1. März 2024", "12. Dez. 2024"], ["%d. %b %Y"]),
        (["01/Mar/24 9:00 AM", "02/Okt/24 10:00 PM"], ["%d/%b/%y %I:%M %p"]),
        (["March 1, 2024", "May 2, 2024"], ["%b %d, %Y"]),
        (["3/14/2024 9:00 a.m.", "3/15/2024 9:00 p.m."], ["%m/%d/%Y %I:%M %p"]),
        (["2024-03-01 09:00:00 CET"], ["%Y-%m-%d %H:%M:%S %Z"]),
        (["03/14/2024 09:00:00 AM PST"], ["%m/%d/%Y %I:%M:%S %p %Z"]),
        (["06.05.2024", "13.05.2024", "yesterday"], ["%d.%m.%Y"]),
        (["yesterday", "today"], []),
        ([], []),
    ],
)
def test_the_form_of_times_is_found_to_be_proposed(values: list[str], forms: list[str]) -> None:
    """All forms that fit most of the values: where nothing tells day from month, both."""
    assert forms_of(values) == forms


@pytest.mark.parametrize(
    ("value", "form", "utc"),
    [
        ("Mo 04.03.2024 09:30", "%a %d.%m.%Y %H:%M", "2024-03-04 09:30:00"),
        ("Mo., 04.03.2024 09:30", "%a, %d.%m.%Y %H:%M", "2024-03-04 09:30:00"),
        ("Montag, 4. März 2024 09:30", "%A, %d. %b %Y %H:%M", "2024-03-04 09:30:00"),
        ("mar. 5 mars 2024 09:30", "%a %d %b %Y %H:%M", "2024-03-05 09:30:00"),
        ("segunda-feira, 4 março 2024", "%A, %d %b %Y", "2024-03-04 00:00:00"),
        ("Mon 2024-03-04 09:30", "%a %Y-%m-%d %H:%M", "2024-03-04 09:30:00"),
        ("Mar 5, 2024", "%b %d, %Y", "2024-03-05 00:00:00"),
        ("Mon Mar  4 09:30:00 2024", "%a %b %d %H:%M:%S %Y", "2024-03-04 09:30:00"),
        ("Mon Mar 04 2024 09:30:00 GMT+0100", "%a %b %d %Y %H:%M:%S GMT%z", "2024-03-04 08:30:00"),
        ("04-MAR-24 09.30.00.000000 PM", "%d-%b-%y %I.%M.%S.%f %p", "2024-03-04 21:30:00"),
        ("2024-03-04-09.30.00.500000", "%Y-%m-%d-%H.%M.%S.%f", "2024-03-04 09:30:00.500000"),
        ("2024-03-04  09:30", "%Y-%m-%d %H:%M", "2024-03-04 09:30:00"),
        ("4.3.2024 9.30", "%d.%m.%Y %H.%M", "2024-03-04 09:30:00"),
    ],
)
def test_weekdays_and_the_clocks_of_other_programs_are_proposed_and_read(value: str, form: str, utc: str) -> None:
    """Oracle and DB2 have dots between hours and minutes, JavaScript `GMT` before an offset."""
    assert forms_of([value]) == [form]
    assert Times(form).read(value) == datetime.fromisoformat(f"{utc}+00:00")


def test_a_word_that_is_no_weekday_is_none() -> None:
    assert forms_of(["Foo 04.03.2024"]) == []
