"""A peer's process: ``python -m benchmarks.peers.child MODULE ADDRESS``; it answers a line of JSON with a line of JSON.

It imports nothing of agentdb, which may not be installed where it runs.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import traceback
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Address:
    """An empty database of the peer's own.

    Attributes:
        server: host, port, user, password and database; empty on SQLite.
        path: the file; None on PostgreSQL.
    """

    server: dict[str, Any]
    path: str | None

    @property
    def url(self) -> str:
        """As SQLAlchemy reads it, for its asynchronous drivers."""
        if self.path is not None:
            return f"sqlite+aiosqlite:///{self.path}"
        return f"postgresql+asyncpg://{self._where}"

    @property
    def dsn(self) -> str:
        """As PostgreSQL's own drivers read it."""
        return f"postgresql://{self._where}"

    @property
    def _where(self) -> str:
        who, secret = self.server["user"], self.server.get("password")
        login = f"{who}:{secret}" if secret else who
        return f"{login}@{self.server['host']}:{self.server['port']}/{self.server['database']}"


class Peer(Protocol):
    """A peer at work. What it is asked for is a method's name and its arguments."""

    async def close(self) -> None: ...


async def serve(module: str, address: Address) -> None:
    """Answer until the input ends."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    peer: Peer = await importlib.import_module(f"benchmarks.peers.{module}").open_on(address)
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, arguments = json.loads(line)
            try:
                answer = {"answer": await getattr(peer, name)(*arguments)}
            except Exception:  # noqa: BLE001 (whatever it is, the other side tells it)
                answer = {"error": traceback.format_exc()}
            answers.write(json.dumps(answer) + "\n")
    finally:
        await peer.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Address(**json.loads(sys.argv[2]))))
