"""
Refuse a statement that may give other rows when it runs once more.

What is cut by a column runs once to find the bounds, and once for each range. A LIMIT without an ORDER BY, a sample, or
a function that gives another value with each call (`random()`) would then give rows twice, or leave some out. A
function that a user wrote is VOLATILE unless its author said otherwise. What a view hides is not looked into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.dataframes.sql.tokenizer import Token, tokens_of
from asyncdb_nb.engine.history import own
from asyncdb_nb.engine.search_path import EQ, NE
from asyncdb_nb.errors import UnsplittableError

_VOLATILE = own(f"""
select p.oid::pg_catalog.regprocedure::pg_catalog.text from pg_catalog.pg_proc as p
where p.provolatile {EQ} 'v' and p.prorettype {NE} 'pg_catalog.tsm_handler'::pg_catalog.regtype
  and p.proname::pg_catalog.text {EQ} ANY (pg_catalog.string_to_array(cast(:names as pg_catalog.text), ','))
order by p.oid limit 1
""")  # noqa: S608  put together from a constant

_LIMITS = frozenset({"limit", "offset", "fetch"})


async def check(session: AsyncSession, statement: str) -> None:
    """Refuse SQL whose rows may be others the next time, on the same snapshot.

    Raises:
        UnsplittableError: With the reason, and what to write instead.
    """
    tokens = [token for token in tokens_of(statement) if token.kind != "space"]
    outer = {token.word for token in _outside_of_parentheses(tokens)}
    if outer & _LIMITS and "order" not in outer:
        raise UnsplittableError(
            "A LIMIT without an ORDER BY may give other rows for each connection. Add an ORDER BY with a unique column."
        )
    words = [token.word for token in tokens]
    if "tablesample" in words and "repeatable" not in words:
        raise UnsplittableError(
            "TABLESAMPLE gives another sample to each connection. Add a seed: `tablesample system (1) repeatable (7)`."
        )
    function = await session.scalar(_VOLATILE, {"names": ",".join(dict.fromkeys(_called(tokens)))})
    if function is not None:
        raise UnsplittableError(
            f"{function} is VOLATILE, so it may give other rows for each connection. Read on one connection; or, "
            f"if it gives the same for the same arguments, as its owner: `alter function {function} stable`."
        )


def _outside_of_parentheses(tokens: Sequence[Token]) -> Iterator[Token]:
    depth = 0
    for token in tokens:
        depth += (token.word == "(") - (token.word == ")")
        if depth == 0:
            yield token


def _called(tokens: Sequence[Token]) -> Iterator[str]:
    """Name what stands before a parenthesis, as the catalog has it."""
    for token, following in pairwise(tokens):
        if following.text == "(" and token.kind == "word":
            yield token.word
        elif following.text == "(" and token.kind == "name":
            yield token.text[1:-1].replace('""', '"')
