"""
The words of event logs that mean something for a task: transitions, statuses, and what stands for a missing value.

Here are the words that mean one thing; case, and what stands between their letters, do not matter: `Timed out` is
`timed_out`, and `OK-` is no `ok`. The others are told by the caller, and of those only case does not matter: a word
that nobody has explained is an error, never a success.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from asyncdb_nb.errors import EventLogError
from asyncdb_nb.workflows.event_log.unreadable import UnreadableError

START, COMPLETE, FAIL, CANCEL, IGNORE = "start", "complete", "fail", "cancel", "ignore"
ABORT = "abort"  # a failure of which the log does not say what failed
MEANINGS = (START, COMPLETE, FAIL, CANCEL, IGNORE)
"""What a caller can say that a word means."""

TRANSITIONS = {
    # the standard's (IEEE 1849, XES)
    **dict.fromkeys(("schedule", "assign", "reassign", "suspend", "resume", "unknown"), IGNORE),
    **dict.fromkeys(("complete", "autoskip", "manualskip"), COMPLETE),
    **dict.fromkeys(("ateabort", "piabort"), ABORT),
    "start": START,
    "withdraw": CANCEL,
    # and how they are written elsewhere
    **dict.fromkeys(("scheduled", "assigned", "reassigned", "suspended", "resumed", "queued"), IGNORE),
    **dict.fromkeys(("started", "begin", "begun"), START),
    **dict.fromkeys(("completed", "end", "ended", "finish", "finished"), COMPLETE),
    **dict.fromkeys(("abort", "aborted"), ABORT),
    **dict.fromkeys(("fail", "failed", "failure", "error"), FAIL),
    **dict.fromkeys(("withdrawn", "cancel", "canceled", "cancelled"), CANCEL),
}
STATUSES = {
    **dict.fromkeys(("success", "successful", "succeeded", "complete", "completed", "passed", "ok"), COMPLETE),
    **dict.fromkeys(("fail", "failed", "failure", "error", "upstreamfailed", "timedout", "timeout", "crashed"), FAIL),
    **dict.fromkeys(("cancel", "canceled", "cancelled", "aborted", "skipped"), CANCEL),
    **dict.fromkeys(("running", "inprogress", "started"), START),
    **dict.fromkeys(("queued", "scheduled", "waiting", "none"), IGNORE),
}
KINDS = {"lifecycle": TRANSITIONS, "status": STATUSES}

_LIKELY = (  # words that are proposed, and never taken, for starts, failures and so on
    (IGNORE, ("unk", "unbek", "upfor", "retr", "defer", "onhold", "block")),
    (FAIL, ("un", "not", "nicht", "non", "incomp", "inval", "decl", "miss")),
    (
        START,
        (
            "inpro",
            "inbea",
            "inarb",
            "encou",
            "beg",
            "anf",
            "gest",
            "déb",
            "deb",
            "comm",
            "comen",
            "comin",
            "ini",
            "start",
            "run",
            "lauf",
            "open",
            "offen",
            "en c",
        ),
    ),
    (FAIL, ("fail", "fehl", "err", "reject", "abgel", "éch", "ech", "fall", "nok", "refus", "den", "break")),
    (CANCEL, ("canc", "abbr", "stor", "annul", "skip", "abort", "with", "zur")),
    (IGNORE, ("sched", "plan", "assign", "zug", "wait", "wart", "pend", "queue", "susp", "resum", "resch")),
)
_MAYBE_MISSING = frozenset({
    "?", "-", "--", "–", "—", "n/a", "na", "nan", "nat", "none", "null", "(null)", "<null>", "[null]", "<na>", "#n/a",
    "#null!", "\\n", "nil",
})  # fmt: skip
_BETWEEN = re.compile(r"(?<=[^\W_])[\W_]+(?=[^\W_])")  # letters
_NO_TIME = re.compile(  # days that programs write for none: 0 in each calendar, the last of a far year, PostgreSQL's
    r"(0001-0?1-0?1|0?1([./])0?1[./]0001|0000-00-00|00([./])00[./]0000|00000000"
    r"|(1900-01-01|1899-12-3[01]|1753-01-01|1601-01-01|1970-01-01|0?1[./]0?1[./](1900|1970))"
    r"|(9999|2999|2099)-12-31|(31[./]12|12/31)[./](9999|2999|2099)|99991231)([ T].*)?|[+-]?infinity"
)
_MIDNIGHTS = re.compile(
    r"(00|24):?00(:?00([.,]0+)?)?|12:00(:00)? ?[Aa][Mm]|23:?59(:?59([.,]9+)?)?|11:59(:59)? ?[Pp][Mm]|0"
)


def plain(word: str) -> str:
    """Reduce a word or a column's name to what counts when it is compared."""
    return re.sub(r"[\W_]", "", word.lower())


class Words:
    """
    What the words of one column mean.

    Args:
        kind: `lifecycle` or `status`.
        told: The words that the caller explains.
        sample: Words of the column, to propose all that are unknown at once.

    Attributes:
        unseen: Those of `told` that have not occurred.

    Raises:
        EventLogError: A meaning is none.
    """

    def __init__(self, kind: str, told: Mapping[str, str], sample: Iterable[str] = ()) -> None:
        for word, meaning in told.items():
            if meaning not in MEANINGS:
                raise EventLogError(f"{word!r} cannot mean {meaning!r}. Meanings are {', '.join(MEANINGS)}.")
        self._kind, self._told, self._sample = kind, told, sample
        self._meanings = {word.casefold(): meaning for word, meaning in told.items()} | dict(told)
        self.unseen = set(told)

    def meaning(self, word: str) -> str:
        """
        Say what a word means.

        Raises:
            UnreadableError: Nobody knows.
        """
        if self.unseen:
            self.unseen -= {each for each in self.unseen if each == word or each.casefold() == word.casefold()}
        found = self._known(word)
        if found is None:
            unknown = [each for each in dict.fromkeys([word, *self._sample]) if self._known(each) is None]
            no_column = " To take every row for a completion, lifecycle is ''." if self._kind == "lifecycle" else ""
            raise UnreadableError(
                f"is unknown. It may mean {', '.join(MEANINGS[:-1])} or {MEANINGS[-1]}.{no_column}",
                {"meanings": {**self._told, **{each: _likely(each) for each in unknown}}},
            )
        return found

    def _known(self, word: str) -> str | None:
        for each in (word, word.casefold()):
            if each in self._meanings:
                return self._meanings[each]
        return KINDS[self._kind].get(_BETWEEN.sub("", word.lower()))


def _likely(word: str) -> str:
    if maybe_missing(word):
        return IGNORE
    return next((meaning for meaning, beginnings in _LIKELY if plain(word).startswith(beginnings)), COMPLETE)


def maybe_missing(value: str) -> bool:
    """Say whether a value is a word, or a day, that often stands for a missing one."""
    return value.lower() in _MAYBE_MISSING or _NO_TIME.fullmatch(value) is not None


def is_no_count(value: str) -> bool:
    """Say whether a count since 1970 often stands for a missing time: none at all, or the -1 of C's functions."""
    return re.fullmatch(r"(-?0|-1)(\.0+)?", value) is not None


def missing_words(values: Iterable[str]) -> list[str]:
    """Name the words among values that often stand for missing ones, each once."""
    return list(dict.fromkeys(filter(maybe_missing, values)))


def is_end_of_day(clock: str) -> bool:
    """Say whether a clock tells the first or the last moment of a day: it may stand for none beside a day that does."""
    return _MIDNIGHTS.fullmatch(clock) is not None
