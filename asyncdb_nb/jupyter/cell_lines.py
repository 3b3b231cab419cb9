r"""
Show a cell magic in a traceback as it stands in the cell: line by line, with an arrow at the line that failed.

IPython makes one line of Python of it, `get_ipython().run_cell_magic('asql', '', "select ...\nfrom ...")`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_MAGIC = re.compile(r"^(?P<arrow>-+> *)?(?P<number>\d+) .*\brun_cell_magic(?P<arguments>\('asql', .*\))\s*$")
_WIDTH = 7  # of IPython's arrow with its line number


def as_in_the_cell(shown: list[str], line: int | None) -> list[str]:
    """Write the lines of a traceback again, with the cell's own in the place of the magic's.

    Args:
        shown: What IPython shows: parts of one or several lines, with colours.
        line: The line of the statement where the server met an error, from 1; None where it named none.
    """
    return ["\n".join(text for each in part.split("\n") for text in _line(each, line)) for part in shown]


def _line(shown: str, failed: int | None) -> Iterator[str]:
    magic = _MAGIC.match(_COLOURS.sub("", shown))
    if magic is None:
        yield shown
        return
    name, options, statement = ast.literal_eval(magic["arguments"])
    lines = [f"%%{name} {options}".rstrip(), *statement.rstrip().split("\n")]
    for number, text in enumerate(lines, int(magic["number"])):
        here = number == int(magic["number"]) + (failed or 0)
        yield f"{_arrow(_WIDTH - len(str(number))) if here else ' ' * (_WIDTH - len(str(number)))}{number} {text}"


def _arrow(width: int) -> str:
    return "-" * (width - 2) + "> "
