"""
Propose the options with which a file may be loaded, from its header and its first records.

A proposal is for a person to read before it is typed, so it may be bolder than a guess: it goes by names in a few
languages, by what looks like a time, and by what repeats.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, NamedTuple

from asyncdb_nb.workflows.event_log.time_format_proposals import ISO, choice, forms_of
from asyncdb_nb.workflows.event_log.time_reading import plain_spaces
from asyncdb_nb.workflows.event_log.vocabulary import (
    CANCEL,
    COMPLETE,
    FAIL,
    START,
    STATUSES,
    TRANSITIONS,
    maybe_missing,
    missing_words,
    plain,
)

_NUMBERED = "(id|nr|no|number|nummer|key)$"

Names = str | Sequence[str]

_WORDS = {  # the best first
    "case": ("case|trace|fall", "ticket|order|incident|vorgang|dossier|auftrag|request|run|invoice", _NUMBERED),
    "activity": (
        "activit|aktivit|actividad|attivit|atividad|tätigkeit|taetigkeit",
        "task|step|event|action|schritt|vorgang|operation|opération|job|étape|etape|tâche|tarea|paso|fase",
        "status|statut|state|estado|stato|name|what|^to$|new.?value|to.?string",
    ),
}
_STATUS = re.compile("status|state$|conclusion|result|outcome", re.IGNORECASE)
_PERSON = re.compile("user|author|assign|owner|agent|resource|worker|employee|bearbeiter|benutzer|usuario|utilis", re.I)
_START = re.compile("start|begin|begun|began|^beg|anfang|début|debut|inici|inizio|(^|_| )(from|von)$", re.IGNORECASE)
_PLAN = re.compile("plan|due|sched|target|expect|estim|fällig|soll|prévu|previst", re.IGNORECASE)
_END = re.compile("end|complet|finish|done|stop|close|resolve|fertig|fin$|hasta|until|(^|_| )(to|bis)$", re.IGNORECASE)
_TIMELIKE = re.compile(
    r"time|date|stamp|zeit|uhr|datum|tag|fecha|hora|heure|epoch|when|(_|\b)(at|ts|dt)$"
    r"|^[A-Z]{2,}(DAT|DT|ZET|TM)$",  # SAP's ERDAT, CPUDT, ERZET, CPUTM
    re.IGNORECASE,
)
_MOST = 40  # columns that are considered
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?|\d{5,6}")  # with five, a zero is lost


@dataclass(frozen=True)
class _Column:
    name: str
    values: list[str]  # without missing ones

    @property
    def has_statuses(self) -> bool:
        """Whether it tells what became of tasks, in words that are known, and tells more than that they ended."""
        meanings = {STATUSES.get(plain(value)) for value in self.values}
        return bool(_STATUS.search(self.name)) and bool({FAIL, CANCEL} & meanings) and None not in meanings

    @property
    def timelike(self) -> bool:
        """Whether it may hold times: numbers do only under a name that says so."""
        named = bool(_TIMELIKE.search(self.name) or _START.search(self.name) or _END.search(self.name))
        return bool(self.values) and (named or not all(value.isdigit() for value in self.values))

    @property
    def has_transitions(self) -> bool:
        """Whether it tells starts from completions, in words that are known."""
        meanings = {TRANSITIONS.get(plain(value)) for value in self.values}
        return {START, COMPLETE} <= meanings and None not in meanings

    @property
    def is_open(self) -> bool:
        """Whether it is a column of ends by its name, and nothing has ended yet."""
        return not self.values and bool(_END.search(self.name))

    @property
    def has_times(self) -> bool:
        return self.is_open or (self.timelike and bool(forms_of(self.values)))

    @property
    def has_clocks(self) -> bool:
        return self.timelike and all(_CLOCK.fullmatch(plain_spaces(value)) for value in self.values)

    def score(self, role: str) -> int:
        """How likely it is the case or the activity, by its name and by whether it repeats."""
        words = _WORDS[role]
        if role == "case" and _STATUS.search(self.name):
            return 0
        if _PERSON.search(self.name):
            return -1
        by_name = next((3 * (len(words) - n) for n, word in enumerate(words) if re.search(word, self.name.lower())), 0)
        if role == "activity" and re.search(_NUMBERED, self.name.lower()):
            by_name -= 4  # `job_id` counts less than the `name` beside it
        return by_name + 3 * (1 < len(set(self.values)) < len(self.values))


class Proposal(NamedTuple):
    """
    What may be typed.

    Attributes:
        options: Options of `load_event_log`.
        remark: What a person has to decide about them, as a sentence after another; or nothing.
    """

    options: dict[str, Any]
    remark: str = ""


NOTHING = Proposal({})


def propose(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    named: Mapping[str, Names | None],
    form: str | None = None,
    missing: Collection[str] | None = None,
) -> Proposal:
    """
    Propose options of `load_event_log`.

    Args:
        header: The names of the columns.
        rows: The first records, as wide as the header.
        named: The columns that are known, by role.
        form: The format of times that the caller told, or None.
        missing: The words for missing values that the caller told, or None.

    Returns:
        The columns for case, activity, timestamp, start, lifecycle and status, as far as they are not known and there
        are any; `timestamp_format` and `missing` where these columns, or the known ones, need them.
    """
    known = {role: [names] if isinstance(names, str) else list(names) for role, names in named.items() if names}
    taken = {name for names in known.values() for name in names}
    columns = {
        name: _Column(name, _present((row[at].strip() for row in rows), missing))
        for at, name in enumerate(header)
        if name and header.count(name) == 1
    }
    free = [column for column in columns.values() if column.name not in taken]
    times = _times(free)
    chosen = _ends(times, named, {name: len(set(column.values)) for name, column in columns.items()})
    rest = [column for column in free if not any(column.name in names for names in times)]
    if named.get("status") is None and (statuses := [column for column in rest if column.has_statuses]):
        rest.remove(statuses[0])
        chosen["status"] = [statuses[0].name]
    roles = [role for role in _WORDS if named.get(role) is None]
    steps = [column for column in rest if column.has_transitions]
    if steps and len(rest) > len(roles) and named.get("lifecycle") is None and "start" not in known | chosen:
        rest.remove(steps[0])
        chosen["lifecycle"] = [steps[0].name]
    chosen |= _case_and_activity(rest, roles)
    if named.get("timestamp") is None and "timestamp" not in chosen and (last := _named_like_times(header, known)):
        chosen["timestamp"] = [last]
    options: dict[str, Any] = {
        role: chosen[role][0] if len(chosen[role]) == 1 else chosen[role]
        for role in ("case", "activity", "timestamp", "start", "lifecycle", "status")
        if role in chosen
    }
    used = known | chosen
    forms = _forms(header, rows, [used[role] for role in ("timestamp", "start") if role in used], missing)
    if form is None and forms and forms[0] != ISO:
        options["timestamp_format"] = forms[0]
    positions = [at for at, name in enumerate(header) if any(name in names for names in used.values())]
    words = missing_words(row[at].strip() for row in rows for at in positions)
    if missing is None and words:
        options["missing"] = words
    return Proposal(options, choice(forms) if form is None else "")


def _case_and_activity(columns: Sequence[_Column], roles: Sequence[str]) -> dict[str, list[str]]:
    """Choose a column for each of these roles, so that all of them together fit best; none if there are too few."""
    if len(columns) < len(roles):
        return {}
    likely = sorted(columns, key=lambda column: max(map(column.score, _WORDS)), reverse=True)[:_MOST]
    ways = permutations([column for column in columns if column in likely], len(roles))
    best = max(ways, key=lambda way: sum(column.score(role) for column, role in zip(way, roles, strict=True)))
    return {role: [column.name] for role, column in zip(roles, best, strict=True)}


def _forms(
    header: Sequence[str], rows: Sequence[Sequence[str]], times: Iterable[list[str]], missing: Collection[str] | None
) -> list[str]:
    """Name the forms that the times of a file have; of the parts of each time, it has to have all."""
    values = []
    for names in times:
        positions = [header.index(name) for name in names if name in header]
        parts = ([row[at].strip() for at in positions] for row in rows)
        values += [" ".join(part) for part in parts if len(_present(part, missing)) == len(part)]
    return forms_of(values)


def _times(columns: Sequence[_Column]) -> list[list[str]]:
    """Name the columns of each kind of time that there is."""
    clocks = [column for column in columns if column.has_clocks]
    times = [column for column in columns if column.has_times and column not in clocks]
    if not clocks:
        return [[column.name] for column in times]
    places = {column.name: place for place, column in enumerate(columns)}
    dates = [column.name for column in times if not any(":" in value for value in column.values)]
    pairs = []
    for clock in clocks:
        near = sorted(dates, key=lambda date: abs(places[date] - places[clock.name] + 0.5))  # rather before it
        pairs += [[date, clock.name] for date in near[:1]]
        dates = [date for date in dates if date not in near[:1]]
    return pairs


def _named_like_times(header: Sequence[str], known: Mapping[str, list[str]]) -> str | None:
    """Name a column that should have times, where none has: what is wrong with it is said when they are read."""
    taken = {name for names in known.values() for name in names}
    return next((name for name in header if _TIMELIKE.search(name) and name not in taken), None)


def _ends(
    times: list[list[str]], named: Mapping[str, Names | None], distinct: Mapping[str, int]
) -> dict[str, list[str]]:
    """Choose the columns of the completion, and of the start.

    Where nothing began, the time of the event differs most: `closed_at` may be the case's, the same in all its rows.
    """
    times = [names for names in times if not _PLAN.search(names[0])] or times
    starts = [names for names in times if _START.search(names[0])]
    others = [names for names in times if names not in starts] or starts
    ends = [names for names in others if _END.search(names[0])] or others[-1:]
    ends.sort(key=lambda names: not distinct[names[0]])  # one without any value last
    if not starts and not named.get("start"):
        ends = sorted(others, key=lambda names: (max(distinct[name] for name in names), names in ends))[-1:]
    chosen = {}
    if ends and named.get("timestamp") is None:
        chosen["timestamp"] = ends[0]
    if starts and starts[0] not in ends and named.get("start") is None:
        chosen["start"] = starts[0]
    return chosen


def _present(values: Iterable[str], missing: Collection[str] | None) -> list[str]:
    if missing is None:
        return [value for value in values if value and not maybe_missing(value)]
    return [value for value in values if value and value not in missing]
