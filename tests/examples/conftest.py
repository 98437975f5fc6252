"""What the examples are served on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from agentdb.database import Database
from tests.examples.serving import Cable, File


@pytest.fixture
def file(agentdb_template: Path, tmp_path: Path) -> File:
    return File(Path(shutil.copyfile(agentdb_template, tmp_path / "agentdb.db")))


@pytest_asyncio.fixture
async def cable(agentdb_postgresql: Database) -> AsyncIterator[Cable]:
    cable = Cable(agentdb_postgresql.settings.target)
    await cable.lay()
    yield cable
    await cable.cut()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> File | Cable:
    """Return a migrated, empty database that can be taken away."""
    found: File | Cable = request.getfixturevalue("file" if request.param == "sqlite" else "cable")
    return found


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """See that the test leaves no thread behind."""
    before = set(threading.enumerate())
    yield

    assert set(threading.enumerate()) <= before
