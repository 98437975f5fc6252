"""Rows with rules are written by the methods that keep them, through no other door."""

from __future__ import annotations

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.testing.factories import make_user

DOORS = ("leads", "passwords", "runtime_keys", "registrations", "passkeys", "logins")


@pytest.mark.parametrize("door", DOORS)
async def test_no_generic_write_goes_past_the_rules(db: Database, door: str) -> None:
    user = await make_user(db)
    repository = getattr(db.supervisor, door)

    for call in (
        repository.update(user.id, status="disabled"),
        repository.remove(user.id),
        repository.add(username="x"),
        repository.add_many([{"username": "x"}]),
        repository.upsert(on=("username",), username="x"),
    ):
        with pytest.raises(BadInput, match="has methods for it"):
            await call


async def test_a_user_is_added_without_what_proves_who_it_is(db: Database) -> None:
    with pytest.raises(BadInput, match=r"passwords\.set"):
        await db.supervisor.users.create("mallory", password_hash="plain")
    with pytest.raises(BadInput, match=r"leads\.set_lead"):
        await db.supervisor.users.add_many([{"username": "a", "lead_user_id": 2}])
