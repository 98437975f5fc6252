"""Messages: appended without gaps by any number of writers, and read back by position, as context, or as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from agentdb.conversation.appending import APPEND, APPEND_IF, appended, complete, edited, guards
from agentdb.conversation.contents import checked, counted, described
from agentdb.conversation.living import missing
from agentdb.conversation.models import Message, MessageRole
from agentdb.conversation.readers import MessageReader, missing_message
from agentdb.conversation.reading import THERE
from agentdb.conversation.searching import MessageSearch
from agentdb.engine.asked import several
from agentdb.errors import AgentDBError, BadInput, StaleVersion

# What appending gives a message, and nobody changes.
_GIVEN: Final = frozenset({"id", "conversation_id", "position", "parent_id"})
_APPEND_INSTEAD: Final = "messages are added by append or append_many, which give them their positions"


class Messages(MessageReader, MessageSearch):
    """What was said, in order: positions count from 1 in each conversation, without gaps, whoever writes.

    Wherever ``user_id`` is given, the conversation is that user's; somebody else's is NotFound.
    """

    async def append(
        self,
        conversation_id: int,
        role: MessageRole | str,
        content: Any,
        *,
        parent_id: int | None = None,
        name: str | None = None,
        tool_call_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        tokens: int | None = None,
        expected_position: int | None = None,
        user_id: int | None = None,
    ) -> Message:
        """Append one message, and return it with its position.

        Args:
            conversation_id: whose end it becomes.
            role: who speaks.
            content: a text, or a list of blocks, each an object with a ``type``.
            parent_id: the message it answers, of the same conversation.
            name: of the speaker.
            tool_call_id: the call that it is the result of.
            metadata: whatever else is known of it.
            tokens: how many it has.
            expected_position: append only if this is the last position so far; 0: only as the first message.
            user_id: whose the conversation is.

        Raises: NotFound when there is no such live conversation; StaleVersion when another writer was first; BadInput;
            MissingReference for a parent that is not a message of this conversation.
        Cost: one statement, which concurrent appends share, to one conversation or many; a transaction with a parent.
        """
        values = {
            "role": role,
            "content": checked(content),
            "parent_id": parent_id,
            "name": name,
            "tool_call_id": tool_call_id,
            "metadata": described(metadata),
            "tokens": counted(tokens),
        }
        asked = guards(user_id, expected_position)
        message: Message | None
        if not self.connection.chains or parent_id is not None:
            now = self.connection.now()
            stored = await self.connection.run(lambda: appended(conversation_id, [values], asked, now))
            message = stored[0] if stored else None
        elif expected_position is None and user_id is None:
            message = await self.connection.fetch_one(APPEND, {"conversation_id": conversation_id, **values})
        else:
            message = await self.connection.fetch_one(
                APPEND_IF, {"conversation_id": conversation_id, **values, **asked}
            )
        if message is None:
            raise await self._refusal(conversation_id, user_id, expected_position)
        return message

    async def append_many(
        self,
        conversation_id: int,
        messages: Iterable[Mapping[str, Any]],
        *,
        expected_position: int | None = None,
        user_id: int | None = None,
    ) -> list[Message]:
        """Append messages one after another, all or none, with nobody else's between them.

        Args:
            conversation_id: whose end they become.
            messages: each with ``role`` and ``content``, and whatever else a message has.
            expected_position: append only if this is the last position so far.
            user_id: whose the conversation is.

        Raises: as `append`; BadInput for no message.
        Cost: one transaction; the conversation is moved once.
        """
        given = [complete(message) for message in several(messages, "messages")]
        if not given:
            raise BadInput("no message to append")
        now, asked = self.connection.now(), guards(user_id, expected_position)
        stored = await self.connection.run(lambda: appended(conversation_id, given, asked, now))
        if stored is None:
            raise await self._refusal(conversation_id, user_id, expected_position)
        return stored

    async def edit(
        self,
        message_id: int,
        content: Any,
        *,
        metadata: dict[str, Any] | None = None,
        tokens: int | None = None,
        user_id: int | None = None,
    ) -> Message:
        """Say a message differently: append one beside it, under the same parent, and return that.

        What was said stays. The new message's ``metadata.edited_from`` is the id of the old one; its role, name and
        tool call are the old one's.

        Args:
            message_id: the message to say differently.
            content: as for `append`.
            metadata: of the new message; None: the old one's.
            tokens: how many the new content has.
            user_id: whose the conversation is.

        Raises: NotFound; BadInput.
        Cost: one transaction.
        """
        changes = {
            "content": checked(content),
            "tokens": counted(tokens),
            **({} if metadata is None else {"metadata": described(metadata)}),
        }
        now = self.connection.now()
        message = await self.connection.run(lambda: edited(message_id, user_id, changes, now))
        if message is None:
            raise missing_message(message_id)
        return message

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> Message:
        """Change columns of a message, and return it; `edit` keeps what was said.

        Raises: NotFound; BadInput, also for its place in the conversation, which never changes.
        Cost: one statement.
        """
        if fixed := _GIVEN.intersection(changes):
            raise BadInput(f"messages.{min(fixed)} never changes; append another message")
        if "content" in changes:
            changes["content"] = checked(changes["content"])
        if "tokens" in changes:
            changes["tokens"] = counted(changes["tokens"])
        if "metadata" in changes:
            changes["metadata"] = described(changes["metadata"])
        return await super().update(*key, expected_version=expected_version, **changes)

    async def add(self, **_values: Any) -> NoReturn:
        """Refuse: a message has a position, which its conversation gives it.

        Raises: BadInput.
        """
        raise BadInput(_APPEND_INSTEAD)

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> NoReturn:  # noqa: ARG002
        """Refuse, likewise."""
        raise BadInput(_APPEND_INSTEAD)

    async def upsert(self, *, on: Sequence[str], **_values: Any) -> NoReturn:  # noqa: ARG002
        """Refuse, likewise."""
        raise BadInput(_APPEND_INSTEAD)

    async def _refusal(self, conversation_id: int, user_id: int | None, expected: int | None) -> AgentDBError:
        """Return why a conversation's row took no message."""
        last = await self.connection.fetch_one(THERE, {"conversation_id": conversation_id, "user_id": user_id})
        if last is None or expected is None:
            return missing(conversation_id)
        return StaleVersion(
            f"conversation {conversation_id} is at position {last}, not {expected}; read what was said, and append anew"
        )
