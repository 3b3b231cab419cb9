"""Addresses of networks and of their cards, as text."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.type_families.kind import BuiltIn, ColumnType, Dumps, Kind, Writer, always, each, need, of

_IP = (IPv4Address, IPv6Address, IPv4Network, IPv6Network)
_IPV4, _IPV6 = 2, 3  # PGSQL_AF_INET, PGSQL_AF_INET6


def _inet(data: bytes) -> str:
    family, bits, is_cidr = data[0], data[1], data[2]
    address = IPv4Address(data[4:]) if family == _IPV4 else IPv6Address(data[4:])
    return f"{address}/{bits}" if is_cidr or bits < address.max_prefixlen else str(address)


def _inet_writer(column: ColumnType, dumps: Dumps) -> Writer:
    is_cidr = column.name == "cidr"

    def write(value: Any) -> bytes:
        need(isinstance(value, (str, *_IP)), value)
        text, slash, length = str(value).partition("/")
        need("%" not in text, "PostgreSQL keeps no zone of an address")
        address = ip_address(text)
        need(not slash or (length.isascii() and length.isdecimal()), value)
        bits = int(length) if slash else address.max_prefixlen
        host = address.max_prefixlen - bits
        need(host >= 0, f"a mask has {address.max_prefixlen} bits at most")
        need(not is_cidr or not int(address) & (1 << host) - 1, "a network has no bits to the right of its mask")
        family = _IPV4 if address.version == 4 else _IPV6
        return bytes([family, bits, is_cidr, len(address.packed)]) + address.packed

    return write


def _mac_writer(column: ColumnType, dumps: Dumps) -> Writer:
    lengths = (6,) if column.name == "macaddr" else (6, 8)  # the server makes eight bytes of six, as of a text

    def write(value: Any) -> bytes:
        data = bytes.fromhex(value.replace(":", "").replace("-", ""))
        need(len(data) in lengths, value)
        return data

    return write


KINDS = (
    Kind(
        name="inet",
        documented="inet, cidr",
        note="As PostgreSQL writes it: 10.0.0.1, 10.0.0.0/8.",
        types={"inet": BuiltIn(869, 1041), "cidr": BuiltIn(650, 651)},
        reader=each(_inet),
        writer=_inet_writer,
        from_driver=always(str),
        classes=(str, *_IP),
        converter=of(str, *_IP),
        sqlalchemy={pg.INET: "inet", pg.CIDR: "cidr"},
        python_bases=dict.fromkeys(_IP, "inet"),
    ),
    Kind(
        name="macaddr",
        documented="macaddr, macaddr8",
        note="As PostgreSQL writes it: 08:00:2b:01:02:03.",
        types={"macaddr": BuiltIn(829, 1040), "macaddr8": BuiltIn(774, 775)},
        reader=each(lambda data: data.hex(":")),
        writer=_mac_writer,
        from_driver=always(str),
        classes=(str,),
        converter=of(str),
        sqlalchemy={pg.MACADDR: "macaddr", pg.MACADDR8: "macaddr8"},
    ),
)
