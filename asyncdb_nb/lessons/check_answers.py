"""
Check the answer to an exercise of a lesson, by the exercise's number.

What is right is computed from the learner's own database each time, by other means than the solution's, so that a check
holds for whatever is loaded there. A wrong answer gets one sentence that says what is wrong with it, and from the
second wrong one on a hint. The cell of a lesson holds neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncdb_nb.aio.awaitables import Pending
from asyncdb_nb.errors import ExerciseError

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database

_wrong: Counter[str] = Counter()
"""How often an exercise was answered wrongly since it was last right, in this process."""


@dataclass(frozen=True)
class Verdict:
    """What the check found.

    Attributes:
        right: Whether the answer is.
        sentence: What is wrong with it, or what is right.
        hint: How to go on; None for the first wrong answer, and for a right one.
    """

    right: bool
    sentence: str
    hint: str | None = None

    def __repr__(self) -> str:
        lines = [f"Right! {self.sentence}" if self.right else f"Not yet: {self.sentence}"]
        return "\n".join([*lines, f"Hint: {self.hint}"] if self.hint else lines)


def check(exercise: str, db: Database, *answers: Any) -> Coroutine[Any, Any, Verdict]:
    """Check the answer to an exercise.

    Args:
        exercise: Its number: the lesson's, a point, and which of its exercises: `"05.2"`.
        db: The database that the lesson works in, from which is computed what is right.
        *answers: What the exercise asks for: a frame, a value, a function, …

    Returns:
        A coroutine of a `Verdict`, whose repr is a sentence.

    Raises:
        ExerciseError: There is no such exercise, or it has another number of answers.

    Example:
        >>> await check("05.2", db, total)
        Not yet: `total` is a float, which holds some sixteen digits and no sum of a `numeric` exactly.
    """
    return Pending(lambda: _check(exercise, db, answers), "check(...)", "Nothing was checked yet.")


async def _check(number: str, db: Any, answers: tuple[Any, ...]) -> Verdict:
    from asyncdb_nb.database.database import Database
    from asyncdb_nb.lessons.exercises import EXERCISES
    from asyncdb_nb.lessons.exercises.common_mistakes import not_there

    if number not in EXERCISES:
        raise ExerciseError(f"There is no exercise {number!r}. There are: {', '.join(EXERCISES)}.")
    exercise = EXERCISES[number]
    if not isinstance(db, Database) or len(answers) != len(exercise.asked):
        raise ExerciseError(f'Type `await check("{number}", db, {", ".join(exercise.asked)})`.')
    for name, answer in zip(exercise.asked, answers, strict=True):
        if untouched := not_there(name, answer):
            return Verdict(False, untouched)
    if fault := await exercise.fault(db, *answers):
        _wrong[number] += 1
        return Verdict(False, fault, exercise.hint if _wrong[number] > 1 else None)
    del _wrong[number]
    return Verdict(True, exercise.praise)
