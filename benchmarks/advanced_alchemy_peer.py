"""advanced-alchemy's repositories over SQLAlchemy's ORM, a session and a repository for each operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advanced_alchemy.filters import LimitOffset
from advanced_alchemy.repository import SQLAlchemyAsyncRepository

from benchmarks.adapter import DEEP, PAGE, Place
from benchmarks.sqlalchemy_models import Conversation, Entry, Message
from benchmarks.sqlalchemy_orm import Sessions, count_and_notify, engine_on, new_conversation, next_position

NAME = "advanced-alchemy"


class Conversations(SQLAlchemyAsyncRepository[Any]):
    model_type = Conversation


class Messages(SQLAlchemyAsyncRepository[Any]):
    model_type = Message


class Entries(SQLAlchemyAsyncRepository[Any]):
    model_type = Entry


class Repositories(Sessions):
    """Repositories where they have something to offer; the counters and the sum are statements, as their authors say.

    ``auto_refresh`` is off: by default every insert reads its row again.
    """

    async def get(self, key: int) -> Conversation:
        async with self.sessions() as session:
            found: Conversation = await Conversations(session=session).get(key)
            return found

    async def insert(self, row: Mapping[str, Any]) -> Conversation:
        async with self.sessions() as session:
            repository = Conversations(session=session, auto_refresh=False, auto_commit=True)
            made: Conversation = await repository.add(new_conversation(row, text=self.text))
            return made

    async def page(self, *, deep: bool) -> list[Conversation]:
        beyond = [Conversation.id > DEEP] if deep else []
        async with self.sessions() as session:
            repository = Conversations(session=session)
            return (await repository.list(*beyond, LimitOffset(PAGE + 1, 0), order_by=[("id", False)]))[:PAGE]

    async def pour(self, rows: list[dict[str, Any]]) -> int:
        async with self.sessions() as session:
            repository = Conversations(session=session, auto_refresh=False, auto_commit=True)
            return len(await repository.add_many([new_conversation(row, text=self.text) for row in rows]))

    async def log(self, session: int, message: str) -> Entry:
        async with self.sessions.begin() as opened:
            entry: Entry = await Entries(session=opened, auto_refresh=False).add(
                Entry(run_session_id=session, role="llm", source="console", message=message)
            )
            await count_and_notify(opened, entry, text=self.text)
        return entry

    async def append(self, conversation: int, content: Any) -> Message:
        async with self.sessions.begin() as session:
            position = await next_position(session, conversation)
            message: Message = await Messages(session=session, auto_refresh=False).add(
                Message(conversation_id=conversation, position=position, role="user", content=content)
            )
        return message


async def open_on(place: Place) -> Repositories:
    return Repositories(place, engine_on(place))
