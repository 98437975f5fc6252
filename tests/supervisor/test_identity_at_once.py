"""Identity from many at once: no deadlock, and one administrator whatever starts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from argon2.profiles import CHEAPEST

import agentdb
from agentdb.database import Database
from agentdb.errors import NotFound
from agentdb.supervisor.hashing import Hasher
from agentdb.supervisor.records import NewRegistration, Registration
from agentdb.supervisor.registrations import Registrations
from agentdb.testing.factories import make_user

_STARTER = """
import asyncio, sys, agentdb
async def main():
    async with agentdb.connect(sys.argv[1]) as db:
        administrator = await db.supervisor.registrations.bootstrap("root")
        print(administrator.user.id, administrator.token or "")
asyncio.run(main())
"""


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    """Return settings by which a deadlock is told, and not tried again."""
    return {"retry_attempts": 1}


class TellingHasher(Hasher):
    """Tells when a hash is made, so that others begin just then."""

    def __init__(self) -> None:
        super().__init__(CHEAPEST)
        self.made = asyncio.Event()

    async def hash(self, password: str) -> str:
        made = await super().hash(password)
        self.made.set()
        return made


async def test_issuing_and_using_at_once_does_not_end_in_a_deadlock(db: Database) -> None:
    ada, hasher = await make_user(db), TellingHasher()
    registrations = Registrations(db._over, hasher=hasher)

    async def issue() -> NewRegistration:
        await hasher.made.wait()
        return await registrations.issue(ada.id)

    for _ in range(15):
        hasher.made.clear()
        token, _ = await registrations.issue(ada.id)

        answers = await asyncio.gather(
            registrations.consume_for_password(token, "correct horse battery"),
            *(issue() for _ in range(2)),
            return_exceptions=True,
        )

        assert all(isinstance(answer, NotFound | Registration | NewRegistration) for answer in answers), answers


async def test_trees_that_overlap_are_changed_by_many_at_once(db: Database) -> None:
    chain = [await make_user(db) for _ in range(6)]
    for lead, led in pairwise(chain):
        await db.supervisor.leads.set_lead(led.id, lead.id)

    await asyncio.gather(
        *(db.supervisor.leads.disable_tree(user.id) for user in chain),
        *(db.supervisor.leads.enable_tree(user.id) for user in reversed(chain)),
        *(db.supervisor.users.disable(user.id) for user in chain),
    )

    await db.supervisor.leads.disable_tree(chain[0].id)
    assert await db.supervisor.users.count(status="disabled") == 6


@pytest.mark.long
async def test_processes_that_start_at_once_make_one_administrator(database_url: str) -> None:
    async with agentdb.connect(database_url) as db:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        starters = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", _STARTER, database_url, stdout=subprocess.PIPE, env=environment
            )
            for _ in range(3)
        ]

        answers = [(await starter.communicate())[0].decode().split() for starter in starters]

        assert {answer[0] for answer in answers} == {str((await db.supervisor.users.by_username("root")).id)}
        ((user, token),) = [answer for answer in answers if len(answer) == 2]
        assert (await db.supervisor.registrations.check(token)).user_id == int(user)
        assert await db.supervisor.registrations.count() == 1
        assert len((await db.supervisor.permissions.holders("supervisor_admin")).items) == 1
