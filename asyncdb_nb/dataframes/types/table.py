"""
PostgreSQL type → Arrow type → pandas dtype: one table, which is also the documentation.

Everything about dtypes is decided here, and only from what PostgreSQL says about a column (`oid` and `typmod`), never
from the data: the same statement has the same dtypes when its result is full, all NULL or empty. A value that its dtype
cannot hold (`infinity` in a timestamp, NaN in a `numeric(p, s)`) becomes NA and is counted by column in
`frame.attrs["asyncdb"]["lossy"]`; in a column of dtype object it stands as it is. No value is ever replaced by another.

`column_type` describes a column, `ColumnType.arrow` and `ColumnType.dtype` say what it becomes, `markdown` renders the
table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

DtypeBackend = Literal["numpy_nullable", "pyarrow"] | None
NumericAs = Literal["decimal", "float"]

OBJECT = "object"  # Python objects, one for each value
ARROW = "arrow"  # pandas.ArrowDtype of the Arrow type


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table: what columns of one kind become.

    `default`, `nullable` and `pyarrow` are the pandas dtypes for `dtype_backend` None, "numpy_nullable" and "pyarrow".
    """

    postgresql: str
    arrow: str
    default: str
    nullable: str
    pyarrow: str
    note: str = ""


# The key is the *kind*: it names a wire format together with its meaning. Types that share both share a kind.
RULES: dict[str, Rule] = {
    "bool": Rule("boolean", "bool", "boolean", "boolean", ARROW),
    "int2": Rule("smallint", "int16", "Int16", "Int16", ARROW, "NULL is NA; integers stay integers."),
    "int4": Rule("integer", "int32", "Int32", "Int32", ARROW, "NULL is NA; integers stay integers."),
    "int8": Rule("bigint", "int64", "Int64", "Int64", ARROW, "NULL is NA; 9007199254740993 stays ...993."),
    "oid": Rule("oid, xid, cid", "uint32", "UInt32", "UInt32", ARROW),
    "xid8": Rule("xid8", "uint64", "UInt64", "UInt64", ARROW),
    "float4": Rule("real", "float", "float32", "Float32", ARROW, "NULL is NaN; the pyarrow dtype keeps both."),
    "float8": Rule(
        "double precision",
        "double",
        "float64",
        "Float64",
        ARROW,
        "NULL is NaN; the pyarrow dtype keeps both.",
    ),
    "decimal": Rule(
        "numeric(p, s), p ≤ 76",
        "decimal128(p, s)",
        ARROW,
        ARROW,
        ARROW,
        "Exact; decimal256 above 38 digits. NaN is NA (lossy). `numeric='float'`: float64.",
    ),
    "numeric": Rule(
        "numeric, numeric(p, s) with p > 76",
        "string",
        OBJECT,
        OBJECT,
        OBJECT,
        "decimal.Decimal, with NaN, ±Infinity and any number of digits. `numeric='float'`: float64.",
    ),
    "money": Rule(
        "money", "decimal128(19, s)", ARROW, ARROW, ARROW, "The amount; s is the server's lc_monetary (2 for most)."
    ),
    "text": Rule(
        "text, varchar, char(n), name, xml, citext, enums, tsvector, reg…, any other type",
        "string",
        "str",
        "string",
        ARROW,
        "As PostgreSQL writes it; char(n) keeps its padding.",
    ),
    "char": Rule('"char"', "string", "str", "string", ARROW, "One character."),
    "bytea": Rule("bytea", "binary", OBJECT, OBJECT, ARROW, "bytes."),
    "date": Rule(
        "date",
        "date32[day]",
        ARROW,
        ARROW,
        ARROW,
        "±infinity is NA (lossy), and so are BC and years after 9999, which Arrow has.",
    ),
    "time": Rule("time", "time64[us]", ARROW, ARROW, ARROW, "24:00:00 is NA (lossy)."),
    "timetz": Rule("timetz", "string", "str", "string", ARROW, "As text with its offset, to the second: 12:00:00+02."),
    "timestamp": Rule(
        "timestamp",
        "timestamp[us]",
        "datetime64[us]",
        "datetime64[us]",
        ARROW,
        "BC and year 294246 included; ±infinity and later years are NaT (lossy).",
    ),
    "timestamptz": Rule(
        "timestamptz",
        "timestamp[us, tz=UTC]",
        "datetime64[us, UTC]",
        "datetime64[us, UTC]",
        ARROW,
        "In UTC. BC and year 294246 included; ±infinity and later years are NaT (lossy).",
    ),
    "interval": Rule(
        "interval",
        "month_day_nano_interval",
        OBJECT,
        OBJECT,
        OBJECT,
        "pandas.DateOffset with months, days and microseconds apart, as PostgreSQL counts them; ±infinity is text. "
        "`to_timedelta(column)` makes `timedelta64[us]` of it.",
    ),
    "uuid": Rule("uuid", "fixed_size_binary[16]", OBJECT, OBJECT, OBJECT, "uuid.UUID."),
    "json": Rule(
        "json, jsonb",
        "string",
        OBJECT,
        OBJECT,
        OBJECT,
        "Parsed; Arrow holds the text. JSON null is None, as NULL is.",
    ),
    "inet": Rule("inet, cidr", "string", "str", "string", ARROW, "As PostgreSQL writes it: 10.0.0.1, 10.0.0.0/8."),
    "macaddr": Rule(
        "macaddr, macaddr8", "string", "str", "string", ARROW, "As PostgreSQL writes it: 08:00:2b:01:02:03."
    ),
    "bit": Rule("bit, bit varying", "string", "str", "string", ARROW, "Zeros and ones, as many as there are bits."),
    "pg_lsn": Rule("pg_lsn", "string", "str", "string", ARROW, "As PostgreSQL writes it: 16/B374D848."),
    "snapshot": Rule("pg_snapshot", "string", "str", "string", ARROW, "As PostgreSQL writes it: 10:20:10,14."),
    "tid": Rule("tid", "string", "str", "string", ARROW, "As PostgreSQL writes it: (0,1)."),
    "floats": Rule(
        "point, line, lseg, box, circle, polygon",
        "list<double>",
        OBJECT,
        OBJECT,
        ARROW,
        "The coordinates in PostgreSQL's order: [x, y]; [A, B, C]; [x1, y1, x2, y2]; [x, y, r]; [x1, y1, x2, y2, …].",
    ),
    "path": Rule(
        "path", "struct<closed: bool, points: list<double>>", OBJECT, OBJECT, ARROW, "A dict with closed and points."
    ),
    "hstore": Rule("hstore", "map<string, string>", OBJECT, OBJECT, ARROW, "dict; a value may be None."),
    "array": Rule(
        "any array",
        "list<element>",
        OBJECT,
        OBJECT,
        ARROW,
        "Lists of Python values, nested for several dimensions; subscripts start at 0. In an Arrow type an array of "
        "several dimensions is NA (lossy).",
    ),
    "range": Rule(
        "any range",
        "struct<lower, upper, lower_inc, upper_inc, empty>",
        OBJECT,
        OBJECT,
        ARROW,
        "sqlalchemy.dialects.postgresql.Range.",
    ),
    "multirange": Rule("any multirange", "list<range>", OBJECT, OBJECT, ARROW, "List of Range."),
    "composite": Rule(
        "row types",
        "struct<fields>",
        OBJECT,
        OBJECT,
        ARROW,
        "dict, field by field. One with a field that has no binary form (tsvector, reg…) is text.",
    ),
    "record": Rule(
        "record",
        "string",
        OBJECT,
        OBJECT,
        OBJECT,
        "tuple; text in Arrow, as an anonymous row declares no fields.",
    ),
    "void": Rule("void", "string", "str", "string", ARROW, "What a function without a result gives: NULL."),
    "python": Rule(
        "a column type with Python-side processing (TypeDecorator, Enum of a class, …)",
        "what pyarrow infers",
        OBJECT,
        OBJECT,
        OBJECT,
        "The values that SQLAlchemy gives. `table()` has an Enum's text as PostgreSQL does.",
    ),
    "float": Rule(
        "numeric with `numeric='float'`", "double", "float64", "Float64", ARROW, "The nearest double (listed as lossy)."
    ),
}

