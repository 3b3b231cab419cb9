"""
Run the lessons' notebooks on real kernels, and tell what each showed.

Every notebook gets a kernel of its own that is this very Python, whatever kernels are registered on the machine, and
the embedded server with the sample workflows, whatever `DATABASE_URL` says. A notebook that fails does not keep the
others from running. `asyncdb-nb tour` prints what comes out of here.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncdb_nb.errors import MissingExtraError, NoSuchLessonError

CELL_SECONDS = 120


@dataclass(frozen=True)
class Lesson:
    """A notebook as it is stored.

    Attributes:
        path: The file.
        title: Its first heading.
        does: The sentence after **What you'll do**.
        cells: How many code cells it has.
    """

    path: Path
    title: str
    does: str
    cells: int

    @property
    def number(self) -> str:
        """The two digits that its name begins with."""
        return self.path.name[:2]


@dataclass(frozen=True)
class Outcome:
    """What a notebook showed when it was run.

    Attributes:
        lesson: The notebook.
        frames: How many DataFrames it displayed.
        figures: How many pictures.
        errors: How many errors that it raises on purpose.
        seconds: How long it took, its kernel's start included.
        copy: Where the executed copy is.
        failure: Which cell failed and how; None when all went well.
    """

    lesson: Lesson
    frames: int
    figures: int
    errors: int
    seconds: float
    copy: Path
    failure: str | None


def lessons(only: str | None = None) -> list[Lesson]:
    """List the notebooks in their order.

    Args:
        only: Part of a notebook's file name, such as `02`; the others are left out.

    Raises:
        NoSuchLessonError: No name contains `only`.
        MissingExtraError: nbformat is not installed.
    """
    paths = sorted(_directory().glob("[0-9][0-9]_*.ipynb"))
    chosen = [path for path in paths if only is None or only in path.stem]
    if not chosen:
        raise NoSuchLessonError(only, [path.stem for path in paths])
    return [_read(path) for path in chosen]


def tour(chosen: list[Lesson], output: Path, after_cell: Callable[[], object] = lambda: None) -> Iterator[Outcome]:
    """Run the notebooks one after the other; each `Outcome` is there as soon as its notebook has run.

    Args:
        chosen: From `lessons()`.
        output: A folder for the executed copies; made if missing.
        after_cell: Called after each cell.

    Raises:
        ServerError: The embedded server cannot be started.
        MissingExtraError: nbclient is not installed.
    """
    output.mkdir(parents=True, exist_ok=True)
    asyncio.run(_prepare_sample())
    for lesson in chosen:
        yield asyncio.run(_run(lesson, output / lesson.path.name, after_cell))


def _directory() -> Path:
    """The notebooks, in an installed wheel or in a checkout."""
    package = Path(__file__).parent
    inside = package / "notebooks"
    return inside if inside.is_dir() else package.parent / "notebooks"


def _read(path: Path) -> Lesson:
    with MissingExtraError.instead("the tour", "lab"):
        import nbformat

    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    does = re.search(r"\*\*What you'll do\.?\*\*:?\s+(.+?)(?:\n\n|$)", text, re.DOTALL)
    return Lesson(
        path=path,
        title=title[1] if title else path.stem,
        does=" ".join(does[1].split()) if does else "",
        cells=sum(cell.cell_type == "code" for cell in notebook.cells),
    )


async def _prepare_sample() -> None:
    from asyncdb_nb.database import Database
    from asyncdb_nb.server import embedded_server
    from asyncdb_nb.workflows import ensure_sample

    server = await asyncio.to_thread(embedded_server)
    async with Database(server.url) as database:
        await ensure_sample(database)


async def _run(lesson: Lesson, copy: Path, after_cell: Callable[[], object]) -> Outcome:
    with MissingExtraError.instead("the tour", "lab"):
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellControlSignal, DeadKernelError

    notebook = nbformat.read(lesson.path, as_version=4)  # type: ignore[no-untyped-call]
    begun: list[Any] = []
    failure = None
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="asyncdb-nb-") as folder:  # no .env there, nor above
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            kernel_manager_class=_this_python(),
            resources={"metadata": {"path": folder}},
            record_timing=False,
            on_cell_execute=lambda cell, cell_index: begun.append(cell),
            on_cell_executed=lambda cell, cell_index, execute_reply: after_cell(),
        )
        try:
            await client.async_execute(env=_environment())
        except (CellControlSignal, DeadKernelError) as error:
            failure = _explain(lesson, begun, error)
        finally:
            nbformat.write(notebook, copy)  # type: ignore[no-untyped-call]
    frames, figures, errors = _count(notebook)
    return Outcome(lesson, frames, figures, errors, time.monotonic() - start, copy, failure)


def _this_python() -> type:
    """A kernel manager whose only kernel is the running interpreter."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            # some ipykernels warn at every start that they talk over TCP, which is what Jupyter asks of them
            quiet = "--log-level=ERROR"
            command = [sys.executable, "-m", "ipykernel_launcher", quiet, "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="Python 3", language="python")

    return ThisPython


def _environment() -> dict[str, str]:
    """This process's environment, without progress bars and what would lead `connect()` to another server."""
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}
    return kept | {"TQDM_DISABLE": "1"}  # nobody watches, and the copies would keep their traces


def _explain(lesson: Lesson, begun: list[Any], error: Exception) -> str:
    code = [cell for cell in begun if cell.cell_type == "code"]
    number = len(code)
    first_line = next(iter(code[-1].source.splitlines()), "") if code else ""
    name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    return f"{lesson.path.name}, code cell {number} (`{first_line}`): {name}: {value}"


def _count(notebook: Any) -> tuple[int, int, int]:
    """Count the frames, the figures and the errors among the outputs."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    data = [output.get("data", {}) for output in outputs]
    frames = sum('class="dataframe"' in "".join(one.get("text/html", "")) for one in data)
    figures = sum("image/png" in one or "image/svg+xml" in one for one in data)
    return frames, figures, sum(output.output_type == "error" for output in outputs)
