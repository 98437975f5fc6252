"""``agentdb migrate`` and its like."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from agentdb import migrating

HEAD = f"{migrating.head():04}"
Command = Callable[..., Result]


def test_an_empty_database_is_brought_up_to_date_and_agrees(command: Command) -> None:
    before = command("status", "--json")
    migrated = command("migrate")
    again = command("migrate")
    after = command("status", "--json")
    checked = command("check", "--json")

    assert json.loads(before.stdout) == {"revision": None, "expected": HEAD}
    assert (migrated.exit_code, migrated.stdout) == (0, f"the schema went from nothing to {HEAD}\n")
    assert (again.exit_code, again.stdout) == (0, f"nothing to do: the schema is at {HEAD}\n")
    assert json.loads(after.stdout) == {"revision": HEAD, "expected": HEAD}
    assert (checked.exit_code, json.loads(checked.stdout)) == (0, [])


def test_what_differs_is_named_and_ends_with_one(migrated: Command) -> None:
    taken_back = migrated("downgrade", "0001")

    checked = migrated("check")

    assert (taken_back.exit_code, taken_back.stdout) == (0, f"the schema went from {HEAD} to 0001\n")
    assert checked.exit_code == 1
    assert f"found 0001; expected {HEAD}\n" in checked.stderr
    assert "column agents.name is missing from the database" in checked.stderr


def test_a_database_can_be_said_to_be_at_a_revision(migrated: Command) -> None:
    stamped = migrated("stamp", "0001")

    assert (stamped.exit_code, stamped.stdout) == (0, "the database is said to be at 0001\n")
    assert json.loads(migrated("status", "--json").stdout)["revision"] == "0001"


def test_a_revision_nobody_knows_ends_with_two(command: Command) -> None:
    result = command("migrate", "nowhere")

    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("migrate", ""), ("downgrade", ""), ("stamp", ""), ("stamp", "@")])
def test_a_revision_that_says_nothing_is_refused_in_words(migrated: Command, words: tuple[str, str]) -> None:
    result = migrated(*words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.endswith(f" {words[1]!r}: expected a revision, such as {HEAD}, or head\n")
