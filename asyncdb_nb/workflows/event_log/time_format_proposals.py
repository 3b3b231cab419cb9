"""Find in which forms a column of times may be written, so that an error can propose what to type."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from asyncdb_nb.workflows.event_log.month_names import weekday_of
from asyncdb_nb.workflows.event_log.time_reading import iso_time, plain_spaces, strptime
from asyncdb_nb.workflows.event_log.unreadable import UnreadableError

ISO = ""

_DATES = (
    (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%d.%m.%Y",)),
    (r"\d{1,2}\.\d{1,2}\.\d{2}", ("%d.%m.%y",)),
    (r"\d{1,2}([/-])\d{1,2}\1\d{4}", ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y")),
    (r"\d{1,2}([/-])\d{1,2}\1\d{2}", ("%d{0}%m{0}%y", "%m{0}%d{0}%y", "%y{0}%m{0}%d")),
    (r"\d{4}([./-])\d{1,2}\1\d{1,2}", ("%Y{0}%m{0}%d",)),
    (r"\d{8}", ("%Y%m%d",)),
    (r"\d{1,2}([ /-])[^\W\d_]{3,}\.?\1\d{4}", ("%d{0}%b{0}%Y",)),
    (r"\d{1,2}([ /-])[^\W\d_]{3,}\.?\1\d{2}", ("%d{0}%b{0}%y",)),
    (r"\d{1,2}(\. )[^\W\d_]{3,}\.? \d{4}", ("%d{0}%b %Y",)),
    (r"[^\W\d_]{3,}\.? \d{1,2}(,?) \d{4}", ("%b %d{0} %Y",)),
    (r"[A-Z][a-z]{2} [ \d]?\d \d\d:\d\d:\d\d \d{4}", ("%b %d %H:%M:%S %Y",)),  # after a weekday: C's ctime
)
_TIME = re.compile(
    r"(?P<between> +|T|, |[:_-])(?P<hour>\d{1,2})(?:(?P<mark>[:.])\d\d(?P<seconds>(?P=mark)\d\d)?|(?P<compact>\d{4}))"
    r"(?P<point>[.,])?(?(point)\d{1,6})"
    r"(?P<noon> ?[AaPp]\.?[Mm]\.?)?(?P<word> Uhr| h)?"
    r"(?P<zone> ?(?:(?P<utc>GMT|UTC)?(?P<offset>[+-]\d\d:?\d\d)|[A-Z]{3,5}$|[A-Z]\w+/[\w/+-]+$))?"
)
_COMPACT = {10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 17: "%Y%m%d%H%M%S%f"}
_EPOCHS = {10: "epoch_s", 13: "epoch_ms", 16: "epoch_us", 19: "epoch_ns"}
_FIRST = 20  # values whose forms are tried on the others
_NUMBER = re.compile(r"(\d+)(\.\d+)?")


def forms_of(values: Iterable[str]) -> list[str]:
    """
    Name the forms that most of the values have.

    Args:
        values: Times as they are written, without missing ones.

    Returns:
        `ISO` alone where that fits best; else formats of strptime and names of epochs, two or more where nothing in the
        values tells them apart; nothing where none fits half of them.
    """
    distinct = list(dict.fromkeys(map(plain_spaces, values)))
    candidates = dict.fromkeys(form for value in distinct[:_FIRST] for form in _candidates(value))
    fitting = {form: sum(_fits(value, form) for value in distinct) for form in (ISO, *candidates)}
    most = max(fitting.values())
    best = [form for form, count in fitting.items() if count == most > 0 and 2 * count >= len(distinct)]
    return [ISO] if ISO in best else best


def choice(forms: Sequence[str]) -> str:
    """Say, after a sentence, that several forms fit; nothing where one does."""
    return f" The times may be of the form {' or '.join(map(repr, forms))}: choose." if len(forms) > 1 else ""


def _candidates(value: str) -> Iterator[str]:
    if number := _NUMBER.fullmatch(value):
        digits = len(number[1])
        yield from (forms[digits] for forms in (_EPOCHS, _COMPACT) if digits in forms)
    for day, dated in _without_weekday(value):
        for pattern, forms in _DATES:
            if date := re.match(rf"{pattern}(?!\d)", dated):
                time = _time_form(dated[date.end() :])
                if time is not None:
                    yield from (day + form.format(*date.groups()) + time for form in forms)


def _without_weekday(value: str) -> Iterator[tuple[str, str]]:
    """Give a time as it is, and what comes after a weekday with the form of that; `mar` is March and mardi."""
    yield "", value
    if weekday := weekday_of(value):
        _, rest = weekday
        name, comma = re.split(r"\W", value, maxsplit=1)[0], "," if rest.startswith(",") else ""
        yield f"{'%a' if len(name) <= 3 else '%A'}{comma} ", rest.removeprefix(",").lstrip()


def _time_form(rest: str) -> str | None:
    """The form of what comes after a date; None where that is no time."""
    if not rest:
        return ""
    found = _TIME.fullmatch(rest)
    if found is None:
        return None
    noon, zone = found["noon"] or "", found["zone"] or ""
    hour = "%I" if noon else "%H"
    mark = found["mark"]
    clock = f"{hour}%M%S" if found["compact"] else f"{hour}{mark}%M{mark}%S" if found["seconds"] else f"{hour}{mark}%M"
    fraction = f"{found['point']}%f" if found["point"] else ""
    spaced_noon = noon and noon[: noon.startswith(" ")] + "%p"
    kind = f"{found['utc'] or ''}%z" if found["offset"] else "%Z"
    spaced_zone = zone and zone[: zone.startswith(" ")] + kind
    between = re.sub(" +", " ", found["between"])  # which strptime takes for several
    return f"{between}{clock}{fraction}{spaced_noon}{found['word'] or ''}{spaced_zone}"


def _fits(value: str, form: str) -> bool:
    if form == ISO:
        return _is_iso(value)
    if form in _EPOCHS.values():
        number = _NUMBER.fullmatch(value)
        return number is not None and _EPOCHS.get(len(number[1])) == form
    if form in _COMPACT.values() and _COMPACT.get(len(value)) != form:
        return False
    if form.endswith("%Z"):
        zone = re.search(r" ?[A-Z][\w/+-]*$", value)
        value, form = value[: zone.start()] if zone else "", form.removesuffix("%Z").rstrip()
    try:
        return bool(strptime(re.sub(r"\b24(:?00(:?00)?)$", r"00\1", value), form))
    except ValueError:
        return False


def _is_iso(value: str) -> bool:
    try:
        return bool(iso_time(value))
    except (ValueError, UnreadableError):
        return False
