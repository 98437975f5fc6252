"""``agentdb import`` and ``agentdb report``: what is written, and how they end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from agentdb.cli import app
from tests.canaries import told
from tests.cli.conftest import Runner
from tests.importing.naisys_files import hub_file, supervisor_file

Command = Callable[..., Result]

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"


def test_the_sample_goes_in_once_and_is_reported(command: Command) -> None:
    priced = command("import", "prices", EXAMPLES / "prices-sample.csv")
    first = command("import", "chat", EXAMPLES / "chat-sample.jsonl")
    again = command("import", "chat", EXAMPLES / "chat-sample.jsonl", "--json")
    report = command("report", "--json")

    assert (priced.exit_code, first.exit_code, again.exit_code, report.exit_code) == (0, 0, 0, 0)
    assert priced.stdout.startswith("10 models added")
    assert first.stdout.startswith("20 runs imported (")
    assert json.loads(again.stdout)["present"] == 20
    overview = json.loads(report.stdout)
    assert overview["totals"]["runs"] == 20
    assert overview["tools"][0] == {"tool": "run_command", "calls": 13}
    assert sum(len(overview[part]) for part in ("spending_by_model", "spending_by_day")) == 5
    assert all(len(row["cost"].partition(".")[2]) == 9 for row in overview["spending_by_user"])


def test_a_line_that_does_not_go_in_is_named_and_ends_with_one(migrated: Command, tmp_path: Path) -> None:
    sample = (EXAMPLES / "chat-sample.jsonl").read_text(encoding="utf-8").splitlines()
    file = tmp_path / "runs.jsonl"
    file.write_text("\n".join([sample[0], "{}", sample[1]]), encoding="utf-8")

    result = migrated("import", "chat", file)

    assert result.exit_code == 1
    assert result.stdout.startswith("2 runs imported")
    assert f"{file}, line 2: not a run: object missing required field `id`\n" in result.stderr


def test_what_a_terminal_would_obey_is_not_written(migrated: Command, tmp_path: Path) -> None:
    run = json.loads((EXAMPLES / "chat-sample.jsonl").read_text(encoding="utf-8").splitlines()[0])
    bad = {**run, "messages": [{"role": "\x1b[2J"}]}
    file = tmp_path / "runs.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in (bad, {**run, "model": "[red]\x1b[2J"})), encoding="utf-8")

    imported = migrated("import", "chat", file)
    report = migrated("report")

    assert imported.exit_code == 1
    assert "\x1b" not in imported.stderr + report.stdout
    assert "[red]" in report.stdout


def test_an_empty_database_is_reported_for_people_too(migrated: Command) -> None:
    result = migrated("report")

    assert result.exit_code == 0
    assert "Spending by day (UTC)" in result.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--url", "mysql://host/db", "report"], "mysql"),
        (["--folder", "/dev/null/x", "report"], "AGENTDB_FOLDER"),
        (["--url", "sqlite://", "import", "prices", str(EXAMPLES / "chat-sample.jsonl")], "is not a price list"),
    ],
)
def test_a_failure_is_one_line_and_ends_with_two(words: list[str], reason: str) -> None:
    result = Runner().invoke(app, words)

    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert reason in result.stderr


def test_a_file_that_is_not_there_ends_with_two(tmp_path: Path) -> None:
    result = Runner().invoke(app, ["--url", "sqlite://", "import", "chat", str(tmp_path / "absent")])

    assert result.exit_code == 2
    assert result.stderr == f"error: {tmp_path / 'absent'} cannot be read: no such file or directory\n"


@pytest.mark.long
def test_an_installation_of_naisys_goes_in_once_and_what_does_not_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", hashlib.sha256(b"the command's tests").hexdigest())
    monkeypatch.setenv("AGENTDB_FOLDER", str(tmp_path / "files"))
    files = ("--hub", hub_file(tmp_path / "naisys"), "--supervisor", supervisor_file(tmp_path / "naisys"))

    first = command("import", "naisys", *files)
    again = command("import", "naisys", *files, "--json")

    assert (first.exit_code, again.exit_code) == (1, 1)
    assert "users: 5 imported, 0 were there already, 0 left behind" in first.stdout
    assert "variables NAISYS_API_KEY: is the runner's own" in first.stderr
    assert "$1.300000000 came into the ledger" in first.stdout
    assert told(first.output + again.output) == []
    assert all(counted["imported"] == 0 for counted in json.loads(again.stdout)["tables"].values())
