"""
Cut a table into ranges of its blocks.

A row's `ctid` says in which block of its table's file it lies, and PostgreSQL (14 and later) reads a range of them
without looking at the others. Such ranges need no index and no key, and cost nothing to find: only the file's size is
asked for. The last has no end, so no row is outside, whatever the size was.

A partitioned table has no file; its partitions have. Each is read by its own name, and is refused where that is not
the same as reading the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.database import catalog
from asyncdb_nb.engine.history import own
from asyncdb_nb.engine.search_path import EQ, GE, GT, LT, NE
from asyncdb_nb.errors import UnsplittableError

# ruff: noqa: S608  the statements are put together from constants, and names that PostgreSQL has quoted

_COLUMNS = f"""
c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) as name, c.relkind::pg_catalog.text as kind,
c.relpersistence::pg_catalog.text as persistence,
(select a.amname::pg_catalog.text from pg_catalog.pg_am as a where a.oid {EQ} c.relam) as method,
pg_catalog.row_security_active(c.oid) as filtered, pg_catalog.has_table_privilege(c.oid, 'SELECT') as readable,
case when c.relkind {EQ} 'r' then pg_catalog.pg_relation_size(c.oid) else 0 end as size
"""

_ONE = f"""
select {_COLUMNS}
from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid {EQ} c.relnamespace
where c.oid {EQ} cast(:oid as pg_catalog.oid)
"""

_TREE = f"""
with recursive tree(oid) as (
    select cast(:oid as pg_catalog.oid)
    union all
    select i.inhrelid from tree as t join pg_catalog.pg_inherits as i on i.inhparent {EQ} t.oid
    where coalesce(pg_catalog.jsonb_extract_path_text(pg_catalog.to_jsonb(i), 'inhdetachpending'), '') {NE} 'true'
)
select {_COLUMNS}
from tree join pg_catalog.pg_class as c on c.oid {EQ} tree.oid
join pg_catalog.pg_namespace as n on n.oid {EQ} c.relnamespace
order by c.oid {NE} cast(:oid as pg_catalog.oid), c.oid
"""
"""A table and what inherits from it, as the transaction's snapshot has them: the table first, then in order of oid.

