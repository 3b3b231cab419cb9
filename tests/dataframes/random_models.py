"""Random results for the tests of routes: a text, a class mapped on it with types of its own choice, selects of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    Select,
    SmallInteger,
    String,
    Time,
    Uuid,
    case,
    cast,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import INET, INT4RANGE, JSONB, NUMRANGE
from sqlalchemy.orm import aliased, registry
from sqlalchemy.types import TypeEngine

WRONG: list[Any] = [
    Integer(),
    SmallInteger(),
    BigInteger(),
    String(),
    Boolean(),
    DateTime(),
    DateTime(timezone=True),
    Date(),
    Time(),
    Uuid(),
    LargeBinary(),
    INET(),
    JSONB(),
]
"""What a model may say of any column: types for which SQLAlchemy hands on what the driver gives."""

_NUMBER = [Numeric(), Numeric(8, 2), Numeric(40, 10)]
TYPES: dict[str, tuple[list[str], list[TypeEngine[Any]]]] = {
    "int2": (["1", "-32768", "32767"], [SmallInteger(), Integer()]),
    "int4": (["1", "-2147483648", "2147483647"], [Integer(), SmallInteger()]),
    "int8": (["1", "9007199254740993", "-9223372036854775808"], [BigInteger(), Integer()]),
    "float4": (["0.1", "-1.5", "NaN", "1e30"], [Float(24), Float()]),
    "float8": (["0.1", "-1.5", "NaN", "Infinity", "1e300"], [Float(), Float(24)]),
    "numeric": (["4.5", "0.10", "123456789012345678901234567890.5", "NaN", "-3"], _NUMBER),
    "numeric(12,4)": (["4.5", "99999999.9999", "-1"], _NUMBER),
    "bool": (["true", "false"], [Boolean()]),
    "text": (["a", "", "ä\n'", "1"], [String()]),
    "varchar(9)": (["abc", "2024-01-01"], [String(), String(3)]),
    "bytea": ([r"\x00ff", r"\x"], [LargeBinary()]),
    "date": (["2024-02-29", "0001-01-01"], [Date(), DateTime()]),
    "time": (["12:34:56.789", "00:00"], [Time()]),
    "timetz": (["12:34:56+02", "00:00-05:30"], [Time(timezone=True), Time()]),
    "timestamp": (["2024-02-29 12:34:56.789", "1700-01-01"], [DateTime(), Date(), DateTime(timezone=True)]),
    "timestamptz": (["2024-02-29 12:34:56.789+02", "2200-01-01+00"], [DateTime(timezone=True), DateTime()]),
    "interval": (["1 day 2 hours", "-00:00:01.5"], [Interval()]),
    "uuid": (["00000000-0000-0000-0000-000000000007"], [Uuid(), String()]),
    "jsonb": (['{"a": [1, null]}', "[]", '"x"', "1.5"], [JSONB()]),
    "inet": (["10.0.0.1", "10.0.0.0/8", "::1"], [INET(), String()]),
    "cidr": (["10.0.0.0/8"], [INET(), String()]),
    "macaddr": (["08:00:2b:01:02:03"], [String()]),
    "int4[]": (["{1,2}", "{}", "{NULL,3}", "{{1},{2}}"], [ARRAY(Integer())]),
    "numeric[]": (["{1.5,2}", "{4.5}"], [ARRAY(Numeric()), ARRAY(Integer())]),
    "text[]": (['{a,"b c"}', "{NULL}"], [ARRAY(String())]),
    "timestamptz[]": (['{"2024-02-29 12:00+00"}'], [ARRAY(DateTime(timezone=True)), ARRAY(DateTime())]),
    "int4range": (["[1,5)", "empty", "(,3)"], [INT4RANGE()]),
    "numrange": (["[1.5,2.5]", "[1,)"], [NUMRANGE(), INT4RANGE()]),
}  # fmt: skip


@dataclass
class Model:
    """A text that gives rows, and a class mapped on it."""

    text: str
    mapped: type
    names: list[str]
    types: list[str]


def random_model(random_: random.Random, number: int) -> Model:
    types = [random_.choice(sorted(TYPES)) for _ in range(random_.randint(1, 5))]
    names = [f"c{position}" for position in range(len(types))]
    rows = [
        [str(row)] + [_literal(random_, sql) for sql in types] for row in range(random_.choice([0, 1, 1, 2, 3, 3, 9]))
    ]
    typed = [f"null::{sql}" for sql in types]
    values = ", ".join(f"({', '.join(row)})" for row in [["-1", *typed], *rows])
    source = f"select * from (values {values}) v(id, {', '.join(names)}) where id >= 0"
    declared: dict[str, Any] = {
        name: random_.choice(TYPES[sql][1] + (WRONG if random_.random() < 0.3 else []))
        for name, sql in zip(names, types, strict=True)
    }
    selected = text(source.replace(":", r"\:")).columns(id=Integer(), **declared).subquery(f"s{number}")
    mapped = type(f"Random{number}", (), {})
    registry().map_imperatively(mapped, selected, primary_key=[selected.c.id])
    return Model(source, mapped, names, types)


def _literal(random_: random.Random, sql: str) -> str:
    if random_.random() < 0.25:
        return f"null::{sql}"
    return "'" + random_.choice(TYPES[sql][0]).replace("'", "''") + f"'::{sql}"


def random_select(random_: random.Random, model: Model) -> Select[Any]:
    """Select the class, columns of it, what the server computes of them, or the class beside others."""
    mapped: Any = model.mapped
    chosen = random_.sample(model.names, random_.randint(1, len(model.names)))
    columns = [getattr(mapped, name) for name in chosen]
    match random_.choice(["entity", "columns", "computed", "grouped", "beside", "twice"]):
        case "entity":
            return select(mapped).order_by(mapped.id)
        case "columns":
            return select(*columns).order_by(mapped.id)
        case "computed":
            return select(*(_computed(random_, column) for column in columns)).order_by(mapped.id)
        case "grouped":
            return select(func.count(), *(_grouped(random_, column, mapped.id) for column in columns))
        case "beside":
            return select(mapped, *(_computed(random_, column) for column in columns)).order_by(mapped.id)
        case _:
            other = aliased(mapped)
            nobody = random_.choice([other.id == mapped.id, other.id == mapped.id + 1, literal_column("false")])
            return select(mapped, other).outerjoin(other, nobody).order_by(mapped.id)


def _computed(random_: random.Random, column: Any) -> Any:
    """An expression whose type SQLAlchemy takes for the column's, right or wrong."""
    return random_.choice(
        [
            column,
            column.label("named"),
            func.coalesce(column, None),
            func.nullif(column, None),
            case((literal_column("true"), column), else_=None),
            func.to_jsonb(column),
            func.max(cast(column, String)).over(),
        ]
    )


def _grouped(random_: random.Random, column: Any, number: Any) -> Any:
    return random_.choice(
        [
            func.array_agg(cast(column, String), type_=random_.choice([None, ARRAY(Integer())])),
            func.count(column),
            func.coalesce(func.avg(number), 0),
            func.sum(number) / 2,
            func.percentile_cont(0.5).within_group(number),
            func.sum(cast(number, BigInteger)),
            func.jsonb_agg(column),
        ]
    )
