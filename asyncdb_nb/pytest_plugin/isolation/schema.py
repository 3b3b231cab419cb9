"""Fill the template database from whatever `asyncdb_schema` returned."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from difflib import get_close_matches
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, MetaData
from sqlalchemy.schema import CreateSchema
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb.database.database import Database
from asyncdb_nb.errors import SchemaFileError, SchemaSourceError
from asyncdb_nb.pytest_plugin.secret_url import SecretURL


async def build(url: URL, source: Any, root: Path) -> None:
    """Make in an empty database what a source describes.

    Args:
        url: The database.
        root: The folder from which relative paths count.
        source: A `MetaData` or a declarative base, the path of an .sql file or of alembic.ini, an Alembic `Config`, a
            function (plain or `async`) that is given a `Database`, a list of these, or None.

    Raises:
        SchemaFileError: It is the path of a file that is not there.
        SchemaSourceError: It is none of these.
    """
    match source:
        case None:
            pass
        case list() | tuple():
            for part in source:
                await build(url, part, root)
        case MetaData():
            await _create_tables(url, source)
        case _ if isinstance(getattr(source, "metadata", None), MetaData):
            await _create_tables(url, source.metadata)
        case str() | Path() if Path(source).suffix == ".sql":
            await _run_file(url, _found(source, root))
        case str() | Path() if Path(source).suffix == ".ini":
            await asyncio.to_thread(_migrate, url, _alembic_config(_found(source, root)), root)
        case _ if hasattr(source, "get_main_option"):
            if source.config_file_name is not None:
                _found(source.config_file_name, root)
            await asyncio.to_thread(_migrate, url, source, root)
        case _ if callable(source):
            await _call(url, source)
        case _:
            raise SchemaSourceError(source)


def _found(given: str | Path, root: Path) -> Path:
    """Return the path of a file that is there."""
    file = root / given
    if not file.is_file():
        siblings = [path.name for path in file.parent.glob(f"*{file.suffix}")]
        raise SchemaFileError(given, str(file), get_close_matches(file.name, siblings, n=1))
    return file


async def _create_tables(url: URL, metadata: MetaData) -> None:
    schemas: Iterable[str] = {table.schema for table in metadata.tables.values() if table.schema}
    async with Database(url) as database, database.engine.begin() as connection:
        for schema in sorted(schemas):
            await connection.execute(CreateSchema(schema, if_not_exists=True))
        await connection.run_sync(metadata.create_all)


async def _run_file(url: URL, file: Path) -> None:
    """Run a script as a whole: many statements, dollar quotes, everything but psql's own commands."""
    async with Database(url) as database, database.engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        await raw.execute(await asyncio.to_thread(file.read_text, "utf-8"))


async def _call(url: URL, function: Any) -> None:
    async with Database(url) as database:
        result = function(database)
        if isawaitable(result):
            await result


def _alembic_config(file: Path) -> Any:
    from alembic.config import Config

    return Config(str(file))


def _migrate(url: URL, config: Any, root: Path) -> None:
    """Upgrade to the heads, in a thread without a loop: an async `env.py` calls `asyncio.run`.

    It runs in the rootdir, from which the paths in alembic.ini count unless they say otherwise.

    A plain one, as Alembic makes it by default, would find no greenlet there in which asyncpg can wait; it gets one.
    `$DATABASE_URL` names the new database meanwhile, because many an `env.py` reads it.
    """
    from alembic import command
    from alembic.script import ScriptDirectory

    text = SecretURL(url.render_as_string(hide_password=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DATABASE_URL", text)
        config.set_main_option("sqlalchemy.url", text.replace("%", "%%"))
        is_async = "async" in Path(ScriptDirectory.from_config(config).env_py_location).read_text("utf-8")
        if is_async:
            command.upgrade(config, "heads")
        else:
            asyncio.run(greenlet_spawn(command.upgrade, config, "heads"))