`inhdetachpending`, which PostgreSQL 14 brought, is how DETACH CONCURRENTLY begins.
"""

_NAMES = f"""
select pg_catalog.quote_ident(a.attname) from pg_catalog.pg_attribute as a
where a.attrelid {EQ} cast(:oid as pg_catalog.oid) and a.attnum {GT} 0 and not a.attisdropped order by a.attnum
"""

_BLOCK = own("select pg_catalog.current_setting('block_size')::pg_catalog.int4")

_REGCLASS = own("select pg_catalog.to_regclass(:name)::pg_catalog.oid")

LOCKED = f"""
select l.relation from pg_catalog.pg_locks as l
where l.pid {EQ} pg_catalog.pg_backend_pid() and l.locktype {EQ} 'relation' and l.granted
"""
"""The oids of the relations that this session has locked."""

BY_KEY = 'Cut it by a column: `key="id"` beside `parallel`, or `snap.ranges("select * from ...", "id", n)`.'

_OTHERS = {
    "v": "is a view",
    "m": "is a materialized view, which REFRESH replaces",
    "f": "is a foreign table, whose rows are elsewhere",
}


class Table(NamedTuple):
    """A table as the catalog describes it.

    Attributes:
        oid: Its oid.
        name: As SQL names it, with its schema, quoted where need be.
        kind: PostgreSQL's letter for what it is.
        persistence: "t" for a temporary table.
        method: Its access method.
        filtered: Whether row security hides rows from this user.
        readable: Whether this user may read all of it by its own name.
        size: The bytes of its file.
    """

    oid: int
    name: str
    kind: str
    persistence: str
    method: str | None
    filtered: bool
    readable: bool
    size: int

    def check_lock(self) -> None:
        """Refuse what cannot be locked for other sessions to read.

        Raises:
            UnsplittableError: With the reason.
        """
        if self.persistence == "t":
            raise UnsplittableError(f"{self.name} is a temporary table, which no other session can read.")
        if self.kind in "mf":
            raise UnsplittableError(f"{self.name} {_OTHERS[self.kind]}: PostgreSQL does not lock such.")

    def check_blocks(self) -> None:
        """Refuse what has no blocks.

        Raises:
            UnsplittableError: With the reason.
        """
        self.check_lock()
        if self.kind not in "rp":
            raise UnsplittableError(f"{self.name} {_OTHERS.get(self.kind, 'is no table')}. It has no blocks. {BY_KEY}")
        if self.kind == "r" and self.method != "heap":
            raise UnsplittableError(
                f"{self.name} has the access method {self.method}, whose rows need not lie in blocks. {BY_KEY}"
            )


async def find(session: AsyncSession, name: str) -> Table:
    """Find a table by its name.

    Raises:
        UnknownTableError: There is none.
    """
    oid = await catalog.find_table(session, name)
    return Table(*(await session.execute(own(_ONE), {"oid": oid})).one())


async def tree(session: AsyncSession, table: int | str) -> list[Table]:
    """Give a table and what inherits from it.

    Args:
        session: A session.
        table: Its oid, or its name as SQL has it.
    """
    oid = table if isinstance(table, int) else await session.scalar(_REGCLASS, {"name": table})
    return [Table(*row) for row in await session.execute(own(_TREE), {"oid": oid})]


async def statements(session: AsyncSession, oid: int, n: int) -> list[str]:
    """Write about `n` statements that read a table by ranges of its blocks; see `Snapshot.blocks`.

    Raises:
        UnsplittableError: The table cannot be read that way; the message has the reason.
    """
    whole, *below = await tree(session, oid)
    whole.check_blocks()
    if whole.kind == "r" and below:
        raise UnsplittableError(f"{whole.name} has children by INHERITS, whose columns are their own. {BY_KEY}")
    parts = [part for part in below if part.kind != "p"] if whole.kind == "p" else [whole]
    for part in below:
        _check_partition(whole, part)
    columns = "*"
    if below:  # a partition may have them in another order
        columns = ", ".join([name for (name,) in await session.execute(own(_NAMES), {"oid": oid})])
    block_size = await session.scalar(_BLOCK)
    return _cut(columns, [(part.name, part.size // block_size) for part in parts], n) or [
        f"select * from {whole.name} where false"  # a partitioned table without partitions
    ]


def _check_partition(whole: Table, part: Table) -> None:
    part.check_blocks()
    if whole.filtered:
        raise UnsplittableError(
            f"{whole.name} has row security, which does not hold for its partitions read by themselves. {BY_KEY}"
        )
    if part.kind == "r" and not part.readable:
        raise UnsplittableError(
            f"You may read {whole.name}, but not its partition {part.name} by itself. "
            f"Type `grant select on {part.name} to ...`, as its owner. Or: {BY_KEY}"
        )


def _cut(columns: str, tables: Sequence[tuple[str, int]], n: int) -> list[str]:
    """Give each table its share of `n` ranges, at least one.

    Each has a condition on `ctid`, if only that it is not before the first block: then PostgreSQL reads the range from
    its beginning, while a plain scan may start where another one is.
    """
    share = max(sum(blocks for _, blocks in tables) / n, 1)
    found = []
    for name, blocks in tables:
        pieces = max(round(blocks / share), 1)
        edges = [blocks * piece // pieces for piece in range(pieces)]
        for low, high in zip(edges, [*edges[1:], None], strict=True):
            above = "" if high is None else f" and ctid {LT} '({high},0)'"
            found.append(f"select {columns} from only {name} where ctid {GE} '({low},0)'{above}")
    return found
