"""openai-agents: the items of a SQLAlchemySession."""

from __future__ import annotations

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.peers.child import Address
from benchmarks.peers.turns import LATEST, SAID, engine_on, turns


class OpenAIAgents:
    """A session over an engine of the application's, as its documentation advises."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._session = SQLAlchemySession("conversation", engine=engine, create_tables=True)

    async def close(self) -> None:
        await self._engine.dispose()

    async def fill(self, messages: int) -> None:
        await self._session.add_items([{"role": "user", "content": SAID} for _ in range(messages)])

    async def turn(self) -> int:
        await self._session.add_items([{"role": "user", "content": SAID}])
        return len(await self._session.get_items(LATEST))

    async def turns(self, seconds: float) -> float:
        return await turns(self, seconds)


async def open_on(address: Address) -> OpenAIAgents:
    return OpenAIAgents(engine_on(address))
