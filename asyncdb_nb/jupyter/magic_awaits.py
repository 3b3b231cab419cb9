"""
Write the `await` that an asynchronous magic needs, into the Python that IPython made of a cell.

IPython has no asynchronous magics: `df = %asql ...` becomes a call, and the call of a magic that returns a coroutine
shows the coroutine. With `await` before it, it runs on the cell's own loop and can be stopped. Where nothing can be
awaited (in a `def`, under `%%time` or `%%capture`, after `%autoawait False`), `asyncdb_nb.run` gets the call instead.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from typing import Any

_CALLS = ("run_line_magic", "run_cell_magic")


def with_awaits(lines: list[str], magics: Collection[str], can_await: bool) -> list[str]:
    """Await every call of some magics.

    Args:
        lines: Python source, as IPython's `input_transformers_post` get it.
        magics: The names of the asynchronous magics, without `%`.
        can_await: Whether the cell's own level may await.

    Returns:
        The source with `await`, or with `asyncdb_nb.run(...)`, around the calls; unchanged if it is no Python.
    """
    if not any(call in line for line in lines for call in _CALLS):
        return lines
    try:
        calls = list(_calls(ast.parse("".join(lines)), magics, can_await))
    except SyntaxError:
        return lines  # IPython will say so
    edited = [line.encode() for line in lines]  # ast counts columns in bytes
    for node, awaits in reversed(calls):
        before, after = ("await ", "") if awaits else ('__import__("asyncdb_nb").run(', ")")
        _insert(edited, node.end_lineno, node.end_col_offset, after)
        _insert(edited, node.lineno, node.col_offset, before)
    return [line.decode() for line in edited]


def _calls(node: ast.AST, magics: Collection[str], can_await: bool) -> Iterator[tuple[Any, bool]]:
    """Find the calls of magics that are not awaited yet, in order, and whether each may be."""
    if isinstance(node, ast.Await):
        return
    if _is_call(node, magics):
        yield node, can_await
        return
    if isinstance(node, ast.AsyncFunctionDef):
        can_await = True
    elif isinstance(node, ast.FunctionDef | ast.Lambda):
        can_await = False
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, magics, can_await)


def _is_call(node: ast.AST, magics: Collection[str]) -> bool:
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=attribute),
            args=[ast.Constant(value=name), *_],
        ):
            return attribute in _CALLS and name in magics
    return False


def _insert(lines: list[bytes], number: int, column: int, text: str) -> None:
    line = lines[number - 1]
    lines[number - 1] = line[:column] + text.encode() + line[column:]
