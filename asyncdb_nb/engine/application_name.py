"""
Tell the server which notebook or script is connected.

`application_name` is what a colleague sees in `pg_stat_activity` when they ask who holds a lock: `asyncdb_nb:
analysis.ipynb` answers that, `python` does not.
"""

from __future__ import annotations

import os
import sys
from pathlib import PurePath

_LONGEST = 63  # bytes: PostgreSQL cuts the rest off (NAMEDATALEN - 1)


def application_name() -> str:
    """Name this program for the server: the notebook, else the script, else what runs; ASCII, at most 63 bytes.

    Jupyter gives the notebook's path in `$JPY_SESSION_NAME` (also the variable `__session__` of the notebook), VS Code
    in the variable `__vsc_ipynb_file__`.
    """
    name = f"asyncdb_nb: {_notebook() or _script() or 'python'}"
    return name.encode("ascii", "replace").decode()[:_LONGEST]


def _notebook() -> str:
    main = vars(sys.modules["__main__"])
    path = os.environ.get("JPY_SESSION_NAME") or main.get("__vsc_ipynb_file__") or main.get("__session__")
    if path:
        return PurePath(str(path).replace("\\", "/")).name
    return "notebook" if "ipykernel_launcher" in sys.argv[0] else ""


def _script() -> str:
    script = PurePath(sys.argv[0]) if sys.argv and sys.argv[0] not in ("", "-c", "-m") else PurePath()
    return script.parent.name if script.name == "__main__.py" else script.name
