"""What PostgreSQL says of its own work: places in its log and in tables, snapshots, and no value at all."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, pack
from typing import Any

from asyncdb_nb.dataframes.type_families.kind import BuiltIn, Kind, always, each, need, written

_UINT4, _UINT8 = Struct("!I"), Struct("!Q")


def _lsn(value: int) -> str:
    return f"{value >> 32 & 0xFFFFFFFF:X}/{value & 0xFFFFFFFF:X}"  # asyncpg reads it as a signed number


def _read_snapshot(data: bytes) -> str:
    return _snapshot(*(_UINT8.unpack_from(data, position)[0] for position in range(4, len(data), 8)))


def _snapshot(first: int, last: int, *between: int) -> str:
    """Write a snapshot: its oldest transaction, the next one, and those that run between."""
    return f"{first}:{last}:{','.join(map(str, between))}"


def _snapshot_from_driver(value: Any) -> str:
    if isinstance(value, str):
        return value
    first, last, between = value
    running: Iterable[int] = between
    return _snapshot(first, last, *running)


def _tid(value: Any) -> str:
    return value if isinstance(value, str) else f"({value[0]},{value[1]})"


def _write_lsn(value: Any) -> bytes:
    high, low = value.split("/")
    return pack("!II", int(high, 16), int(low, 16))


def _write_snapshot(value: Any) -> bytes:
    first, last, between = value.split(":")
    running = [int(number) for number in between.split(",") if number]
    return pack(f"!iQQ{len(running)}Q", len(running), int(first), int(last), *running)


def _write_tid(value: Any) -> bytes:
    block, offset = need(value[0] + value[-1] == "()", value)[1:-1].split(",")
    return pack("!IH", int(block), int(offset))


KINDS = (
    Kind(
        name="pg_lsn",
        documented="pg_lsn",
        note="As PostgreSQL writes it: 16/B374D848.",
        types={"pg_lsn": BuiltIn(3220, 3221, width=8)},
        reader=each(lambda data: _lsn(_UINT8.unpack(data)[0])),
        writer=written(_write_lsn),
        from_driver=always(lambda value: value if isinstance(value, str) else _lsn(value)),
    ),
    Kind(
        name="snapshot",
        documented="pg_snapshot",
        note="As PostgreSQL writes it: 10:20:10,14.",
        types={"pg_snapshot": BuiltIn(5038, 5039), "txid_snapshot": BuiltIn(2970, 2949)},
        reader=each(_read_snapshot),
        writer=written(_write_snapshot),
        from_driver=always(_snapshot_from_driver),
    ),
    Kind(
        name="tid",
        documented="tid",
        note="As PostgreSQL writes it: (0,1).",
        types={"tid": BuiltIn(27, 1010, width=6)},
        writer=written(_write_tid),
        reader=each(lambda data: _tid((_UINT4.unpack_from(data)[0], int.from_bytes(data[4:6])))),
        from_driver=always(_tid),
    ),
    Kind(
        name="void",
        documented="void",
        note="What a function without a result gives: NULL.",
        types={"void": BuiltIn(2278)},
        reader=each(lambda data: None),
        from_driver=always(lambda value: None),
    ),
)
