"""agentdb, as an application uses it: a `Database` and its repositories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import agentdb
from agentdb import Database
from agentdb.conversation.models import Conversation, Message
from agentdb.hub.models.machines import ContextLog
from benchmarks.adapter import DEEP, PAGE, POOL, Place, Totals

NAME = "agentdb"


class Ours:
    """Repository calls, each a transaction of its own."""

    def __init__(self, place: Place, database: Database, deep: str) -> None:
        self.place = place
        self.database = database
        self.deep = deep

    async def close(self) -> None:
        await self.database.close()

    async def get(self, key: int) -> Conversation:
        return await self.database.conversation.conversations.get(key)

    async def insert(self, row: Mapping[str, Any]) -> Conversation:
        return await self.database.conversation.conversations.add(**row)

    async def page(self, *, deep: bool) -> list[Conversation]:
        after = self.deep if deep else None
        return (await self.database.conversation.conversations.page(limit=PAGE, after=after)).items

    async def pour(self, rows: list[dict[str, Any]]) -> int:
        return await self.database.conversation.conversations.add_many(rows)

    async def log(self, session: int, message: str) -> ContextLog:
        entry = {"role": "llm", "source": "console", "message": message}
        return (await self.database.hub.logs.append(session, [entry]))[0]

    async def append(self, conversation: int, content: Any) -> Message:
        return await self.database.conversation.messages.append(conversation, "user", content)

    async def total(self, user: int) -> Totals:
        spent = await self.database.hub.costs.total(user_id=user)
        return Totals(
            spent.calls,
            spent.input_tokens,
            spent.output_tokens,
            spent.cache_write_tokens,
            spent.cache_read_tokens,
            spent.cost,
        )


async def open_on(place: Place) -> Ours:
    database = await agentdb.connect(place.url, pool_size=POOL)
    after: str | None = None
    for _ in range(DEEP // 1_000):
        after = (await database.conversation.conversations.page(limit=1_000, after=after)).next
    return Ours(place, database, after or "")
