"""Imports of NAISYS that are ended, come at once, or are given what is none."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentdb.database import Database, connect
from agentdb.errors import BadInput, BadSettings, DatabaseCorrupt
from agentdb.importing.naisys import import_naisys
from agentdb.importing.naisys.values import dollars, identifier, mapping, moment, text
from tests.importing.naisys_files import change, hub_file, insert, supervisor_file
from tests.importing.test_naisys import counts

KEY = hashlib.sha256(b"the imports' tests").hexdigest()
ENTRIES = 1_300


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": KEY}


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Return a hub with enough entries for several batches."""
    path = hub_file(tmp_path / "naisys")
    row = {"user_id": 1, "run_id": 7, "session_id": 1, "host_id": 3, "created_at": "2026-03-02T10:00:00.000Z"}
    insert(path, "context_log", *(row | {"role": "LLM", "message": f"entry {place}"} for place in range(ENTRIES)))
    insert(path, "costs", *(row | {"source": "console", "model": "m-1", "cost": 0.001} for _ in range(ENTRIES)))
    return path


class Ended(Exception):
    """Ends an import between two batches."""


def end_after(batches: int) -> Any:
    told = iter(range(batches))

    def progress(_table: str, _done: int, _total: int) -> None:
        if next(told, None) is None:
            raise Ended

    return progress


@pytest.mark.long
async def test_an_import_that_was_ended_goes_on_where_it_was(db: Database, hub: Path) -> None:
    ends = 0
    for batches in range(1, 40, 3):
        try:
            await import_naisys(db, hub, progress=end_after(batches))
        except Ended:
            ends += 1
        else:
            break

    await import_naisys(db, hub)
    found = await counts(db)
    (first,) = [one for one in (await db.hub.runs.page(limit=10)).items if one.total_cost > 1]
    assert ends >= 3
    assert found["context_log"] == ENTRIES + 4
    assert found["costs"] == ENTRIES + 4
    assert first.total_cost == Decimal("0.3") + ENTRIES * Decimal("0.001")
    assert first.total_lines == 4 + ENTRIES


@pytest.mark.long
async def test_limits_count_what_an_import_brought_that_was_ended_before_it_came_to_them(
    db: Database, hub: Path
) -> None:
    limit = await db.hub.limits.set(1000)

    def progress(table: str, done: int, total: int) -> None:
        if table == "costs" and done == total:
            raise Ended

    with pytest.raises(Ended):
        await import_naisys(db, hub, progress=progress)
    assert (await db.hub.limits.get(limit.id)).spent == 0

    await import_naisys(db, hub)

    assert (await db.hub.limits.get(limit.id)).spent == (await db.hub.costs.total()).cost > 1


@pytest.mark.long
async def test_two_imports_at_once_bring_everything_once(db: Database, hub: Path, tmp_path: Path) -> None:
    supervisor = supervisor_file(tmp_path / "naisys")

    both = await asyncio.gather(import_naisys(db, hub, supervisor), import_naisys(db, hub, supervisor))

    found = await counts(db)
    assert found["users"] == 5
    assert (found["context_log"], found["costs"], found["run_session"]) == (ENTRIES + 4, ENTRIES + 4, 4)
    assert sum(report.tables["context_log"].imported for report in both) == ENTRIES + 4
    assert sum(report.cost for report in both) == Decimal("1.3") + ENTRIES * Decimal("0.001")


_COMMAND = """
import os, signal, sys
from pathlib import Path
import asyncio
from agentdb.database import connect
from agentdb.importing.naisys import import_naisys

def progress(table, done, total):
    if table == "costs" and done >= 500:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with connect(sys.argv[1]) as db:
        await import_naisys(db, Path(sys.argv[2]), progress=progress)

asyncio.run(main())
"""


@pytest.mark.long
async def test_one_that_is_killed_leaves_whole_batches(
    database_url: str, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", KEY)
    monkeypatch.setenv("AGENTDB_FOLDER", str(tmp_path / "files"))

    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", _COMMAND, database_url, str(hub)], check=False, timeout=120
    )

    assert killed.returncode == -signal.SIGKILL
    async with connect(database_url) as db:
        assert (await counts(db))["costs"] == 500
        report = await import_naisys(db, hub)
        assert report.tables["costs"].imported == ENTRIES + 4 - 500
        assert (await counts(db))["costs"] == ENTRIES + 4


