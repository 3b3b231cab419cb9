"""Points, and what is made of them."""

from __future__ import annotations

from struct import Struct, pack
from typing import Any

from asyncdb_nb.dataframes.type_families.floats import double
from asyncdb_nb.dataframes.type_families.kind import (
    ARROW,
    OBJECT,
    BuiltIn,
    ColumnType,
    Dumps,
    Kind,
    Writer,
    always,
    each,
    need,
    written,
)

_DOUBLE = Struct("!d")


def _read(data: bytes) -> list[float]:
    start = len(data) % 8  # a polygon has its number of points before them
    return [_DOUBLE.unpack_from(data, position)[0] for position in range(start, len(data), 8)]


def _flat(value: Any) -> list[float]:
    """Flatten asyncpg's points, boxes and circles, which are tuples of tuples."""
    return [n for part in value for n in (_flat(part) if isinstance(part, tuple | list) else [float(part)])]


def _coordinates(column: ColumnType) -> Any:
    import pyarrow as pa

    return pa.list_(pa.float64())


def _read_path(data: bytes) -> dict[str, Any]:
    return {"closed": data[0] == 1, "points": _read(data[5:])}


def _path(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"closed": value.is_closed, "points": _flat(tuple(value.points))}


def _path_type(column: ColumnType) -> Any:
    import pyarrow as pa

    return pa.struct([("closed", pa.bool_()), ("points", pa.list_(pa.float64()))])


def _writer(column: ColumnType, dumps: Dumps) -> Writer:
    is_polygon, count = column.name == "polygon", (column.width or 0) // 8

    def write(value: Any) -> bytes:
        numbers = _exact(value)
        need(len(numbers) % 2 == 0 if is_polygon else len(numbers) == count, value)
        head = pack("!i", len(numbers) // 2) if is_polygon else b""
        return head + pack(f"!{len(numbers)}d", *numbers)

    return write


def _exact(value: Any) -> list[float]:
    """Flatten lists of numbers that a double holds."""
    return [n for part in value for n in (_exact(part) if isinstance(part, tuple | list) else [double(part)])]


def _write_path(value: Any) -> bytes:
    parts = _path(value)
    numbers = _exact(parts["points"])
    need(len(numbers) % 2 == 0, value)
    return pack(f"!Bi{len(numbers)}d", bool(parts["closed"]), len(numbers) // 2, *numbers)


KINDS = (
    Kind(
        name="floats",
        documented="point, line, lseg, box, circle, polygon",
        arrow="list<double>",
        dtypes=(OBJECT, OBJECT, ARROW),
        note="The coordinates in PostgreSQL's order: [x, y]; [A, B, C]; [x1, y1, x2, y2]; [x, y, r]; "
        "[x1, y1, x2, y2, …].",
        types={
            "point": BuiltIn(600, 1017, width=16),
            "line": BuiltIn(628, 629, width=24),
            "lseg": BuiltIn(601, 1018, width=32),
            "box": BuiltIn(603, 1020, width=32),
            "circle": BuiltIn(718, 719, width=24),
            "polygon": BuiltIn(604, 1027),
        },
        arrow_type=_coordinates,
        reader=each(_read),
        writer=_writer,
        from_driver=always(_flat),
        keeps_values=True,
        depth=1,
        asyncpg={
            "Point": "point",
            "Line": "line",
            "LineSegment": "lseg",
            "Box": "box",
            "Circle": "circle",
            "Polygon": "polygon",
        },
    ),
    Kind(
        name="path",
        documented="path",
        arrow="struct<closed: bool, points: list<double>>",
        dtypes=(OBJECT, OBJECT, ARROW),
        note="A dict with closed and points.",
        types={"path": BuiltIn(602, 1019)},
        arrow_type=_path_type,
        reader=each(_read_path),
        writer=written(_write_path),
        from_driver=always(_path),
        keeps_values=True,
        asyncpg={"Path": "path"},
    ),
)
