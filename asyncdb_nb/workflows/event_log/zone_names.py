"""
Find the zone that a time says it is in: by its name, `Europe/Berlin`, or by an abbreviation, `CEST`.

An abbreviation stands for different zones in different countries. It is read by the clocks of the zone that the caller
names, if they show it at that time; which also tells the two hours apart that come twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from asyncdb_nb.workflows.event_log.unreadable import UnreadableError

_IN_ENGLISH = {"MEZ": "CET", "MESZ": "CEST"}
_LIKELY = {  # proposed, and never taken
    **dict.fromkeys(("CET", "CEST"), "Europe/Berlin"),
    **dict.fromkeys(("EET", "EEST"), "Europe/Athens"),
    **dict.fromkeys(("WET", "WEST"), "Europe/Lisbon"),
    **dict.fromkeys(("EST", "EDT"), "America/New_York"),
    **dict.fromkeys(("CST", "CDT"), "America/Chicago"),
    **dict.fromkeys(("MST", "MDT"), "America/Denver"),
    **dict.fromkeys(("PST", "PDT"), "America/Los_Angeles"),
    **dict.fromkeys(("AEST", "AEDT"), "Australia/Sydney"),
    **dict.fromkeys(("NZST", "NZDT"), "Pacific/Auckland"),
    "BST": "Europe/London",
    "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo",
    "MSK": "Europe/Moscow",
    "SAST": "Africa/Johannesburg",
}


def zoned(moment: datetime, name: str, here: tzinfo) -> datetime:
    """
    Give a local time its zone.

    Args:
        moment: The time, without a zone.
        name: What it says of its zone.
        here: The zone whose abbreviations are known.

    Raises:
        UnreadableError: Nobody knows which zone it is.
    """
    if name in ("Z", "UTC", "GMT"):
        return moment.replace(tzinfo=UTC)
    try:
        if "/" in name:
            return moment.replace(tzinfo=ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise UnreadableError(f"has a zone that does not exist, {name!r}.") from error
    short = _IN_ENGLISH.get(name, name)
    for fold in (0, 1):
        local = moment.replace(tzinfo=here, fold=fold)
        if local.tzname() == short:
            return local
    likely = _LIKELY.get(short)
    if likely and str(here) != likely:
        raise UnreadableError(
            f"has the zone {name!r}, which stands for different ones. Name one whose clocks show it; it may be:",
            {"timezone": likely},
        )
    raise UnreadableError(f"has the zone {name!r}, which the clocks of {here} do not show then.")
