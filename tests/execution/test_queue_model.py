"""The queue on both databases, in lock-step with a model in plain Python."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agentdb import clock
from agentdb.config import Settings
from agentdb.database import Database, connect
from agentdb.engine.plan import Plan
from agentdb.errors import AgentDBError
from agentdb.execution.models import ExecutionChange
from agentdb.execution.records import Backoff, Claim
from agentdb.testing.factories import make_user
from agentdb.testing.plugin import SEALED
from agentdb.testing.postgresql import PostgreSQLServer
from tests.execution.queue_model import COMPARED, Execution, Held, Model
from tests.execution.queues import LINE

R = TypeVar("R")
BEGIN = datetime(2026, 3, 9, 10, tzinfo=UTC)
PICK = st.integers(0, 10_000)
QUEUES = st.sampled_from(["default", "default", "other"])
LEASES = st.sampled_from([30, 600])
CHANGES = Plan[ExecutionChange](
    ExecutionChange.__table__.select().order_by(ExecutionChange.id),
    name="test",
    rows=ExecutionChange,
)


class Queue(RuleBasedStateMachine):
    """Every run has fresh databases."""

    template: Path
    server: PostgreSQLServer
    server_template: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = AsyncExitStack()
        self.held = clock.hold(BEGIN)
        self.hand = self.held.__enter__()
        self.model = Model(BEGIN, [True, True])
        self.ids: list[tuple[int, ...]] = []
        self.claims: dict[Held, list[Claim]] = {}
        self.databases = self.runner.run(self.open())

    async def open(self) -> list[Database]:
        url = await self.server.create_database(self.server_template)
        self.opened.push_async_callback(self.server.drop_database, url)
        memory = Database(Settings.load("sqlite://", **SEALED), template=self.template)
        kept = connect(url, **SEALED, pool_size=2)
        return [await self.opened.enter_async_context(database) for database in (memory, kept)]

    def teardown(self) -> None:
        try:
            self.histories_are_alike()
        finally:
            self.runner.run(self.opened.aclose())
            self.runner.close()
            self.held.__exit__(None, None, None)

    def both(self, call: Callable[[Database, int], Awaitable[R]]) -> list[R | AgentDBError]:
        """Return what a call gives on each database, or the error it raises."""

        async def told(database: Database, side: int) -> R | AgentDBError:
            try:
                return await call(database, side)
            except AgentDBError as error:
                return error

        async def all_told() -> list[R | AgentDBError]:
            return [await told(database, side) for side, database in enumerate(self.databases)]

        return self.runner.run(all_told())

    def agreed(self, wanted: Any, call: Callable[[Database, int], Awaitable[Any]]) -> None:
        """Compare what a call gives on each database, or the kind of its error, with what the model says."""
        answers = self.both(call)
        assert [type(one) if isinstance(one, AgentDBError) else one for one in answers] == [wanted, wanted]

    def a_claim(self, pick: int) -> Held:
        """Return a claim: mostly one that holds, where there is any."""
        known = list(self.claims)
        holding = [held for held in known if self.model.held(held) is not None]
        among = holding if holding and pick % 4 else known
        return among[-1 - pick // 4 % len(among)]

    def a_place(self, pick: int, status: str) -> int:
        """Return the place of an execution: mostly of one that has a status, where there is any."""
        places = [place for place, one in self.model.there() if one.status == status]
        return places[pick // 4 % len(places)] if places and pick % 4 else pick % len(self.ids)

    def until(self, seconds: float) -> datetime:
        return self.model.now + timedelta(seconds=seconds)

    def keep(self, wanted: list[Held], claims: list[list[Claim]]) -> None:
        """Note claims, which are as the model's."""
        for side, found in enumerate(claims):
            assert [(one.id, one.attempt) for one in found] == [(self.ids[place][side], a) for place, a in wanted]
        for number, held in enumerate(wanted):
            self.claims[held] = [found[number] for found in claims]

    @initialize()
    def begin(self) -> None:
        async def begun(db: Database, _side: int) -> tuple[list[int], list[int]]:
            users = [(await make_user(db)).id for _ in range(3)]
            made = [await db.execution.workflows.create(users[0], "w", LINE, activate=True) for _ in range(2)]
            return users, [workflow.id for workflow in made]

        found: list[Any] = self.both(begun)
        self.users, self.workflows = ([side[part] for side in found] for part in (0, 1))

    @rule(
        workflow=st.sampled_from([0, 0, 0, 1]),
        user=st.integers(0, 2),
        queue=QUEUES,
        priority=st.integers(-1, 1),
        delay=st.sampled_from([0, 0, 0, 45]),
        key=st.none() | st.none() | st.sampled_from("ab"),
        max_attempts=st.integers(1, 3),
        many=st.integers(1, 3),
    )
    def come(self, workflow: int, user: int, key: str | None, delay: float, many: int, **details: Any) -> None:
        def one() -> Execution:
            return Execution(workflow, user, available_at=self.until(delay), key=key, **details)

        def row(side: int) -> dict[str, Any]:
            ids = {"workflow_id": self.workflows[side][workflow], "user_id": self.users[side][user]}
            return {**ids, "delay_seconds": delay, "idempotency_key": key, **details}

        wanted = [self.model.enqueue(one()) for _ in range(many)]
        if not isinstance(wanted[0], int):
            self.agreed(wanted[0], lambda db, side: db.execution.executions.enqueue_many([row(side)] * many))
            self.agreed(wanted[0], lambda db, side: db.execution.executions.enqueue(**row(side)))
            return

        async def stored(db: Database, side: int) -> list[int]:
            if many == 1:
                return [(await db.execution.executions.enqueue(**row(side))).id]
            return [found.id for found in await db.execution.executions.enqueue_many([row(side)] * many)]

        rows: Any = self.both(stored)
        for number, place in enumerate(wanted):
            ids = tuple(found[number] for found in rows)
            if place == len(self.ids):
                self.ids.append(ids)
            assert self.ids[place] == ids  # type: ignore[index]

    def put_a_workflow_away_or_take_it_back(self, workflow: int) -> None:
        step = "deactivate" if self.model.active[workflow] else "activate"
        self.both(lambda db, side: getattr(db.execution.workflows, step)(self.workflows[side][workflow]))
        self.model.active[workflow] = not self.model.active[workflow]

    @rule(
        queue=QUEUES,
        n=st.integers(1, 4),
        lease=LEASES,
        fair=st.sampled_from([False, False, True]),
        most=st.none() | st.none() | st.integers(1, 3),
    )
    def claim(self, queue: str, n: int, lease: float, most: int | None, *, fair: bool) -> None:
        if not any(one.status == "pending" and one.queue == queue for _, one in self.model.there()):
            for user, (priority, max_attempts) in enumerate([(0, 2), (1, 1), (0, 1)]):
                details = {"queue": queue, "priority": priority, "max_attempts": max_attempts}
                self.come(0, user, None, 0, 2, **details)
        wanted = self.model.claim(queue, n, self.until(lease), fair=fair, most=most)
        found: Any = self.both(
            lambda db, _side: db.execution.executions.claim(
                "w", queue=queue, n=n, lease_seconds=lease, fair=fair, most_running=most
            )
        )
        self.keep(wanted, found)

    # Few rules, of many steps each: of many rules, a run would leave out several.

    @precondition(lambda self: self.claims)
    @rule(
        step=st.sampled_from(["complete", "fail", "fail", "fail", "release", "stop", "complete_and_claim"]),
        pick=PICK,
        retry=st.sampled_from([True, True, True, False]),
        dice=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def end(self, step: str, pick: int, dice: float, *, retry: bool) -> None:
        match step:
            case "complete":
                self.complete(pick, pick % 3 or None)
            case "complete_and_claim":
                self.complete_and_claim([pick, pick // 2, pick // 3], "default", 1 + pick % 3)
            case "fail":
                self.fail(pick, dice, retry=retry)
            case _:
                self.release_or_stop(pick, step)

    @precondition(lambda self: self.ids)
    @rule(
        step=st.sampled_from(["cancel", "cancel", "retry", "retry", "heartbeat", "put away"]),
        pick=PICK,
        attempts=st.integers(1, 3),
    )
    def oversee(self, step: str, pick: int, attempts: int) -> None:
        match step:
            case "cancel":
                self.cancel(self.a_place(pick, "running"))
            case "retry":
                self.retry(self.a_place(pick, "failed"), attempts)
            case "heartbeat" if self.claims:
                self.heartbeat([pick, pick // 2, pick // 3], 30 * attempts)
            case _:
                self.put_a_workflow_away_or_take_it_back(1)

    def complete(self, pick: int, output: Any) -> None:
        held = self.a_claim(pick)
        wanted = self.model.complete(held, output)
        self.agreed(wanted, lambda db, side: db.execution.executions.complete(self.claims[held][side], output))

    def complete_and_claim(self, picks: list[int], queue: str, n: int) -> None:
        finished = list(dict.fromkeys(self.a_claim(pick) for pick in picks))
        lost = [held for held in finished if self.model.complete(held, "both") is not None]
        wanted = self.model.claim(queue, n, self.until(60), fair=False)
        turns: Any = self.both(
            lambda db, side: db.execution.executions.complete_and_claim(
                [(self.claims[held][side], "both") for held in finished], "w", queue=queue, n=n
            )
        )
        for side, turn in enumerate(turns):
            assert list(turn.lost) == [self.claims[held][side] for held in lost]
        self.keep(wanted, [list(turn.claims) for turn in turns])

    def fail(self, pick: int, dice: float, *, retry: bool) -> None:
        held = self.a_claim(pick)
        rest = timedelta(seconds=dice * min(10.0 * 2 ** (held[1] - 1), 30.0))
        wanted = self.model.fail(held, f"no {pick}", rest, retry=retry)
        self.agreed(
            wanted,
            lambda db, side: db.execution.executions.fail(
                self.claims[held][side], f"no {pick}", retry=retry, backoff=Backoff(10, 30), dice=lambda: dice
            ),
        )

    def release_or_stop(self, pick: int, step: str) -> None:
        held = self.a_claim(pick)
        wanted = getattr(self.model, step)(held)
        self.agreed(wanted, lambda db, side: getattr(db.execution.executions, step)(self.claims[held][side]))

    def heartbeat(self, picks: list[int], lease: float) -> None:
        given = list(dict.fromkeys(self.a_claim(pick) for pick in picks))
        wanted = self.model.heartbeat(given, self.until(lease))
        beats: Any = self.both(
            lambda db, side: db.execution.executions.heartbeat(
                [self.claims[held][side] for held in given], lease_seconds=lease
            )
        )
        for side, beat in enumerate(beats):
            told = [beat.held, beat.lost, beat.cancelling]
            assert told == [[self.claims[held][side] for held in some] for some in wanted]

    def cancel(self, place: int) -> None:
        wanted = self.model.cancel(place)
        self.agreed(wanted, lambda db, side: db.execution.executions.cancel(self.ids[place][side]))

    def retry(self, place: int, attempts: int) -> None:
        wanted = self.model.retry(place, attempts)

        async def retried(db: Database, side: int) -> None:
            await db.execution.executions.retry(self.ids[place][side], attempts=attempts)

        self.agreed(wanted, retried)

    @rule(seconds=st.sampled_from([1, 40, 40, 700]), then=st.sampled_from(["", "rescue", "rescue", "prune"]))
    def wait(self, seconds: float, then: str) -> None:
        self.model.now = self.hand.forward(timedelta(seconds=seconds))
        if then:
            getattr(self, then)()

    def rescue(self) -> None:
        wanted = self.model.rescue()
        for side, rescued in enumerate(self.both(lambda db, _side: db.execution.executions.rescue())):
            places = {ids[side]: place for place, ids in enumerate(self.ids)}
            assert {(places[one.id], one.attempt, str(one.status)) for one in rescued} == wanted  # type: ignore[union-attr]

    def prune(self) -> None:
        before = self.until(-600)
        self.agreed(self.model.prune(before), lambda db, _side: db.execution.executions.prune(before))

    @invariant()
    def rows_are_alike(self) -> None:
        wanted = [tuple(getattr(one, name) for name in COMPARED) for _, one in self.model.there()]
        for page in self.both(lambda db, _side: db.execution.executions.page(limit=1_000)):
            assert [tuple(getattr(row, name) for name in COMPARED) for row in page.items] == wanted  # type: ignore[union-attr]

    def histories_are_alike(self) -> None:
        """What followers read is what the model noted."""
        told: list[Any] = self.both(lambda db, _side: db._shortcut.fetch_all(CHANGES, {}))
        for side, changes in enumerate(told):
            for place, one in self.model.there():
                own = [change for change in changes if change.execution_id == self.ids[place][side]]
                assert [(str(change.status), change.attempt) for change in own] == one.history


def _run(template: Path, server: PostgreSQLServer, examples: int, steps: int) -> None:
    async def prepare(url: str) -> None:
        async with connect(url, **SEALED):
            pass

    server_template = asyncio.run(server.template("agentdb", prepare))
    known = {"template": template, "server": server, "server_template": server_template}
    run_state_machine_as_test(
        type("Queue", (Queue,), known),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_both_databases_agree_with_the_model(
    agentdb_template: Path, agentdb_postgresql_server: PostgreSQLServer
) -> None:
    _run(agentdb_template, agentdb_postgresql_server, examples=6, steps=40)


@pytest.mark.long
def test_both_databases_agree_with_the_model_for_long(
    agentdb_template: Path, agentdb_postgresql_server: PostgreSQLServer
) -> None:
    _run(agentdb_template, agentdb_postgresql_server, examples=60, steps=100)
