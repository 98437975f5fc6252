"""Rows with rules are written by the methods that keep them, through no other door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, Final

import pytest

from agentdb.database import Database
from agentdb.errors import AgentDBError, BadInput
from agentdb.repository import Repository
from agentdb.supervisor import SupervisorRepositories
from agentdb.testing.factories import make_user

DOORS = ("leads", "passwords", "runtime_keys", "registrations", "passkeys", "logins", "roles", "policies")
GENERIC = ("add", "add_many", "update", "upsert", "remove")
# What is open, and why: these tell the audit log, but for the two that load many users without a word on each.
OPEN: Final = {
    ("users", "add"),
    ("users", "add_many"),
    ("users", "update"),
    ("users", "upsert"),
    ("users", "remove"),
    ("roles", "remove"),
    ("policies", "remove"),
}
DOORS_OF_ALL = sorted(
    name for name, member in vars(SupervisorRepositories).items() if isinstance(member, cached_property)
)


async def test_no_generic_write_goes_past_the_rules(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)

    for door in DOORS:
        with subtests.test(door=door):
            repository = getattr(db.supervisor, door)

            for call in (
                repository.update(user.id, status="disabled"),
                repository.add(username="x"),
                repository.add_many([{"username": "x"}]),
                repository.upsert(on=("username",), username="x"),
            ):
                with pytest.raises(BadInput, match="has methods for it"):
                    await call


CALLS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "add": lambda repository: repository.add(),
    "add_many": lambda repository: repository.add_many([{}]),
    "update": lambda repository: repository.update(10**9, name="x"),
    "upsert": lambda repository: repository.upsert(on=["id"], id=10**9),
    "remove": lambda repository: repository.remove(10**9),
}


async def test_no_door_is_open_that_is_not_known_to_be(db: Database, subtests: pytest.Subtests) -> None:
    assert set(CALLS) == set(GENERIC)

    for door in DOORS_OF_ALL:
        with subtests.test(door=door):
            repository = getattr(db.supervisor, door)
            if not isinstance(repository, Repository):
                assert not [name for name in GENERIC if hasattr(repository, name)]
                continue

            for name in GENERIC:
                if (door, name) in OPEN:
                    assert getattr(type(repository), name) is not getattr(Repository, name)
                    continue
                with pytest.raises(AgentDBError, match=r"has methods for it|audit entr"):
                    await CALLS[name](repository)


async def test_no_entry_of_the_audit_log_is_forged(db: Database, subtests: pytest.Subtests) -> None:
    entry = {"actor_user_id": 1, "actor_name": "somebody else", "action": "grant", "entity": "users"}
    audit = db.supervisor.audit

    for verb in ("add", "add_many"):
        with subtests.test(verb=verb):
            with pytest.raises(BadInput, match="has methods for it"):
                await (audit.add(**entry) if verb == "add" else audit.add_many([entry]))

            assert await audit.count() == 0


async def test_a_user_is_added_without_what_proves_who_it_is(db: Database) -> None:
    with pytest.raises(BadInput, match=r"passwords\.set"):
        await db.supervisor.users.create("mallory", password_hash="plain")
    with pytest.raises(BadInput, match=r"leads\.set_lead"):
        await db.supervisor.users.add_many([{"username": "a", "lead_user_id": 2}])
