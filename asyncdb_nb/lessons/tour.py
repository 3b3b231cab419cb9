"""
Run the lessons' notebooks on real kernels, and tell what each showed.

Every notebook gets a kernel of its own that is this very Python, whatever kernels are registered on the machine, and
the embedded server with the sample workflows, whatever `DATABASE_URL` says. A notebook that fails does not keep the
others from running. `asyncdb-nb tour` prints what comes out of here.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncdb_nb.errors import MissingExtraError
from asyncdb_nb.jupyter.kernels import NO_BARS
from asyncdb_nb.lessons.environment import ThisPythonManager, environment, prepare_sample
from asyncdb_nb.lessons.notebooks import Lesson

CELL_SECONDS = 120


@dataclass(frozen=True)
class Outcome:
    """What a notebook showed when it was run.

    Attributes:
        lesson: The notebook.
        frames: How many DataFrames it displayed.
        figures: How many pictures.
        errors: How many errors it raised on purpose.
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
    asyncio.run(prepare_sample())
    for lesson in chosen:
        yield asyncio.run(_run(lesson, output / lesson.path.name, after_cell))


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
            kernel_manager_class=ThisPythonManager,
            resources={"metadata": {"path": folder}},
            record_timing=False,
            on_cell_execute=lambda cell, cell_index: begun.append(cell),
            on_cell_executed=lambda cell, cell_index, execute_reply: after_cell(),
        )
        try:
            await client.async_execute(env=environment() | NO_BARS)
        except (CellControlSignal, DeadKernelError) as error:
            failure = _explain(lesson, begun, error)
        finally:
            nbformat.write(notebook, copy)  # type: ignore[no-untyped-call]
    frames, figures, errors = _count(notebook)
    return Outcome(lesson, frames, figures, errors, time.monotonic() - start, copy, failure)


def _explain(lesson: Lesson, begun: list[Any], error: Exception) -> str:
    code = [cell for cell in begun if cell.cell_type == "code"]
    number = len(code)
    first_line = next(iter(code[-1].source.splitlines()), "") if code else ""
    name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    return f"{lesson.path.name}, code cell {number} (`{first_line}`): {name}: {value}"


def _count(notebook: Any) -> tuple[int, int, int]:
    """Count the frames, the figures and the errors on purpose: those of cells with the tag for it."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    data = [output.get("data", {}) for output in outputs]
    frames = sum('class="dataframe"' in "".join(one.get("text/html", "")) for one in data)
    figures = sum("image/png" in one or "image/svg+xml" in one for one in data)
    announced = [
        output for cell in code if "raises-exception" in cell.metadata.get("tags", ()) for output in cell.outputs
    ]
    return frames, figures, sum(output.output_type == "error" for output in announced)
