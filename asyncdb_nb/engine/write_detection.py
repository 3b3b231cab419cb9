"""
Say whether SQL that has run may have written something.

A transaction that only read loses nothing when it is rolled back. The text of a statement does not tell that it only
reads, because a function, a view's or a policy's too, may write. So the text is looked at for what it names, and the
server is asked what that is. Whatever is in doubt may have written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

BLANK = r"(?>\s|--[^\n]*\n|/\*(?>[^*]|\*(?!/))*+\*/)*+"
"""What may stand before a statement, spaces and comments; it never goes back, which many comments would make slow."""

_START = re.compile(
    rf"(?>{BLANK}\(?)*+"
    r"(?:(?:select|values|table|with|show|declare|fetch|move|close|explain|begin|start|savepoint|release|rollback"
    r"|set|reset|lock|deallocate)\b|copy\s*\(|$)",
    re.IGNORECASE,
)
_CHANGES = re.compile(
    r"\b(?:insert|(?<!for )(?<!key )update|delete|merge|into|create|alter|drop|truncate|refresh|execute|call|prepared)"
    r'\b|\\|u&"',
    re.IGNORECASE,
)
_HARMLESS = (  # volatile functions of PostgreSQL's that write nothing, but for settings, which a rollback may take back
    *("set_config", "random", "clock_timestamp", "timeofday", "gen_random_uuid", "uuidv4", "uuidv7", "pg_sleep"),
    *("pg_relation_size", "pg_table_size", "pg_indexes_size", "pg_total_relation_size", "pg_database_size"),
    *("pg_is_in_recovery", "pg_blocking_pids", "currval", "lastval"),
)
_NAME = re.compile(r'"((?:[^"]|"")*)"|([\w$]+)')
_USERS = "16384::pg_catalog.oid"  # the first oid that is not PostgreSQL's own (FirstNormalObjectId)


def may_only_read(text: str) -> bool:
    """Say whether a text only reads, unless what it names writes."""
    return all(_START.match(part) for part in text.split(";")) and _CHANGES.search(text) is None


def question(texts: Iterable[str]) -> str:
    """Write the query that has a row if one of these statements names what may write.

    That is a function, a view, a table with row security; and any operator or cast made from a function, for these have
    no name in a text. Of functions, those that are not volatile and belong to PostgreSQL or are written in C only read;
    others may call a volatile one, whatever they are declared as.
    """
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(_names(texts)))
    harmless = ", ".join(f"'{name}'" for name in _HARMLESS)
    named = f"OPERATOR(pg_catalog.=) ANY (ARRAY[{names}]::pg_catalog.name[])"
    return f"""
        SELECT 1 FROM pg_catalog.pg_proc AS f
        WHERE (f.provolatile OPERATOR(pg_catalog.=) 'v'::pg_catalog."char" OR f.oid OPERATOR(pg_catalog.>=) {_USERS}
            AND (f.prokind OPERATOR(pg_catalog.=) 'a'::pg_catalog."char" OR NOT EXISTS (
              SELECT 1 FROM pg_catalog.pg_language AS l WHERE l.oid OPERATOR(pg_catalog.=) f.prolang
                AND l.lanname OPERATOR(pg_catalog.=) ANY (ARRAY['internal', 'c']::pg_catalog.name[]))))
          AND (f.oid OPERATOR(pg_catalog.>=) {_USERS}
            OR f.proname OPERATOR(pg_catalog.<>) ALL (ARRAY[{harmless}]::pg_catalog.name[]))
          AND (f.proname {named} OR f.oid OPERATOR(pg_catalog.>=) {_USERS} AND (
            EXISTS (SELECT 1 FROM pg_catalog.pg_operator AS o WHERE o.oprcode OPERATOR(pg_catalog.=) f.oid)
            OR EXISTS (SELECT 1 FROM pg_catalog.pg_cast AS c WHERE c.castfunc OPERATOR(pg_catalog.=) f.oid)))
        UNION ALL
        SELECT 1 FROM pg_catalog.pg_class AS r
        WHERE r.oid OPERATOR(pg_catalog.>=) {_USERS} AND r.relname {named}
          AND (r.relkind OPERATOR(pg_catalog.=) 'v'::pg_catalog."char" OR r.relrowsecurity)
    """  # noqa: S608  names are quoted, and a text with a backslash is not asked about


def _names(texts: Iterable[str]) -> set[str]:
    names = {quoted.replace('""', '"') or word for text in texts for quoted, word in _NAME.findall(text)}
    return names | {name.lower() for name in names}
