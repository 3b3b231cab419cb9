"""The same rows by every route: a frame of the text, of a select, in parts, as a table; of a result in each form."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import math
import random
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from random_models import Model, random_model, random_select
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import frame, frames, table, to_frame
from asyncdb_nb.dataframes.results.entities import builds_entities


async def test_random_results_are_the_same_by_every_route(session: AsyncSession) -> None:
    await _same_by_every_route(session, 0, 40)


@pytest.mark.second_tier
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(1, 3))
async def test_more_random_results_are_the_same_by_every_route(session: AsyncSession, seed: int) -> None:
    await _same_by_every_route(session, seed, 100)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 110))
async def test_many_random_results_are_the_same_by_every_route(session: AsyncSession, seed: int) -> None:
    await _same_by_every_route(session, seed, 500)


async def _same_by_every_route(session: AsyncSession, seed: int, cases: int) -> None:
    random_ = random.Random(seed)
    for number in range(cases):
        model = random_model(random_, number)
        statement = random_select(random_, model)
        for routes in (await _of_the_text(session, model), await _of_a_select(session, statement)):
            (_, expected), *others = routes.items()
            shown = [_shown(expected, position) for position in range(expected.shape[1])]
            for route, got in others:
                case = f"seed {seed}, case {number}, by {route}: {model.types} {statement}"
                assert list(got) == list(expected) or route == "scalars", case
                assert got.shape == expected.shape, case
                differing = [place for place, column in enumerate(shown) if _shown(got, place) != column]
                assert not differing, f"{case}: {[(shown[place], _shown(got, place)) for place in differing]}"
        session.expunge_all()


async def _of_the_text(session: AsyncSession, model: Model) -> dict[str, pd.DataFrame]:
    """What the text gives: the server's types decide, or there are none and the values do."""
    mapped: Any = model.mapped
    statement = text(model.text.replace(":", r"\:"))
    entities = select(mapped).order_by(mapped.id)
    raw = (await (await session.connection()).get_raw_connection()).driver_connection
    rows = (await session.execute(statement)).all()
    names = ["id", *model.names]
    routes = {
        "frame of the text": await frame(session, model.text),
        "frame of the class": await frame(session, entities),
        "result of the text": to_frame(await session.execute(statement)),
        "entities": to_frame((await session.scalars(entities)).all()),
        "result of entities": to_frame(await session.execute(entities)),
    }
    assert _shown_in_arrow(await table(session, model.text)) == _shown_in_arrow(await table(session, entities))
    if rows:
        record, named = dataclasses.make_dataclass("Fields", names), namedtuple("Named", names)
        routes |= {
            "asyncpg records": to_frame(await raw.fetch(model.text)),
            "rows of the text": to_frame(rows),
            "mappings of the text": to_frame((await session.execute(statement)).mappings().all()),
            "dicts": to_frame([dict(row._mapping) for row in rows]),
            "dataclasses": to_frame([record(*row) for row in rows]),
            "NamedTuples": to_frame([named(*row) for row in rows]),
            "tuples": to_frame([tuple(row) for row in rows]).set_axis(names, axis=1),
        }
    else:
        routes = {name: got for name, got in routes.items() if name != "entities"}
    return routes


async def _of_a_select(session: AsyncSession, statement: Any) -> dict[str, pd.DataFrame]:
    """What a select gives, with types that SQLAlchemy declares, or guesses."""
    parts = [part async for part in frames(session, statement, rows=2)]
    routes = {
        "frame": await frame(session, statement),
        "frames": _joined(parts),
        "result": to_frame(await session.execute(statement)),
        "mappings": to_frame((await session.execute(statement)).mappings()),
    }
    rows = (await session.execute(statement)).all()
    if rows:
        result = await session.execute(statement)
        partitions = list(result.partitions(2))
        routes["rows"] = to_frame(rows)
        routes["rows of partitions"] = to_frame([row for part in partitions for row in part])
        streamed = await session.stream(statement)
        routes["rows of a stream"] = to_frame(await streamed.all())
    if len(statement.column_descriptions) == 1:
        routes["scalars"] = to_frame(await session.scalars(statement))
    if builds_entities(statement) and any(
        _is_none_throughout(rows, position) for position in range(len(rows and rows[0]))
    ):
        return {name: got for name, got in routes.items() if not name.startswith("rows")}  # whose columns is unknown
    return routes


def _is_none_throughout(rows: Sequence[Any], position: int) -> bool:
    return all(row[position] is None for row in rows)


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    assert all(part.dtypes.equals(parts[0].dtypes) for part in parts)
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]


def _shown(got: pd.DataFrame, position: int) -> list[Any]:
    return [_plain(value) for value in got.iloc[:, position].astype(object)]


def _shown_in_arrow(made: pa.Table) -> tuple[str, str]:
    return str(made.schema.remove_metadata()), repr(made.to_pylist())


def _plain(value: Any) -> Any:
    """Give a value so that equal ones are equal whatever holds them; True is not 1, a date no datetime."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return ("bool", bool(value))
    if isinstance(value, dt.datetime):
        stamp = pd.Timestamp(value)
        return ("zoned" if stamp.tzinfo else "naive", str(stamp.tz_convert("UTC") if stamp.tzinfo else stamp))
    if isinstance(value, decimal.Decimal) and value.is_nan():
        return "NaN"
    if hasattr(value, "kwds"):
        return ("interval", {key: number for key, number in value.kwds.items() if number})
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return repr(value) if type(value).__name__ == "Range" else value
