"""
How tables belong together: their keys, their rows and the foreign keys between them, as a picture.

    diagram = await db.diagram("workflows")
    diagram             # in a notebook, the picture
    print(diagram)      # the same in words
    diagram.frame()     # one row a foreign key
    diagram.mermaid()   # for a page that draws Mermaid
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.dataframes import libraries
from asyncdb_nb.engine.history import own
from asyncdb_nb.engine.search_path import EQ, GE, GT, MATCHES, NE
from asyncdb_nb.errors import UnknownSchemaError
from asyncdb_nb.explore.diagram_svg import svg_of
from asyncdb_nb.explore.diagram_tables import Content, ForeignKey, KeyColumn, Table
from asyncdb_nb.explore.table_names import quoted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# ruff: noqa: S608  the statements are put together from constants

_OWN = f"n.nspname {NE} 'information_schema' and not n.nspname {MATCHES} '^pg_'"
_ASKED = "cast(:schema as pg_catalog.text)"
_IN_SCHEMA = f"({_ASKED} is null and {_OWN} or n.nspname {EQ} {_ASKED})"
_FOREIGN = f"k.contype {EQ} 'f' and k.conparentid {EQ} 0::pg_catalog.oid"

_TABLES = f"""
with chosen as (
    select c.oid from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid {EQ} c.relnamespace
    where c.relkind {EQ} ANY ('{{r,p}}') and not c.relispartition and {_IN_SCHEMA}
), shown as (
    select oid from chosen
    union
    select k.confrelid from pg_catalog.pg_constraint as k join chosen on chosen.oid {EQ} k.conrelid where {_FOREIGN}
)
select c.oid, n.nspname as schema, c.relname as name,
       case when c.relkind {EQ} 'p' then (
                select pg_catalog.sum(l.reltuples) from pg_catalog.pg_partition_tree(c.oid) as t
                join pg_catalog.pg_class as l on l.oid {EQ} t.relid where t.isleaf and l.reltuples {GE} 0)
            when c.reltuples {GE} 0 then c.reltuples end as rows,
       (select pg_catalog.count(*) from pg_catalog.pg_attribute as a
        where a.attrelid {EQ} c.oid and a.attnum {GT} 0 and not a.attisdropped) as columns
from shown join pg_catalog.pg_class as c on c.oid {EQ} shown.oid
     join pg_catalog.pg_namespace as n on n.oid {EQ} c.relnamespace
order by n.nspname, c.relname
"""
_KEYS = f"""
select k.conname as name, k.contype::pg_catalog.text as kind, k.conrelid as table_oid, k.confrelid as other_oid,
       a.attname as "column", pg_catalog.format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as required,
       b.attname as other_column, k.confdeltype::pg_catalog.text as on_delete, k.oid
from pg_catalog.pg_constraint as k
     cross join lateral pg_catalog.generate_subscripts(k.conkey, 1) as place
     join pg_catalog.pg_attribute as a on a.attrelid {EQ} k.conrelid and a.attnum {EQ} k.conkey[place]
     left join pg_catalog.pg_attribute as b on b.attrelid {EQ} k.confrelid and b.attnum {EQ} k.confkey[place]
where k.conrelid {EQ} ANY (cast(:oids as pg_catalog.oid[])) and (k.contype {EQ} 'p' or {_FOREIGN})
order by k.conname, k.oid, place
"""
_SCHEMAS = f"select nspname from pg_catalog.pg_namespace as n where {_OWN} order by 1"
_ON_DELETE = {"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}


async def read_diagram(session: AsyncSession, schema: str | None = None) -> Diagram:
    """Read tables and foreign keys from the catalog, in the session's transaction; see `Database.diagram`."""
    found = (await session.execute(own(_TABLES), {"schema": schema})).all()
    if not found and schema is not None:
        known = list(await session.scalars(own(_SCHEMAS)))
        if schema not in known:
            raise UnknownSchemaError(schema, known)
    keys = (await session.execute(own(_KEYS), {"oids": [row.oid for row in found]})).all()
    tables = {}
    for row in found:
        parts: dict[str, KeyColumn] = {}
        for key in sorted((key for key in keys if key.table_oid == row.oid), key=lambda key: key.kind != "p"):
            before = parts.get(key.column, KeyColumn(key.column, key.type, False, False))
            is_primary, is_foreign = before.is_primary or key.kind == "p", before.is_foreign or key.kind == "f"
            parts[key.column] = KeyColumn(key.column, key.type, is_primary, is_foreign)
        rows = None if row.rows is None else int(row.rows)
        tables[row.oid] = Table(row.schema, row.name, rows, tuple(parts.values()), row.columns - len(parts))
    foreign = []
    for oid in dict.fromkeys(key.oid for key in keys if key.kind == "f" and key.other_oid in tables):
        of_it = [key for key in keys if key.oid == oid]
        first = of_it[0]
        foreign.append(
            ForeignKey(
                first.name,
                tables[first.table_oid],
                tuple(key.column for key in of_it),
                tables[first.other_oid],
                tuple(key.other_column for key in of_it),
                _ON_DELETE.get(first.on_delete, first.on_delete),
                all(key.required for key in of_it),
            )
        )
    foreign.sort(key=lambda key: (key.table.title, key.columns, key.name))
    return Diagram(list(tables.values()), foreign)


