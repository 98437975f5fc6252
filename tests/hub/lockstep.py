"""Both databases, driven in lock-step with a model in plain Python: all three agree, or a test fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from agentdb import clock
from agentdb.config import Settings
from agentdb.database import Database, connect
from agentdb.errors import AgentDBError
from agentdb.testing.plugin import SEALED
from agentdb.testing.postgresql import PostgreSQLServer

R = TypeVar("R")
BEGIN = datetime(2026, 3, 9, 10, tzinfo=UTC)

Ids = tuple[int, ...]  # of one thing: its key on SQLite, and on PostgreSQL


class Lockstep(RuleBasedStateMachine):
    """A state machine that has an open SQLite and an open PostgreSQL database, empty at the beginning of every run."""

    template: Path
    server: PostgreSQLServer
    server_template: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = AsyncExitStack()
        self.held = clock.hold(BEGIN)
        self.hand = self.held.__enter__()
        self.databases = self.runner.run(self.open())

    async def open(self) -> list[Database]:
        url = await self.server.create_database(self.server_template)
        self.opened.push_async_callback(self.server.drop_database, url)
        memory = Database(Settings.load("sqlite://", **SEALED), template=self.template)
        kept = connect(url, **SEALED, pool_size=2)
        return [await self.opened.enter_async_context(database) for database in (memory, kept)]

    def teardown(self) -> None:
        self.runner.run(self.opened.aclose())
        self.runner.close()
        self.held.__exit__(None, None, None)

    def forward(self, step: timedelta) -> None:
        self.hand.forward(step)

    def both(self, call: Callable[[Database, int], Awaitable[R]]) -> list[R | AgentDBError]:
        """Return what a call gives on each database, or the error it raises: of the same kind on both."""

        async def told(database: Database, side: int) -> R | AgentDBError:
            try:
                return await call(database, side)
            except AgentDBError as error:
                return error

        async def all_told() -> list[R | AgentDBError]:
            return [await told(database, side) for side, database in enumerate(self.databases)]

        answers = self.runner.run(all_told())
        assert type(answers[0]) is type(answers[1]), answers
        return answers

    def ids(self, call: Callable[[Database, int], Awaitable[Any]]) -> Ids:
        """Return the keys of the row that a call makes."""
        return tuple(row.id for row in self.both(call))  # type: ignore[union-attr]

    def told(
        self, call: Callable[[Database, int], Awaitable[Any]], model: Callable[[], R]
    ) -> tuple[list[Any], R | None]:
        """Return what a call gives on each database, and what the model says; None when all three refuse alike."""
        answers: list[Any] = self.both(call)
        refused: AgentDBError | None = None
        wanted: R | None = None
        try:
            wanted = model()
        except AgentDBError as error:
            refused = error
        kinds = {type(answer) for answer in answers if isinstance(answer, AgentDBError)}
        assert kinds == ({type(refused)} if refused else set()), (answers, refused)
        return answers, wanted

    def agree(self, call: Callable[[Database, int], Awaitable[Any]], model: Callable[[], Any]) -> None:
        """Assert that both databases and the model say the same, or refuse alike."""
        answers, wanted = self.told(call, model)
        if not isinstance(answers[0], AgentDBError):
            assert answers == [wanted, wanted]


def run(machine: type[Lockstep], template: Path, server: PostgreSQLServer, *, examples: int, steps: int) -> None:
    """Run a machine a number of times, on fresh databases each time."""

    async def prepare(url: str) -> None:
        async with connect(url, **SEALED):
            pass

    server_template = asyncio.run(server.template("agentdb", prepare))
    known = {"template": template, "server": server, "server_template": server_template}
    run_state_machine_as_test(
        type(machine.__name__, (machine,), known),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
