"""Maps of text to text, as the extension hstore has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.type_families.items import INT4, items, prefixed
from asyncdb_nb.dataframes.type_families.kind import ARROW, OBJECT, ColumnType, Kind, always, each, need, written
from asyncdb_nb.dataframes.type_families.text import encoded


def _arrow_type(column: ColumnType) -> Any:
    import pyarrow as pa

    return pa.map_(pa.string(), pa.string())


def _read(data: bytes) -> dict[str, str | None]:
    texts = [None if item is None else item.decode() for item in items(data, 4)]
    return {key or "": value for key, value in zip(texts[::2], texts[1::2], strict=True)}


def _from_driver(value: Any) -> dict[str, str | None]:
    if not isinstance(value, str):
        return dict(value)
    parse: Any = pg.HSTORE().result_processor(pg.dialect(), None)  # type: ignore[no-untyped-call]
    return dict(parse(value))


def _write(value: Any) -> bytes:
    pairs = dict(need(isinstance(value, Mapping | list), value))
    need(len(pairs) == len(value), "a key is there twice")
    texts = [None if text is None else encoded(text) for pair in pairs.items() for text in pair]
    return INT4.pack(len(pairs)) + b"".join(map(prefixed, texts))


KINDS = (
    Kind(
        name="hstore",
        documented="hstore",
        arrow="map<string, string>",
        dtypes=(OBJECT, OBJECT, ARROW),
        note="dict; a value may be None.",
        extensions=("hstore",),
        arrow_type=_arrow_type,
        reader=each(_read),
        writer=written(_write),
        from_driver=always(_from_driver),
        to_arrow=always(lambda value: list(value.items())),
        keeps_values=True,
    ),
)
