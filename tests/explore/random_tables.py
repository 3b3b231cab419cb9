"""Tables of random columns over all families of types, and what pandas and numpy say about them."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import numpy as np

NAMES = ["plain", 'Mixed "Case"', "select", "{sql}", "a.b", "é" * 31, ":bind", "%s $1", "x\ny", "<b>"]


def _int(random: Random, bits: int) -> int:
    return random.choice([0, 1, -1, 2**bits - 1, -(2**bits), random.randint(-50, 50), random.getrandbits(bits - 1)])


def _float(random: Random) -> float:
    return random.choice([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-300, random.gauss(0, 1e6), random.random()])


def _decimal(random: Random) -> Decimal:
    return random.choice([Decimal("NaN"), Decimal("0.10"), Decimal(random.randint(-(10**20), 10**20)) / 1000])


def _date(random: Random) -> date:
    return random.choice([date.min, date.max, date(2000, 1, 1) + timedelta(random.randint(0, 3000))])


def _moment(random: Random) -> datetime:
    return datetime(2000, 1, 1, tzinfo=UTC) + timedelta(
        seconds=random.randint(0, 10**8), microseconds=random.randint(0, 9)
    )


def _text(random: Random) -> str:
    return random.choice(["", " ", "a", "A", "é", "long " * 50, "'; drop", str(random.randint(0, 30))])


MAKERS: dict[str, Any] = {
    "int2": lambda random: _int(random, 15),
    "int4": lambda random: _int(random, 31),
    "int8": lambda random: _int(random, 63),
    "float8": _float,
    "float4": lambda random: float(np.float32(random.gauss(0, 100))),
    "numeric": _decimal,
    "numeric(30,3)": lambda random: Decimal(random.randint(-(10**9), 10**9)) / 1000,
    "bool": lambda random: random.random() < 0.3,
    "text": _text,
    "varchar(300)": _text,
    "date": _date,
    "timestamp": lambda random: _moment(random).replace(tzinfo=None),
    "timestamptz": _moment,
    "uuid": lambda random: str(__import__("uuid").UUID(int=random.getrandbits(128))),
    "bytea": lambda random: bytes(random.getrandbits(8) for _ in range(random.randint(0, 5))),
    "jsonb": lambda random: json.dumps(random.choice([{"a": 1}, {"a": None, "b": []}, [1], 1, None, "x", {}])),
    "json": lambda random: json.dumps(random.choice([{"a": 1}, {"b": 2}, []])),
    "int4[]": lambda random: [random.randint(0, 3) for _ in range(random.randint(0, 3))],
    "text[]": lambda random: [_text(random) for _ in range(random.randint(0, 2))],
    "profile_mood": lambda random: random.choice(["sad", "ok", "happy"]),
    "profile_positive": lambda random: random.randint(1, 9),
    "int4range": lambda random: f"[{random.randint(0, 5)},{random.randint(6, 9)})",
    "inet": lambda random: f"10.0.0.{random.randint(0, 255)}",
    "point": lambda random: f"({random.randint(0, 9)},{random.randint(0, 9)})",
}
ORDER = {"profile_mood": ["sad", "ok", "happy"]}
NUMBERS = ("int2", "int4", "int8", "float8", "float4", "numeric", "numeric(30,3)", "profile_positive")
TIMES = ("date", "timestamp", "timestamptz")
SORTED = (*NUMBERS, *TIMES, "bool", "uuid", "profile_mood")  # texts by the server's collation
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


def random_table(seed: int) -> tuple[list[tuple[str, str]], list[list[Any]]]:
    """Make columns (name and type) and rows; some columns are all NULL, some tables empty."""
    random = Random(seed)
    names = random.sample(NAMES, random.randint(1, len(NAMES)))
    types = [random.choice(list(MAKERS)) for _ in names]
    missing = [random.choice([0, 0.2, 1]) for _ in names]
    count = random.choice([0, 1, 2, random.randint(3, 300)])
    rows = [
        [None if random.random() < gone else MAKERS[type_](random) for type_, gone in zip(types, missing, strict=True)]
        for _ in range(count)
    ]
    return list(zip(names, types, strict=True)), rows


def is_nan(value: Any) -> bool:
    return bool(value != value)


def quantile(values: list[Any], share: float) -> Any:
    """The first value that at least this share does not exceed: numpy's method `inverted_cdf`, for any type."""
    place = int(np.quantile(np.arange(len(values)), share, method="inverted_cdf"))
    return sorted(values)[place]
