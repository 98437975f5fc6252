"""Watching a table: whatever is committed by whatever way is told, here and in other processes, and nothing is left."""

# ruff: noqa: PT012 (a unit is several statements, and refuses at its end)

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import MetaData, insert

import agentdb
from agentdb.criteria import table_of
from agentdb.database import Database
from agentdb.engine.choice import AnyEngine
from agentdb.engine.columns import bound_columns
from agentdb.engine.connection import Script, each, one
from agentdb.engine.dialects import POSTGRESQL, SQLITE
from agentdb.engine.plan import Plan
from agentdb.engine.postgresql.engine import PostgreSQL
from agentdb.engine.postgresql.listening import LISTENING
from agentdb.engine.sqlite import watching as sqlite_watching
from agentdb.engine.statements import by_key, insert_one
from agentdb.engine.watching import followed
from agentdb.errors import BadInput, Unavailable
from agentdb.hub.entries import APPEND
from agentdb.models import ContextLog, User
from agentdb.testing.factories import make_run_session

LOG = "context_log"


def _line(session: int, message: str = "a") -> dict[str, Any]:
    return {"run_session_id": session, "role": "llm", "message": message}


def _url(db: Database) -> str:
    """Return the URL under which another process finds the same database."""
    path = getattr(db._there(), "path", None)
    return db.settings.target.secret_url() if path is None else f"sqlite:///{path}"


def _script(session: int) -> Script[None]:
    yield from one(insert_one(ContextLog), **_line(session))
    yield from each(insert_one(ContextLog), [_line(session), _line(session)])


async def _in_a_unit(engine: AnyEngine, session: int) -> None:
    async with engine.transaction(writes=True) as transaction:
        await transaction.fetch_one(insert_one(ContextLog), _line(session))


async def _in_a_units_script(engine: AnyEngine, session: int) -> None:
    async with engine.transaction(writes=True) as transaction:
        await transaction.run(lambda: _script(session))


async def _in_bulk_in_a_unit(engine: AnyEngine, session: int) -> None:
    async with engine.transaction(writes=True) as transaction:
        await transaction.insert_many(ContextLog.__table__, [_line(session)])  # type: ignore[arg-type]


_INSERT = Plan[int](
    insert(ContextLog).returning(ContextLog.id),
    name="test",
    columns=[column.key for column in bound_columns(ContextLog.__table__)],  # type: ignore[arg-type]
)

WRITES: dict[str, Callable[[AnyEngine, int], Awaitable[Any]]] = {
    "one": lambda engine, session: engine.fetch_one(insert_one(ContextLog), _line(session)),
    "all": lambda engine, session: engine.fetch_all(_INSERT, _line(session)),
    "count": lambda engine, session: engine.execute(insert_one(ContextLog), _line(session)),
    "script": lambda engine, session: engine.run(lambda: _script(session)),
    # The first two go alone, and store nothing.
    "joined": lambda engine, session: asyncio.gather(
        *(engine.fetch_one(insert_one(ContextLog), _line(own)) for own in (0, 0, session, session, session)),
        return_exceptions=True,
    ),
    "bulk": lambda engine, session: engine.insert_many(ContextLog.__table__, [_line(session)]),  # type: ignore[arg-type]
    "unit": _in_a_unit,
    "script of a unit": _in_a_units_script,
    "bulk of a unit": _in_bulk_in_a_unit,
}


