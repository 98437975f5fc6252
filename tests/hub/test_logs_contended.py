"""Appends that meet others in a ring: the server ends one of them, and it is done again by itself."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

import agentdb
from agentdb.database import Database
from agentdb.errors import Contended
from agentdb.models import ContextLog, RunSession
from agentdb.testing.factories import make_run_session, make_user
from agentdb.unit import Unit

LINE = [{"role": "llm", "message": "a"}]
# One that holds what it has locked, and waits for what another holds.
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"


async def _ring(db: Database, appending: Database, session: RunSession, sender: int) -> None:
    """Let an append hold a session, and wait for a user's row; a unit holds that, and then waits for the session."""
    append: asyncio.Task[list[ContextLog]] | None = None

    async def write(unit: Unit) -> None:
        nonlocal append
        await unit.hub.mail.send(sender, to=[session.user_id], body="b")
        if append is None:  # at the first attempt
            append = asyncio.create_task(appending.hub.logs.append(session, LINE))
            async with asyncio.timeout(30):
                while not await plain.fetchval(WAITING):  # noqa: ASYNC110 (the server does not tell)
                    await asyncio.sleep(0.01)
        await unit.hub.logs.append(session, LINE)

    plain = await asyncpg.connect(**db.settings.target.connect_arguments())
    try:
        await db.run(write)
        assert append is not None
        await append
    finally:
        await plain.close()


@pytest.mark.long
async def test_an_append_that_the_server_ends_for_a_deadlock_is_done_again(agentdb_postgresql: Database) -> None:
    db, session = agentdb_postgresql, await make_run_session(agentdb_postgresql)
    sender = await make_user(db)

    for _ in range(2):
        await _ring(db, db, session, sender.id)

    stored = await db.hub.runs.get(session.id)
    assert (stored.total_lines, await db.hub.logs.count(), await db.hub.mail.count()) == (4, 4, 2)
    (newest,) = await db.hub.notifications.of([session.user_id])
    assert newest.latest_log_id == stored.latest_log_id == (await db.hub.logs.latest(session, limit=1))[0].id


async def test_the_ring_is_one(agentdb_postgresql: Database) -> None:
    db, session = agentdb_postgresql, await make_run_session(agentdb_postgresql)
    sender = await make_user(db)

    # Whoever of the two is ended, and may not try again, is told.
    async with agentdb.connect(db.settings.target.secret_url(), retry_attempts=1) as once:
        with pytest.raises(Contended):
            await _ring(once, once, session, sender.id)
