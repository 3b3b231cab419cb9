"""
Read and write an array as PostgreSQL writes it, for elements that have no binary form (tsvector[], regclass[]).

asyncpg reads such text as well, but where an element is empty it reads memory that is not its own, which ends the
process (0.32). The form is that of `array_out` (src/backend/utils/adt/arrayfuncs.c); only boxes, which have a binary
form, are set apart by anything but commas.
"""

from __future__ import annotations

import re
from typing import Any

_PIECE = re.compile(r'(?P<edge>[{}])|,|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^{},"]+)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def array_text(values: list[Any]) -> str:
    r"""Write elements, nested for several dimensions, as PostgreSQL reads an array.

    Example:
        >>> array_text(['a "b"', None])
        '{"a \\"b\\"",NULL}'
    """
    return "{" + ",".join(array_text(value) if isinstance(value, list) else _element(value) for value in values) + "}"


def _element(value: str | None) -> str:
    return "NULL" if value is None else '"' + _SPECIAL.sub(r"\\\g<0>", value) + '"'


_SPECIAL = re.compile(r'["\\]')


def array_items(text: str) -> list[Any]:
    """Give the elements as text, None for NULL, nested for several dimensions; the subscripts before them are left out.

    Example:
        >>> array_items('[2:3]={a,NULL}')
        ['a', None]
        >>> array_items('{{"",NULL},{"b,c",d}}')
        [['', None], ['b,c', 'd']]
    """
    open_: list[list[Any]] = [[]]
    for piece in _PIECE.finditer(text, text.index("{")):
        if piece["edge"] == "{":
            open_[-1].append([])
            open_.append(open_[-1][-1])
        elif piece["edge"]:
            open_.pop()
        elif piece["quoted"] is not None:
            open_[-1].append(_ESCAPED.sub(r"\1", piece["quoted"]))
        elif piece["bare"]:
            open_[-1].append(None if piece["bare"] == "NULL" else piece["bare"])
    [items] = open_[0]
    return items  # type: ignore[no-any-return]
