"""``agentdb grants``: what it prints, and what it refuses."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import Result

from agentdb.cli import app
from agentdb.models import tables
from agentdb.services import KNOWN, SERVICES
from tests.cli.conftest import Runner


def grants(*words: str, url: str = "sqlite://") -> Result:
    return Runner().invoke(app, ["--url", url, "grants", *words])


def of(name: str, result: Result) -> str:
    """Return what is granted on a table; nothing, when nothing is."""
    found = re.search(rf'GRANT (.*) ON TABLE "public"\."{name}" TO', result.stdout)
    return found[1] if found else ""


def test_a_service_is_granted_what_is_its_own_and_nothing_else(subtests: pytest.Subtests) -> None:
    for service in KNOWN:
        with subtests.test(service=service):
            result = grants("--service", service)

            assert result.exit_code == 0
            rights = SERVICES[service]
            assert {name for name in tables if of(name, result)} == rights.reads
            assert {name for name in tables if "INSERT" in of(name, result)} == rights.writes
            for name in tables:
                table_wide = re.findall(r"\bUPDATE\b(?! \()", of(name, result))
                assert bool(table_wide) == (name in rights.writes or (name == "costs" and name in rights.locks))
                assert "TRUNCATE" not in of(name, result)


def test_what_was_granted_before_is_taken_away_first_in_the_same_transaction() -> None:
    lines = grants("--service", "cms").stdout.splitlines()

    assert (lines[0], lines[-1]) == ("BEGIN;", "COMMIT;")
    kinds = [line.split()[0] for line in lines[1:-1]]
    assert kinds == sorted(kinds, reverse=True)
    assert all(line.endswith(' FROM "cms";') for line in lines if line.startswith("REVOKE"))
    for name in tables:
        assert f'"public"."{name}"' in lines[1]


def test_nobody_deletes_from_what_is_append_only() -> None:
    for service in KNOWN:
        result = grants("--service", service)
        for name in ("costs", "audit_log", "integration_events"):
            assert "DELETE" not in of(name, result)


def test_only_counters_are_updated_by_who_counts() -> None:
    result = grants("--service", "gateway")

    columns = '"reserved", "spent", "updated_at", "window_ends_at", "window_started_at"'
    assert of("spend_limits", result) == f"SELECT, UPDATE ({columns})"
    assert of("users", grants("--service", "hub")) == 'SELECT, UPDATE ("created_at")'


def test_only_the_seed_moves_the_count_of_ids() -> None:
    assert [name for name in KNOWN if "GRANT SELECT, UPDATE ON SEQUENCE" in grants("--service", name).stdout] == [
        "seed"
    ]


def test_names_are_quoted() -> None:
    result = grants("--service", "cms", "--role", 'x"; DROP  TABLE users; --', url="postgresql://u@h/d?schema=My+S")

    assert 'GRANT USAGE ON SCHEMA "My S" TO "x""; DROP  TABLE users; --";' in result.stdout
    assert '"My S"."users"' in result.stdout


def test_what_no_role_can_be_called_is_refused(subtests: pytest.Subtests) -> None:
    for role in ["", "a\nb", "a\0b", "é" * 32]:
        with subtests.test(role=role):
            result = grants("--service", "cms", "--role", role)

            assert (result.exit_code, result.stdout) == (2, "")
            assert "is no name; expected 1 to 63 bytes" in result.stderr


def test_an_unknown_service_is_told_the_known_ones() -> None:
    result = grants("--service", "gatway")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: there is no service 'gatway', only server, gateway, cms, hub, supervisor, worker, seed; "
        "gateway is meant?\n"
    )


def test_programs_get_a_list() -> None:
    plain = grants("--service", "hub", "--role", "r").stdout
    told = json.loads(grants("--service", "hub", "--role", "r", "--json").stdout)

    assert (told["service"], told["role"], told["schema"]) == ("hub", "r", "public")
    assert "".join(f"{statement};\n" for statement in told["statements"]) == plain
