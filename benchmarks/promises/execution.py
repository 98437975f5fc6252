"""The queue: how fast it is drained, how soon a worker has what comes, and that what was finished costs nothing."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack, suppress
from typing import Final

import agentdb
from agentdb.execution.records import Claim
from benchmarks.peers.hiring import PGQUEUER, PROCRASTINATE, Hired, Peer, hired
from benchmarks.promises.bare_queue import bare_queues
from benchmarks.promises.draining import Drains, workflow_of
from benchmarks.promises.growing import grow_executions
from benchmarks.promises.measuring import Contest, Promise, Side, Stage, alternate, ratio
from benchmarks.report import BARE, OURS, Cell

WORKERS: Final = 4
BATCH: Final = 10
A_SECOND: Final = 2_000
WORST_PICK_UP_MS: Final = 25.0
GROWTH: Final = 1.3
FEW: Final = 1_000

_SINGLY: Final = Contest(
    "claim + complete",
    WORKERS,
    {"postgresql": 0.6, "sqlite": 0.3},
    {("postgresql", PROCRASTINATE.name): 1.0, ("postgresql", PGQUEUER.name): 1.0},
)
_BATCHED: Final = Contest(
    f"complete + claim {BATCH}",
    WORKERS,
    {"postgresql": 4.0, "sqlite": 0.5},
    {("postgresql", PGQUEUER.name): 1.0},
)
_HANDLED: Final = Contest(
    f"run(handler), {BATCH} held",
    1,
    {"postgresql": 0.6, "sqlite": 0.1},
    {("postgresql", PROCRASTINATE.name): 1.0, ("postgresql", PGQUEUER.name): 1.0},
)


async def keep(stage: Stage) -> tuple[list[Cell], list[Promise]]:
    """Measure the queue, with those who make queues of PostgreSQL where it is that."""
    async with AsyncExitStack() as stack:
        ways = await _ways(stage, stack)
        cells = []
        for contest, sides in ways.items():
            measured = await alternate(sides, stage.rounds)
            cells.append(Cell(stage.kind, contest, measured))
    kept = [await _pick_up(stage)] if stage.kind == "postgresql" else [_a_second(cells[0])]
    return cells, [*kept, await _growth(stage)]


async def _ways(stage: Stage, stack: AsyncExitStack) -> dict[Contest, dict[str, Side]]:
    """Return what each side does in each contest."""
    bare = await stack.enter_async_context(bare_queues(stage.place, WORKERS))
    drains = Drains(stage.database.execution.executions, await workflow_of(stage.database), bare, stage.jobs, BATCH)
    by_hands = {BARE: drains.side(drains.by_hand, WORKERS)}
    ways = {
        _SINGLY: {**by_hands, OURS: drains.side(drains.singly, WORKERS)},
        _BATCHED: {**by_hands, OURS: drains.side(drains.batched, WORKERS)},
        _HANDLED: {**by_hands, OURS: drains.side(drains.handled, 1)},
    }
    if stage.kind == "postgresql":
        one, other = [await _hire(stage, peer, stack) for peer in (PROCRASTINATE, PGQUEUER)]
        fewer = stage.jobs // 4  # of those who do one after another: they take long enough
        for contest in (_SINGLY, _HANDLED):
            ways[contest][PROCRASTINATE.name] = lambda: one.ask("drain", fewer)
        ways[_SINGLY][PGQUEUER.name] = lambda: other.ask("drain", fewer, WORKERS, 1)
        for contest in (_BATCHED, _HANDLED):
            ways[contest][PGQUEUER.name] = lambda: other.ask("drain", stage.jobs, WORKERS, BATCH)
    return ways


async def _hire(stage: Stage, peer: Peer, stack: AsyncExitStack) -> Hired:
    place = await stack.enter_async_context(stage.another(with_schema=False))
    return await stack.enter_async_context(hired(peer, place))


def _a_second(cell: Cell) -> Promise:
    reached = cell.speed(OURS)
    told = f"{reached:,.0f} a second, at least {A_SECOND:,}"
    return Promise(f"{cell.row.name}, {WORKERS} tasks of one process", told, reached >= A_SECOND)


async def _pick_up(stage: Stage) -> Promise:
    """Measure from before an execution is enqueued, by another pool, until an idle worker's handler has it."""
    workflow = await workflow_of(stage.database)
    taken: asyncio.Queue[float] = asyncio.Queue()

    async def handler(_claim: Claim) -> None:
        taken.put_nowait(time.perf_counter())

    waits = []
    async with agentdb.connect(stage.place.url) as elsewhere:
        crew = asyncio.create_task(stage.database.execution.executions.run(handler, queue="idle"))
        try:
            for number in range(20 * stage.rounds + 5):
                await asyncio.sleep(0.1)  # idle again
                began = time.perf_counter()
                await elsewhere.execution.executions.enqueue(workflow.id, workflow.user_id, queue="idle")
                wait = await taken.get() - began
                waits += [1_000 * wait] if number >= 5 else []
        finally:
            crew.cancel()
            with suppress(asyncio.CancelledError):
                await crew
    middle, worst = statistics.median(waits), statistics.quantiles(waits, n=20)[-1]
    told = f"p50 {middle:.1f} ms, p95 {worst:.1f} ms, at most {WORST_PICK_UP_MS:g} ms"
    return Promise("an idle worker has what is enqueued, the insert included", told, worst <= WORST_PICK_UP_MS)


async def _growth(stage: Stage) -> Promise:
    """Claim behind few that are finished, and behind many."""
    claims = stage.jobs // 4

    async def side(many: int, stack: AsyncExitStack) -> Side:
        place = await stack.enter_async_context(stage.another(with_schema=True))
        database = await stack.enter_async_context(agentdb.connect(place.url))
        workflow = await workflow_of(database)
        await grow_executions(place, workflow, many)

        async def seconds() -> float:
            row = {"workflow_id": workflow.id, "user_id": workflow.user_id}
            await database.execution.executions.enqueue_many([row] * claims)
            began = time.perf_counter()
            for _ in range(claims):
                assert await database.execution.executions.claim("worker")
            return time.perf_counter() - began

        await seconds()
        return seconds

    async with AsyncExitStack() as stack:
        sides = {"few": await side(FEW, stack), "many": await side(stage.grown, stack)}
        reached = ratio(await alternate(sides, stage.rounds), "many", "few")
    name = f"a claim behind {stage.grown:,} that are finished"
    return Promise(name, f"{reached:.2f} of one behind {FEW:,}, at most {GROWTH}", reached <= GROWTH)
