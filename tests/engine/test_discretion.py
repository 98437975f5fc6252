"""What drivers and SQLAlchemy quote of rows and parameters is told to nobody, not even by the way out."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

import pytest
from sqlalchemy import literal, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from agentdb.database import Database, session_factory
from agentdb.models import Provider, User
from agentdb.testing.factories import make_user

SECRET = "a-secret-nobody-reads"


def _all_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(getattr(error, "orig", None))


async def test_a_broken_constraint_is_told_without_the_row(db: Database) -> None:
    await make_user(db, email=f"{SECRET}@example.org")

    async def write() -> None:
        async with db.write() as unit:
            unit.session.add(User(username="eve", email=f"{SECRET}@example.org"))
            await unit.session.flush()

    with pytest.raises(IntegrityError) as caught:
        await write()

    assert SECRET not in _all_of(caught.value)


async def test_a_missing_value_is_told_without_the_row(db: Database) -> None:
    incomplete = text("INSERT INTO users (username, first_name) VALUES (NULL, :given)")

    async def write() -> None:
        async with db.write() as unit:
            await unit.session.execute(incomplete, {"given": SECRET})

    with pytest.raises(IntegrityError) as caught:
        await write()

    assert SECRET not in _all_of(caught.value)


async def test_a_broken_constraint_of_a_plain_session_is_told_without_the_row(migrated_url: str) -> None:
    async def write() -> None:
        async with session_factory(migrated_url) as factory, factory() as session:
            for username in ("ada", "eve"):
                session.add(User(username=username, email=f"{SECRET}@example.org"))
                await session.flush()

    with pytest.raises(IntegrityError) as caught:
        await write()

    assert SECRET not in _all_of(caught.value)


async def test_a_value_that_does_not_fit_is_not_quoted(agentdb_postgresql: Database, subtests: pytest.Subtests) -> None:
    for kind in ("integer", "uuid", "json"):
        given = text(f"SELECT CAST(CAST(:given AS text) AS {kind})")
        with subtests.test(kind=kind):
            with pytest.raises(DBAPIError) as caught:
                async with agentdb_postgresql.read() as unit:
                    await unit.session.execute(given, {"given": SECRET})

            assert SECRET not in _all_of(caught.value)


@pytest.mark.parametrize("agentdb_any", ["postgresql"], indirect=True)
async def test_a_value_the_driver_refuses_is_not_quoted(db: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with db.read() as unit:
            await unit.session.execute(text("SELECT CAST(:given AS uuid)"), {"given": SECRET})

    assert SECRET not in _all_of(caught.value)


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """Listen to SQLAlchemy at its most talkative."""
    told: list[str] = []

    class _Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger, ear = logging.getLogger("sqlalchemy"), _Ear()
    before = logger.level
    logger.addHandler(ear)
    logger.setLevel(logging.DEBUG)
    yield told
    logger.setLevel(before)
    logger.removeHandler(ear)


async def test_statements_are_logged_and_rows_are_not(db: Database, heard: list[str]) -> None:
    async with db.write() as unit:
        unit.session.add(Provider(name="brook", endpoint=SECRET))
        await unit.session.flush()
        found = await unit.session.execute(select(Provider.endpoint, literal(1)))
        assert found.one()[0] == SECRET

    assert any("SELECT providers.endpoint" in line for line in heard)
    assert not [line for line in heard if SECRET in line]
