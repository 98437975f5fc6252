"""procrastinate: one worker of four jobs at once."""

from __future__ import annotations

import time
from typing import Final

import procrastinate
from procrastinate.types import JSONValue

from benchmarks.peers.child import Address

_WORKERS: Final = 4


class Procrastinate:
    """An application with a task that does nothing; finished jobs are kept, as they are by default."""

    def __init__(self, app: procrastinate.App) -> None:
        self._app = app

        @app.task(name="work")
        async def work(number: int) -> int:
            return number

        self._work = work

    async def close(self) -> None:
        await self._app.close_async()

    async def drain(self, jobs: int) -> float:
        """Put jobs into the queue, and return how many a second are done."""
        given: list[dict[str, JSONValue]] = [{"number": number} for number in range(jobs)]
        await self._work.batch_defer_async(*given)
        began = time.perf_counter()
        await self._app.run_worker_async(wait=False, concurrency=_WORKERS, install_signal_handlers=False)
        passed = time.perf_counter() - began
        left = list(await self._app.job_manager.list_jobs_async(status="todo"))
        assert not left, f"{len(left)} jobs are left"
        return jobs / passed


async def open_on(address: Address) -> Procrastinate:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address.dsn, min_size=4, max_size=8))
    await app.open_async()
    await app.schema_manager.apply_schema_async()
    return Procrastinate(app)
