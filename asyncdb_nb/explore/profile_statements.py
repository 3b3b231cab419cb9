"""The second and the third statement of a profile: one pass over all rows, and what needs them sorted and grouped."""

from __future__ import annotations

from collections.abc import Sequence

from asyncdb_nb.engine.search_path import EQ, LT
from asyncdb_nb.explore.profile_source import Asked

# ruff: noqa: S608  the statements are put together from constants; names are aliases of ours

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
TOP = 5  # values
KEYS = 20  # keys of json
BINS = 24  # bars of a histogram

_ARRAY = "pg_catalog.json_build_array"


def of_all_rows(columns: Sequence[Asked]) -> str:
    """Count, and find the smallest, the largest, the mean and the deviation: one scan, nothing sorted."""
    pieces = ["pg_catalog.count(*)", *(_of_all_rows(column, f"q.c{n}") for n, column in enumerate(columns, 1))]
    return f"select {', '.join(pieces)} from {{source}}"


def of_some_rows(columns: Sequence[Asked], spans: Sequence[tuple[float, float] | None]) -> str:
    """Count distinct and frequent values, and find quantiles, lengths, gaps, keys and histograms.

    Args:
        columns: What is profiled.
        spans: The smallest and the largest number of each column, for its histogram.
    """
    pieces = ["(select pg_catalog.count(*) from s)"]
    for n, (column, span) in enumerate(zip(columns, spans, strict=True), 1):
        pieces.append(_of_some_rows(column, f"s.c{n}", span))
    return f"with s as materialized (select * from {{source}}) select {', '.join(pieces)}"


def sampled(relation: str, columns: Sequence[Asked], names: str, percent: float) -> str:
    """Write what to read from in place of a table: some of its rows, the same ones each time.

    From anywhere, though some whole blocks would be read quicker: rows of one block were often written together, and
    are alike. Of a million orders with six lines each, one would then count some 20,000.
    """
    aliases = ", ".join(f"c{n}" for n, _ in enumerate(columns, 1))
    return f"(select {names} from {relation} tablesample bernoulli ({percent:.6f}) repeatable (0)) as q({aliases})"


def thinned(sql: str, columns: Sequence[Asked], share: float) -> str:
    """Write what to read from in place of a statement: rows whose numbers, hashed, are small; the same ones each time.

    Every nth row would fall in step with what repeats itself in the data.
    """
    aliases = ", ".join(f"c{n}" for n, _ in enumerate(columns, 1))
    hashed = "pg_catalog.hashint8(place)::pg_catalog.int8"
    return (
        f"(select * from (select n.*, pg_catalog.row_number() over () as place from ({sql}\n) as n) "
        f"as numbered({aliases}, place) where {hashed} {LT} {round((share - 0.5) * 2**32)}::pg_catalog.int8) as q"
    )


def _of_all_rows(column: Asked, x: str) -> str:
    family = column.family
    kept = f" filter (where {family.finite})" if family.finite else ""
    mean, deviation = "null", "null"
    if family.mean_of is not None:
        mean = f"pg_catalog.avg({family.mean_of}){kept}"
        deviation = f"pg_catalog.stddev_samp({family.mean_of}){kept}"
    number = family.number
    figures = [
        "pg_catalog.count({x})",
        family.smallest or "null",
        family.largest or "null",
        mean,
        deviation,
        f"{_ARRAY}({family.special})" if family.special else "null",
        f"{_ARRAY}(pg_catalog.min({number}), pg_catalog.max({number}))" if number else "null",
        "pg_catalog.format_type({oid}, null)",
    ]
    return f"{_ARRAY}({', '.join(figures)})::pg_catalog.text".replace("{x}", x).replace("{oid}", str(column.oid))


def _of_some_rows(column: Asked, x: str, span: tuple[float, float] | None) -> str:
    family = column.family
    group = family.group
    is_nan = f" filter (where {family.finite})" if family.finite else ""
    top = (
        f"(select pg_catalog.json_agg({_ARRAY}({family.shown}, n)) from "
        f"(select v, n from g order by n desc, v limit {TOP}) as t)"
    )
    fractions = ", ".join(map(str, QUANTILES))
    quantiles = (
        f"(select pg_catalog.percentile_disc(array[{fractions}]::pg_catalog.float8[]) "
        f"within group (order by {group}){is_nan} from s)"
    )
    length = family.length
    lengths = f"(select {_ARRAY}(pg_catalog.min({length}), pg_catalog.avg({length}), pg_catalog.max({length})) from s)"
    parts = [
        "coalesce(pg_catalog.sum(n), 0)",
        "pg_catalog.count(*)",
        f"pg_catalog.count(*) filter (where n {EQ} 1)",
        top,
        quantiles if family.quantiles else "null",
        lengths if length else "null",
        _gaps() if family.is_time else "null",
        _keys(family.keys) if family.keys else "null",
        _histogram(family.number, span) if family.number and span else "null",
    ]
    counted = f"select {group} as v, pg_catalog.count(*) as n from s where {{x}} is not null group by 1"
    whole = f"(with g as materialized ({counted}) select {_ARRAY}({', '.join(parts)})::pg_catalog.text from g)"
    return whole.replace("{x}", x)


def _gaps() -> str:
    """The longest time between two values that follow each other, with both; and the one in the middle of all."""
    following = "lag(v) over (order by v)"
    between = f"(extract(epoch from v) OPERATOR(pg_catalog.-) extract(epoch from pg_catalog.{following}))"
    gaps = (
        f"select v, pg_catalog.{following} as before, {between}::pg_catalog.float8 as gap from g "
        "where pg_catalog.isfinite(v)"
    )
    longest = f"select {_ARRAY}(gap, before, v) from gaps where gap is not null order by gap desc, v limit 1"
    middle = "select pg_catalog.percentile_disc(0.5) within group (order by gap) from gaps where gap is not null"
    return f"(with gaps as ({gaps}) select {_ARRAY}(({longest}), ({middle})))"


def _keys(keys: str) -> str:
    counted = (
        f"select k, pg_catalog.count(*) as n from s, lateral {keys} as k group by k order by n desc, k limit {KEYS}"
    )
    return f"(select pg_catalog.json_agg({_ARRAY}(k, n)) from ({counted}) as t)"


def _histogram(number: str, span: tuple[float, float]) -> str:
    low, high = (f"'{edge!r}'::pg_catalog.float8" for edge in span)
    bucket = f"pg_catalog.width_bucket({number}, {low}, {high}, {BINS})"
    least = f"least({bucket}, {BINS})"  # the largest value would be in one of its own
    counted = f"select {least} as b, pg_catalog.count(*) as n from s where {number} is not null group by 1"
    return f"(select pg_catalog.json_agg({_ARRAY}(b, n) order by b) from ({counted}) as t)"
