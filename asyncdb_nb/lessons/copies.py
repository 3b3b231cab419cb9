"""
A folder with a learner's own copies of the lessons.

What is there already is the learner's work and stays as it is; only missing files are added. The copies come without
the stored results, so that a result in them is one that the learner has got.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asyncdb_nb.errors import LessonsFolderError, MissingExtraError
from asyncdb_nb.lessons.notebooks import originals

ENV = """\
# The lessons in this folder use the embedded PostgreSQL, whatever an .env in a folder above says.
# For a database of your own: DATABASE_URL=postgresql://me@db.example.org/shop
"""


@dataclass(frozen=True)
class LessonsFolder:
    """A folder that holds the lessons, and what filling it has done.

    Attributes:
        directory: Where it is, absolute.
        first: The name of the first lesson.
        added: How many notebooks were copied into it just now.
        kept: How many were there already.
    """

    directory: Path
    first: str
    added: int
    kept: int

    def __str__(self) -> str:
        if not self.kept:
            return f"The lessons are in {self.directory}"
        kept = f"{self.kept} {'notebook is' if self.kept == 1 else 'notebooks are'} as you left them"
        return f"The lessons are in {self.directory}: {kept}, {self.added or 'none'} added"


def fill(directory: Path) -> LessonsFolder:
    """Copy the lessons and their other notebooks into a folder, which is made if missing; what is there stays.

    Raises:
        LessonsFolderError: The folder cannot be made or written to, or is the one of the originals.
        MissingExtraError: nbformat is not installed.
    """
    source, directory = originals(), directory.expanduser().absolute()
    if directory.resolve().is_relative_to(source.resolve()):
        raise LessonsFolderError(directory, "it holds the originals")
    names = [path.relative_to(source) for path in sorted(source.rglob("*.ipynb"))]
    names = [name for name in names if not any(part.startswith(".") for part in name.parts)]  # JupyterLab's checkpoints
    try:
        for folder in sorted({directory / name.parent for name in names}, reverse=True):
            folder.mkdir(parents=True, exist_ok=True)
        _add(directory / ".env", ENV)
        added = [_add(directory / name, _without_results(source / name)) for name in names]
    except OSError as error:
        raise LessonsFolderError(directory, error.strerror or str(error)) from error
    return LessonsFolder(directory, min(source.glob("[0-9]*.ipynb")).name, sum(added), len(added) - sum(added))


def _add(path: Path, text: str) -> bool:
    """Write a file unless it is there; say whether it was written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _without_results(path: Path) -> str:
    with MissingExtraError.instead("the lessons", "lab"):
        import nbformat

    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return str(nbformat.writes(notebook)) + "\n"  # type: ignore[no-untyped-call]
