"""The lessons: where they are, copies of them, JupyterLab on them, a run of all, a check of answers."""

from asyncdb_nb.lessons.check_answers import check
from asyncdb_nb.lessons.pytest_output import run_pytest

__all__ = ["check", "run_pytest"]
