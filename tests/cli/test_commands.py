"""What holds for every command: it is documented, its help has an example, reading ones speak JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from agentdb.cli import app
from agentdb.cli.application import Exit
from tests.cli.conftest import Runner

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
# They print a key, or serve until they are ended.
WITHOUT_JSON = {"keys new", "studio"}


def commands() -> dict[str, Any]:
    """Return every command by the words it is called by."""

    def walk(group: Any, words: str) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            path = f"{words} {name}".strip()
            yield from walk(command, path) if hasattr(command, "commands") else [(path, command)]

    return dict(walk(typer.main.get_command(app), ""))


def documented() -> dict[str, list[str]]:
    """Return the rows of the table of commands."""
    page = PAGE.read_text(encoding="utf-8").split("\n## Commands\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `([a-z -]+)` \|(.*)\|$", page, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def test_the_table_names_every_command_the_app_has() -> None:
    missing = commands().keys() - documented().keys()

    assert missing == set()


def test_help_tells_what_a_command_does_with_an_example(subtests: pytest.Subtests) -> None:
    for name in sorted(commands()):
        with subtests.test(name=name):
            shown = Runner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})

            words = " ".join(shown.stdout.split())
            assert shown.exit_code == 0
            assert re.search(rf"Examples?: .*agentdb (--\S+ \S+ )?{name}", words)


def test_a_command_can_speak_json(subtests: pytest.Subtests) -> None:
    known = commands()

    for name in sorted(known.keys() - WITHOUT_JSON):
        with subtests.test(name=name):
            options = {option for parameter in known[name].params for option in parameter.opts}

            assert "--json" in options


def test_what_a_command_ends_with_is_what_the_page_says() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert all(f"**{code.value}**" in page for code in Exit)
    assert Runner().invoke(app, ["status", "--nonsense"]).exit_code == Exit.FAILED


@pytest.mark.parametrize(
    ("shell", "said"), [("bash", "complete -o default -F"), ("zsh", "#compdef"), ("fish", "complete")]
)
def test_shells_learn_to_complete(shell: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")

    shown = CliRunner().invoke(app, ["--show-completion", shell])

    assert shown.exit_code == 0
    assert said in shown.stdout


def test_a_word_is_completed() -> None:
    completed = Runner().invoke(
        app,
        [],
        prog_name="agentdb",
        env={"_AGENTDB_COMPLETE": "complete_bash", "COMP_WORDS": "agentdb do", "COMP_CWORD": "1"},
    )

    assert set(completed.stdout.split()) == {"doctor", "downgrade"}


def test_a_terminal_without_every_character_is_told_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "caf\u00e9\U0001f600.db"
    runner, words = CliRunner(charset="latin-1"), ["--url", f"sqlite:///{path}", "doctor"]

    shown, listed = runner.invoke(app, words), runner.invoke(app, [*words, "--json"])

    assert shown.exit_code == listed.exit_code == Exit.LOOK
    assert "there is no database file" in shown.stdout
    assert any(str(path) in finding["told"] for finding in json.loads(listed.stdout))
