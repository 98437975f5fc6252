"""What is logged by itself: statements that are slow, and transactions that stay open, with the caller's own code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import text

from agentdb.database import Database
from agentdb.engine.choice import AnyEngine
from agentdb.engine.plan import Plan
from agentdb.engine.postgresql.engine import PostgreSQL
from agentdb.errors import BadInput
from agentdb.testing.factories import make_user

LIMIT_SECONDS = 0.05


@pytest_asyncio.fixture
async def strict(db: Database) -> AsyncIterator[Database]:
    """Yield the database, opened a second time: with limits that are soon reached."""
    limits = {"slow_query_seconds": LIMIT_SECONDS, "long_transaction_seconds": LIMIT_SECONDS}
    settings = db.settings.model_copy(update=limits)
    if db.path is not None:
        settings = settings.model_copy(update={"url": f"sqlite:///{db.path}"})
        settings.model_post_init(None)
    async with Database(settings) as strict:
        yield strict


def told(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    """Return what was logged with a word in it."""
    return [record.message for record in caplog.records if record.name == "agentdb" and word in record.message]


async def heard(caplog: pytest.LogCaptureFixture, word: str) -> str:
    """Return the first message with a word in it, once it is there."""
    async with asyncio.timeout(60):
        while not told(caplog, word):  # noqa: ASYNC110 (no event tells of it)
            await asyncio.sleep(0.005)
    return told(caplog, word)[0]


async def ask_a_model(caplog: pytest.LogCaptureFixture) -> str:
    """Take as long as it takes to be warned of."""
    return await heard(caplog, "is held")


async def test_awaiting_a_model_in_a_unit_is_warned_of_with_the_callers_stack(
    strict: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with strict.write() as unit:
        await make_user(unit)
        warning = await ask_a_model(caplog)

    assert warning.startswith("a write transaction is held for more than 0.05 s")
    assert "await ask_a_model(caplog)" in warning
    assert "test_observing_long.py" in warning
    assert "in heard" in warning  # to the innermost
    assert len(told(caplog, "is held")) == 1


def ahead() -> int:
    """Return how many warnings are still to come in this loop, unless what they are about ends."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return sum(getattr(timer._callback, "__name__", "") == "_warn" for timer in scheduled if not timer.cancelled())


async def test_a_unit_is_watched_until_it_is_left(db: Database) -> None:
    async with db.write() as unit:
        await make_user(unit)
        assert ahead() == 1
    assert ahead() == 0

    async with db.sessions() as session:
        await session.execute(text("SELECT 1"))
        assert ahead() == 1
    assert ahead() == 0

    with pytest.raises(BadInput):
        async with db.write():
            raise BadInput("undone")
    assert ahead() == 0


async def test_a_unit_that_only_reads_may_stay_open(strict: Database, caplog: pytest.LogCaptureFixture) -> None:
    async with strict.read() as unit:
        await unit.supervisor.users.count()
        await asyncio.sleep(3 * LIMIT_SECONDS)

    assert told(caplog, "is held") == []


async def test_a_plain_session_that_stays_open_is_warned_of(strict: Database, caplog: pytest.LogCaptureFixture) -> None:
    async with strict.sessions() as session:
        await session.execute(text("SELECT 1"))
        warning = await ask_a_model(caplog)

    assert warning.startswith("a session's connection is held")
    assert "await ask_a_model(caplog)" in warning


async def test_without_a_limit_nothing_is_warned_of(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    assert db.settings.long_transaction_seconds == 5
    async with Database(db.settings.model_copy(update={"long_transaction_seconds": 0})) as patient:
        assert patient.connections()["in_use"] == 0
        async with patient.write() as unit:
            await unit.supervisor.users.count()
            assert ahead() == 0


async def test_a_slow_statement_is_logged_with_its_name_and_text_only(
    strict: Database, caplog: pytest.LogCaptureFixture
) -> None:
    engine: AnyEngine = strict._there()
    waiting = "SELECT pg_sleep(0.2), :word" if isinstance(engine, PostgreSQL) else _COUNTING
    await engine.fetch_all(Plan[str](text(waiting), name="a slow one"), {"word": "do not tell"})

    (line,) = told(caplog, "slow: a slow one")
    assert "1 rows, 1 calls" in line
    assert "SELECT" in line
    assert "do not tell" not in line


_COUNTING = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT max(i), :word FROM n
"""


async def test_what_is_quick_is_not_logged(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Database(db.settings.model_copy(update={"slow_query_seconds": 1000})) as patient:
        await patient.supervisor.users.count()

    assert told(caplog, "slow") == []
