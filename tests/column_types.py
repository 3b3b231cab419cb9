"""Types of columns that are not as the server has them, for the mapped classes of the tests."""

from __future__ import annotations

import enum

from sqlalchemy import Dialect, String, TypeDecorator


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Reversed(TypeDecorator[str]):
    """Text that is stored backwards."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value[::-1]

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value[::-1]
