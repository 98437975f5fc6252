"""The audit log: written with what it tells of, never changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import text

from agentdb import clock
from agentdb.auditing import recorded
from agentdb.database import Database
from agentdb.engine.connection import Script, one
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, Conflict, ReadOnly
from agentdb.supervisor.models import Role
from agentdb.testing.factories import make_user

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


def _role(name: str) -> Script[None]:
    yield from recorded(actor_id=None, action="create", entity="roles", detail={"name": name})
    yield from one(insert_one(Role), name=name)


async def test_an_entry_tells_who_did_what_to_which_row(db: Database) -> None:
    user = await make_user(db, username="alice")

    with clock.hold(MONDAY):
        entry = await db.supervisor.audit.record(
            actor_id=user.id,
            action="revoke",
            entity="api_keys",
            entity_id=7,
            detail={"reason": "lost"},
            ip_address="10.0.0.1",
            correlation_id="request-1",
        )

    assert (entry.actor_user_id, entry.actor_name, entry.action) == (user.id, "alice", "revoke")
    assert (entry.entity, entry.entity_id, entry.detail) == ("api_keys", "7", {"reason": "lost"})
    assert (entry.ip_address, entry.correlation_id, entry.created_at) == ("10.0.0.1", "request-1", MONDAY)
    assert (await db.supervisor.audit.get(entry.id)).actor_name == "alice"


async def test_an_actor_who_is_nobody_has_a_name_too(db: Database) -> None:
    system = await db.supervisor.audit.record(actor_id=None, action="purge", entity="api_keys")
    unknown = await db.supervisor.audit.record(actor_id=10**9, action="purge", entity="api_keys")

    assert (system.actor_user_id, system.actor_name) == (None, "system")
    assert (unknown.actor_user_id, unknown.actor_name) == (10**9, "unknown")


async def test_an_entry_outlives_its_actor_with_the_name_of_then(db: Database) -> None:
    user = await make_user(db, username="alice")
    entry = await db.supervisor.audit.record(actor_id=user.id, action="login", entity="users", entity_id=user.id)

    await db.supervisor.users.update(user.id, username="alicia")
    await db.supervisor.users.remove(user.id)

    kept = await db.supervisor.audit.get(entry.id)
    assert (kept.actor_user_id, kept.actor_name) == (user.id, "alice")


async def test_what_is_undone_leaves_no_entry(db: Database) -> None:
    await db.supervisor.audit.connection.run(partial(_role, "admin"))

    with pytest.raises(Conflict):
        await db.supervisor.audit.connection.run(partial(_role, "admin"))

    assert await db.supervisor.audit.count(entity="roles") == 1


async def test_an_entry_within_a_unit_is_of_that_unit(db: Database) -> None:
    async def record_and_fail() -> None:
        async with db.write() as unit:
            await unit.supervisor.audit.record(actor_id=None, action="purge", entity="roles")
            raise KeyError

    with pytest.raises(KeyError):
        await record_and_fail()

    assert await db.supervisor.audit.count() == 0


async def test_entries_never_change_and_never_go(db: Database) -> None:
    entry = await db.supervisor.audit.record(actor_id=None, action="purge", entity="roles")

    with pytest.raises(ReadOnly, match=f"audit entry {entry.id} never changes"):
        await db.supervisor.audit.update(entry.id, action="nothing")
    with pytest.raises(ReadOnly, match="append-only"):
        await db.supervisor.audit.remove(entry.id)
    with pytest.raises(ReadOnly):
        await db.supervisor.audit.upsert(on=["id"], id=entry.id, action="nothing")
    for statement in ("UPDATE audit_log SET action = 'nothing'", "DELETE FROM audit_log"):
        with pytest.raises(Exception, match="append-only"):
            async with db.write() as unit:
                await unit.session.execute(text(statement))


NOT_STORED: list[dict[str, object]] = [{"action": 7}, {"entity": "x" * 256}, {"detail": {"at": float("nan")}}]


async def test_what_cannot_be_stored_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    for wrong in NOT_STORED:
        given = {"actor_id": None, "action": "purge", "entity": "roles", **wrong}
        with subtests.test(wrong=wrong), pytest.raises(BadInput):
            await db.supervisor.audit.record(**given)  # type: ignore[arg-type]


async def test_entries_are_listed_by_actor_newest_first(db: Database) -> None:
    alice, bob = await make_user(db), await make_user(db)
    for number in range(5):
        await db.supervisor.audit.record(actor_id=alice.id, action=f"step {number}", entity="runs")
        await db.supervisor.audit.record(actor_id=bob.id, action=f"other {number}", entity="runs")
    await db.supervisor.audit.record(actor_id=None, action="purge", entity="runs")

    first = await db.supervisor.audit.of_actor(alice.id, limit=3)
    rest = await db.supervisor.audit.of_actor(alice.id, limit=3, after=first.next)

    assert [entry.action for entry in first.items + rest.items] == [f"step {number}" for number in (4, 3, 2, 1, 0)]
    assert rest.next is None
    assert [entry.action for entry in (await db.supervisor.audit.of_actor(None, limit=1)).items] == ["purge"]


async def test_entries_are_listed_by_row_newest_first(db: Database) -> None:
    for number in range(4):
        await db.supervisor.audit.record(actor_id=None, action=f"step {number}", entity="runs", entity_id=number % 2)
    await db.supervisor.audit.record(actor_id=None, action="step 4", entity="hosts", entity_id=1)

    page = await db.supervisor.audit.of_entity("runs", 1)

    assert [entry.action for entry in page.items] == ["step 3", "step 1"]


async def test_entries_are_listed_by_time_newest_first(db: Database) -> None:
    with clock.hold(MONDAY) as hand:
        for number in range(5):
            entity = "runs" if number % 2 else "hosts"
            await db.supervisor.audit.record(actor_id=None, action=f"day {number}", entity=entity)
            hand.forward(timedelta(days=1))

    between = await db.supervisor.audit.between(MONDAY + timedelta(days=1), MONDAY + timedelta(days=4), limit=2)
    rest = await db.supervisor.audit.between(
        MONDAY + timedelta(days=1), MONDAY + timedelta(days=4), limit=2, after=between.next
    )
    everything = await db.supervisor.audit.between(entity="hosts")

    assert [entry.action for entry in between.items + rest.items] == ["day 3", "day 2", "day 1"]
    assert [entry.action for entry in everything.items] == ["day 4", "day 2", "day 0"]
