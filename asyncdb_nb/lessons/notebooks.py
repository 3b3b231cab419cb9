"""The lessons' notebooks, in an installed wheel or in a checkout, and what each says of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from asyncdb_nb.errors import MissingExtraError, NoSuchLessonError


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


def lessons(only: str | None = None) -> list[Lesson]:
    """List the notebooks in their order.

    Args:
        only: Part of a notebook's file name, such as `02`; the others are left out.

    Raises:
        NoSuchLessonError: No name contains `only`.
        MissingExtraError: nbformat is not installed.
    """
    paths = sorted(originals().glob("[0-9][0-9]_*.ipynb"))
    chosen = [path for path in paths if only is None or only in path.stem]
    if not chosen:
        raise NoSuchLessonError(only, [path.stem for path in paths])
    return [_read(path) for path in chosen]


def originals() -> Path:
    """Where the notebooks are; their solutions are in `solutions/` there."""
    package = Path(__file__).parent.parent
    inside = package / "notebooks"
    return inside if inside.is_dir() else package.parent / "notebooks"


def _read(path: Path) -> Lesson:
    with MissingExtraError.instead("the lessons", "lab"):
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
