"""SQLAlchemy's ORM as its documentation shows it: mapped classes, an async session for each operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, BindParameter, bindparam, cast, event, func, insert, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from agentdb.types import uuid7
from benchmarks.adapter import DEEP, PAGE, POOL, Place, Totals, totals_of
from benchmarks.bare_sqlite import PRAGMAS
from benchmarks.sqlalchemy_models import Conversation, Cost, CostDay, Entry, Message, Notification, RunSession, now

NAME = "SQLAlchemy ORM"


def new_conversation(row: Mapping[str, Any], *, text: bool) -> Conversation:
    """Return a conversation to be added; SQLite holds UUIDs as text."""
    return Conversation(**columns_of(row, text=text))


def columns_of(row: Mapping[str, Any], *, text: bool) -> dict[str, Any]:
    """Return what is said of a new conversation, by attribute."""
    key = uuid7()
    return {
        "uuid": str(key) if text else key,
        "user_id": row["user_id"],
        "title": row["title"],
        "session_context": row["session_context"],
        "metadata_": row["metadata"],
    }


_FIRST: Final = select(Conversation).order_by(Conversation.id).limit(PAGE + 1)
_AFTER: Final = (
    select(Conversation).where(Conversation.id > bindparam("after")).order_by(Conversation.id).limit(PAGE + 1)
)


def _sum() -> Any:
    names = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens", "cost")
    user: BindParameter[int] = bindparam("user")
    parts = (
        select(func.count().label("calls"), *(func.sum(getattr(Cost, name)).label(name) for name in names))
        .where(Cost.user_id == user)
        .union_all(
            select(func.sum(CostDay.calls), *(func.sum(getattr(CostDay, name)) for name in names)).where(
                CostDay.user_id == user
            )
        )
        .subquery()
    )
    return select(*(cast(func.coalesce(func.sum(parts.c[name]), 0), BigInteger) for name in ("calls", *names)))


_SUM: Final = _sum()


def engine_on(place: Place) -> AsyncEngine:
    """Return an engine with a pool of POOL connections."""
    if place.path is None:
        engine = create_async_engine(
            "postgresql+asyncpg://", connect_args=dict(place.server), pool_size=POOL, max_overflow=0
        )
    else:
        engine = create_async_engine(f"sqlite+aiosqlite:///{place.path}", pool_size=POOL, max_overflow=0)
        event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for name, value in PRAGMAS.items():
        cursor.execute(f"PRAGMA {name} = {value}")
    cursor.close()


class Sessions:
    """A session for each operation."""

    def __init__(self, place: Place, engine: AsyncEngine) -> None:
        self.place = place
        self.engine = engine
        self.sessions = async_sessionmaker(engine, expire_on_commit=False)
        self.text = place.kind == "sqlite"

    async def close(self) -> None:
        await self.engine.dispose()

    async def get(self, key: int) -> Conversation:
        async with self.sessions() as session:
            return await session.get_one(Conversation, key)

    async def insert(self, row: Mapping[str, Any]) -> Conversation:
        made = new_conversation(row, text=self.text)
        async with self.sessions.begin() as session:
            session.add(made)
        return made

    async def page(self, *, deep: bool) -> list[Conversation]:
        async with self.sessions() as session:
            found = await (session.scalars(_AFTER, {"after": DEEP}) if deep else session.scalars(_FIRST))
            return list(found)[:PAGE]

    async def pour(self, rows: list[dict[str, Any]]) -> int:
        async with self.sessions.begin() as session:
            await session.execute(insert(Conversation), [columns_of(row, text=self.text) for row in rows])
        return len(rows)

    async def log(self, session: int, message: str) -> Entry:
        entry = Entry(run_session_id=session, role="llm", source="console", message=message)
        async with self.sessions.begin() as opened:
            opened.add(entry)
            await opened.flush()
            await count_and_notify(opened, entry, text=self.text)
        return entry

    async def append(self, conversation: int, content: Any) -> Message:
        async with self.sessions.begin() as session:
            message = Message(
                conversation_id=conversation, position=await next_position(session, conversation), role="user"
            )
            message.content = content
            session.add(message)
        return message

    async def total(self, user: int) -> Totals:
        async with self.sessions() as session:
            row = (await session.execute(_SUM, {"user": user})).one()
        return totals_of(*row)


async def next_position(session: AsyncSession, conversation: int) -> int:
    """Take the next position of a conversation."""
    moment = now()
    moved = (
        update(Conversation)
        .where(Conversation.id == conversation, Conversation.deleted_at.is_(None))
        .values(last_position=Conversation.last_position + 1, last_message_at=moment, updated_at=moment)
        .returning(Conversation.last_position)
        .execution_options(synchronize_session=False)
    )
    return (await session.scalars(moved)).one()


async def count_and_notify(session: AsyncSession, entry: Entry, *, text: bool) -> None:
    """Count an entry's lines, and move its session's and its user's pointers."""
    moment = now()
    greatest = func.max if text else func.greatest
    counted = (
        update(RunSession)
        .where(RunSession.id == entry.run_session_id)
        .values(
            total_lines=RunSession.total_lines + entry.message.count("\n") + 1,
            latest_log_id=greatest(RunSession.latest_log_id, entry.id),
            last_active=moment,
            updated_at=moment,
        )
        .returning(RunSession.user_id)
        .execution_options(synchronize_session=False)
    )
    user = (await session.scalars(counted)).one()
    # Both databases speak ON CONFLICT alike, and SQLAlchemy has one construct for each.
    notice: Any = sqlite.insert(Notification) if text else postgresql.insert(Notification)
    notice = notice.values(
        user_id=user, latest_log_id=entry.id, last_active=moment, created_at=moment, updated_at=moment
    )
    await session.execute(
        notice.on_conflict_do_update(
            index_elements=["user_id"],
            set_={
                "latest_log_id": greatest(Notification.latest_log_id, notice.excluded.latest_log_id),
                "last_active": notice.excluded.last_active,
                "updated_at": notice.excluded.updated_at,
                "tx": literal_column("0" if text else "pg_current_xact_id()::text::bigint"),
            },
        )
    )


async def open_on(place: Place) -> Sessions:
    return Sessions(place, engine_on(place))
