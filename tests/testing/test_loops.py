"""The plugin in suites of its users: whatever loop a test runs in, on several workers, and where it is not used."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
PLUGIN = () if entry_points(group="pytest11", name="agentdb") else ("-p", "agentdb.testing.plugin")

LOOPS = """
import asyncio

import pytest
from agentdb.testing.factories import make_user

loops = {}

async def check(db, scope):
    loops.setdefault(scope, []).append(asyncio.get_running_loop())
    await asyncio.gather(*(make_user(db) for _ in range(5)))  # waits in the loop the database belongs to
    assert await db.supervisor.users.count() == 5
    async with db.write() as unit:
        await make_user(unit)
    assert await db.supervisor.users.count() == 6

@pytest.mark.parametrize("time", [1, 2])
class TestLoops:
    @pytest.mark.asyncio
    async def test_of_its_own(self, agentdb_any, time):
        await check(agentdb_any, "function")

    @pytest.mark.asyncio(loop_scope="class")
    async def test_of_its_class(self, agentdb_any, time):
        await check(agentdb_any, "class")

    @pytest.mark.asyncio(loop_scope="module")
    async def test_of_its_module(self, agentdb_any, time):
        await check(agentdb_any, "module")

    @pytest.mark.asyncio(loop_scope="session")
    async def test_of_the_session(self, agentdb_any, time):
        await check(agentdb_any, "session")

def test_the_loops_were_what_they_are_called():
    count = {scope: len(set(map(id, seen))) for scope, seen in loops.items()}
    assert (count["class"], count["module"], count["session"]) == (1, 1, 1)
"""

DEFAULT = """
import pytest

@pytest.mark.asyncio
@pytest.mark.parametrize("time", range(4))
async def test_in_the_loop_that_is_the_default(agentdb, agentdb_postgresql, time):
    for database in (agentdb, agentdb_postgresql):
        await database.supervisor.users.create("alice")
        assert await database.supervisor.users.count() == 1
"""

UNUSED = """
import sys

def test_a_suite_that_does_not_use_it_does_not_pay_for_it():
    assert "agentdb.testing.plugin" in sys.modules
    assert [name for name in ("agentdb.database", "sqlalchemy", "pydantic", "asyncpg") if name in sys.modules] == []
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("AGENTDB_TEST_POSTGRESQL_URL", raising=False)
    return pytester


def settle(suite: pytest.Pytester, **options: str) -> None:
    """Write the settings of a suite, in which every warning is an error."""
    written = {"asyncio_default_fixture_loop_scope": "function", "filterwarnings": "error", **options}
    suite.makeini("\n".join(["[pytest]", *(f"{name} = {value}" for name, value in written.items())]))


def left_behind() -> set[str]:
    """Return what agentdb has in the places for temporary files."""
    places = [Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp"))]  # noqa: S108 (it only looks)
    return {str(path) for place in places if place.is_dir() for path in place.glob("agentdb-template-*")}


@pytest.mark.long
def test_a_database_belongs_to_the_loop_of_its_test(suite: pytest.Pytester) -> None:
    settle(suite)
    suite.makepyfile(LOOPS)

    suite.runpytest_subprocess(*PLUGIN, "-p", "no:cacheprovider", timeout=300).assert_outcomes(passed=17)


@pytest.mark.long
def test_workers_do_not_share_databases(suite: pytest.Pytester) -> None:
    settle(suite, asyncio_default_test_loop_scope="session")
    suite.makepyfile(DEFAULT)
    before = left_behind()

    suite.runpytest_subprocess(*PLUGIN, "-n", "2", timeout=300).assert_outcomes(passed=4)

    assert left_behind() - before == set()


@pytest.mark.long
def test_a_suite_without_a_database_does_not_import_the_library(suite: pytest.Pytester) -> None:
    settle(suite)
    suite.makepyfile(UNUSED)

    suite.runpytest_subprocess(*PLUGIN, "-p", "no:pastebin", timeout=300).assert_outcomes(passed=1)


@pytest.mark.long
def test_without_pytest_asyncio_nothing_but_the_fixtures_is_missing(suite: pytest.Pytester) -> None:
    suite.makeini("[pytest]\nfilterwarnings = error\n")
    suite.makepyfile(
        hiding="import sys\nsys.modules['pytest_asyncio'] = None\n",
        test_plain="def test_a_plain_test():\n    assert True\n",
    )

    finished = suite.run(
        sys.executable, "-m", "pytest", "-p", "hiding", "-p", "no:asyncio", *PLUGIN, "test_plain.py", timeout=300
    )

    finished.assert_outcomes(passed=1)
