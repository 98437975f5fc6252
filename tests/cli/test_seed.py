"""``agentdb seed``: what is written, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from agentdb.cli import app
from tests.cli.conftest import Runner

Command = Callable[..., Result]


def test_the_shipped_files_are_seeded_and_again_change_nothing(command: Command) -> None:
    first = command("seed")
    again = command("seed", "--json")

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert "models: 41 added, 0 changed, 0 unchanged, 0 kept\n" in first.stdout
    report = json.loads(again.stdout)
    assert report["tables"]["models"] == {"added": 0, "changed": 0, "unchanged": 41, "kept": 0}
    assert report["test_administrator"] is False


def test_a_folder_of_ones_own_is_all_that_is_seeded(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTDB_SEED", "auto")
    (tmp_path / "roles.csv").write_text("name\nreader\n", encoding="utf-8")

    result = command("seed", tmp_path)

    assert result.exit_code == 0
    assert result.stdout == "roles: 1 added, 0 changed, 0 unchanged, 0 kept\n"


def test_each_problem_is_one_line_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "roles.csv").write_text("name,display_order\nnull,\x1b[2J\n", encoding="utf-8")

    result = Runner().invoke(app, ["--url", "sqlite://", "seed", str(tmp_path)])

    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["roles.csv:2:1", "roles.csv:2:6", "error"]
    assert "\x1b" not in result.stderr


def test_a_folder_that_is_not_there_ends_with_two(tmp_path: Path) -> None:
    result = Runner().invoke(app, ["--url", "sqlite://", "seed", str(tmp_path / "absent")])

    assert result.exit_code == 2
    assert result.stderr == f"error: there is no folder of seed files at {tmp_path / 'absent'}\n"
