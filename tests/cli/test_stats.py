"""``agentdb stats``: the same shape on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from agentdb.cli import app
from agentdb.models import tables
from tests.cli.conftest import Runner
from tests.cli.test_rebuild import sql

Command = Callable[..., Result]


def shape(value: Any) -> Any:
    """Return which names a document has, whatever stands under them."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


def test_rows_are_counted_and_sizes_measured(migrated: Command) -> None:
    migrated("seed")

    result = migrated("stats", "--json")

    found = json.loads(result.stdout)
    sizes = {table["name"]: table for table in found["tables"]}
    assert result.exit_code == 0
    assert sizes["models"]["rows"] == 41
    assert sizes["messages"]["rows"] == 0
    assert tables.keys() <= sizes.keys()
    assert all(size["bytes"] is not None and size["index_bytes"] >= 0 for size in sizes.values())
    assert found["storage"]["bytes"] > sizes["models"]["bytes"] > 0
    assert ("models", "uq_models__type") in {(index["table"], index["name"]) for index in found["indexes"]}


def test_both_databases_answer_in_the_same_words(migrated_sqlite_url: str, migrated_postgresql_url: str) -> None:
    documents = []
    for url in (migrated_sqlite_url, migrated_postgresql_url):
        Runner().invoke(app, ["--url", url, "migrate"])
        found = json.loads(Runner().invoke(app, ["--url", url, "stats", "--json"]).stdout)
        found["pool"]["sessions"] = []  # of which a file has none
        documents.append(shape(found))

    assert documents[0] == documents[1]


def test_a_server_tells_which_indexes_are_read(migrated_postgresql_url: str) -> None:
    sql(
        migrated_postgresql_url,
        "SET enable_seqscan = off",
        "SELECT id FROM users WHERE id = 1",
        "SELECT pg_stat_force_next_flush()",
    )

    found = json.loads(Runner().invoke(app, ["--url", migrated_postgresql_url, "stats", "--json"]).stdout)

    scans = {index["name"]: index["scans"] for index in found["indexes"]}
    assert scans["pk_users"] >= 1
    assert scans["uq_users__email"] == 0


def test_a_quick_look_scans_nothing(migrated_sqlite_url: str) -> None:
    Runner().invoke(app, ["--url", migrated_sqlite_url, "seed"])

    found = json.loads(Runner().invoke(app, ["--url", migrated_sqlite_url, "stats", "--quick", "--json"]).stdout)

    assert {table["rows"] for table in found["tables"]} == {None}
    assert {table["name"] for table in found["tables"]} >= tables.keys()


def test_people_are_shown_tables(migrated: Command) -> None:
    result = migrated("stats", "--limit", "3")

    assert result.exit_code == 0
    assert "Tables" in result.stdout
    assert "connections: " in result.stdout


def test_a_database_that_is_not_there_is_not_made(
    sqlite_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Runner().invoke(app, ["--url", sqlite_url, "stats"])

    assert result.exit_code == 2
    assert "there is no database file" in result.stderr
    assert list(tmp_path.iterdir()) == []