@pytest.fixture
def _only_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody find out by looking."""
    monkeypatch.setattr(sqlite_watching, "LOOK_SECONDS", 3600)


@pytest.mark.usefixtures("_only_told")
@pytest.mark.parametrize("way", WRITES)
async def test_every_way_of_writing_tells(db: Database, engine: AnyEngine, way: str) -> None:
    session = (await make_run_session(db)).id

    async with engine.watch(LOG) as watch:
        assert not await watch.wait(0.01)
        await WRITES[way](engine, session)
        assert await watch.wait(5)
        assert not await watch.wait(0.01)


@pytest.mark.usefixtures("_only_told")
async def test_what_is_rolled_back_or_written_elsewhere_is_not_told(db: Database, engine: AnyEngine) -> None:
    session = (await make_run_session(db)).id

    async with engine.watch(LOG) as watch, engine.watch("user_notifications") as other:
        with pytest.raises(ZeroDivisionError):
            async with db.write() as unit:
                await unit.hub.logs.append(session, [{"role": "llm", "message": "a"}])
                raise ZeroDivisionError
        await db.supervisor.users.add(username="bob")
        assert not await watch.wait(0.05)

        async with db.write() as unit:
            await unit.hub.logs.append(session, [{"role": "llm", "message": "a"}])
            assert not await watch.wait(0.05)
        assert await watch.wait(5)
        assert await other.wait(5)


def test_a_plan_knows_the_followed_tables_it_writes_to() -> None:
    assert APPEND.on(POSTGRESQL).tells == {LOG, "user_notifications"}
    for dialect in (POSTGRESQL, SQLITE):
        assert insert_one(ContextLog).on(dialect).tells == {LOG}
        assert by_key(ContextLog).on(dialect).tells == set()
        assert insert_one(User).on(dialect).tells == set()


def test_a_table_is_followed_when_it_says_so() -> None:
    table = table_of(User).to_metadata(MetaData())
    table.info = {"followed": True}

    assert followed(table)
    assert Plan[None](table.delete(), name="test").on(SQLITE).tells == {"users"}


async def test_a_change_of_another_database_object_is_noticed(db: Database, engine: AnyEngine) -> None:
    session = (await make_run_session(db)).id

    async with agentdb.connect(_url(db)) as other, engine.watch(LOG) as watch:
        for _ in range(3):
            await other.hub.logs.append(session, [{"role": "llm", "message": "a"}])
            assert await watch.wait(10)


async def test_a_change_before_the_first_wait_is_noticed(db: Database, engine: AnyEngine) -> None:
    session = (await make_run_session(db)).id

    async with agentdb.connect(_url(db)) as other, engine.watch(LOG) as watch:
        await other.hub.logs.append(session, [{"role": "llm", "message": "a"}])
        await asyncio.sleep(0.5)  # it has long arrived
        assert await watch.wait(0.001)


async def test_what_a_plain_session_wrote_is_noticed_by_looking(agentdb: Database) -> None:
    engine = agentdb._there()
    session = (await make_run_session(agentdb)).id

    async with engine.watch(LOG) as watch:
        async with agentdb.write() as unit:
            unit.session.add(ContextLog(**_line(session)))
        assert await watch.wait(10)


async def test_whoever_waits_is_told_that_the_database_is_closed(db: Database, engine: AnyEngine) -> None:
    async with engine.watch(LOG) as watch:
        waiting = asyncio.ensure_future(watch.wait(60))
        await asyncio.sleep(0)
        await db.close()

        with pytest.raises(Unavailable, match="was closed while context_log"):
            await waiting
        with pytest.raises(Unavailable):
            await watch.wait(60)
    with pytest.raises(Unavailable):
        async with engine.watch(LOG):
            pass


async def test_nothing_is_left_of_a_watch(db: Database, engine: AnyEngine) -> None:
    session = (await make_run_session(db)).id
    before = set(threading.enumerate())

    async with engine.watch(LOG):
        await db.hub.logs.append(session, [{"role": "llm", "message": "a"}])
    async with engine.watch(LOG):
        await db.hub.logs.append(session, [{"role": "llm", "message": "a"}])
        await db.close()

    assert asyncio.all_tasks() == {asyncio.current_task()}
    # The loop's own pool looks up names of hosts.
    assert not [thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio_")]


async def test_a_unit_cannot_be_watched(db: Database) -> None:
    async with db.write() as unit:
        with pytest.raises(BadInput, match="follow on the database, not in a unit"):
            unit._connection.watch(LOG)
        with pytest.raises(BadInput):
            db._shortcut.watch(LOG)


# PostgreSQL's own: NOTIFY, only while somebody listens


async def _plainly(db: Database, **instead: Any) -> Any:
    return await asyncpg.connect(**{**db.settings.target.connect_arguments(), **instead})


_LISTENERS = (
    f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND objid = {LISTENING % 2**32}"
)


async def test_notify_is_sent_while_somebody_listens_and_seldom(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    session = (await make_run_session(db)).id
    ear = await _plainly(db)
    heard: list[str] = []
    await ear.add_listener("agentdb", lambda *words: heard.append(words[-1]))

    async def write(number: int) -> None:
        for _ in range(number):
            await db._there().fetch_one(insert_one(ContextLog), _line(session))

    try:
        await write(20)
        await asyncio.sleep(0.6)
        assert not heard

        async with db._there().watch(LOG):
            await write(300)
            await asyncio.sleep(0.6)
        assert 1 <= len(heard) < 150
        assert all(payload.endswith(" context_log") for payload in heard)
    finally:
        await ear.close()


async def test_a_listener_that_the_server_hung_up_on_comes_back(agentdb_postgresql: Database) -> None:
    db, engine = agentdb_postgresql, agentdb_postgresql._there()
    session = (await make_run_session(db)).id
    plain = await _plainly(db)

    async with agentdb.connect(_url(db)) as other, engine.watch(LOG) as watch:
        assert await plain.fetchval(f"SELECT count(pg_terminate_backend(pid)) FROM ({_LISTENERS}) AS listening") == 1
        assert await watch.wait(10)  # something may have been missed
        await other.hub.logs.append(session, [{"role": "llm", "message": "a"}])
        assert await watch.wait(10)
    await plain.close()


async def test_who_watches_no_more_listens_no_more(agentdb_postgresql: Database) -> None:
    engine = agentdb_postgresql._there()
    plain = await _plainly(agentdb_postgresql)

    async with engine.watch(LOG), engine.watch("user_notifications"):
        assert len(await plain.fetch(_LISTENERS)) == 1
    async with asyncio.timeout(5):
        while await plain.fetch(_LISTENERS):  # noqa: ASYNC110 (the server does not tell)
            await asyncio.sleep(0.01)
    await plain.close()


async def test_behind_a_pooler_without_a_way_past_it_one_warning_says_so(
    agentdb_postgresql: Database, caplog: pytest.LogCaptureFixture
) -> None:
    url = _url(agentdb_postgresql)
    session = (await make_run_session(agentdb_postgresql)).id
    async with agentdb.connect(url, pooler="transaction") as db:
        with caplog.at_level(logging.WARNING, "agentdb"):
            for _ in range(2):
                async with db._there().watch(LOG) as watch:
                    await db.hub.logs.append(session, [{"role": "llm", "message": "a"}])
                    assert await watch.wait(5)  # in this process
                    await agentdb_postgresql.hub.logs.append(session, [{"role": "llm", "message": "a"}])
                    assert not await watch.wait(0.5)

        assert len([record for record in caplog.records if "AGENTDB_DIRECT_URL" in record.message]) == 1


async def test_behind_a_pooler_it_listens_past_it(agentdb_postgresql: Database) -> None:
    url = _url(agentdb_postgresql)
    session = (await make_run_session(agentdb_postgresql)).id

    async with agentdb.connect(url, pooler="transaction", direct_url=url) as db, db._there().watch(LOG) as watch:
        await agentdb_postgresql.hub.logs.append(session, [{"role": "llm", "message": "a"}])
        assert await watch.wait(10)


async def test_a_server_without_room_for_a_listener_is_polled_and_listened_to_later(
    agentdb_postgresql: Database, caplog: pytest.LogCaptureFixture
) -> None:
    db, engine = agentdb_postgresql, agentdb_postgresql._there()
    assert isinstance(engine, PostgreSQL)
    session = (await make_run_session(db)).id
    name = db.settings.target.database
    plain = await _plainly(db, database="postgres")
    await plain.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')

    async with engine.watch(LOG) as watch:
        await plain.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        async with agentdb.connect(_url(db)) as other:
            assert await watch.wait(10)  # it has begun to listen
            await other.hub.logs.append(session, [{"role": "llm", "message": "a"}])
            assert await watch.wait(10)
    assert any("cannot be listened to" in record.message for record in caplog.records)
    await plain.close()


async def test_the_last_words_of_a_database_that_closes_are_heard(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    session = (await make_run_session(db)).id

    async with db._there().watch(LOG) as watch:
        for _ in range(3):
            async with agentdb.connect(_url(db)) as other:
                await other.hub.logs.append(session, [{"role": "llm", "message": "a"}])
            assert await watch.wait(10)
