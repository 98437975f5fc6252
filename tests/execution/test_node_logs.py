"""What nodes did is written by whoever holds the execution, and done steps are not done again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, InvalidTransition, StaleVersion
from agentdb.execution.models import NodeStatus
from agentdb.execution.records import Claim
from tests.execution.queues import Rows, claim_one, enqueue

LATER = datetime(2126, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def claimed(db: Database, **details: Any) -> Claim:
    await enqueue(db, **details)
    return await claim_one(db.execution.executions)


async def taken_over(db: Database) -> tuple[Claim, Claim]:
    """Return the claim of a silent worker, and of the one that has taken over."""
    await enqueue(db)
    with clock.hold(LATER) as hand:
        stale = await claim_one(db.execution.executions)
        hand.forward(2 * MINUTE)
        await db.execution.executions.rescue()
        return stale, await claim_one(db.execution.executions)


async def test_a_node_is_begun_and_completed(db: Database) -> None:
    claim = await claimed(db)
    logs = db.execution.node_logs
    with clock.hold(LATER) as hand:
        begun = await logs.start(claim, "n1", name="search", input={"q": "a"})
        hand.forward(timedelta(seconds=2, milliseconds=345))
        done = await logs.complete(claim, "n1", [1, 2])

    assert (begun.status, begun.node_name, begun.attempt, begun.input) == ("running", "search", 1, {"q": "a"})
    assert (done.id, done.status, done.output, done.duration_ms) == (begun.id, "completed", [1, 2], 2345)
    assert (await db.execution.executions.get(claim.id)).current_node_id == "n1"


async def test_a_node_that_is_begun_again_starts_afresh(db: Database) -> None:
    claim = await claimed(db)
    logs = db.execution.node_logs
    first = await logs.start(claim, "n1")
    failed = await logs.fail(claim, "n1", "no")

    again = await logs.start(claim, "n1")

    assert (failed.status, failed.error) == (NodeStatus.failed, "no")
    assert failed.duration_ms is not None
    assert (again.id, again.status, again.error, again.completed_at, again.duration_ms) == (
        first.id,
        NodeStatus.running,
        None,
        None,
        None,
    )
    await logs.complete(claim, "n1")
    with pytest.raises(InvalidTransition, match="is completed"):
        await logs.start(claim, "n1")
    with pytest.raises(InvalidTransition, match="is completed"):
        await logs.fail(claim, "n1", "too late")
    with pytest.raises(InvalidTransition, match="not begun"):
        await logs.complete(claim, "n2")


async def test_a_stale_worker_writes_nothing(db: Database) -> None:
    logs = db.execution.node_logs
    stale, fresh = await taken_over(db)
    await logs.start(fresh, "n1")

    async def act() -> None:
        raise AssertionError

    for refused in (
        logs.start(stale, "n2"),
        logs.complete(stale, "n1"),
        logs.fail(stale, "n1", "no"),
        logs.skip(stale, "n2"),
        logs.append_many(stale, [{"node_id": "n2", "status": "completed"}]),
        logs.step(stale, "n2", act),
    ):
        with pytest.raises(StaleVersion):
            await refused

    assert [(log.node_id, log.attempt) for log in (await logs.of(fresh.id)).items] == [("n1", 2)]
    await db.execution.executions.complete(fresh)
    with pytest.raises(InvalidTransition):
        await logs.start(fresh, "n3")


async def test_many_are_appended_in_order_all_or_none(db: Database) -> None:
    claim = await claimed(db)
    logs = db.execution.node_logs
    entries = [{"node_id": f"n{n}", "status": "completed", "output": n} for n in range(20)]

    stored = await logs.append_many(claim, entries)
    skipped = await logs.skip(claim, "s", name="if")
    with pytest.raises(Conflict):
        await logs.append_many(claim, [{"node_id": "new", "status": "failed"}, entries[0]])

    page = await logs.of(claim.id, limit=15)
    rest = await logs.of(claim.id, limit=15, after=page.next)
    assert [log.id for log in [*page.items, *rest.items]] == [*(log.id for log in stored), skipped.id]
    assert [log.output for log in stored] == list(range(20))
    assert (skipped.status, skipped.node_name) == (NodeStatus.skipped, "if")
    with pytest.raises(BadInput, match="colour"):
        await logs.append_many(claim, [{"node_id": "x", "status": "failed", "colour": "red"}])


def counting(output: Any) -> tuple[list[int], Callable[[], Awaitable[Any]]]:
    acts: list[int] = []

    async def act() -> Any:
        acts.append(1)
        await asyncio.sleep(0)
        if isinstance(output, Exception):
            raise output
        return output

    return acts, act


async def test_a_done_step_is_not_done_again(db: Database) -> None:
    claim = await claimed(db)
    logs = db.execution.node_logs
    acts, act = counting({"a": (1, 2)})
    failures, failing = counting(ValueError("no"))
    nothings, nothing = counting(None)

    assert await logs.step(claim, "n1", act) == {"a": [1, 2]}
    assert await logs.step(claim, "n2", nothing) is None
    with pytest.raises(ValueError, match="no"):
        await logs.step(claim, "n3", failing)
    await db.execution.executions.fail(claim, "no", retry=False)
    await db.execution.executions.retry(claim.id)
    again = await claim_one(db.execution.executions)
    assert await logs.step(again, "n1", act) == {"a": [1, 2]}
    assert await logs.step(again, "n2", nothing) is None
    with pytest.raises(ValueError, match="no"):
        await logs.step(again, "n3", failing)

    assert (len(acts), len(nothings), len(failures)) == (1, 1, 2)
    told = [(log.node_id, log.attempt, str(log.status), log.error) for log in (await logs.of(claim.id)).items]
    assert told == [
        ("n1", 1, "completed", None),
        ("n2", 1, "completed", None),
        ("n3", 1, "failed", "ValueError: no"),
        ("n3", 2, "failed", "ValueError: no"),
    ]


async def test_a_step_whose_claim_is_lost_meanwhile_is_not_stored(db: Database) -> None:
    claim = await claimed(db)
    logs = db.execution.node_logs

    async def act() -> str:
        await Rows(db._shortcut).update(claim.id, attempt=2)
        return "late"

    with pytest.raises(StaleVersion):
        await logs.step(claim, "n1", act)

    assert (await logs.of(claim.id)).items[0].status is NodeStatus.running


async def test_a_step_does_not_act_within_a_unit(db: Database) -> None:
    claim = await claimed(db)
    acts, act = counting(1)

    async with db.write() as unit:
        with pytest.raises(BadInput, match="transaction"):
            await unit.execution.node_logs.step(claim, "n1", act)

    assert not acts


async def test_an_output_that_is_not_json_is_the_failure_of_its_step(db: Database) -> None:
    claim = await claimed(db)
    _, act = counting(object())

    with pytest.raises(BadInput):
        await db.execution.node_logs.step(claim, "n1", act)

    assert (await db.execution.node_logs.of(claim.id)).items[0].status is NodeStatus.failed


async def test_nobody_takes_over_while_a_log_is_written(db: Database) -> None:
    """A unit that has written a log still holds the execution when it commits."""
    await enqueue(db)
    claim = await claim_one(db.execution.executions, lease_seconds=0.001)

    async def rescue() -> int:
        return len(await db.execution.executions.rescue())

    async with db.write() as unit:
        await unit.execution.node_logs.start(claim, "n1")
        rescuing = asyncio.create_task(asyncio.wait_for(rescue(), 10), context=_outside())
        await asyncio.sleep(0.2)
        await unit.execution.node_logs.complete(claim, "n1")
    rescued = await rescuing

    log = (await db.execution.node_logs.of(claim.id)).items[0]
    assert log.status is NodeStatus.completed
    assert rescued + len(await db.execution.executions.rescue()) == 1


def _outside() -> Any:
    import contextvars

    return contextvars.Context()


async def test_changes_of_an_execution_are_followed_from_a_cursor(db: Database) -> None:
    claim = await claimed(db)
    other = await claimed(db)
    logs = db.execution.node_logs
    changes = logs.follow(claim.id)
    await logs.start(other, "n0")
    await logs.start(claim, "n1")

    first = await asyncio.wait_for(anext(changes), 10)
    await logs.complete(claim, "n1")
    await logs.skip(claim, "n2")
    second = await asyncio.wait_for(anext(changes), 10)
    await changes.aclose()
    rest = logs.follow(claim.id, after=second.cursor)
    third = await asyncio.wait_for(anext(rest), 10)
    await rest.aclose()

    told = [(change.row.node_id, str(change.row.status)) for change in (first, second, third)]
    assert told == [("n1", "running"), ("n1", "completed"), ("n2", "skipped")]
