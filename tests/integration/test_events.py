"""Events of connections: newest first, by type and date, and counted by tool."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.integration.models import IntegrationEvent
from agentdb.integration.records import ConnectionEntry, Tokens
from agentdb.testing.factories import make_user

NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": "8f2d61b0c49e7a35d1906b7c3ef85a24697fe0d2b8431c5ae5a1372f4cd80b96"}


async def connected(db: Database) -> ConnectionEntry:
    user = await make_user(db)
    return await db.integration.connections.connect(user.id, "slack", Tokens("secret"))


async def _uses(db: Database, made: ConnectionEntry, *tools: str) -> list[IntegrationEvent]:
    with clock.hold(NOON) as hand:
        events = []
        for tool in tools:
            hand.forward(timedelta(minutes=1))
            events.append(await db.integration.events.record_use(made.id, tool, parameters={"to": "#a"}, result=[1]))
        return events


async def test_a_use_is_stored_with_what_went_in_and_out(db: Database) -> None:
    made = await connected(db)

    (event,) = await _uses(db, made, "post")

    stored = await db.integration.events.get(event.id)
    assert (stored.tool_name, stored.tool_parameters, stored.tool_result) == ("post", {"to": "#a"}, [1])
    assert (stored.user_id, stored.integration_id) == (made.user_id, made.id)
    assert (await db.integration.connections.get(made.id)).last_used_at == stored.occurred_at


async def test_pages_are_newest_first_by_type_and_date(db: Database) -> None:
    made, other = await connected(db), await connected(db)
    events = await _uses(db, made, *"abcdef")
    await _uses(db, other, "x")

    asked: dict[str, Any] = {
        "integration_id": made.id,
        "types": ["tool_used"],
        "since": NOON + timedelta(minutes=2),
        "until": NOON + timedelta(minutes=6),
    }
    first = await db.integration.events.latest(**asked, limit=3)
    rest = await db.integration.events.latest(**asked, limit=3, after=first.next)

    assert [one.id for one in first.items + rest.items] == [one.id for one in reversed(events[1:5])]
    assert rest.next is None
    assert len((await db.integration.events.latest(user_id=other.user_id)).items) == 2
    assert (await db.integration.events.latest(types=[])).items == []


async def test_uses_are_counted_by_tool(db: Database) -> None:
    made, other = await connected(db), await connected(db)
    await _uses(db, made, "post", "read", "post", "join", "post", "read")
    await _uses(db, other, "post")

    counts = await db.integration.events.tool_counts(user_id=made.user_id)
    late = await db.integration.events.tool_counts(since=NOON + timedelta(minutes=5))

    assert [(one.tool_name, one.uses) for one in counts] == [("post", 3), ("read", 2), ("join", 1)]
    assert counts[0].last_used_at == NOON + timedelta(minutes=5)
    assert [(one.tool_name, one.uses) for one in late] == [("post", 1), ("read", 1)]


async def test_events_are_followed_in_order_from_a_cursor(db: Database) -> None:
    made = await connected(db)
    events = await _uses(db, made, "a", "b", "c")

    seen = []
    async for change in db.integration.events.follow():
        seen.append(change)
        if len(seen) == 4:
            break
    async for change in db.integration.events.follow(after=seen[1].cursor):
        assert change.row.id == events[1].id
        break

    assert [change.row.tool_name for change in seen] == [None, "a", "b", "c"]
