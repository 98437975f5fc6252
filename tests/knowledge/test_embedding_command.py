"""``agentdb embed``: the queue from a shell, with any function."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import agentdb
from agentdb.cli import app
from agentdb.testing.factories import make_user

FUNCTIONS = "tests.knowledge.embedding_functions"

Command = Callable[..., Result]


@pytest.fixture
def command(migrated_url: str) -> Command:
    runner = CliRunner()
    return lambda *words: runner.invoke(app, ["--url", migrated_url, "embed", *words])


def with_documents(url: str, *contents: str) -> None:
    async def add() -> None:
        async with agentdb.connect(url) as db:
            user = await make_user(db)
            for content in contents:
                await db.knowledge.documents.create(user.id, "title", content)

    asyncio.run(add())


def rows(url: str, **criteria: Any) -> int:
    async def many() -> int:
        async with agentdb.connect(url) as db:
            return await db.knowledge.documents.count(**criteria)

    return asyncio.run(many())


def test_it_embeds_what_waits_and_tells_how_many(migrated_url: str, command: Command) -> None:
    with_documents(migrated_url, "one\ntwo", "three")

    told = command(f"{FUNCTIONS}:letters", "--model", "m", "--version", "1", "--splitter", f"{FUNCTIONS}:by_lines")

    assert (told.exit_code, told.output) == (0, "2 documents embedded\n3 chunks in all\n")
    assert rows(migrated_url, embedding_model="m", embedding_version="1") == 4
    again = command(f"{FUNCTIONS}:letters", "--model", "m", "--version", "2", "--again", "--most", "1", "--json")
    assert json.loads(again.output) == {"completed": 1, "chunks": 1, "failed": 0, "again": 0, "lost": 0}


def test_it_ends_with_one_when_an_attempt_has_failed(migrated_url: str, command: Command) -> None:
    with_documents(migrated_url, "refuse this")

    told = command(f"{FUNCTIONS}:refusing", "--model", "m", "--attempts", "1")

    assert told.exit_code == 1
    assert "1 documents failed for good" in told.output
    assert rows(migrated_url, error="RuntimeError: the model said no") == 1


def test_what_is_no_function_is_told_on_one_line(command: Command, subtests: pytest.Subtests) -> None:
    for function in ("nonsense", "no.such.module:f", f"{FUNCTIONS}:missing", "sys:path", ":f"):
        with subtests.test(function=function):
            told = command(function, "--model", "m")

            assert told.exit_code == 2
            assert told.output.startswith("error: ")
            assert told.output.count("\n") == 1