class Diagram:
    """Tables and the foreign keys between them; made by `db.diagram`.

    `str()` and `repr()` of it are words, the same each time. In a notebook it is a picture in the page's colours.

    Attributes:
        tables: The tables, by name.
        foreign_keys: The foreign keys, by table.
    """

    def __init__(self, tables: list[Table], foreign_keys: list[ForeignKey]) -> None:
        self.tables = tables
        self.foreign_keys = foreign_keys

    def frame(self) -> pd.DataFrame:
        """Give the foreign keys as a DataFrame, one row each, ordered by table.

        Returns:
            A frame of texts: `schema`, `table`, `columns` (with commas, as SQL takes them), `references_schema`,
            `references_table`, `references_columns`, `on_delete`, `name`; and `required` (bool): whether none of the
            columns may be NULL.
        """
        libraries.load()
        import pandas as pd

        columns: dict[str, list[object]] = {
            "schema": [key.table.schema for key in self.foreign_keys],
            "table": [key.table.name for key in self.foreign_keys],
            "columns": [_listed(key.columns) for key in self.foreign_keys],
            "references_schema": [key.other.schema for key in self.foreign_keys],
            "references_table": [key.other.name for key in self.foreign_keys],
            "references_columns": [_listed(key.other_columns) for key in self.foreign_keys],
            "on_delete": [key.on_delete for key in self.foreign_keys],
            "required": [key.required for key in self.foreign_keys],
            "name": [key.name for key in self.foreign_keys],
        }
        dtypes = {name: "bool" if name == "required" else "str" for name in columns}
        return pd.DataFrame({name: pd.Series(values, dtype=dtypes[name]) for name, values in columns.items()})

    def svg(self, *, dark: bool | None = None) -> str:
        """Draw the picture as SVG, which a browser shows and `Path("diagram.svg").write_text(...)` keeps.

        Args:
            dark: Whether on dark or on light paper; None takes the colours of the page that it is put into.
        """
        return svg_of(Content(self.tables, self.foreign_keys), dark)

    def mermaid(self) -> str:
        """Write the diagram for Mermaid, which GitHub, GitLab and JupyterLab draw from a fenced block `mermaid`.

        Mermaid takes letters, digits and underscores alone in types and columns, so others become underscores.
        """
        lines = ["erDiagram"]
        for table in self.tables:
            lines.append(f"    {_entity(table)} {{")
            for column in table.keys:
                marks = ", ".join(["PK"] * column.is_primary + ["FK"] * column.is_foreign)
                lines.append(f"        {_word(column.type)} {_word(column.name)} {marks}")
            lines.append("    }")
        for key in self.foreign_keys:
            one = "||" if key.required else "|o"
            label = _entity_text(", ".join(key.columns))
            lines.append(f'    {_entity(key.other)} {one}--o{{ {_entity(key.table)} : "{label}"')
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None, *, title: str | None = None, dark: bool | None = None) -> Axes:
        """Draw the picture with matplotlib, on axes without ticks.

        Args:
            ax: Where to draw; None makes a figure of its own, as large as the picture.
            title: Of the axes.
            dark: Whether the background is dark; None looks at matplotlib's style.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from asyncdb_nb.explore.diagram_plot import draw

        return draw(Content(self.tables, self.foreign_keys), ax, title, dark)

    def __str__(self) -> str:
        if not self.tables:
            return "There are no tables."
        lines = []
        for table in self.tables:
            lines.append(table.title + ("" if table.rows is None else f"  ({table.rows:,} rows)"))
            for key in self.foreign_keys:
                if key.table is table:
                    there = f"{key.other.title} ({_listed(key.other_columns)})"
                    lines.append(f"  {_listed(key.columns)} → {there}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.svg()


def _listed(columns: tuple[str, ...]) -> str:
    return ", ".join(map(quoted, columns))


def _entity(table: Table) -> str:
    return f'"{_entity_text(f"{table.schema}.{table.name}")}"'


def _entity_text(text: str) -> str:
    """What stands in quotes: Mermaid has no escape for a quote, a backslash or a line's end, nor for its comments."""
    return re.sub(r"[\"\\\r\n%{}]", "_", text)


def _word(text: str) -> str:
    found = re.sub(r"\W", "_", text)
    return found if re.match(r"[^\W\d]", found) else f"_{found}"
