"""``agentdb retention`` and ``agentdb cleanup-deprecated``: what they tell, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from typer.testing import Result

import agentdb
from agentdb import clock
from agentdb.database import Database
from agentdb.testing.factories import make_run_session, make_user

Command = Callable[..., Result]


def _fill(url: str) -> None:
    async def fill() -> None:
        async with agentdb.connect(url) as db:
            with clock.hold(clock.now() - timedelta(days=500)):
                user = await make_user(db)
                session = await make_run_session(db, user_id=user.id)
                await db.supervisor.logins.start(user.id)
                await db.hub.logs.append(session, [{"role": "llm", "message": "x"}] * 5)
                await db.hub.costs.append_many([{"source": "chat", "model": "m", "cost": 1, "user_id": user.id}] * 3)

    asyncio.run(fill())


def _ask(url: str, work: Callable[[Database], object]) -> None:
    async def ask() -> None:
        async with agentdb.connect(url) as db:
            await work(db)  # type: ignore[misc]

    asyncio.run(ask())


def test_what_went_is_told(migrated: Command, migrated_url: str) -> None:
    _fill(migrated_url)
    words = ["--older-than", "costs=400d", "--newest", "context_log=2", "--never", "attachments"]

    planned = migrated("retention", *words, "--dry-run")
    done = migrated("retention", *words)
    again = migrated("retention", *words, "--json")

    assert (planned.exit_code, done.exit_code, again.exit_code) == (0, 0, 0)
    assert planned.stdout.splitlines() == [
        "sessions (kept 0d): 1 rows would go",
        "memories (kept 0d): 0 rows would go",
        "costs (kept 400d): 3 rows would be folded into days",
        "context_log (kept 2rows): 3 rows would go",
    ]
    assert done.stdout.splitlines() == [
        "sessions (kept 0d): 1 rows removed",
        "memories (kept 0d): 0 rows removed",
        "costs (kept 400d): 3 rows folded into days",
        "context_log (kept 2rows): 3 rows removed",
    ]
    told = json.loads(again.stdout)
    assert (told["rows"], told["finished"], told["dry_run"]) == (0, True, False)
    assert told["tables"][2] == {"table": "costs", "keep": "400d", "rows": 0, "finished": True, "problem": None}


REFUSED: list[tuple[list[str], str]] = [
    (["--older-than", "audit_log=1d"], "error: audit_log is not removed by retention: it is the proof"),
    (["--older-than", "costs"], "error: 'costs' is not a table and how much of it stays; write costs=400d"),
    (["--older-than", "costs=4y"], "error: '4y' does not say how long rows are kept"),
    (["--older-than", "costs=50d", "--never", "costs"], "error: costs is named twice"),
    (["--newest", "context_log=some"], "error: 'somerows' does not say how long rows are kept"),
]


def test_what_cannot_be_is_one_line_and_ends_with_two(command: Command, subtests: pytest.Subtests) -> None:
    for words, told in REFUSED:
        with subtests.test(words=words):
            result = command("retention", *words)

            assert result.exit_code == 2
            assert result.stderr.startswith(told)
            assert result.stderr.count("\n") == 1


def test_something_old_that_is_left_ends_it_with_one(migrated: Command, migrated_url: str) -> None:
    _fill(migrated_url)

    result = migrated("retention", "--budget", "0.000001", "--json")

    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert not told["finished"]


def test_what_is_declared_is_listed(command: Command) -> None:
    shown, listed = command("retention", "--list"), command("retention", "--list", "--json")

    declared = {row["table"]: (row["keeps"], row["by"]) for row in json.loads(listed.stdout)}
    assert declared["sessions"] == ("0d", "expires_at")
    assert declared["context_log"] == ("until told", "created_at")
    assert declared["audit_log"] == ("never", "it is the proof, and is kept for ever")
    assert all(table in shown.stdout for table in declared)


def test_deprecated_tables_are_dropped_and_named(migrated: Command, migrated_url: str) -> None:
    async def leave(db: Database) -> None:
        async with db.write() as unit:
            await unit.session.execute(text("CREATE TABLE _migrations_old (id INTEGER)"))
            await unit.session.execute(text("INSERT INTO _migrations_old VALUES (1), (2)"))

    _ask(migrated_url, leave)

    planned = migrated("cleanup-deprecated", "--dry-run")
    done = migrated("cleanup-deprecated", "--json")
    again = migrated("cleanup-deprecated")

    assert (planned.exit_code, done.exit_code, again.exit_code) == (0, 0, 0)
    assert planned.stdout == "_migrations_old: would be dropped with 2 rows\n"
    assert json.loads(done.stdout) == {"dry_run": False, "dropped": [{"table": "_migrations_old", "rows": 2}]}
    assert again.stdout == "no deprecated table is there\n"