async def test_secrets_do_not_go_in_without_a_key(sqlite_url: str, tmp_path: Path) -> None:
    path = hub_file(tmp_path / "naisys")
    async with connect(sqlite_url, folder=tmp_path / "files") as db:
        before = await counts(db)

        with pytest.raises(BadSettings, match="1 sensitive variables, and AGENTDB_ENCRYPTION_KEYS is not set"):
            await import_naisys(db, path)
        assert await counts(db) == before


@pytest.mark.parametrize(
    ("made", "error", "reason"),
    [
        ("none", BadInput, "there is no file"),
        ("text", BadInput, "is not a hub of NAISYS: it is no database file"),
        ("foreign", BadInput, "is not a hub of NAISYS: it has no table users"),
        ("older", BadInput, "of another version: context_log has no subagent_id"),
        ("damaged", DatabaseCorrupt, "is damaged"),
        ("empty", BadInput, "has no users"),
    ],
)
async def test_a_file_that_is_no_hub_says_why_and_nothing_goes_in(
    agentdb: Database, tmp_path: Path, made: str, error: type[Exception], reason: str
) -> None:
    path = tmp_path / "none.db" if made == "none" else hub_file(tmp_path / "naisys")
    if made == "text":
        path.write_text("nothing but text\n" * 100, encoding="utf-8")
    elif made == "foreign":
        path = tmp_path / "foreign.db"
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE things (id INTEGER PRIMARY KEY)")
    elif made == "older":
        change(path, "ALTER TABLE context_log DROP COLUMN subagent_id")
    elif made == "damaged":
        content = bytearray(path.read_bytes())
        for page in range(2, len(content) // 4096):
            content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
        path.write_bytes(content)
    elif made == "empty":
        change(path, "DELETE FROM users")
    before = await counts(agentdb)

    with pytest.raises(error, match=reason):
        await import_naisys(agentdb, path)
    assert await counts(agentdb) == before


async def test_rows_that_do_not_fit_are_told_and_keep_nothing_else_back(db: Database, tmp_path: Path) -> None:
    path = hub_file(tmp_path / "naisys")
    row = {"user_id": 1, "run_id": 7, "session_id": 1, "host_id": 3, "created_at": "2026-03-02T10:00:00.000Z"}
    insert(
        path,
        "context_log",
        row | {"role": "ORACLE", "message": "who"},
        row | {"role": "LLM", "message": "when", "created_at": "yesterday"},
        row | {"role": "LLM", "message": "where", "run_id": 99},
        row | {"role": "LLM", "message": "nul \0 and \ud7ff"},
    )
    insert(
        path,
        "costs",
        row | {"source": "console", "model": "m-1", "cost": -1.0},
        row | {"source": "console", "model": "m" * 300, "cost": 0.25, "run_id": 99},
    )

    report = await import_naisys(db, path)

    assert (report.tables["context_log"].imported, report.tables["context_log"].left) == (5, 3)
    assert (report.tables["costs"].imported, report.tables["costs"].left) == (5, 1)
    (lost,) = [cost for cost in (await db.hub.costs.page()).items if cost.run_session_id is None]
    assert (lost.cost, lost.model) == (Decimal("0.25"), "m" * 255)
    assert {problem.reason for problem in report.problems if problem.table == "context_log"} == {
        "'ORACLE' is not one of platform, llm",
        "a moment is expected, not 'yesterday'",
        "its session is not there",
    }


def test_both_forms_of_moments_are_the_same_instant() -> None:
    at = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)

    forms = ("2026-03-01T10:00:00.000Z", "2026-03-01T12:00:00+02:00", "2026-03-01 10:00:00", 1772359200000)

    assert {moment(form) for form in forms} == {at}


def test_amounts_are_to_nine_places_as_they_are_written() -> None:
    assert dollars(0.1) + dollars(0.2) == Decimal("0.3")
    assert dollars(1e-7) == Decimal("0.0000001")
    assert dollars(None) == 0
    for bad in (-0.1, "much", 1e300, float("inf")):
        with pytest.raises(BadInput):
            dollars(bad)


def test_what_is_no_uuid_is_always_the_same_one() -> None:
    assert identifier("", "supervisor: carol") == identifier("", "supervisor: carol") != identifier("", "hub: carol")
    assert text(b"\xff\0") == "\N{REPLACEMENT CHARACTER}" * 2
    for bad in ("[]", "{", '{"a": "\\u0000"}', "[" * 100_000):
        with pytest.raises(BadInput):
            mapping(bad)
