"""A script is cut where psql cuts it."""

from __future__ import annotations

import pytest

from asyncdb_nb.dataframes.sql.splitting import statements_of

ATOMIC = "create or replace function f() returns int begin atomic select case when true then 1 end; select 2; end"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        ("select 1;;; ;select 2;", ["select 1", "select 2"]),
        (
            "select 'a;b', \"c;d\", $$e;f$$, $x$;$$;$x$; select 2",
            ["select 'a;b', \"c;d\", $$e;f$$, $x$;$$;$x$", "select 2"],
        ),
        ("select E'\\';' ; select 2", ["select E'\\';'", "select 2"]),
        ("select 1 -- one; two\n; select /* ; /* ; */ ; */ 2", ["select 1 -- one; two", "select /* ; /* ; */ ; */ 2"]),
        ("-- only words;\n/* nothing */;", []),
        ("", []),
        (f"{ATOMIC}; select 3", [ATOMIC, "select 3"]),
        (ATOMIC.replace("function", "procedure") + ";select 3", [ATOMIC.replace("function", "procedure"), "select 3"]),
        (
            "create rule r as on insert to t do also (insert into a values (1); insert into b values (2)); select 1",
            [
                "create rule r as on insert to t do also (insert into a values (1); insert into b values (2))",
                "select 1",
            ],
        ),
        ("do $$ begin perform 1; end $$; select 1", ["do $$ begin perform 1; end $$", "select 1"]),
        ("create table t (begin int); select 1", ["create table t (begin int)", "select 1"]),
        ("select 1; select 'open; select 2", ["select 1", "select 'open; select 2"]),
        ("select (1; select 2", ["select (1; select 2"]),
        ("select 1) ; select 2", ["select 1)", "select 2"]),
    ],
)
def test_a_semicolon_ends_a_statement_where_it_is_none_of_its_parts(script: str, expected: list[str]) -> None:
    assert statements_of(script) == expected


def test_each_statement_knows_its_line() -> None:
    script = "-- head\n\nselect 1;\nselect 2; /* two\nlines */ select 3;\n\n\n  select\n4"

    assert [(str(each), each.line) for each in statements_of(script)] == [
        ("select 1", 3),
        ("select 2", 4),
        ("select 3", 5),
        ("select\n4", 8),
    ]
