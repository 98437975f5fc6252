"""``agentdb reset`` and ``agentdb push``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import Result

from agentdb import migrating
from agentdb.cli import app
from agentdb.config import Settings
from agentdb.engine.schema.direct import connected
from agentdb.models import tables
from tests.cli.conftest import Runner

HEAD = f"{migrating.head():04}"
Command = Callable[..., Result]


def sql(url: str, *statements: str) -> Any:
    """Run statements past agentdb, and return what the last one found."""

    async def work() -> Any:
        async with connected(Settings.load(url)) as connection:
            for statement in statements:
                result = await connection.execute(text(statement))
            found = result.scalar() if result.returns_rows else None
            await connection.commit()
            return found

    return asyncio.run(work())


@pytest.mark.long
def test_a_reset_leaves_an_empty_database_that_agrees_with_the_models(migrated: Command, migrated_url: str) -> None:
    migrated("seed")
    sql(migrated_url, "CREATE TABLE of_others (id int)", "INSERT INTO of_others VALUES (7)")

    done = migrated("reset", "--force", "--json")

    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"dropped": sorted(tables), "revision": HEAD}
    assert migrated("check").exit_code == 0
    assert sql(migrated_url, "SELECT count(*) FROM models") == 0
    assert sql(migrated_url, "SELECT id FROM of_others") == 7


def test_a_reset_begins_to_number_anew(migrated_sqlite_url: str) -> None:
    # As the last of its changes leaves it, when its row is deleted.
    sql(migrated_sqlite_url, "INSERT INTO sqlite_sequence (name, seq) VALUES ('messages.tx', 7), ('messages', 7)")

    reset = Runner().invoke(app, ["--url", migrated_sqlite_url, "reset", "--force"])

    assert reset.exit_code == 0
    assert sql(migrated_sqlite_url, "SELECT count(*) FROM sqlite_sequence") == 0


def test_a_database_that_is_emptied_has_no_schema(migrated: Command) -> None:
    done = migrated("reset", "--force", "--empty")

    assert (done.exit_code, done.stdout) == (0, f"dropped {len(tables)} tables; the schema is at nothing\n")
    assert json.loads(migrated("status", "--json").stdout)["revision"] is None
    assert migrated("migrate").exit_code == 0


@pytest.mark.long
@pytest.mark.parametrize("words", [("reset",), ("push", "--anew")])
@pytest.mark.parametrize("answer", ["n\n", ""])
def test_nothing_goes_unless_the_question_is_answered(
    migrated_sqlite_url: str, words: tuple[str, ...], answer: str
) -> None:
    runner = Runner()
    runner.invoke(app, ["--url", migrated_sqlite_url, "seed"])

    asked = runner.invoke(app, ["--url", migrated_sqlite_url, *words], input=answer)

    assert asked.exit_code == 2
    assert "nothing was done" in asked.stderr
    assert sql(migrated_sqlite_url, "SELECT count(*) FROM models") > 0
    assert runner.invoke(app, ["--url", migrated_sqlite_url, *words], input="y\n").exit_code == 0
    assert sql(migrated_sqlite_url, "SELECT count(*) FROM models") == 0


@pytest.mark.long
def test_an_empty_database_is_made_from_the_models(command: Command) -> None:
    pushed = command("push", "--json")

    assert pushed.exit_code == 0
    assert json.loads(pushed.stdout) == {"dropped": [], "created": sorted(tables), "differences": []}
    assert command("check").exit_code == 0
    assert command("seed").exit_code == 0


@pytest.mark.long
def test_what_is_there_stays_and_what_differs_is_named(command: Command, database_url: str) -> None:
    command("seed")
    sql(database_url, "DROP TABLE variables", "ALTER TABLE users ADD COLUMN stray text")

    pushed = command("push")

    assert (pushed.exit_code, pushed.stdout) == (1, "made 1 tables\n")
    assert "column users.stray is in the database" in pushed.stderr
    assert sql(database_url, "SELECT count(*) FROM models") > 0
    again = command("push", "--anew", "--force")
    assert (again.exit_code, again.stdout) == (0, f"dropped {len(tables)} tables, made {len(tables)} tables\n")
    assert command("check").exit_code == 0


def test_a_service_and_another_machine_are_no_place_to_push_to(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Runner().invoke(app, ["--url", "postgresql://db.example.com/agentdb", "push"])
    monkeypatch.setenv("AGENTDB_SERVICE", "gateway")
    service = Runner().invoke(app, ["--url", sqlite_url, "push"])

    assert elsewhere.exit_code == service.exit_code == 2
    assert "another machine" in elsewhere.stderr
    assert "AGENTDB_SERVICE" in service.stderr


@pytest.mark.long
def test_a_view_of_others_stops_a_reset_and_nothing_is_lost(postgresql_url: str) -> None:
    runner = Runner()
    runner.invoke(app, ["--url", postgresql_url, "seed"])
    sql(postgresql_url, "CREATE VIEW of_others AS SELECT * FROM models")

    stopped = runner.invoke(app, ["--url", postgresql_url, "reset", "--force"])

    assert stopped.exit_code == 2
    assert "the database is as it was" in stopped.stderr
    assert sql(postgresql_url, "SELECT count(*) FROM of_others") > 0
