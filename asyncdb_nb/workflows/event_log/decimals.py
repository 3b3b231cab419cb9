"""
Read numbers as people write them: `1234.5`, `1.234,50`, `1 234,50`, `12.50-`.

Amounts of money are read as the numbers they are: `$81.74`, `81,74 EUR`, `(5.00)`; all of one currency.

Which mark stands before the decimals is told by the caller, or by the first number that shows it: `81,74` can mean one
thing only. `1.234` can mean two, and is never guessed.
"""

from __future__ import annotations

import re
from decimal import Decimal

from asyncdb_nb.errors import EventLogError
from asyncdb_nb.workflows.event_log.money import amount
from asyncdb_nb.workflows.event_log.unreadable import UnreadableError

_OTHER = {".": ",", ",": "."}
_SPACES = " \u00a0\u202f"
_GROUPING = f"'’{_SPACES}"  # marks that never stand before decimals

_SIGNED = re.compile(r"([+-]?)([^+\-eE]+)([eE][+-]?\d+)?(-?)", re.ASCII)  # SAP writes the minus last
_TWO_READINGS = re.compile(r"[1-9]\d{0,2}([.,])\d{3}", re.ASCII)
_SHOWING = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"\d{1,3}(?P<thousands>[.,])\d{3}(?:(?P=thousands)\d{3})*(?P<decimal>(?!(?P=thousands))[.,])\d+",
        r"\d{1,3}(?P<thousands>[.,])\d{3}(?:(?P=thousands)\d{3})+",
        rf"\d{{1,3}}(?P<thousands>[{_GROUPING}])\d{{3}}(?:(?P=thousands)\d{{3}})*(?P<decimal>[.,])\d+",
        r"\d+(?P<decimal>[.,])\d*|(?P<first>[.,])\d+",
    )
)


class Decimals:
    """
    Numbers of one column.

    Args:
        decimal: The mark before the decimals, `.` or `,`; None to find it.
        thousands: The mark between groups of three digits; if None, any mark other than `decimal` where that was told,
            and where it was found, only such as no decimals can have.

    Raises:
        EventLogError: A mark is no mark, or both are the same.
    """

    def __init__(self, decimal: str | None = None, thousands: str | None = None) -> None:
        if decimal not in (None, *_OTHER):
            raise EventLogError(f"The decimal mark is '.' or ',', not {decimal!r}.", {"decimal": ","})
        if thousands is not None and (len(thousands) != 1 or thousands.isalnum() or thousands == decimal):
            raise EventLogError(
                f"Thousands are marked by one character other than the decimal mark, not {thousands!r}."
            )
        self._grouping = _GROUPING if thousands is None else _SPACES if thousands in _SPACES else thousands
        if thousands is None and decimal is not None:
            self._grouping += _OTHER[decimal]
        self._decimal = decimal or _OTHER.get(thousands or "")
        self._told = self._decimal is not None
        self._currency: str | None = None
        self._pattern = self._compiled()

    def learn(self, value: str) -> None:
        """Take the marks from a number that can be read in one way only; any other teaches nothing."""
        signed = _SIGNED.fullmatch(amount(value).number)
        teaches = self._decimal is None or (not self._told and _OTHER[self._decimal] in value)
        shown = _shown(signed[2]) if signed and teaches else None
        if shown and self._decimal in (None, shown[0]):
            self._decimal, thousands = shown
            self._grouping += thousands or ""
            self._pattern = self._compiled()

    def read(self, value: str) -> Decimal:
        """
        Read one number.

        Raises:
            UnreadableError: It is none, or may be two, or is in another currency than those before.
        """
        self.learn(value)
        number, currency = amount(value)
        if currency and (self._currency or currency) != currency:
            raise UnreadableError(f"is in {currency}, and others are in {self._currency}: they cannot be added up.")
        self._currency = self._currency or currency
        signed = _SIGNED.fullmatch(number)
        if not signed or (signed[1] and signed[4]):
            raise UnreadableError("is not a number such as 12.50.")
        found = self._pattern.fullmatch(signed[2])
        if not found or not re.search("[0-9]", signed[2]):
            raise self._refusal(signed[2])
        whole, decimals = re.sub(r"\D", "", found["whole"]), found["decimals"] or ""
        point = "." if decimals else ""
        return Decimal(f"{signed[1] or signed[4]}{whole or 0}{point}{decimals}{signed[3] or ''}")

    def _compiled(self) -> re.Pattern[str]:
        mark = f"[{self._decimal}]" if self._decimal else "(?!)"
        groups = rf"[0-9]{{1,3}}(?P<group>[{re.escape(self._grouping)}])[0-9]{{3}}(?:(?P=group)[0-9]{{3}})*"
        return re.compile(rf"(?P<whole>{groups}|[0-9]*)(?:{mark}(?P<decimals>[0-9]*))?")

    def _refusal(self, body: str) -> UnreadableError:
        found = _TWO_READINGS.fullmatch(body)
        if found and self._decimal is None:
            mark = found[1]
            return UnreadableError(
                f"may be {body.replace(mark, '.')} or {body.replace(mark, '')}, and no number before it shows which. "
                f"Tell what stands before the decimals: {mark!r} if it is the former, {_OTHER[mark]!r} if the latter.",
                {"decimal": _OTHER[mark]},  # costs have seldom three decimals
            )
        if found and not self._told:
            whole = body.replace(found[1], "")
            reason = f"may be {whole}, as {self._decimal!r} stands before the decimals elsewhere. If so:"
            return UnreadableError(reason, {"decimal": self._decimal})
        if self._decimal and _shown(body):
            return UnreadableError(f"does not go with the decimal mark {self._decimal!r} of the others.")
        return UnreadableError("is not a number such as 12.50.")


def _shown(body: str) -> tuple[str, str | None] | None:
    """Say which mark stands before the decimals, and which between the thousands, where a number shows the former."""
    for pattern in () if _TWO_READINGS.fullmatch(body) else _SHOWING:
        if found := pattern.fullmatch(body):
            marks = found.groupdict()
            decimal = marks.get("decimal") or marks.get("first")
            return decimal or _OTHER[marks["thousands"]], marks.get("thousands")
    return None
