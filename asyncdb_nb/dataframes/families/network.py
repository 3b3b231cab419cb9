"""Addresses of networks and of their cards, as text."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.families.kind import BuiltIn, Kind, always, each, of

_IP = (IPv4Address, IPv6Address, IPv4Network, IPv6Network)
_IPV4 = 2  # PGSQL_AF_INET


def _inet(data: bytes) -> str:
    family, bits, is_cidr = data[0], data[1], data[2]
    address = IPv4Address(data[4:]) if family == _IPV4 else IPv6Address(data[4:])
    return f"{address}/{bits}" if is_cidr or bits < address.max_prefixlen else str(address)


KINDS = (
    Kind(
        name="inet",
        documented="inet, cidr",
        note="As PostgreSQL writes it: 10.0.0.1, 10.0.0.0/8.",
        types={"inet": BuiltIn(869, 1041), "cidr": BuiltIn(650, 651)},
        reader=each(_inet),
        from_driver=always(str),
        classes=(str, *_IP),
        taker=of(str, *_IP),
        sqlalchemy={pg.INET: "inet", pg.CIDR: "cidr"},
        python_bases=dict.fromkeys(_IP, "inet"),
    ),
    Kind(
        name="macaddr",
        documented="macaddr, macaddr8",
        note="As PostgreSQL writes it: 08:00:2b:01:02:03.",
        types={"macaddr": BuiltIn(829, 1040), "macaddr8": BuiltIn(774, 775)},
        reader=each(lambda data: data.hex(":")),
        from_driver=always(str),
        classes=(str,),
        taker=of(str),
    ),
)
