"""Names of tables as people type them."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_IN_SQL = re.compile(r'(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\s".]+))(?:\.|\Z)')


def parts_of(name: str) -> list[str]:
    """Read a name as SQL does: `schema.table`, in lower case where it is not quoted."""
    found = list(_IN_SQL.finditer(name))
    if "".join(part[0] for part in found) != name or not found:
        return name.split(".")
    return [part["plain"].lower() if part["plain"] else part["quoted"].replace('""', '"') for part in found]


def quoted(name: str) -> str:
    """Write a name as SQL takes it, whatever is in it."""
    return name if _PLAIN.fullmatch(name) else always_quoted(name)


def always_quoted(name: str) -> str:
    """Write a name in quotes, which keeps one that is a keyword a name."""
    return '"' + name.replace('"', '""') + '"'
