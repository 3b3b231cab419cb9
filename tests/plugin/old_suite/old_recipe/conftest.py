# ruff: noqa: PT021  this is how it was
"""Part 4 (a loop to close the database on) and part 5 (a pause after every test)."""

import asyncio

import pytest
from connection import db


@pytest.fixture(scope="session", autouse=True)
def close_db_event_loop(request):
    def close():
        try:
            loop = asyncio.get_event_loop()
            if loop.is_closed():
                loop = asyncio.new_event_loop()
                asyncio.set_event_loop(loop)
            loop.run_until_complete(db.close())
        except RuntimeError:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            try:
                loop.run_until_complete(db.close())
            finally:
                loop.close()

    request.addfinalizer(close)


@pytest.fixture(autouse=True)
async def cleanup_sessions():
    yield
    await asyncio.sleep(0.1)
