"""Parquet, Arrow and CSV files of record batches. What a format has no type for becomes text, column by column."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from asyncdb_nb.errors import ExportError
from asyncdb_nb.explore.interval_text import iso_interval

if TYPE_CHECKING:
    import pyarrow as pa

Text = Callable[[Any], str]


class ArrowWriter:
    """Writes record batches of one schema into a file, whose suffix says in which format.

    Raises:
        ExportError: Two columns have one name, and the format needs names.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow as pa

        twice = [name for name, count in Counter(schema.names).items() if count > 1]
        if twice and path.suffix != ".csv":
            raise ExportError(f"Two columns are named {twice[0]!r}", "an alias for one of them: `... as other_name`")
        self.notes: list[str] = []
        self._texts = [_text(field.type, path.suffix) for field in schema]
        for field, text in zip(schema, self._texts, strict=True):
            if text is not None:
                self.notes.append(f"{field.name}: {text[1]}, as text")
        fields = [
            pa.field(field.name, field.type if text is None else pa.string())
            for field, text in zip(schema, self._texts, strict=True)
        ]
        self._schema = pa.schema(fields)
        self._file = path.open("xb")
        try:
            self._writer = _writer(path.suffix, self._file, self._schema)
        except BaseException:
            self._file.close()
            raise

    def write(self, part: pa.RecordBatch) -> int:
        """Write a batch."""
        import pyarrow as pa

        columns = [
            column if text is None else pa.array([None if v is None else text[0](v) for v in column.to_pylist()], "str")
            for column, text in zip(part.columns, self._texts, strict=True)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        return int(part.num_rows)

    def close(self) -> None:
        """Write the end."""
        self._writer.close()
        self._file.close()

    def discard(self) -> None:
        """Close the file; what cannot be written to it any more is not wanted."""
        import pyarrow as pa

        with suppress(OSError, ValueError, pa.ArrowException):
            self._writer.close()
        self._file.close()


def _writer(suffix: str, file: Any, schema: pa.Schema) -> Any:
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.ParquetWriter(file, schema)
    if suffix == ".csv":
        import pyarrow.csv as csv

        return csv.CSVWriter(file, schema)
    import pyarrow as pa

    return pa.ipc.new_file(file, schema)


def _text(type_: pa.DataType, suffix: str) -> tuple[Text, str] | None:
    """Say how values of a type are written as text, and what they are, where the format has no such type."""
    import pyarrow as pa

    if suffix == ".arrow":
        return None
    if pa.types.is_interval(type_):
        return lambda value: iso_interval(value.months, value.days, value.nanoseconds // 1000), "intervals in ISO 8601"
    inside = list(_inside(type_))
    if suffix == ".parquet":
        if any(pa.types.is_interval(each) for each in inside):
            return _json, "JSON, for the intervals in it"
        return None
    if pa.types.is_nested(type_):
        return _json, "JSON"
    if type_ == pa.binary(16):
        return lambda value: str(UUID(bytes=value)), "uuids"
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_):
        return lambda value: "\\x" + value.hex(), "bytes in hexadecimal"
    return None


def _inside(type_: pa.DataType) -> Any:
    yield type_
    for number in range(type_.num_fields):
        yield from _inside(type_.field(number).type)


def _json(value: Any) -> str:
    return json.dumps(readable(value), ensure_ascii=False)


def readable(value: Any) -> Any:
    """Write what JSON has no word for as text: decimals exactly, bytes in hexadecimal, intervals in ISO 8601."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return {str(key): readable(each) for key, each in value.items()}
        case bytes():
            return "\\x" + value.hex()
        case tuple() if hasattr(value, "nanoseconds"):
            months, days, nanoseconds = value
            return iso_interval(months, days, nanoseconds // 1000)
        case list() | tuple():
            return [readable(each) for each in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
