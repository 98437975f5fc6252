"""What makes and drops the databases of a run of tests: one connection, whichever loop asks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from threading import Thread
from typing import Any

import asyncpg


class Maintenance:
    """One connection, on an event loop and a thread of its own, for callers of any loop.

    A connection belongs to one loop, and each test has its own: one made for every statement would add a third to what
    making and dropping a test's database take of the processor.

    Args: arguments: of the connection.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._connection: Any = None
        self._turn = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="agentdb-test-databases", daemon=True)
        self._thread.start()

    async def execute(self, statement: str) -> None:
        """Run a statement that may be in no transaction; a caller that is cancelled ends it."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._execute(statement), self._loop))

    def end(self, *statements: str) -> None:
        """Run the last statements, and end the connection, the loop and the thread."""
        try:
            asyncio.run_coroutine_threadsafe(self._last(statements), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _execute(self, statement: str) -> None:
        async with self._turn:
            if self._connection is None or self._connection.is_closed():  # a test may have ended every connection
                self._connection = await asyncpg.connect(**self._arguments)
            try:
                await self._connection.execute(statement)
            except (OSError, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.InterfaceError):
                if not self._connection.is_closed():
                    raise
                self._connection = await asyncpg.connect(**self._arguments)  # it had ended, and nobody had told
                await self._connection.execute(statement)

    async def _last(self, statements: tuple[str, ...]) -> None:
        try:
            for statement in statements:
                await self._execute(statement)
        finally:
            if self._connection is not None:
                self._connection.terminate()  # whatever is left of it, and of the server
