"""
Open a connection to the server, or say in one sentence why it cannot be opened.

SQLAlchemy calls a `Connector` for every new connection of an engine. The password lives here and not in the engine's
arguments, so no frame above this one can show it; the driver's frames, whose locals hold it, are cut from the traceback
of a failure (`%xmode Verbose` prints locals).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from asyncdb_nb.engine import statement_cache
from asyncdb_nb.engine.application_name import application_name
from asyncdb_nb.engine.connect_errors import (
    ARGUMENT,
    FUNCTION,
    LISTENER,
    TIMEOUT_ARGUMENT,
    explain,
    refuses_password,
)
from asyncdb_nb.engine.conninfo.parameters import Target
from asyncdb_nb.engine.frozen_clock import import_extension
from asyncdb_nb.engine.pool_of_all_loops import LoopBoundPool
from asyncdb_nb.errors import ConnectError, DatabaseURLError

CHECK_INTERVAL = "client_connection_check_interval"
"""Makes the server look, during a query, whether its client still lives; a killed kernel's query then ends at once."""

_MAYBE_UNKNOWN = {"42704", "22023", "08P01", "0A000"}
"""SQLSTATEs of a server or pooler that refuses a setting: undefined, invalid here, protocol violation, unsupported."""

_OF_THE_DIALECT = ("prepared_statement_cache_size", "prepared_statement_name_func")
_OF_THE_URL = ("host", "port", "user", "username", "password", "dbname", "database")

Opener = Callable[..., Awaitable[Any]]


def make_engine(where: Target, options: dict[str, Any]) -> AsyncEngine:
    """Make an engine that does not know the password: its connector does.

    Args:
        where: Where to connect.
        options: For `create_async_engine`, and the pool's `idle_timeout`; `connect_args` win over what the target says.

    Raises:
        TypeError: An option is a part of the URL.
    """
    if parts := [name for name in _OF_THE_URL if name in options]:
        raise TypeError(f"The {parts[0]} is part of the URL. Type: connect('postgresql://user@host:5432/database').")
    options = {"poolclass": LoopBoundPool, "pool_pre_ping": True, **options}
    if options["idle_timeout"] is None or options["poolclass"] is not LoopBoundPool:
        del options["idle_timeout"]
    given = dict(options.pop("connect_args", {}))
    arguments = {**where.connect_args, **given}
    arguments["server_settings"] = {**where.connect_args["server_settings"], **given.get("server_settings", {})}
    opener = arguments.pop("async_creator_fn", None)
    connect_args = {name: arguments.pop(name) for name in _OF_THE_DIALECT if name in arguments}
    connect_args["async_creator_fn"] = Connector(where, arguments, opener)
    import_extension("asyncpg")
    engine = create_async_engine(where.url_without_password, connect_args=connect_args, **options)
    if options["poolclass"] is not LoopBoundPool:  # which does so itself
        event.listen(engine.sync_engine, "connect", statement_cache.limit)
    return engine


class Connector:
    """What `create_async_engine(connect_args={"async_creator_fn": ...})` takes, for one target.

    Two settings are added to the user's own: an `application_name`, and `client_connection_check_interval=1s`. The
    second is sent with the start of the connection, which costs no round trip; PostgreSQL before 14, Windows servers
    and PgBouncer refuse it there, and are then connected to once more without it, the first time only.

    Args:
        target: Where to connect; its parameters hold the password.
        arguments: For `asyncpg.connect()`, over what the target says.
        opener: What opens a connection instead of `asyncpg_connection.connect`.
    """

    def __init__(self, target: Target, arguments: dict[str, Any], opener: Opener | None = None) -> None:
        self._target = target
        self._arguments = arguments
        self._opener = opener
        self._settings = arguments.get("server_settings") or {}
        self._checks_client = CHECK_INTERVAL not in f"{self._settings}"

    async def __call__(self, **given: Any) -> Any:
        """Open a connection.

        Args:
            **given: What SQLAlchemy read from its URL, and what `do_connect` listeners changed.

        Raises:
            ConnectError: With one sentence that says what is wrong and what to type.
        """
        try:
            return await self._open_or_read_again(given)
        except Exception as error:
            tried = self._tried(given)
            given.clear()
            raise ConnectError(explain(error, tried)) from without_frames(error)
        except BaseException as error:  # a cancelled connect shows its frames as well
            given.clear()
            raise without_frames(error) from None

    async def _open_or_read_again(self, given: dict[str, Any]) -> Any:
        used = self._arguments.get("password")
        try:
            return await self._open(given)
        except Exception as error:
            if not refuses_password(error) or "password" in given:
                raise
            self._read_password_again()
            if self._arguments.get("password") == used:
                raise
        return await self._open(given)

    def _read_password_again(self) -> None:
        """Read files and variables again after a refusal, and take the password that is there now."""
        if self._target.again is None or self._arguments.get("password") != self._target.connect_args["password"]:
            return
        try:
            now = self._target.again()
        except DatabaseURLError:  # somebody is at it: what was refused stays refused
            return
        place = ("host", "port", "dbname", "user")
        if now is not None and all(now.parameters.get(name) == self._target.parameters.get(name) for name in place):
            self._target = now
            self._arguments["password"] = now.connect_args["password"]

    def _tried(self, given: dict[str, Any]) -> Target:
        """Say what was really tried: a `do_connect` listener may have changed where, as whom and by which password."""
        tried, sources = dict(self._target.parameters), dict(self._target.sources)
        for name, argument in (("user", "user"), ("dbname", "database")):
            if given.get(argument, tried[name]) != tried[name]:
                tried[name], sources[name] = given[argument], LISTENER
        place = {name: ",".join(map(str, _listed(given[name]))) for name in ("host", "port") if given.get(name)}
        if self._target.addresses and "host" in place:
            tried |= place
        password = given.get("password", self._arguments.get("password"))
        if password != self._target.connect_args["password"]:
            tried["password"] = password if isinstance(password, str) else "from a function"
            sources["password"] = LISTENER if "password" in given else FUNCTION if callable(password) else ARGUMENT
        seconds = self._arguments.get("timeout")
        if seconds != self._target.connect_args["timeout"]:
            tried["connect_timeout"], sources["connect_timeout"] = str(seconds), TIMEOUT_ARGUMENT
        return replace(self._target, parameters=tried, sources=sources)

    async def _open(self, given: dict[str, Any]) -> Any:
        if self._checks_client:
            try:
                return await self._open_with({CHECK_INTERVAL: "1s"}, given)
            except Exception as error:
                if getattr(error, "sqlstate", None) not in _MAYBE_UNKNOWN or CHECK_INTERVAL not in str(error):
                    raise
                self._checks_client = False
        return await self._open_with({}, given)

    async def _open_with(self, settings: dict[str, str], given: dict[str, Any]) -> Any:
        from asyncdb_nb.engine import asyncpg_connection  # here: it imports the driver

        name = self._target.parameters.get("fallback_application_name") or application_name()
        settings = {"application_name": name, **settings, **self._settings}
        if "application_name=" in settings.get("options", ""):
            del settings["application_name"]
        opener = self._opener or asyncpg_connection.connect
        return await opener(**{**self._arguments, "server_settings": settings, **given})


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def without_frames(error: BaseException) -> BaseException:
    """Forget where an error and what led to it were raised: the locals of those frames hold a password."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        link = pending.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = None
            pending += [link.__cause__, link.__context__]
    return error
