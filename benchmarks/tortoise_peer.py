"""Tortoise ORM: models of its own over the same tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tortoise import Model, Tortoise, fields
from tortoise.expressions import F
from tortoise.functions import Count, Sum
from tortoise.transactions import in_transaction

from agentdb.types import uuid7
from benchmarks.adapter import DEEP, PAGE, POOL, Place, Totals, totals_of
from benchmarks.bare_sqlite import PRAGMAS

NAME = "Tortoise"


class Conversation(Model):
    id = fields.BigIntField(primary_key=True)
    uuid = fields.UUIDField(default=uuid7)
    key = fields.CharField(255, null=True)
    user_id = fields.BigIntField()
    agent_id = fields.BigIntField(null=True)
    session_id = fields.BigIntField(null=True)
    title = fields.TextField(default="")
    session_context: Any = fields.JSONField(default=dict)
    metadata: Any = fields.JSONField(default=dict)
    summary_message_id = fields.BigIntField(null=True)
    last_position = fields.BigIntField(default=0)
    last_message_at = fields.DatetimeField(null=True)
    deleted_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "conversations"


class Message(Model):
    id = fields.BigIntField(primary_key=True)
    conversation_id = fields.BigIntField()
    position = fields.BigIntField()
    role = fields.TextField()
    content: Any = fields.JSONField()
    metadata: Any = fields.JSONField(default=dict)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "messages"


class RunSession(Model):
    id = fields.BigIntField(primary_key=True)
    user_id = fields.BigIntField()
    last_active = fields.DatetimeField()
    latest_log_id = fields.BigIntField()
    total_lines = fields.BigIntField()
    updated_at = fields.DatetimeField()

    class Meta:
        table = "run_session"


class Entry(Model):
    id = fields.BigIntField(primary_key=True)
    run_session_id = fields.BigIntField()
    role = fields.TextField()
    source = fields.TextField(null=True)
    message = fields.TextField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "context_log"


class Notification(Model):
    user_id = fields.BigIntField(primary_key=True, generated=False)
    latest_log_id = fields.BigIntField()
    last_active = fields.DatetimeField()
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "user_notifications"


class Cost(Model):
    id = fields.BigIntField(primary_key=True)
    user_id = fields.BigIntField(null=True)
    input_tokens = fields.BigIntField()
    output_tokens = fields.BigIntField()
    cache_write_tokens = fields.BigIntField()
    cache_read_tokens = fields.BigIntField()
    cost = fields.BigIntField()

    class Meta:
        table = "costs"


class CostDay(Model):
    id = fields.BigIntField(primary_key=True)
    user_id = fields.BigIntField(null=True)
    calls = fields.BigIntField()
    input_tokens = fields.BigIntField()
    output_tokens = fields.BigIntField()
    cache_write_tokens = fields.BigIntField()
    cache_read_tokens = fields.BigIntField()
    cost = fields.BigIntField()

    class Meta:
        table = "cost_days"


_COUNTED: Final = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens", "cost")


class Models:
    """Models and query sets. The row is locked where a pointer or a position is read and then written."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.locks = place.kind == "postgresql"  # SQLite has one writer at a time anyway

    async def close(self) -> None:
        await Tortoise.close_connections()

    async def get(self, key: int) -> Conversation:
        return await Conversation.get(id=key)

    async def insert(self, row: Mapping[str, Any]) -> Conversation:
        return await Conversation.create(**row)

    async def page(self, *, deep: bool) -> list[Conversation]:
        rows = Conversation.filter(id__gt=DEEP) if deep else Conversation.all()
        return (await rows.order_by("id").limit(PAGE + 1))[:PAGE]

    async def pour(self, rows: list[dict[str, Any]]) -> int:
        await Conversation.bulk_create([Conversation(**row) for row in rows])
        return len(rows)

    async def log(self, session: int, message: str) -> Entry:
        now = datetime.now(UTC)
        async with in_transaction() as connection:
            entry = await Entry.create(
                run_session_id=session, role="llm", source="console", message=message, using_db=connection
            )
            locked = RunSession.select_for_update() if self.locks else RunSession.all()
            run = await locked.using_db(connection).get(id=session)
            run.total_lines += message.count("\n") + 1
            run.latest_log_id = max(run.latest_log_id, entry.id)
            run.last_active = run.updated_at = now
            await run.save(
                using_db=connection, update_fields=["total_lines", "latest_log_id", "last_active", "updated_at"]
            )
            await self._notify(connection, run.user_id, entry.id, now)
        return entry

    async def _notify(self, connection: Any, user: int, latest: int, now: datetime) -> None:
        locked = Notification.select_for_update() if self.locks else Notification.all()
        notice = await locked.using_db(connection).get_or_none(user_id=user)
        if notice is None:
            await Notification.create(user_id=user, latest_log_id=latest, last_active=now, using_db=connection)
            return
        notice.latest_log_id = max(notice.latest_log_id, latest)
        notice.last_active = now
        await notice.save(using_db=connection, update_fields=["latest_log_id", "last_active", "updated_at"])

    async def append(self, conversation: int, content: Any) -> Message:
        now = datetime.now(UTC)
        async with in_transaction() as connection:
            live = Conversation.filter(id=conversation, deleted_at__isnull=True).using_db(connection)
            await live.update(last_position=F("last_position") + 1, last_message_at=now, updated_at=now)
            position = (
                await Conversation.get(id=conversation, using_db=connection).only("last_position")
            ).last_position
            return await Message.create(
                conversation_id=conversation, position=position, role="user", content=content, using_db=connection
            )

    async def total(self, user: int) -> Totals:
        sums = {f"sum_{name}": Sum(name) for name in _COUNTED}
        (ledger,) = await Cost.filter(user_id=user).annotate(sum_calls=Count("id"), **sums).values("sum_calls", *sums)
        (folded,) = (
            await CostDay.filter(user_id=user).annotate(sum_calls=Sum("calls"), **sums).values("sum_calls", *sums)
        )
        return totals_of(
            *((ledger[f"sum_{name}"] or 0) + (folded[f"sum_{name}"] or 0) for name in ("calls", *_COUNTED))
        )


async def open_on(place: Place) -> Models:
    server = dict(place.server)
    connection = (
        {
            "engine": "tortoise.backends.asyncpg",
            "credentials": {
                **{name: server[name] for name in ("host", "port", "user", "password", "database")},
                "minsize": POOL,
                "maxsize": POOL,
            },
        }
        if place.path is None
        else {"engine": "tortoise.backends.sqlite", "credentials": {"file_path": str(place.path), **PRAGMAS}}
    )
    await Tortoise.init(
        config={
            "connections": {"default": connection},
            "apps": {"models": {"models": [__name__], "default_connection": "default"}},
            "use_tz": True,
        }
    )
    return Models(place)
