"""
Read points in time, and nothing that only looks like one.

ISO 8601 is read without being asked, in the forms that mean one thing. `datetime.fromisoformat` takes more: any
character between date and time, so that an epoch time of thirteen digits can be the year 1711. Other forms are named by
the caller, as `datetime.strptime` takes them, or as a count since 1970. A local time that the clocks left out, or had
twice, is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from asyncdb_nb.errors import EventLogError
from asyncdb_nb.workflows.event_log.month_names import in_english
from asyncdb_nb.workflows.event_log.unreadable import UnreadableError
from asyncdb_nb.workflows.event_log.zone_names import zoned

EPOCHS = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d|\d{4}/\d\d/\d\d|\d{8}|\d{4}-W\d\d-\d)"
    r"(?:[Tt ](?P<time>\d\d(?::\d\d(?::\d\d(?:[.,]\d+)?)?|\d\d(?:\d\d(?:[.,]\d+)?)?)?)"
    r"(?: ?(?:(?P<utc>[Zz]|UTC|GMT)|(?P<offset>[+-]\d\d(?::?\d\d)?)(?:\[[\w/+-]+\])?"
    r"| ?(?P<name>[A-Z]\w+/[\w/+-]+|[A-Z]{3,5})))?)?"
)
_END_OF_DAY = re.compile(r"(?<=[T ])24(?=:?00(?::?00(?:[.,]0+)?)?(?:$|[Zz+\- ]))")
_NO_SUCH = re.compile("(year|month|day|hour|minute|second)s? ")  # how Python begins to say that a part is out of range
_ZONE_NAME = re.compile(r" ?\[?([A-Za-z][\w/+-]*)\]?$")
_DIGITS = re.compile(r"(?:%[YGmdHIMSyjVuf]|\d)+")  # parts of a format that are written as one number
_WIDTHS = {"%Y": 4, "%G": 4, "%j": 3, "%u": 1}  # the others have two digits
_SERIAL = re.compile(r"[2-6]\d{4}([.,]\d+)?")  # days since 1900, from 1954 to 2091
_FRACTION, _SECONDS = re.compile(r"(?<=%S)[.,]%f"), re.compile(r"(?<=%M)[:.]%S")
_SPACES = str.maketrans("\u00a0\u2009\u202f", "   ")
_HAS_DATE = re.compile(r"%[cx]|(?=.*%[Yy])(?=.*(%j|%d(?=.*%[mbB])|%[mbB](?=.*%d)))|(?=.*%G)(?=.*%V)(?=.*%u)", re.DOTALL)


class Times:
    """
    What one log's times mean.

    Args:
        form: None for ISO 8601 (in which `/` may stand for `-`); a format of `datetime.strptime`; or one of `EPOCHS`.
        zone: Of times that do not say theirs.
        ambiguous: Which of an hour that comes twice in that zone is meant: `first`, `second`, or `raise`.
        nonexistent: What becomes of an hour that never came: `forward` (as much as the clocks went: 02:30 is 03:30,
            which is how PostgreSQL reads it), or `raise`.

    Raises:
        EventLogError: One of them is none of these.
    """

    def __init__(
        self, form: str | None = None, zone: str = "UTC", ambiguous: str = "raise", nonexistent: str = "raise"
    ) -> None:
        _check("ambiguous", ambiguous, ("raise", "first", "second"))
        _check("nonexistent", nonexistent, ("raise", "forward"))
        self.form, self._zone = form, _zone(zone)
        self._ambiguous, self._nonexistent = ambiguous, nonexistent
        self._parse = _parser(form, self._zone)

    def read(self, value: str) -> datetime:
        """
        Read one time, as UTC. 24:00 is the end of its day.

        Raises:
            UnreadableError: It is none, or not for certain.
        """
        same_day, ends_day = _END_OF_DAY.subn("00", plain_spaces(value))
        try:
            moment = self._parse(same_day)
            moment = moment + timedelta(days=1) if ends_day else moment  # a sum forgets which of two hours it was
            return (moment if moment.tzinfo else self._in_zone(moment)).astimezone(UTC)
        except OverflowError as error:
            raise UnreadableError("is before the year 1 or after 9999.") from error
        except ValueError as error:
            never_was = _NO_SUCH.match(str(error))
            raise UnreadableError(f"does not exist: {error}." if never_was else self._expected(value)) from error

    def _expected(self, value: str) -> str:
        if self.form is not None:
            return f"is not of the format {self.form!r}."
        serial = " As Excel counts days it may be one: show the column as dates there, and save it again."
        return f"is not a time in ISO 8601, such as 2024-02-28 14:30:00.{serial if _SERIAL.fullmatch(value) else ''}"

    def _in_zone(self, moment: datetime) -> datetime:
        first, second = (moment.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        if first.utcoffset() == second.utcoffset():
            return first
        if first.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) == moment:
            if self._ambiguous == "raise":
                raise UnreadableError(
                    f"comes twice in {self._zone}: its clocks go back then. If the first is meant (for the second, "
                    "ambiguous is 'second'; if the times are of another zone, name that):",
                    {"ambiguous": "first"},
                )
            return second if self._ambiguous == "second" else first
        if self._nonexistent == "raise":
            raise UnreadableError(
                f"does not exist in {self._zone}: its clocks go forward then. If it was written by a clock that was "
                "not set, and means an hour later (if the times are of another zone, name that):",
                {"nonexistent": "forward"},
            )
        return first


def plain_spaces(value: str) -> str:
    """Write a time with plain spaces: programs put narrow ones and such that break no line before AM and PM."""
    return value.translate(_SPACES)


def iso_time(value: str, here: tzinfo = UTC) -> datetime:
    """
    Read a time in ISO 8601, with the zone that it has, or without one.

    Args:
        value: The time.
        here: The zone whose abbreviations are known, such as CET and CEST.

    Raises:
        ValueError: It is none.
        UnreadableError: It has a zone of which nobody knows what it means.
    """
    found = _ISO.fullmatch(value)
    if found is None:
        raise ValueError("no ISO 8601")
    zone = "+00:00" if found["utc"] else found["offset"] or ""
    moment = datetime.fromisoformat(f"{found['date'].replace('/', '-')}T{found['time'] or '00'}{zone}")
    return zoned(moment, found["name"], here) if found["name"] else moment


def strptime(value: str, form: str) -> datetime:
    """
    Read a time as `datetime.strptime` does, but where parts follow each other without a mark, with all their digits.

    Of `10500`, strptime makes 10:50:00 by `%H%M%S`; it is 01:05:00 in a column that has lost its leading zeros.

    Raises:
        ValueError: It is not of that form.
    """
    value = in_english(value, form)
    moment = _moment(value, form)
    for digits, parts in zip(re.findall(r"\d+", value), _DIGITS.findall(form), strict=False):
        widths = [_WIDTHS.get(part, len(part)) for part in re.findall(r"%.|\d", parts)]
        if len(widths) > 1 and len(digits) != sum(widths) and "%f" not in parts:
            raise ValueError("no such number of digits")
    return moment


def _moment(value: str, form: str) -> datetime:
    """Read a time; where nothing stands for seconds or their fraction, there are none."""
    shorter = _FRACTION.sub("", form) if _FRACTION.search(form) else _SECONDS.sub("", form)
    try:
        return datetime.strptime(value, form)  # a missing zone is added by the caller
    except ValueError:
        if shorter == form:
            raise
        try:
            return _moment(value, shorter)
        except ValueError:
            pass
        raise


def _parser(form: str | None, here: tzinfo) -> Callable[[str], datetime]:
    if form is None:
        return lambda value: iso_time(value, here)
    if form in EPOCHS:
        return lambda value: _since_epoch(value, EPOCHS[form])
    _check_format(form)
    if "%Z" in form:
        return lambda value: _with_zone_name(value, form, here)
    return lambda value: strptime(value, form)


def _check_format(form: str) -> None:
    try:
        datetime.strptime("", form)
    except ValueError as error:
        if "does not match" not in str(error):
            raise EventLogError(f"The timestamp format {form!r} is wrong: {error}.") from error
    if not _HAS_DATE.search(form):
        raise EventLogError(
            f"The timestamp format {form!r} does not tell the whole date. It is as strptime takes it, such as "
            f"'%d.%m.%Y %H:%M', or one of {', '.join(EPOCHS)}."
        )
    if "%Z" in form and not form.endswith("%Z"):
        raise EventLogError(f"%Z, a zone's name, comes last in a timestamp format, other than in {form!r}.")


def _since_epoch(value: str, units: int) -> datetime:
    if not re.fullmatch(r"-?\d+(\.\d+)?", value, re.ASCII):
        raise ValueError("no number")
    return _EPOCH + timedelta(microseconds=int(Decimal(value) * 10**6 / units))


def _with_zone_name(value: str, form: str, here: tzinfo) -> datetime:
    """Read a time and its zone's name: strptime would know the name, and forget it."""
    found = _ZONE_NAME.search(value)
    if not found:
        raise ValueError("no zone")
    moment = strptime(value[: found.start()].rstrip(), form.removesuffix("%Z").rstrip())
    return zoned(moment, found[1], here)


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise EventLogError(f"There is no time zone {name!r}; they are named like 'Europe/Berlin'.") from error


def _check(option: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise EventLogError(f"{option} is {' or '.join(map(repr, allowed))}, not {value!r}.")
