"""Take currencies, parentheses and typographic marks off an amount: `$81.74`, `81,74 EUR`, `($5.00)`, `CHF 5.-`."""

from __future__ import annotations

import re
from typing import NamedTuple

_CODES = (  # ISO 4217, those in use
    "AED|AFN|ALL|AMD|ANG|AOA|ARS|AUD|AWG|AZN|BAM|BBD|BDT|BGN|BHD|BIF|BMD|BND|BOB|BRL|BSD|BTN|BWP|BYN|BZD|CAD|CDF|"
    "CHF|CLP|CNY|COP|CRC|CUP|CVE|CZK|DJF|DKK|DOP|DZD|EGP|ERN|ETB|EUR|FJD|FKP|GBP|GEL|GHS|GIP|GMD|GNF|GTQ|GYD|HKD|"
    "HNL|HRK|HTG|HUF|IDR|ILS|INR|IQD|IRR|ISK|JMD|JOD|JPY|KES|KGS|KHR|KMF|KPW|KRW|KWD|KYD|KZT|LAK|LBP|LKR|LRD|LSL|"
    "LYD|MAD|MDL|MGA|MKD|MMK|MNT|MOP|MRU|MUR|MVR|MWK|MXN|MYR|MZN|NAD|NGN|NIO|NOK|NPR|NZD|OMR|PAB|PEN|PGK|PHP|PKR|"
    "PLN|PYG|QAR|RON|RSD|RUB|RWF|SAR|SBD|SCR|SDG|SEK|SGD|SHP|SLE|SOS|SRD|SSP|STN|SVC|SYP|SZL|THB|TJS|TMT|TND|TOP|"
    "TRY|TTD|TWD|TZS|UAH|UGX|USD|UYU|UZS|VED|VES|VND|VUV|WST|XAF|XCD|XOF|XPF|YER|ZAR|ZMW|ZWL"
)
_SAME = {
    "EUR": "€",
    "Euro": "€",
    "GBP": "£",
    "INR": "₹",
    "PLN": "zł",
    "CZK": "Kč",
    "HUF": "Ft",
    "Fr": "CHF",
    "TRY": "₺",
}
_WORDS = "Euro|kr|zł|Kč|Ft|Fr|Rs|lei|руб"
_CURRENCY = rf"(?:[A-Z]{{0,2}}[$¢£¤¥\u20a0-\u20cf]|(?:{_CODES}|{_WORDS})(?![^\W\d_])\.?)"
_PARENTHESES = re.compile(rf"(?P<before>{_CURRENCY})?\s*\((?P<inside>[^()]+)\)\s*(?P<after>{_CURRENCY})?")
_AMOUNT = re.compile(
    rf"(?P<first>[+-]?)\s*(?P<before>{_CURRENCY})?\s*(?P<second>[+-]?)\s*"
    rf"(?P<number>[\d.,][^A-Za-z+-]*?)(?P<none>[.,][-–—]+)?\s*(?P<third>-?)\s*(?P<after>{_CURRENCY})?\s*(?P<last>-?)"
)


class Amount(NamedTuple):
    """
    What a value says.

    Attributes:
        number: As it is written, with at most one sign before or after it.
        currency: As it is written, or the sign for it; None where there is none.
    """

    number: str
    currency: str | None = None


def amount(value: str) -> Amount:
    """Take a value apart; one that is no amount of money comes back as it is."""
    text = value.replace("−", "-")
    enclosed = _PARENTHESES.fullmatch(text)
    if enclosed:
        text = "".join(part for part in enclosed.group("before", "inside", "after") if part)
    found = _AMOUNT.fullmatch(text)
    if not found:
        return Amount(value)
    signs = "".join(found.group("first", "second", "third", "last")) + ("-" if enclosed else "")
    if len(signs) > 1:
        return Amount(value)
    names = [name.removesuffix(".") for name in found.group("before", "after") if name]
    currency = " ".join(_SAME.get(name, name) for name in names)
    return Amount(f"{signs}{found['number']}", currency or None)
