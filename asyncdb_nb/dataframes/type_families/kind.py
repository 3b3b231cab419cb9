"""
What is known of a kind of types, and what PostgreSQL says about one column.

A *kind* names a binary format together with its meaning; types that share both share a kind. A family states its kinds
in one file, each with what is its own; what it leaves out is the plain way. A column's type finds its kind by name in
`KINDS`, which the package fills.

What turns values into others is made once for a column, and None where values stand as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from asyncdb_nb.dataframes.copy_binary.values import Values

DtypeBackend = Literal["numpy_nullable", "pyarrow"] | None
Loads = Callable[[str], Any]
Function = Callable[[Any], Any]
Reader = Callable[[bytes], Any]
Dumps = Callable[[Any], str]
Writer = Callable[[Any], bytes]

OBJECT = "object"  # Python objects, one for each value
ARROW = "arrow"  # pandas.ArrowDtype of the Arrow type
TEXT = ("str", "string", ARROW)
OBJECTS = (OBJECT, OBJECT, OBJECT)


class UnfitError(Exception):
    """A value that its Arrow type cannot hold; the message is the reason."""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A type whose numbers are fixed in PostgreSQL's source (pg_type.dat).

    Attributes:
        oid: Its number.
        array: The number of its array; 0 for none.
        width: The number of bytes of every value; None when they differ.
        element: The name of the type inside a range or a multirange.
        literal: Writes a value whose text is exact whatever the session's settings are; None for a value that is not.
    """

    oid: int
    array: int = 0
    width: int | None = None
    element: str = ""
    literal: Callable[[Any], str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """All that is known of one kind of types.

    Attributes:
        name: Its key in `KINDS`.
        documented: The types as the documentation names them.
        arrow: The Arrow type, as the documentation and pyarrow name it.
        dtypes: The pandas dtypes for `dtype_backend` None, "numpy_nullable" and "pyarrow".
        note: What the documentation says besides.
        types: The built-in types of this kind, by name.
        extensions: Names of types that extensions bring.
        modified: Describes a built-in type by a column's typmod, and by how many digits of money stand after the point.
        arrow_type: Makes the Arrow type, where its name is not enough.
        reader: Makes what reads the bytes of one value, exactly; given what parses JSON.
        arrow_reader: Makes what reads the bytes of one value as Arrow takes it, where a Python value would hold less.
        vectorized: Reads all values of a part of a COPY stream into an Arrow array, and counts what it cannot hold;
            None where a value has to be read alone.
        vectorized_objects: Reads them into Python objects, where no Arrow type holds them.
        writer: Makes what writes one value in PostgreSQL's binary form, exactly, or raises: a value that `reader`
            gives, one of Arrow's, or an equal one; given what writes JSON. None where PostgreSQL has to read its text.
        encode: Makes of an Arrow array of the Arrow type one whose values pgpq writes as the type's bytes; None where
            each value has to be written alone.
        from_driver: Makes what brings a value of asyncpg's or SQLAlchemy's to the one that `reader` reads.
        lost_by_driver: A class of values of which asyncpg has lost something before, and what.
        exact_in_asyncpg: Whether asyncpg reads the same value.
        classes: Python classes whose every value a column takes as it is.
        converter: Makes what turns a value of another class into an equal one that a column takes, or raises; without
            one a column takes any value.
        to_arrow: Makes what turns a value into one that pyarrow takes, or raises `UnfitError`.
        from_arrow: Makes what turns pyarrow's value into the Python value; given what parses JSON.
        for_pandas: Changes an Arrow array before pandas has it, and counts what is NA then.
        keeps_values: Whether a column of Python values stays one until it is known what is asked for.
        depth: How many lists deep one value may be without being an array's own dimensions.
        sqlalchemy: SQLAlchemy's classes, with the type's name; or with what gives name and typmod of an instance.
        python: Classes that a value, or an annotation, may be of, with the type's name.
        python_bases: Likewise, with their subclasses.
        asyncpg: Likewise, names of asyncpg's own classes.
    """

    name: str
    documented: str
    arrow: str = "string"
    dtypes: tuple[str, str, str] = TEXT
    note: str = ""
    types: Mapping[str, BuiltIn] = field(default_factory=dict)
    extensions: tuple[str, ...] = ()
    modified: Callable[[ColumnType, int, int], ColumnType] | None = None
    arrow_type: Callable[[ColumnType], pa.DataType] | None = None
    reader: Callable[[ColumnType, Loads], Reader]
    arrow_reader: Callable[[ColumnType], Reader] | None = None
    vectorized: Callable[[Values, ColumnType, Counter[str]], pa.Array | None] | None = None
    vectorized_objects: Callable[[Values], Sequence[Any]] | None = None
    writer: Callable[[ColumnType, Dumps], Writer] | None = None
    encode: Callable[[ColumnType, pa.Array], pa.Array] | None = None
    from_driver: Callable[[ColumnType], Function | None] | None = None
    lost_by_driver: tuple[type, str] | None = None
    exact_in_asyncpg: bool = False
    classes: tuple[type, ...] = ()
    converter: Callable[[ColumnType], Function | None] | None = None
    to_arrow: Callable[[ColumnType], Function] | None = None
    from_arrow: Callable[[Loads], Function] | None = None
    for_pandas: Callable[[pa.Array, Counter[str]], pa.Array] | None = None
    keeps_values: bool = False
    depth: int = 0
    sqlalchemy: Mapping[type, str | Callable[[Any], tuple[str, int]]] = field(default_factory=dict)
    python: Mapping[type, str] = field(default_factory=dict)
    python_bases: Mapping[type, str] = field(default_factory=dict)
    asyncpg: Mapping[str, str] = field(default_factory=dict)

    def markdown(self) -> str:
        """Give its line in the table of the documentation."""
        dtypes = [f"{self.arrow}[pyarrow]" if dtype == ARROW else dtype for dtype in self.dtypes]
        cells = " | ".join(f"`{cell}`" for cell in (self.arrow, *dtypes))
        return f"| {self.documented} | {cells} | {self.note} |"


KINDS: dict[str, Kind] = {}
"""Every kind by its name."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What PostgreSQL says about a column, or about an element or field inside it.

    Attributes:
        oid: The type's number in pg_type, after domains are resolved to what they stand for.
        name: The type's name, as `pg_type.typname` has it.
        kind: The name of its kind.
        precision: Decimal digits, of `decimal` and `money`; else 0.
        scale: Digits after the point, of `decimal` and `money`; else 0.
        element: The type inside an array, a range (its bound) or a multirange (its range).
        fields: Names and types of a composite's fields; of a record, types that it was found to hold, by oid.
        binary: Whether the type has a binary form that is read here. One that has not comes as text, which COPY BINARY
            does not send.
        is_enum: Whether it is an enum, whose values are texts.
        decode: What a user's codec makes of a text that asyncpg would misread: an array's.
        domain: The number of the domain that it was resolved from; 0 for none.
        schema: The schema of a type that is not built in.
        typmod: The modifier by which the server cuts, pads, rounds or refuses a value that it receives; -1 for none.
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
    decode: Function | None = field(default=None, compare=False)
    domain: int = field(default=0, compare=False)
    schema: str = field(default="", compare=False)
    typmod: int = field(default=-1, compare=False)

    @property
    def traits(self) -> Kind:
        """What is known of its kind."""
        return KINDS[self.kind]

    @property
    def width(self) -> int | None:
        """The number of bytes that every value has; None when they differ."""
        built_in = self.traits.types.get(self.name)
        return None if built_in is None else built_in.width

    @property
    def inside(self) -> ColumnType:
        """The element of a type that has one."""
        assert self.element is not None, f"a {self.kind} has an element"  # noqa: S101
        return self.element

    def arrow(self) -> pa.DataType:
        """Give the Arrow type."""
        return _arrow_type(self)

    def dtype(self, backend: DtypeBackend = None) -> pd.api.extensions.ExtensionDtype | Any:
        """Give the pandas dtype for a `dtype_backend`: a numpy dtype or an extension dtype."""
        return _pandas_dtype(self, backend)

    def reader(self, loads: Loads = json.loads) -> Reader:
        """Give what reads the bytes of one value; the type's `binary` is true."""
        return self.traits.reader(self, loads)

    def writer(self, dumps: Dumps = json.dumps) -> Writer:
        """Give what writes the bytes of one value; `is_writable` is true."""
        assert self.traits.writer is not None, f"a {self.kind} goes as text"  # noqa: S101
        return self.traits.writer(self, dumps)

    @property
    def is_writable(self) -> bool:
        """Whether its values can be written in binary form."""
        return all(part.binary and part.traits.writer is not None for part in self.parts())

    @property
    def declared(self) -> int:
        """The number that PostgreSQL wants before a value inside another: the domain's, where it is one."""
        return self.domain or self.oid

    def from_driver(self) -> Function | None:
        """Give what brings a value of asyncpg's or SQLAlchemy's, not None, to the one that `reader` reads."""
        make = self.traits.from_driver
        return None if make is None else make(self)

    def converter(self) -> Function | None:
        """Give what turns a value into an equal one that a column takes, or raises; None where any value may stand."""
        make = self.traits.converter
        return None if make is None else make(self)

    def to_arrow(self) -> Function | None:
        """Give what turns a value into one that pyarrow takes, or raises `UnfitError`; None where pyarrow takes all."""
        make = self.traits.to_arrow
        return None if make is None else make(self)

    def as_float(self) -> ColumnType:
        """Give the type that `numeric="float"` reads this one as: float64 for numbers of any precision, else itself."""
        return replace(self, kind="float") if self.kind in ("decimal", "numeric") else self

    def as_timestamp(self) -> ColumnType:
        """Give the type that `dates="timestamp"` reads this one as: the time stamp of its midnight, else itself."""
        return replace(self, kind="midnight") if self.kind == "date" else self

    def knowing(self, oid: int, type_: ColumnType) -> ColumnType:
        """Give this type with each anonymous row inside told what type `oid` is; an anonymous row has only the oid."""
        if self.kind == "record":
            return replace(self, fields=(*self.fields, (str(oid), type_)))
        return self if self.element is None else replace(self, element=self.element.knowing(oid, type_))

    def parts(self) -> Iterator[ColumnType]:
        """Yield this type, and every type inside it."""
        yield self
        for inside in ([self.element] if self.element else []) + [type_ for _, type_ in self.fields]:
            yield from inside.parts()


def each(read: Reader) -> Callable[[ColumnType, Loads], Reader]:
    """Say that one function reads every type of a kind."""
    return lambda column, loads: read


def written(write: Writer) -> Callable[[ColumnType, Dumps], Writer]:
    """Say that one function writes every type of a kind."""
    return lambda column, dumps: write


def as_it_is(column: ColumnType, array: pa.Array) -> pa.Array:
    """Say that pgpq writes a type's Arrow type as its bytes."""
    return array


def always(function: Function) -> Callable[[ColumnType], Function]:
    """Say that one function is for every type of a kind."""
    return lambda column: function


def numbers(dtype: str) -> Callable[[Values, ColumnType, Counter[str]], pa.Array]:
    """Read values that are numbers of numpy's `dtype` in the stream, and the same in Arrow."""
    return lambda values, column, lossy: values.numbers(dtype, column.arrow())


def need(right: bool, value: Any) -> Any:
    """Give the value, if it is right.

    Raises:
        ValueError: It is not.
    """
    if not right:
        raise ValueError(value)
    return value


def of(*classes: type) -> Callable[[ColumnType], Function]:
    """Take values of these classes and their subclasses."""
    return always(lambda value: need(isinstance(value, classes), value))


@cache
def _arrow_type(column: ColumnType) -> pa.DataType:
    import pyarrow as pa

    make = column.traits.arrow_type
    return pa.type_for_alias(column.traits.arrow) if make is None else make(column)


@cache
def _pandas_dtype(column: ColumnType, backend: DtypeBackend) -> Any:
    import numpy as np
    import pandas as pd

    name = column.traits.dtypes[{None: 0, "numpy_nullable": 1, "pyarrow": 2}[backend]]
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
