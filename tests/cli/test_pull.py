"""``agentdb pull``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from agentdb import migrating
from agentdb.models import tables
from tests.cli.test_rebuild import sql

HEAD = f"{migrating.head():04}"
Command = Callable[..., Result]


def pulled(command: Command) -> tuple[int, dict[str, Any], dict[str, dict[str, Any]]]:
    result = command("pull", "--json")
    found = json.loads(result.stdout)
    return result.exit_code, found, {own["name"]: own for own in found["tables"]}


def test_a_database_that_agrees_needs_nothing(migrated: Command) -> None:
    code, found, ours = pulled(migrated)

    assert code == 0
    assert (found["revision"], found["expected"], found["others"], found["advice"]) == (HEAD, HEAD, [], [])
    assert {own["state"] for own in ours.values()} == {"equal"}
    assert ours.keys() == tables.keys()


@pytest.mark.long
def test_what_is_more_less_and_changed_is_told_by_table(migrated: Command, migrated_url: str) -> None:
    sql(
        migrated_url,
        "ALTER TABLE users ADD COLUMN nickname text",
        "DROP INDEX ix_users__role_id",
        "DROP TABLE variables",
    )

    code, found, ours = pulled(migrated)

    assert code == 1
    assert ours["variables"]["state"] == "missing"
    assert ours["users"]["state"] == "different"
    assert [one["name"] for one in ours["users"]["extra"]] == ["column users.nickname"]
    assert [one["name"] for one in ours["users"]["missing"]] == ["index users.ix_users__role_id"]
    assert ours["roles"]["state"] == "equal"
    assert any("could be adopted" in advice for advice in found["advice"])


def test_tables_of_others_are_described_and_likened(command: Command, database_url: str) -> None:
    sql(
        database_url,
        "CREATE TABLE app_users (id integer PRIMARY KEY, username text NOT NULL, email text, first_name text)",
        "INSERT INTO app_users VALUES (1, 'alice', null, null)",
        "CREATE TABLE weather (day text, degrees integer)",
    )

    code, found, _ = pulled(command)

    users, weather = found["others"]
    assert code == 1  # there is no schema of ours yet
    assert (users["name"], users["rows"], users["like"]) == ("app_users", 1, "users")
    assert users["shared"] == ["id", "username", "email", "first_name"]
    assert list(users["columns"]) == ["id", "username", "email", "first_name"]
    assert (weather["name"], weather["like"]) == ("weather", None)
    assert "`agentdb migrate` makes them" in found["advice"][0]
    assert "app_users is like users" in found["advice"][1]


def test_a_database_of_ours_without_a_version_can_be_adopted(migrated: Command, migrated_url: str) -> None:
    sql(migrated_url, "DELETE FROM schema_version", "DROP TABLE alembic_version")

    _, found, _ = pulled(migrated)
    stamped = migrated("stamp", "head")

    assert found["revision"] is None
    assert found["advice"] == [
        "every table is as the models have it; `agentdb stamp head` adopts the database as it is"
    ]
    assert stamped.exit_code == 0
    assert pulled(migrated)[0] == 0


@pytest.mark.long
def test_a_database_that_lacks_some_tables_is_completed_by_a_push(migrated: Command, migrated_url: str) -> None:
    sql(migrated_url, "DROP TABLE schema_version", "DROP TABLE alembic_version", "DROP TABLE variables")

    _, found, _ = pulled(migrated)

    assert "`agentdb push` adds those that are missing" in found["advice"][0]
    assert migrated("push").exit_code == 0
    assert pulled(migrated)[0] == 0


def test_tables_with_our_names_and_another_shape_are_in_the_way(command: Command, database_url: str) -> None:
    sql(database_url, "CREATE TABLE users (id integer PRIMARY KEY, login text)")

    code, found, ours = pulled(command)

    assert (code, ours["users"]["state"], ours["roles"]["state"]) == (1, "different", "missing")
    assert "tables have names that agentdb needs (users); rename them" in found["advice"][0]


def test_people_are_told_in_lines(migrated: Command, migrated_url: str) -> None:
    sql(migrated_url, "ALTER TABLE users ADD COLUMN nickname text")

    result = migrated("pull")

    assert result.exit_code == 1
    assert f"{len(tables) - 1} tables of agentdb are equal" in result.stdout
    assert "1 tables of agentdb are different: users" in result.stdout
    assert "column users.nickname is in the database" in result.stderr
