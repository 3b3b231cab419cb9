"""
The base of a repository: one mapped class, asked and changed through a session that someone else owns.

A repository never commits and never closes anything: the session scope around it owns the transaction, so that several
repositories can share one unit of work.

    class WorkflowRepository(Repository[Workflow]): ...

    async with db.session() as session:
        workflows = WorkflowRepository(session)
        await workflows.count(Workflow.owner == "finance")
"""

from __future__ import annotations

import builtins
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeGuard, TypeVar, cast, get_args, get_origin

from sqlalchemy import ColumnElement, delete, func, inspect, select
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.base import Executable

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.sql import Select

    from asyncdb_nb.dataframes.writing.writing import Written

Model = TypeVar("Model")


class Repository(Generic[Model]):
    """
    Ask for and change the rows of one mapped class inside the caller's transaction.

    Name the class as the type argument of a subclass (`class Orders(Repository[Order])`), or on the spot
    (`Repository[Order](session)`). It lives as long as its session does, and like it serves one task at a time.

    Args:
        session: An open `AsyncSession`. Nothing here commits, rolls back or closes it.
    """

    _model: type[Model] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        argument = _type_argument(cls)
        if argument is not None:
            cls._model = _mapped(argument)

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    @property
    def model(self) -> type[Model]:
        """The mapped class, from the type argument.

        Raises:
            TypeError: No mapped class was named.
        """
        if self._model is None:
            on_the_spot = getattr(self, "__orig_class__", None)  # typing sets it on `Repository[Order](...)`
            name = type(self).__name__
            if on_the_spot is None:
                raise TypeError(
                    f"{name} does not know which mapped class it serves. "
                    f"Name it: `class Orders({name}[Order])`, or `{name}[Order](session)`."
                )
            self._model = _mapped(get_args(on_the_spot)[0])
        return self._model

    @property
    def _entity(self) -> type[Model]:
        """The mapped class, where entities are given or taken; a subclass may refuse that."""
        return self.model

    def _directed(self, statement: Any) -> Any:
        """Give a statement of the repository's own, or a select of the caller's, the options that a subclass wants."""
        return statement

    async def get(self, key: Any) -> Model | None:
        """Return the entity with this primary key (a tuple where the key has several columns), or None."""
        return await self.session.get(self._entity, key)

    async def list(
        self,
        *criteria: ColumnElement[bool],
        order_by: Any = None,
        limit: int | None = None,
        options: Sequence[Any] = (),
    ) -> builtins.list[Model]:
        """
        Return the entities that meet all criteria.

        Args:
            criteria: Conditions, all of which hold: `Workflow.owner == "finance"`.
            order_by: A column, or a sequence of them; the primary key when not given, so the order is always defined.
            limit: At most so many entities.
            options: Loader options, such as `selectinload(Workflow.runs)` or `joinedload(Workflow.runs)`.
        """
        statement = self._select(self._entity, criteria, order_by, limit).options(*options)
        return builtins.list((await self.session.scalars(statement)).unique())

    async def count(self, *criteria: ColumnElement[bool]) -> int:
        """Return how many rows meet all criteria."""
        statement = select(func.count()).select_from(self.model).where(*_checked(criteria))
        return await self.session.scalar(self._directed(statement)) or 0

    async def exists(self, *criteria: ColumnElement[bool]) -> bool:
        """Say whether any row meets all criteria."""
        found = select(self.model).where(*_checked(criteria)).exists()
        return bool(await self.session.scalar(self._directed(select(found))))

    async def add(self, entity: Model) -> Model:
        """
        Add an entity and flush, so that its key and the server's defaults are there. The commit is the scope's.

        Raises:
            TypeError: The entity is not of this repository's class.
        """
        return (await self.add_all([entity]))[0]

    async def add_all(self, entities: Iterable[Model]) -> builtins.list[Model]:
        """Add several entities and flush once; see `add`."""
        added = [self._own(entity) for entity in entities]
        self.session.add_all(added)
        await self.session.flush()
        return added

    async def delete(self, entity: Model) -> None:
        """
        Delete an entity and flush. What the database cascades goes with it.

        Raises:
            TypeError: The entity is not of this repository's class.
        """
        await self.session.delete(self._own(entity))
        await self.session.flush()

    async def delete_where(self, *criteria: ColumnElement[bool]) -> int:
        """
        Delete the rows that meet all criteria, and return how many there were.

        Raises:
            ValueError: There is no criterion. Everything is asked for in so many words: `delete_where(true())`.
        """
        if not criteria:
            raise ValueError(
                "delete_where() without a criterion would delete every row. Say so: `delete_where(true())`."
            )
        result = await self.session.execute(delete(self._entity).where(*_checked(criteria)))
        return cast("int", result.rowcount)  # type: ignore[attr-defined]

    def frame(
        self,
        *what: str | Executable | ColumnElement[bool] | Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
        order_by: Any = None,
        limit: int | None = None,
        **options: Any,
    ) -> Coroutine[Any, Any, pd.DataFrame]:
        """
        Return rows as a DataFrame, read inside the session's transaction: it sees what the session flushed.

        Args:
            what: One statement (SQL text, a select), with or without the values for its `:name` binds; or criteria as
                in `list()`; nothing at all means every row.
            params: The values for the binds, by name of the argument.
            order_by: As in `list()`; only with criteria.
            limit: As in `list()`; only with criteria.
            options: Passed on to `asyncdb_nb.frame`.

        Returns:
            A coroutine of the DataFrame, with the dtypes that `asyncdb_nb.frame` documents.

        Raises:
            TypeError: A statement came together with criteria, `order_by` or `limit`.
        """
        from asyncdb_nb.dataframes import frame  # pandas is imported when a frame is asked for

        statements = [item for item in what if _is_statement(item)]
        if not statements:
            chosen = self._select(self.model, cast("tuple[ColumnElement[bool], ...]", what), order_by, limit)
            return frame(self.session, self._directed(chosen), params, **options)
        others = [item for item in what if item is not statements[0]]
        if params is None and len(others) == 1 and isinstance(others[0], Mapping):
            params, others = others[0], []
        if others or order_by is not None or limit is not None:
            raise TypeError("frame() takes one statement alone, or criteria with order_by and limit, not both.")
        return frame(self.session, self._directed(statements[0]), params, **options)

    def write(
        self,
        data: Any,
        *,
        if_exists: Literal["append", "truncate", "upsert"] = "append",
        key: str | Sequence[str] | None = None,
    ) -> Coroutine[Any, Any, Written]:
        """
        Write data into the table of the mapped class, by COPY, inside the session's transaction.

        Columns that the data do not have get the class's `default=` (in an upsert, new rows alone), and the
        discriminator of a class that shares its parent's table. Validators, events and `onupdate=` do not run. Entities
        that the session has loaded already keep what they were loaded with, until they are refreshed.

        Args:
            data: As for `asyncdb_nb.write`: a DataFrame, a `pyarrow.Table`, …; columns are named as the attributes, or
                as in the database, and have the values that the attributes have.
            if_exists: As there; the table is there.
            key: As there; for an upsert the primary key when not given.

        Returns:
            A coroutine of a `Written`.

        Raises:
            WriteError: As for `asyncdb_nb.write`; or the class has rows in several tables, a row is of another class,
                or a default is SQL.
        """
        from asyncdb_nb.aio.awaitables import Pending
        from asyncdb_nb.dataframes.writing.target import quoted
        from asyncdb_nb.dataframes.writing.writing import Write

        mapper = _mapper(self.model)
        if key is None and if_exists == "upsert":
            key = [column.name for column in mapper.primary_key]
        name = quoted(str(mapper.local_table.description))
        writing = Write(self.session, name, if_exists, key, None, index=False, mapper=mapper)
        return Pending(lambda: writing.run(data), "write(...)")

    def _select(
        self, model: type[Model], criteria: tuple[ColumnElement[bool], ...], order_by: Any, limit: int | None
    ) -> Select[Any]:
        if order_by is None:
            order_by = _mapper(model).primary_key
        columns = order_by if isinstance(order_by, (tuple, builtins.list)) else (order_by,)
        return select(model).where(*_checked(criteria)).order_by(*columns).limit(limit)

    def _own(self, entity: Model) -> Model:
        if not isinstance(entity, self._entity):
            raise TypeError(f"{type(self).__name__} holds {self.model.__name__} entities, not {type(entity).__name__}.")
        return entity


