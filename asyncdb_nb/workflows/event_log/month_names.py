"""
Put names of months and weekdays, and of the halves of a day, into English, which is what `strptime` reads everywhere.

Only names that mean one month, or one day, in all of English, German, French, Spanish, Italian, Portuguese and Dutch.
"""

from __future__ import annotations

import re

_NAMES = {
    "January": "jan januar jänner janvier janv enero ene gennaio gen janeiro januari",
    "February": "feb februar février févr fév febrero febbraio fevereiro fev februari",
    "March": "mar märz mär mrz mars marzo março maart mrt",
    "April": "apr avril avr abril abr aprile",
    "May": "mai mayo maggio mag maio mei",
    "June": "jun juni juin junio giugno giu junho",
    "July": "jul juli juillet juil julio luglio lug julho",
    "August": "aug août agosto ago augustus",
    "September": "sep sept septembre septiembre settembre set setembro",
    "October": "oct oktober okt octobre octubre ottobre ott outubro out",
    "November": "nov novembre noviembre novembro",
    "December": "dec dezember dez décembre déc diciembre dicembre dic dezembro",
}
_MONTHS = {name: month for month, names in _NAMES.items() for name in (month.lower(), *names.split())}
_DAY_NAMES = {
    "Monday": "mon mo montag lun lundi lunes lunedì seg segunda ma maandag",
    "Tuesday": "tue tues di dienstag mar mardi martes martedì ter terça dinsdag",
    "Wednesday": "wed weds mi mittwoch mer mercredi miércoles mié mie mercoledì qua quarta wo woensdag",
    "Thursday": "thu thur thurs do donnerstag jeu jeudi jueves jue giovedì gio qui quinta donderdag",
    "Friday": "fri fr freitag ven vendredi viernes vie venerdì sex sexta vr vrijdag",
    "Saturday": "sat sa samstag sonnabend sam samedi sábado sáb sab sabato za zaterdag",
    "Sunday": "sun so sonntag dim dimanche domingo dom domenica zo zondag",
}
_DAYS = {name: day for day, names in _DAY_NAMES.items() for name in (day.lower(), *names.split())}
_LEADING = re.compile(r"([^\W\d_]{2,10})(?:-feira)?(\.?)(?=[ ,])")
_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]{3,10})(\.?)(?![^\W\d_])")
_NOON = re.compile(r"(?<=[\d ])([ap])\. ?m\.?(?!\w)", re.IGNORECASE)


def in_english(value: str, form: str) -> str:
    """
    Write a time with the names that a format takes: `1. März 2024` as `1. Mar 2024` for `%b`, `5 p.m.` as `5 pm`.

    Months and weekdays may be written out or not; a dot after one goes, unless the format has it.
    """
    if "%p" in form:
        value = _NOON.sub(r"\1m", value)
    if form[:2] in ("%a", "%A") and (weekday := weekday_of(value)):
        day = weekday[0] if form[:2] == "%A" else weekday[0][:3]
        value = f"{day}{'.' if form[2:3] == '.' else ''}{weekday[1]}"
    if "%b" not in form and "%B" not in form:
        return value

    def month(found: re.Match[str]) -> str:
        name = _MONTHS.get(found[1].lower())
        dot = found[2] if re.search(r"%[bB]\.", form) else ""
        return found[0] if name is None else f"{name if '%B' in form else name[:3]}{dot}"

    return _WORD.sub(month, value)


def weekday_of(value: str) -> tuple[str, str] | None:
    """Give the weekday that a time begins with, in English, and what comes after its name; None where there is none."""
    found = _LEADING.match(value)
    day = None if found is None else _DAYS.get(found[1].lower())
    return None if found is None or day is None else (day, value[found.end() :])
