"""The figures of one column, from what the second and the third statement of a profile gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from asyncdb_nb.explore.profile_source import Asked

_SORTED = ("q05", "q25", "median", "q75", "q95")
_OF_SOME_ROWS = (
    *("distinct", "top", "shortest", "length", "longest", "gap", "usual_gap", "gap_after", "keys"),
    *_SORTED,
)


@dataclass
class ColumnProfile:
    """The figures of one column; None is one that there is not. `Profile.frame` says what each means.

    Attributes:
        histogram: For each bar that is not empty, its number from 1, and the values in it.
        span: The smallest and the largest number of the histogram; of times, in seconds since 1970.
        sampled: How many rows were sorted and grouped, when those were not all.
        is_unique: Whether an index says that no value comes twice, so that `distinct` is exact.
    """

    DTYPES: ClassVar[dict[str, str]] = {
        "column": "str", "type": "str", "rows": "Int64", "missing": "Int64", "distinct": "Int64", "min": "object",
        "q05": "object", "q25": "object", "median": "object", "q75": "object", "q95": "object", "max": "object",
        "mean": "Float64", "deviation": "Float64", "nan": "Int64", "infinite": "Int64", "top": "object",
        "shortest": "Int64", "length": "Float64", "longest": "Int64", "gap": "Float64", "usual_gap": "Float64",
        "gap_after": "object", "keys": "object",
    }  # fmt: skip

    column: str
    type: str
    rows: int | None
    missing: int | None = None
    distinct: int | None = None
    min: Any = None
    q05: Any = None
    q25: Any = None
    median: Any = None
    q75: Any = None
    q95: Any = None
    max: Any = None
    mean: float | None = None
    deviation: float | None = None
    nan: int | None = None
    infinite: int | None = None
    top: list[tuple[Any, float]] | None = None
    shortest: int | None = None
    length: float | None = None
    longest: int | None = None
    gap: float | None = None
    usual_gap: float | None = None
    gap_after: Any = None
    keys: list[tuple[str, float]] | None = None
    histogram: list[tuple[int, int]] = field(default_factory=list)
    span: tuple[float, float] | None = None
    sampled: int | None = None
    is_unique: bool = False

    @property
    def present(self) -> int | None:
        """How many values are not missing; None where the user may not read them."""
        return None if self.missing is None or self.rows is None else self.rows - self.missing

    def is_sampled(self, figure: str) -> bool:
        """Say whether a figure comes from a sample."""
        if figure == "distinct" and (self.is_unique or not self.present):
            return False
        return self.sampled is not None and figure in _OF_SOME_ROWS

    def source(self, figure: str) -> str | None:
        """Say where a figure comes from; None where there is none."""
        if getattr(self, figure) is None:
            return None
        return f"sample of {self.sampled:,} rows" if self.is_sampled(figure) else "exact"


@dataclass(frozen=True)
class Sample:
    """The rows that were sorted and grouped.

    Attributes:
        rows: How many.
        of: How many there are in all.
    """

    rows: int
    of: int

    def __str__(self) -> str:
        return f"{self.rows:,} random ones of {self.of:,} rows"


@dataclass(frozen=True)
class Figures:
    """What a profile shows; `Profile` says what each is."""

    title: str
    kind: str
    rows: int
    columns: list[ColumnProfile]
    sample: Sample | None


def column_profile(
    asked: Asked, rows: int, counted: list[Any], grouped: list[Any], sampled: int | None
) -> ColumnProfile:
    """Put the figures of a column together.

    Args:
        asked: The column.
        rows: How many rows there are.
        counted: What the second statement gave, as `profile_statements` orders it.
        grouped: What the third gave.
        sampled: How many rows that had, when those were not all.
    """
    present, smallest, largest, mean, deviation, special, span, type_ = counted
    some, groups, once, top, quantiles, lengths, gaps, keys, histogram = grouped
    read = asked.family.read
    found = ColumnProfile(asked.name, asked.type or type_, rows, rows - present, sampled=sampled)
    found.is_unique = asked.is_unique
    found.distinct = _distinct(int(some), groups, once, present, sampled, is_unique=asked.is_unique)
    found.min, found.max = _read(read, smallest), _read(read, largest)
    if isinstance(found.min, int) and isinstance(found.max, int):  # no more whole numbers are between the two
        found.distinct = min(found.distinct, found.max - found.min + 1)
    for name, value in zip(_SORTED, quantiles or (), strict=False):
        setattr(found, name, _read(read, value))
    _set_means(found, mean, deviation, special)
    if top is not None:
        found.top = [(_read(read, value), count / int(some)) for value, count in top]
    if lengths is not None:
        found.shortest, found.length, found.longest = lengths[0], _read(float, lengths[1]), lengths[2]
    if gaps is not None and gaps[0] is not None:
        (longest, before, _), middle = gaps
        found.gap, found.usual_gap, found.gap_after = float(longest), float(middle), read(before)
    if asked.family.keys:
        found.keys = [(key, count / int(some)) for key, count in keys or ()]
    found.histogram = [(bar, count) for bar, count in histogram or ()]
    found.span = None if span is None or span[0] is None else (float(span[0]), float(span[1]))
    return found


def _distinct(some: int, groups: int, once: int, present: int, sampled: int | None, *, is_unique: bool) -> int:
    """Count distinct values, or estimate from a sample how many all rows have.

    Source: Haas and Stokes, "Estimating the number of classes in a finite population", 1998: the estimator Duj1, which
    ANALYZE uses as well.
    """
    if is_unique:
        return present
    if sampled is None or not some:
        return groups
    if once == some:
        return present
    estimate = some * groups / (some - once + once * some / present)
    return round(min(max(estimate, groups), present))


def _set_means(found: ColumnProfile, mean: Any, deviation: Any, special: list[int] | None) -> None:
    nan, above, below, huge = special or (0, 0, 0, 0)
    if special is not None:
        found.nan, found.infinite = nan, above + below
    if above or below:
        found.mean = float("inf") if not below else float("-inf") if not above else None
    elif not huge:
        found.mean, found.deviation = _read(float, mean), _read(float, deviation)


def _read(read: Any, value: Any) -> Any:
    return None if value is None else read(value)
