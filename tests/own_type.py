"""A type with operators of its own, in a schema that is not on the search path (text's are used instead): as citext."""

from __future__ import annotations

_OPERATORS = {"<": "lt", "<=": "le", "=": "eq", ">=": "ge", ">": "gt"}

OWN_TYPE = [
    "create schema ext",
    "create type ext.word",
    "create function ext.in(cstring) returns ext.word language internal immutable strict as 'textin'",
    "create function ext.out(ext.word) returns cstring language internal immutable strict as 'textout'",
    "create function ext.recv(internal) returns ext.word language internal stable strict as 'textrecv'",
    "create function ext.send(ext.word) returns bytea language internal stable strict as 'textsend'",
    "create type ext.word (input = ext.in, output = ext.out, receive = ext.recv, send = ext.send, like = text)",
    "create cast (ext.word as text) without function as implicit",
    *(
        f"create function ext.{name}(ext.word, ext.word) returns bool language sql immutable as "
        f'$$ select lower($1::text) collate "C" {sign} lower($2::text) $$'
        for sign, name in _OPERATORS.items()
    ),
    "create function ext.cmp(ext.word, ext.word) returns int language sql immutable as "
    "$$ select case when ext.lt($1, $2) then -1 when ext.eq($1, $2) then 0 else 1 end $$",
    *(
        f"create operator ext.{sign} (leftarg = ext.word, rightarg = ext.word, function = ext.{name})"
        for sign, name in _OPERATORS.items()
    ),
    "create operator class ext.words default for type ext.word using btree as operator 1 ext.<, operator 2 ext.<=, "
    "operator 3 ext.=, operator 4 ext.>=, operator 5 ext.>, function 1 ext.cmp(ext.word, ext.word)",
]
