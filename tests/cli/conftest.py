"""How the tests of the command speak to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from agentdb.cli import app

Command = Callable[..., Result]


@pytest.fixture
def command(database_url: str) -> Command:
    """Return what runs ``agentdb`` on an empty database; the test runs on both."""
    runner = CliRunner()
    return lambda *words: runner.invoke(app, ["--url", database_url, *map(str, words)])
