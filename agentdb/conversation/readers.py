"""Reading messages: pages by position, the context of the next turn, the tree, and sums."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import exists, select

from agentdb.conversation.living import LIVE, OWN, missing
from agentdb.conversation.models import Conversation, Message
from agentdb.conversation.pairs import REACH, loose_ends, widened
from agentdb.conversation.reading import (
    AFTER,
    BEFORE,
    BRANCHES,
    CHILDREN,
    CONTEXT,
    LATEST,
    PATH,
    ROLES,
    SUMMARY,
    THERE,
    TOKENS,
)
from agentdb.conversation.records import Branch, RoleCount, TokenCount
from agentdb.engine.asked import whole_number
from agentdb.engine.plan import Plan
from agentdb.errors import NotFound
from agentdb.living import Living
from agentdb.repository import capped

_CONVERSATION: Final = select(Conversation.id).where(Conversation.id == Message.conversation_id)


def missing_message(message_id: int) -> NotFound:
    """Return the error of a message that is not shown."""
    return NotFound(f"there is no message {message_id}, or its conversation is deleted")


class MessageReader(Living[Message]):
    """What was said, as it is read."""

    model = Message
    shown = exists(_CONVERSATION.where(LIVE).correlate(Message.__table__))
    owned = exists(_CONVERSATION.where(OWN).correlate(Message.__table__))

    async def latest(
        self, conversation_id: int, *, limit: int = 50, keep_pairs: bool = False, user_id: int | None = None
    ) -> list[Message]:
        """Return the last messages of a conversation, oldest first.

        Args:
            conversation_id: whose.
            limit: how many; more than the cap is the cap.
            keep_pairs: extend the page where it would cut an assistant's call of a tool from its results, by at most
                `REACH` messages. They are known by the id of the call: a block ``tool_use`` or ``metadata.tool_calls``
                on the one side, a block ``tool_result`` or ``tool_call_id`` on the other.
            user_id: whose the conversation is.

        Raises: NotFound.
        Cost: one read by uq_messages__conversation_id_position, whatever the conversation's length; one or two more
            where the page is extended.
        """
        return await self._page(LATEST, conversation_id, user_id, limit, keep_pairs=keep_pairs)

    async def before(
        self,
        conversation_id: int,
        position: int,
        *,
        limit: int = 50,
        keep_pairs: bool = False,
        user_id: int | None = None,
    ) -> list[Message]:
        """Return the messages right before a position, oldest first; otherwise as `latest`."""
        place = whole_number(position, "a position")
        return await self._page(BEFORE, conversation_id, user_id, limit, keep_pairs=keep_pairs, place=place)

    async def after(
        self,
        conversation_id: int,
        position: int,
        *,
        limit: int = 50,
        keep_pairs: bool = False,
        user_id: int | None = None,
    ) -> list[Message]:
        """Return the messages right behind a position, oldest first; 0: from the first. Otherwise as `latest`."""
        place = whole_number(position, "a position")
        return await self._page(AFTER, conversation_id, user_id, limit, keep_pairs=keep_pairs, place=place)

    async def context(
        self, conversation_id: int, *, limit: int = 50, keep_pairs: bool = False, user_id: int | None = None
    ) -> list[Message]:
        """Return what the next turn is given: the summary, when there is one, and the latest of what follows it.

        Args:
            conversation_id: whose.
            limit: how many, the summary included; more than the cap is the cap.
            keep_pairs: as for `latest`; never extended to before the summary.
            user_id: whose the conversation is.

        Raises: NotFound.
        Cost: one read, whatever the conversation's length.
        """
        limit, whose = capped(limit, self.most), {"conversation_id": conversation_id, "user_id": user_id}
        messages = await self.connection.fetch_all(CONTEXT, {**whose, "limit": limit})
        messages.reverse()
        if not messages:
            await self._check_there(conversation_id, user_id)
        if len(messages) > limit:  # the limit was of what follows the summary: the first of it makes room
            del messages[1]
        if not keep_pairs or not any(loose_ends(messages)):
            return messages
        begins = await self.connection.fetch_one(SUMMARY, whose) == messages[0].id
        summary, rest = (messages[:1], messages[1:]) if begins else ([], messages)
        return [*summary, *await self._widened(rest, whose, floor=messages[0].position if begins else 0)]

    async def children(
        self, message_id: int, *, limit: int = 50, after: int = 0, user_id: int | None = None
    ) -> list[Message]:
        """Return the messages whose parent is this one, oldest first.

        Args:
            message_id: the parent.
            limit: how many.
            after: only those behind this position.
            user_id: whose the conversation is.

        Raises: NotFound.
        Cost: one read by ix_messages__parent_id_position; two when there is none.
        """
        asked = {"message_id": message_id, "place": after, "limit": capped(limit, self.most), "user_id": user_id}
        children = await self.connection.fetch_all(CHILDREN, asked)
        if not children:
            await self.get(message_id, user_id=user_id)
        return children

    async def path(self, message_id: int, *, limit: int = 1_000, user_id: int | None = None) -> list[Message]:
        """Return a message and all it answers, the root first: what was said on the way to it.

        Args:
            message_id: the end of the way.
            limit: how many messages, counted from its end.
            user_id: whose the conversation is.

        Raises: NotFound.
        Cost: one recursive read: a step by the primary key for each message of the way.
        """
        asked = {"message_id": message_id, "limit": capped(limit, self.most), "user_id": user_id}
        path = await self.connection.fetch_all(PATH, asked)
        if not path:
            raise missing_message(message_id)
        return path

    async def branches(self, conversation_id: int, *, limit: int = 50, user_id: int | None = None) -> list[Branch]:
        """Return the ways through a conversation's tree, the one last spoken on first.

        A message without parent begins a way, and one without children ends it; `path` gives what was said on it.

        Raises: NotFound.
        Cost: one recursive read: as many steps as the ways have messages.
        """
        asked = {"conversation_id": conversation_id, "limit": capped(limit, self.most), "user_id": user_id}
        branches = await self.connection.fetch_all(BRANCHES, asked)
        if not branches:
            await self._check_there(conversation_id, user_id)
        return branches

    async def tokens(self, conversation_id: int, *, since: int = 0, user_id: int | None = None) -> TokenCount:
        """Return how many tokens the messages of a conversation have: all, or those behind a position.

        Raises: NotFound.
        Cost: one statement that reads those messages.
        """
        asked = {"conversation_id": conversation_id, "place": whole_number(since, "a position"), "user_id": user_id}
        counted = await self.connection.fetch_one(TOKENS, asked)
        if counted is None:
            raise missing(conversation_id)
        return counted

    async def roles(self, conversation_id: int, *, user_id: int | None = None) -> list[RoleCount]:
        """Return how much each role said in a conversation, by role; a silent one is not told.

        Raises: NotFound.
        Cost: one statement that reads all its messages.
        """
        counted = await self.connection.fetch_all(ROLES, {"conversation_id": conversation_id, "user_id": user_id})
        if not counted:
            await self._check_there(conversation_id, user_id)
        return counted

    async def _page(
        self, plan: Plan[Message], conversation_id: int, user_id: int | None, limit: int, *, keep_pairs: bool, **at: int
    ) -> list[Message]:
        whose = {"conversation_id": conversation_id, "user_id": user_id}
        messages = await self.connection.fetch_all(plan, {**whose, **at, "limit": capped(limit, self.most)})
        if not messages:
            await self._check_there(conversation_id, user_id)
        if plan is not AFTER:
            messages.reverse()
        return await self._widened(messages, whose) if keep_pairs else messages

    async def _widened(self, page: list[Message], whose: dict[str, Any], floor: int = 0) -> list[Message]:
        """Return a page that cuts no call of a tool from its results; nothing up to the floor is added."""
        if not any(loose_ends(page)):
            return page
        first, last = ({**whose, "limit": REACH, "place": page[place].position} for place in (0, -1))
        earlier = [message for message in await self.connection.fetch_all(BEFORE, first) if message.position > floor]
        later = await self.connection.fetch_all(AFTER, last)
        return widened(earlier[::-1], page, later)

    async def _check_there(self, conversation_id: int, user_id: int | None) -> None:
        """Raise NotFound unless the conversation is shown: there was nothing in it to show that by itself."""
        if await self.connection.fetch_one(THERE, {"conversation_id": conversation_id, "user_id": user_id}) is None:
            raise missing(conversation_id)
