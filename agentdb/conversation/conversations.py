"""Conversations: made, found, listed, deleted and brought back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table

from agentdb.conversation.changing import (
    BY_KEY,
    DELETE,
    DELETE_WITH_AGENT,
    PURGE,
    PURGE_BATCH,
    RENAME,
    RESTORE,
    SET_SUMMARY,
    check_own,
    got_or_created,
    listing_plan,
    upsert_plan,
    without_summary,
)
from agentdb.conversation.living import LIVE, missing
from agentdb.conversation.models import Conversation
from agentdb.engine.asked import members, several, whole_number
from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.errors import BadInput, Conflict, MissingReference, NotFound
from agentdb.living import Living
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of

_conversations: Final[Table] = Conversation.__table__  # type: ignore[assignment]
_METADATA: Final = "conversations.metadata"


class Conversations(Living[Conversation]):
    """A user's exchanges with agents.

    A deleted conversation is kept and can be restored, until it is purged: only `deleted`, and lists whose criteria
    speak of ``deleted_at``, show it. Wherever ``user_id`` is given to find one, somebody else's is NotFound.
    """

    model = Conversation
    shown = LIVE
    owned = _conversations.c.user_id == of(_conversations.c.user_id)

    async def create(
        self,
        *,
        user_id: int,
        agent_id: int | None = None,
        title: str = "",
        key: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Conversation:
        """Create a conversation.

        Args:
            user_id: whose it is.
            agent_id: with which agent.
            title: what it is called.
            key: an id of the caller's own, unique in the installation.
            metadata: whatever else is known of it.

        Raises: Conflict when the key is taken; MissingReference for an unknown user or agent.
        """
        return await self.add(
            user_id=user_id, agent_id=agent_id, title=title, key=key, metadata=members(metadata, _METADATA)
        )

    async def get_or_create(
        self, key: str, *, user_id: int, agent_id: int | None = None, title: str = "", metadata: Any = None
    ) -> tuple[Conversation, bool]:
        """Return the conversation with this key, and whether this call created it: of many at once, exactly one does.

        A deleted conversation keeps its key: what somebody deleted neither comes back by itself nor is begun anew.

        Raises: Conflict when the conversation with this key is deleted, or another user's; MissingReference for an
            unknown user or agent; BadInput for a key that is none.
        Cost: one read when it is there; one transaction more when it is new.
        """
        described = members(metadata, _METADATA)
        if not key:  # without one, every call would begin a conversation, or all callers share one
            raise BadInput("a conversation is found again by a key, which is a text of 1 to 255 characters")
        present, created = await self.by_key(key), False
        if present is None:
            values = {"key": key, "user_id": user_id, "agent_id": agent_id, "title": title, "metadata": described}
            present, created = await self.connection.run(lambda: got_or_created(values))
        if present is None or present.deleted_at is not None or present.user_id != user_id:
            raise Conflict(
                f"the conversation with key {key!r} is deleted or another user's; choose another key, or restore it",
                constraint="uq_conversations__key",
            )
        return present, created

    async def by_key(self, key: str, *, user_id: int | None = None) -> Conversation | None:
        """Return the live conversation with this key, or None.

        Cost: one read by uq_conversations__key.
        """
        return await self.connection.fetch_one(BY_KEY, {"key": key, "user_id": user_id})

    async def add(self, **values: Any) -> Conversation:
        """Add a conversation, as every repository; no message of it can be its summary yet."""
        return await super().add(**without_summary(values))

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add conversations in bulk, likewise."""
        return await super().add_many(map(without_summary, several(rows, "rows")))

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> Conversation:
        """Change columns of a live conversation, and return it.

        Raises: NotFound; BadInput, also for what other calls keep; Conflict; MissingReference.
        Cost: one statement.
        """
        check_own(changes, "update()")
        return await super().update(*key, expected_version=expected_version, **changes)

    async def upsert(self, *, on: Sequence[str], **values: Any) -> Conversation:
        """Add a conversation, or change the one that has the same values in the columns ``on``; return it either way.

        Raises: as every repository's; BadInput also for what other calls keep; Conflict when that one is deleted, or
            another user's.
        Cost: one statement.
        """
        check_own(values, "upsert()")
        self.check_changes(values, on)
        row = await self.connection.fetch_one(upsert_plan(tuple(on), frozenset(values)), values)
        if row is None:
            raise Conflict(f"a conversation has this {', '.join(on)}, and is deleted or another user's; choose another")
        return row

    async def rename(self, conversation_id: int, title: str, *, user_id: int | None = None) -> Conversation:
        """Give a conversation another title, and return it.

        Raises: NotFound.
        Cost: one statement.
        """
        values = {"conversation_id": conversation_id, "user_id": user_id, "title": title}
        renamed = await self.connection.fetch_one(RENAME, values)
        if renamed is None:
            raise missing(conversation_id)
        return renamed

    async def set_summary(
        self, conversation_id: int, message_id: int | None, *, user_id: int | None = None
    ) -> Conversation:
        """Let a message stand for all before it, and return the conversation; `messages.context` begins with it.

        Args:
            conversation_id: of which it is the summary.
            message_id: a message of the conversation; None: nothing stands for it any more.
            user_id: whose the conversation is.

        Raises: NotFound; MissingReference when the message is not of this conversation.
        Cost: one statement.
        """
        values = {"conversation_id": conversation_id, "user_id": user_id, "message_id": message_id}
        changed = await self.connection.fetch_one(SET_SUMMARY[message_id is None], values)
        if changed is not None:
            return changed
        await self.get(conversation_id, user_id=user_id)
        raise MissingReference(
            f"message {message_id} is not in conversation {conversation_id}; a summary is of the same conversation",
            constraint="fk_conversations__summary_message_id",
        )

    def _seen(self, plan: Plan[Any]) -> Plan[Any]:
        # Whether deleted ones are is for the criteria to say; `exists` knows of them all, as their keys are taken.
        return plan

    async def count(self, **criteria: Any) -> int:
        """Return how many live conversations meet the criteria; deleted ones where these speak of ``deleted_at``."""
        return await super().count(**_shown(criteria))

    async def page(
        self,
        *,
        by: str | None = None,
        newest_first: bool = False,
        limit: int = 50,
        after: str | None = None,
        **criteria: Any,
    ) -> Page[Conversation]:
        """Return a page of live conversations; of deleted ones where the criteria speak of ``deleted_at``."""
        return await super().page(by=by, newest_first=newest_first, limit=limit, after=after, **_shown(criteria))

    async def stream(self, **criteria: Any) -> AsyncIterator[Conversation]:
        """Yield all live conversations; deleted ones where the criteria speak of ``deleted_at``."""
        async for conversation in super().stream(**_shown(criteria)):
            yield conversation

    async def newest(self, *, user_id: int, limit: int = 50, after: str | None = None) -> Page[Conversation]:
        """Return a user's live conversations, newest first.

        Cost: one read by ix_conversations__user_id_created_at_id.
        """
        return await self._listed("created_at", user_id, limit, after)

    async def recent(self, *, user_id: int, limit: int = 50, after: str | None = None) -> Page[Conversation]:
        """Return a user's live conversations in which something was said, the one last spoken in first.

        One that moves to the front while a caller turns pages is met again, or not at all.

        Cost: one read by ix_conversations__user_id_last_message_at_id.
        """
        return await self._listed("last_message_at", user_id, limit, after)

    async def deleted(self, *, user_id: int, limit: int = 50, after: str | None = None) -> Page[Conversation]:
        """Return a user's deleted conversations that are not purged, last deleted first.

        Cost: one read by ix_conversations__user_id_deleted_at_id.
        """
        return await self._listed("deleted_at", user_id, limit, after)

    async def delete(self, conversation_id: int, *, user_id: int | None = None) -> Conversation:
        """Delete a conversation, so that it is not shown and takes no message, and return it; `restore` undoes it.

        Raises: NotFound, also when it is deleted already.
        Cost: one statement.
        """
        deleted = await self.connection.fetch_one(
            DELETE, {"conversation_id": conversation_id, "user_id": user_id, "now": self.connection.now()}
        )
        if deleted is None:
            raise missing(conversation_id)
        return deleted

    async def delete_with_agent(self, agent_id: int, *, user_id: int) -> int:
        """Delete all conversations of a user with an agent, and return how many.

        Cost: one statement.
        """
        values = {"agent_id": agent_id, "user_id": user_id, "now": self.connection.now()}
        return await self.connection.execute(DELETE_WITH_AGENT, values)

    async def restore(self, conversation_id: int, *, user_id: int | None = None) -> Conversation:
        """Bring a deleted conversation back with all its messages, and return it.

        Raises: NotFound when there is no deleted one.
        Cost: one statement.
        """
        restored = await self.connection.fetch_one(RESTORE, {"conversation_id": conversation_id, "user_id": user_id})
        if restored is None:
            raise _not_deleted(conversation_id)
        return restored

    async def purge(self, conversation_id: int, *, user_id: int | None = None) -> None:
        """Remove a deleted conversation for good, with its messages and resources.

        Raises: NotFound when there is no deleted one.
        Cost: one statement, which removes what belongs to it.
        """
        if not await self.connection.execute(PURGE, {"conversation_id": conversation_id, "user_id": user_id}):
            raise _not_deleted(conversation_id)

    async def purge_deleted(self, *, before: datetime, most: int | None = None, batch: int = 100) -> int:
        """Remove for good all conversations that were deleted before a moment, and return how many.

        Args:
            before: when they were deleted at the latest.
            most: how many at most; None: all.
            batch: how many are removed at once: others write between two batches.

        Cost: a statement for each batch, by ix_conversations__deleted_at_id.
        """
        batch, purged = capped(batch, self.most), 0
        if most is not None:
            whole_number(most, "most")
        while most is None or purged < most:
            limit = batch if most is None else min(batch, most - purged)
            removed = await self.connection.execute(PURGE_BATCH, {"before": before, "limit": limit})
            purged += removed
            if not removed:
                break
        return purged

    async def _listed(self, by: str, user_id: int, limit: int, after: str | None) -> Page[Conversation]:
        limit, listing = capped(limit, self.most), f"conversations:{by}:{user_id}"
        values: dict[str, Any] = {"user_id": user_id, "limit": limit + 1}
        if after is not None:
            places = values_of(listing, after, [_conversations.c[by], _conversations.c.id])
            values |= {f"after_{place}": value for place, value in enumerate(places)}
        rows = await self.connection.fetch_all(listing_plan(by, after is not None), values)
        return page_of(rows, limit, listing, [by, "id"])


def _shown(criteria: dict[str, Any]) -> dict[str, Any]:
    """Return criteria that deleted conversations do not meet, unless they speak of them."""
    speaks = any(name.partition("__")[0] == "deleted_at" for name in criteria)
    return criteria if speaks else {**criteria, "deleted_at": None}


def _not_deleted(conversation_id: int) -> NotFound:
    return NotFound(f"there is no deleted conversation {conversation_id}")