# name → (kind, oid, oid of its array). These numbers are fixed in PostgreSQL's source (pg_type.dat).
_BUILT_IN: dict[str, tuple[str, int, int]] = {
    "bool": ("bool", 16, 1000),
    "bytea": ("bytea", 17, 1001),
    "char": ("char", 18, 1002),
    "name": ("text", 19, 1003),
    "int8": ("int8", 20, 1016),
    "int2": ("int2", 21, 1005),
    "int4": ("int4", 23, 1007),
    "text": ("text", 25, 1009),
    "oid": ("oid", 26, 1028),
    "tid": ("tid", 27, 1010),
    "xid": ("oid", 28, 1011),
    "cid": ("oid", 29, 1012),
    "json": ("json", 114, 199),
    "xml": ("text", 142, 143),
    "point": ("floats", 600, 1017),
    "lseg": ("floats", 601, 1018),
    "path": ("path", 602, 1019),
    "box": ("floats", 603, 1020),
    "polygon": ("floats", 604, 1027),
    "line": ("floats", 628, 629),
    "cidr": ("inet", 650, 651),
    "float4": ("float4", 700, 1021),
    "float8": ("float8", 701, 1022),
    "unknown": ("text", 705, 0),
    "circle": ("floats", 718, 719),
    "macaddr8": ("macaddr", 774, 775),
    "money": ("money", 790, 791),
    "macaddr": ("macaddr", 829, 1040),
    "inet": ("inet", 869, 1041),
    "bpchar": ("text", 1042, 1014),
    "varchar": ("text", 1043, 1015),
    "date": ("date", 1082, 1182),
    "time": ("time", 1083, 1183),
    "timestamp": ("timestamp", 1114, 1115),
    "timestamptz": ("timestamptz", 1184, 1185),
    "interval": ("interval", 1186, 1187),
    "timetz": ("timetz", 1266, 1270),
    "bit": ("bit", 1560, 1561),
    "varbit": ("bit", 1562, 1563),
    "numeric": ("numeric", 1700, 1231),
    "refcursor": ("text", 1790, 2201),
    "record": ("record", 2249, 2287),
    "void": ("void", 2278, 0),
    "uuid": ("uuid", 2950, 2951),
    "txid_snapshot": ("snapshot", 2970, 2949),
    "pg_lsn": ("pg_lsn", 3220, 3221),
    "jsonb": ("json", 3802, 3807),
    "pg_snapshot": ("snapshot", 5038, 5039),
    "xid8": ("xid8", 5069, 271),
}
_BUILT_IN_RANGES = {  # range → (subtype, oid, array, multirange, its array)
    "int4range": ("int4", 3904, 3905, 4451, 6150),
    "numrange": ("numeric", 3906, 3907, 4532, 6151),
    "tsrange": ("timestamp", 3908, 3909, 4533, 6152),
    "tstzrange": ("timestamptz", 3910, 3911, 4534, 6153),
    "daterange": ("date", 3912, 3913, 4535, 6155),
    "int8range": ("int8", 3926, 3927, 4536, 6157),
}


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What PostgreSQL says about a column, or about an element or field inside it.

    Attributes:
        oid: The type's number in pg_type, after domains are resolved to what they stand for.
        name: The type's name, as `pg_type.typname` has it.
        kind: The key of its line in `RULES`.
        precision: Decimal digits, of `decimal` and `money`; else 0.
        scale: Digits after the point, of `decimal` and `money`; else 0.
        element: The type inside an array, a range (its bound) or a multirange (its range).
        fields: Names and types of a composite's fields; of a record, types that it was found to hold, by oid.
        binary: Whether the type has a binary form that is read here. One that has not comes as text, which COPY BINARY
            does not send.
    """

    oid: int
    name: str
    kind: str
    precision: int = 0
    scale: int = 0
    element: ColumnType | None = None
    fields: tuple[tuple[str, ColumnType], ...] = ()
    binary: bool = True
    is_enum: bool = False

    def arrow(self) -> pa.DataType:
        """Give the Arrow type."""
        return _arrow_type(self)

    def dtype(self, backend: DtypeBackend = None) -> pd.api.extensions.ExtensionDtype | Any:
        """Give the pandas dtype for a `dtype_backend`: a numpy dtype or an extension dtype."""
        return _pandas_dtype(self, backend)

    def as_float(self) -> ColumnType:
        """Give the type that `numeric="float"` reads this one as: float64 for numbers of any precision, else itself."""
        return replace(self, kind="float", precision=0, scale=0) if self.kind in ("decimal", "numeric") else self

    def knowing(self, oid: int, type_: ColumnType) -> ColumnType:
        """Give this type with each anonymous row inside told what type `oid` is; an anonymous row has only the oid."""
        if self.kind == "record":
            return replace(self, fields=(*self.fields, (str(oid), type_)))
        return self if self.element is None else replace(self, element=self.element.knowing(oid, type_))

    def parts(self) -> Iterator[ColumnType]:
        """Yield this type, and every type inside it."""
        yield self
        for inside in ([self.element] if self.element else []) + [field for _, field in self.fields]:
            yield from inside.parts()


PYTHON = ColumnType(0, "python", "python")
"""Values that no type of PostgreSQL describes: they stay the Python objects that they are."""


@dataclass(frozen=True, slots=True)
class CatalogType:
    """One line of pg_type for a type that is not built in, or whose meaning the server's settings decide.

    `kind` is typtype: `b`ase, `c`omposite, `d`omain, `e`num, `r`ange, `m`ultirange, `p`seudo. `inside` is the oid of
    what the type is made of: an array's element, a domain's base, a range's subtype, a multirange's range.
    """

    oid: int
    name: str
    kind: str
    inside: int = 0
    typmod: int = -1
    fields: tuple[tuple[str, int, int], ...] = ()  # name, oid, typmod


Catalog = Mapping[int, CatalogType]


class UnknownTypeError(LookupError):
    """A type is not built in and not in the catalog given; `oid` says which. Look it up on the server and ask again."""

    def __init__(self, oid: int) -> None:
        super().__init__(oid)
        self.oid = oid


def check_backend(backend: Any) -> None:
    """Refuse a `dtype_backend` that pandas does not have, before anything is read."""
    if backend not in (None, "numpy_nullable", "pyarrow"):
        raise ValueError(f"dtype_backend={backend!r}: it is None, 'numpy_nullable' or 'pyarrow'.")


def column_type(oid: int, typmod: int = -1, catalog: Catalog | None = None, *, money_scale: int = 2) -> ColumnType:
    """Describe a column of type `oid`.

    Args:
        oid: The type's number, as the server describes the column.
        typmod: The type's modifier (precision and scale of a numeric), -1 for none.
        catalog: Types that are not built in, by oid.
        money_scale: Digits after the point of `money`: the server's lc_monetary decides.

    Raises:
        UnknownTypeError: The type, or one inside it, is neither built in nor in `catalog`.
    """
    known = _built_in_types().get(oid)
    if known is None:
        return _catalog_type(oid, typmod, catalog or {}, money_scale)
    if known.kind == "numeric":
        return _numeric(known, typmod)
    if known.kind == "money":
        return replace(known, precision=19, scale=money_scale)
    if known.kind == "array" and known.element is not None:
        return replace(known, element=column_type(known.element.oid, typmod, catalog, money_scale=money_scale))
    return known


def markdown() -> str:
    """Render the table as Markdown."""
    lines = [
        "| PostgreSQL | Arrow | pandas | `dtype_backend='numpy_nullable'` | `'pyarrow'` | |",
        "|---|---|---|---|---|---|",
    ]
    for rule in RULES.values():
        dtypes = [f"{rule.arrow}[pyarrow]" if d == ARROW else d for d in (rule.default, rule.nullable, rule.pyarrow)]
        cells = " | ".join(f"`{cell}`" for cell in (rule.arrow, *dtypes))
        lines.append(f"| {rule.postgresql} | {cells} | {rule.note} |")
    return "\n".join(lines) + "\n"


@cache
def _built_in_types() -> dict[int, ColumnType]:
    types: dict[int, ColumnType] = {}

    def add(kind: str, name: str, oid: int, array: int, element: ColumnType | None = None) -> ColumnType:
        types[oid] = ColumnType(oid, name, kind, element=element)
        if array:
            types[array] = ColumnType(array, f"_{name}", "array", element=types[oid])
        return types[oid]

    by_name = {name: add(kind, name, oid, array) for name, (kind, oid, array) in _BUILT_IN.items()}
    for name, (subtype, oid, array, multirange, multirange_array) in _BUILT_IN_RANGES.items():
        one = add("range", name, oid, array, by_name[subtype])
        add("multirange", name.replace("range", "multirange"), multirange, multirange_array, one)
    return types


def _catalog_type(oid: int, typmod: int, catalog: Catalog, money_scale: int) -> ColumnType:
    if oid not in catalog:
        raise UnknownTypeError(oid)
    line = catalog[oid]

    def inner(inside: int, modifier: int = -1) -> ColumnType:
        return column_type(inside, modifier, catalog, money_scale=money_scale)

    if line.kind == "d":
        return inner(line.inside, line.typmod)
    if line.kind == "c":
        fields = tuple((name, inner(field, modifier)) for name, field, modifier in line.fields)
        if all(field.binary for _, field in fields):
            return ColumnType(oid, line.name, "composite", fields=fields)
        return _as_text(line)
    if line.kind in ("r", "m"):
        return _container(oid, line.name, "range" if line.kind == "r" else "multirange", inner(line.inside))
    if line.kind == "b" and line.inside:
        element = inner(line.inside, typmod)
        is_row = line.inside in catalog and catalog[line.inside].kind == "c"
        return _as_text(line) if is_row and not element.binary else _container(oid, line.name, "array", element)
    if line.name == "hstore":
        return ColumnType(oid, line.name, "hstore")
    if line.kind == "e" or line.name == "citext":
        return ColumnType(oid, line.name, "text", is_enum=line.kind == "e")
    return _as_text(line)


def _as_text(line: CatalogType) -> ColumnType:
    return ColumnType(line.oid, line.name, "text", binary=False)


def _container(oid: int, name: str, kind: str, element: ColumnType) -> ColumnType:
    return ColumnType(oid, name, kind, element=element, binary=element.binary)


def _numeric(known: ColumnType, typmod: int) -> ColumnType:
    """Read precision and scale out of a typmod (numeric.c: 16 bits of precision, 11 of scale with its sign, plus 4)."""
    if typmod < 4:
        return known
    precision = (typmod - 4) >> 16 & 0xFFFF
    scale = ((typmod - 4 & 0x7FF) ^ 1024) - 1024
    digits = max(precision, scale) if scale >= 0 else precision - scale
    if digits > 76:
        return known
    return replace(known, kind="decimal", precision=digits, scale=max(scale, 0))


@cache
def _arrow_type(column: ColumnType) -> pa.DataType:
    import pyarrow as pa

    def element() -> pa.DataType:
        assert column.element is not None, f"a {column.kind} has an element"  # noqa: S101
        return column.element.arrow()

    match column.kind:
        case "decimal" | "money":
            make = pa.decimal128 if column.precision <= 38 else pa.decimal256
            return make(column.precision, column.scale)
        case "array" | "multirange":
            return pa.list_(element())
        case "range":
            bounds = [("lower", element()), ("upper", element())]
            return pa.struct([*bounds, ("lower_inc", pa.bool_()), ("upper_inc", pa.bool_()), ("empty", pa.bool_())])
        case "composite":
            return pa.struct([pa.field(name, field.arrow()) for name, field in column.fields])
        case "floats":
            return pa.list_(pa.float64())
        case "path":
            return pa.struct([("closed", pa.bool_()), ("points", pa.list_(pa.float64()))])
        case "hstore":
            return pa.map_(pa.string(), pa.string())
        case "timestamptz":
            return pa.timestamp("us", "UTC")
        case "interval":
            return pa.month_day_nano_interval()
        case "uuid":
            return pa.binary(16)
        case "python":
            return pa.null()
        case _:
            return pa.type_for_alias(RULES[column.kind].arrow)


@cache
def _pandas_dtype(column: ColumnType, backend: DtypeBackend) -> Any:
    import numpy as np
    import pandas as pd

    rule = RULES[column.kind]
    name = {None: rule.default, "numpy_nullable": rule.nullable, "pyarrow": rule.pyarrow}[backend]
    if name == ARROW:
        return pd.ArrowDtype(column.arrow())
    if name == "str":
        return _str_dtype()
    return np.dtype(object) if name == OBJECT else pd.api.types.pandas_dtype(name)


@cache
def _str_dtype() -> Any:
    """Give pandas 3's `str`, which is text with NaN for NULL; pandas 2.2 has the same under another spelling."""
    import numpy as np
    import pandas as pd

    try:
        return pd.StringDtype(na_value=np.nan)
    except TypeError:
        return pd.StringDtype("pyarrow_numpy")