def _type_argument(cls: type) -> Any:
    """The `Order` of `class Orders(Repository[Order])`; None where the class names none or only passes one on."""
    for base in cls.__dict__.get("__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, Repository):
            argument = get_args(base)[0]
            return None if isinstance(argument, TypeVar) else argument
    return None


def _mapped(argument: Any) -> Any:
    _mapper(argument)
    return argument


def _mapper(argument: Any) -> Mapper[Any]:
    try:
        found = inspect(argument)
    except NoInspectionAvailable:
        found = None
    if not isinstance(found, Mapper):
        raise TypeError(f"Repository[...] takes a mapped class, not {argument!r}.")
    return found


def _is_statement(item: Any) -> TypeGuard[str | Executable]:
    return isinstance(item, (str, Executable)) and not isinstance(item, ColumnElement)  # a SQL function is both


def _checked(criteria: Iterable[Any]) -> builtins.list[ColumnElement[bool]]:
    """Refuse `repository.list(name == "x")` and `list("finance")`, which SQLAlchemy would take for something else."""
    checked = []
    for criterion in criteria:
        if not isinstance(criterion, ColumnElement) and not hasattr(criterion, "__clause_element__"):
            raise TypeError(f"A criterion is an expression such as `Workflow.owner == 'finance'`, not {criterion!r}.")
        checked.append(criterion)
    return checked
