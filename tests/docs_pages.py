"""
Run the code blocks of a page of `docs/`, in their order and in one namespace, and compare what they show.

    python tests/docs_pages.py docs/query.md            # exit status 1 and a diff when a block shows something else
    python tests/docs_pages.py --write docs/query.md    # put in what the blocks show

A `python` block is run like a cell: top-level await, the last expression is shown. A `text` block right after it is
what it shows; `python raises` is a block that ends with an error. `ipython` blocks make the page run on a real kernel.
A block that begins with `# conftest.py` or `# test_*.py` is a file; pytest runs all of a page's files together.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import difflib
import inspect
import io
import re
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(python|ipython)( raises)?\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
FILE = re.compile(r"# ((?:conftest|test_\w+)\.py)\n")


@dataclass
class Block:
    """A block of code, what is said to come of it, and what came of it."""

    kind: str
    raises: bool
    code: str
    expected: str | None
    shown: str = ""


def blocks_of(page: Path) -> list[Block]:
    """Read the blocks of code of a page."""
    found = [match.groups() for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    return [Block(kind, bool(raises), code, expected) for kind, raises, code, expected in found]


def run(blocks: list[Block]) -> None:
    files = [block for block in blocks if FILE.match(block.code)]
    cells = [block for block in blocks if not FILE.match(block.code)]
    if any(block.kind == "ipython" for block in cells):
        run_on_a_kernel(cells)
    else:
        asyncio.run(run_here(cells))
    if files:
        run_pytest(files)


async def run_here(blocks: list[Block]) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            try:
                value = await run_cell(block.code, namespace)
            except Exception as error:
                if not block.raises:
                    raise
                out.write(f"{type(error).__name__}: {error}\n")
            else:
                assert not block.raises, f"this raises nothing:\n{block.code}"
                if value is not None:
                    out.write(f"{value!r}\n")
        block.shown = out.getvalue()


async def run_cell(code: str, namespace: dict[str, Any]) -> Any:
    """Run a cell; return the value of its last expression."""
    tree = ast.parse(code)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.copy_location(ast.Assign([ast.Name("_shown", ast.Store())], last.value), last)
        ast.fix_missing_locations(tree)
    namespace["_shown"] = None
    compiled = compile(tree, "<page>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    pending = eval(compiled, namespace)
    if inspect.iscoroutine(pending):
        await pending
    return namespace["_shown"]


def run_on_a_kernel(blocks: list[Block]) -> None:
    import nbformat
    from nbclient import NotebookClient

    from asyncdb_nb.lessons.environment import ThisPythonManager

    cells = [nbformat.v4.new_code_cell(block.code.rstrip()) for block in blocks]
    for cell, block in zip(cells, blocks, strict=True):
        cell.metadata["tags"] = ["raises-exception"] if block.raises else []
    client = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=300, kernel_manager_class=ThisPythonManager)
    client.execute()
    for cell, block in zip(cells, blocks, strict=True):
        block.shown = "".join(shown(output) for output in cell.outputs)


def shown(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return COLOURS.sub("", "\n".join(output.traceback)) + "\n"
    return f"{output.data['text/plain']}\n"


def run_pytest(files: list[Block]) -> None:
    with tempfile.TemporaryDirectory(prefix="adb-") as folder:
        for block in files:
            (Path(folder) / FILE.match(block.code)[1]).write_text(block.code, encoding="utf-8")
        (Path(folder) / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nfilterwarnings = error\n")
        options = ("-q", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")
        done = subprocess.run([sys.executable, "-m", "pytest", *options], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def differences(blocks: list[Block]) -> str:
    lines: list[str] = []
    for block in blocks:
        if block.expected is not None:
            page, here = block.expected.splitlines(), block.shown.splitlines()
            lines += difflib.unified_diff(page, here, "on the page", "when it is run", lineterm="")
    return "\n".join(lines)


def write(page: Path, blocks: list[Block]) -> None:
    results = iter(blocks)

    def replaced(match: re.Match[str]) -> str:
        block = next(results)
        if block.expected is None:
            return match[0]
        start, end = match.start(4) - match.start(), match.end(4) - match.start()
        return match[0][:start] + block.shown + match[0][end:]

    page.write_text(BLOCK.sub(replaced, page.read_text(encoding="utf-8")), encoding="utf-8")


def main(arguments: list[str]) -> int:
    page = Path(arguments[-1])
    blocks = blocks_of(page)
    try:
        run(blocks)
    except Exception:
        traceback.print_exc()
        return 1
    if "--write" in arguments:
        write(page, blocks)
        return 0
    found = differences(blocks)
    sys.stdout.write(found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
