"""How the tests of the command speak to it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from typer import Typer
from typer.main import get_command
from typer.testing import CliRunner, Result

from agentdb.cli import app

Command = Callable[..., Result]


class Runner(CliRunner):
    """Runs commands made once: Typer's own makes them anew for each call, which takes longer than most calls."""

    def invoke(self, app: Typer, *words: Any, **options: Any) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("typer.testing._get_command", _made)
            return super().invoke(app, *words, **options)


_made = functools.cache(get_command)


@pytest.fixture
def command(database_url: str) -> Command:
    """Return what runs ``agentdb`` on an empty database; the test runs on both."""
    runner = Runner()
    return lambda *words: runner.invoke(app, ["--url", database_url, *map(str, words)])


@pytest.fixture
def migrated(migrated_url: str) -> Command:
    """Return what runs ``agentdb`` on such a database."""
    return lambda *words: Runner().invoke(app, ["--url", migrated_url, *map(str, words)])
