"""The ways to drain a queue: by hand, one execution after another, in batches, and by a worker's handlers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from agentdb import Database
from agentdb.execution.executions import Executions
from agentdb.execution.models import Workflow
from agentdb.execution.records import Claim
from agentdb.testing.factories import make_user
from benchmarks.promises.bare_queue import BareQueue
from benchmarks.promises.measuring import Side

_LINE: Final[dict[str, Any]] = {
    "nodes": [{"id": "begin", "type": "START"}, {"id": "end", "type": "END"}],
    "edges": [{"source": "begin", "target": "end"}],
}
_OUTPUT: Final = {"answer": "bring an umbrella", "tokens": 12}

Drain = Callable[[str, int], Awaitable[int]]
"""Does what is in a queue, as the worker of this number, and returns how many it did."""


async def workflow_of(database: Database) -> Workflow:
    """Make a workflow that may be executed, of a new user."""
    user = await make_user(database)
    return await database.execution.workflows.create(user.id, "w", _LINE, activate=True)


class Drains:
    """The queues of one workflow.

    Args:
        executions: ours.
        workflow: what is to be executed.
        bare: the same by hand, one for each worker.
        jobs: how many executions are put into a queue each time.
        batch: how many are claimed, or held, at once.
    """

    def __init__(
        self, executions: Executions, workflow: Workflow, bare: Sequence[BareQueue], jobs: int, batch: int
    ) -> None:
        self._executions = executions
        self._workflow = workflow
        self._bare = bare
        self._jobs = jobs
        self._batch = batch

    def side(self, drain: Drain, workers: int) -> Side:
        """Return a side that fills its queue, and measures how many executions a second are done."""
        queue = drain.__name__
        row = {
            "workflow_id": self._workflow.id,
            "user_id": self._workflow.user_id,
            "queue": queue,
            "input": {"number": 1},
        }

        async def measured() -> float:
            await self._executions.enqueue_many([row] * self._jobs)
            began = time.perf_counter()
            done = await asyncio.gather(*(drain(queue, worker) for worker in range(workers)))
            passed = time.perf_counter() - began
            assert sum(done) == self._jobs, f"{sum(done)} of {self._jobs} were done"
            return self._jobs / passed

        return measured

    async def by_hand(self, queue: str, worker: int) -> int:
        done, bare = 0, self._bare[worker]
        while claimed := await bare.claim(queue):
            await bare.complete(claimed, _OUTPUT)
            done += 1
        return done

    async def singly(self, queue: str, worker: int) -> int:
        done = 0
        while claims := await self._executions.claim(f"worker {worker}", queue=queue):
            await self._executions.complete(claims[0], _OUTPUT)
            done += 1
        return done

    async def batched(self, queue: str, worker: int) -> int:
        done = 0
        finished: list[tuple[Claim, Any]] = []
        while True:
            name = f"worker {worker}"
            turn = await self._executions.complete_and_claim(finished, name, queue=queue, n=self._batch)
            assert not turn.lost
            done += len(finished)
            if not turn.claims:
                return done
            finished = [(claim, _OUTPUT) for claim in turn.claims]

    async def handled(self, queue: str, _worker: int) -> int:
        begun, over = 0, asyncio.Event()

        async def handler(_claim: Claim) -> Any:
            nonlocal begun
            begun += 1
            if begun == self._jobs:
                over.set()
            return _OUTPUT

        crew = asyncio.create_task(self._executions.run(handler, queue=queue, concurrency=self._batch))
        await over.wait()
        crew.cancel()  # which completes what was begun
        with suppress(asyncio.CancelledError):
            await crew
        return begun
