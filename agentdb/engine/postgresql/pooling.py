"""The connections of one PostgreSQL database: many for everybody, one for what may not wait, some of a replica."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from agentdb.config import Settings
from agentdb.engine.observing import Observing
from agentdb.engine.pool import Pool
from agentdb.engine.postgresql.connection import clean, connect, discard, usable

Driver = Any  # asyncpg.Connection: the package carries no types


class Pools:
    """Every connection that statements run on.

    Args: arguments: of each connection; replica: likewise, where there is one.
    """

    def __init__(
        self, arguments: Mapping[str, Any], replica: Mapping[str, Any] | None, settings: Settings, observing: Observing
    ) -> None:
        def pool(arguments: Mapping[str, Any], name: str, size: int) -> Pool[Driver]:
            return Pool(
                connect=partial(connect, arguments),
                usable=usable,
                clean=clean,
                discard=discard,
                size=size,
                timeout_seconds=settings.pool_timeout_seconds,
                observing=observing,
                name=name,
            )

        self.common = pool(arguments, "connections", settings.pool_size)
        self.apart = pool(arguments, "connections apart", 1)
        self.replica = None if replica is None else pool(replica, "replica", settings.pool_size)

    async def close(self) -> None:
        """Let what is in flight finish, and close every connection."""
        await self.common.close()
        await self.apart.close()
        if self.replica is not None:
            await self.replica.close()

    async def drain(self) -> None:
        """Close the idle connections; new ones are made as they are needed."""
        await self.common.drain()
        await self.apart.drain()
