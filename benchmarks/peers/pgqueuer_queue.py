"""pgqueuer: queue managers that take jobs in batches, and write what became of a batch together."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
from pgqueuer import AsyncpgDriver, QueueManager
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from benchmarks.peers.child import Address


class PgQueuer:
    """Some managers, each with a connection, that work until the queue is empty."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def close(self) -> None:
        """Nothing is held between two calls."""

    async def drain(self, jobs: int, managers: int, batch: int) -> float:
        """Put jobs into the queue, and return how many a second are done."""
        connections = [await asyncpg.connect(self._address.dsn) for _ in range(managers)]
        try:
            queries = Queries(AsyncpgDriver(connections[0]))
            await queries.enqueue(["work"] * jobs, [b"{}"] * jobs, [0] * jobs)
            began = time.perf_counter()
            await asyncio.gather(*(_manager(one).run(batch_size=batch, mode=_DRAIN) for one in connections))
            passed = time.perf_counter() - began
            assert not await queries.queue_size(), "jobs are left"
        finally:
            for one in connections:
                await one.close()
        return jobs / passed


_DRAIN = QueueExecutionMode.drain


def _manager(connection: Any) -> QueueManager:
    manager = QueueManager(Queries(AsyncpgDriver(connection)))

    @manager.entrypoint("work")
    async def work(_job: Job) -> None:
        """Do nothing."""

    return manager


async def open_on(address: Address) -> PgQueuer:
    connection = await asyncpg.connect(address.dsn)
    try:
        await Queries(AsyncpgDriver(connection)).install()
    finally:
        await connection.close()
    return PgQueuer(address)
