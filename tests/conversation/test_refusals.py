"""What cannot be said is refused in our own words, whatever it is, and alike on both databases."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from agentdb import clock
from agentdb.conversation.splitting import split_text
from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference
from agentdb.testing.factories import make_conversation

LONG = 10**5_000  # Python spells no number of so many digits


async def test_whatever_a_caller_passes_is_refused_in_our_words(db: Database, subtests: pytest.Subtests) -> None:
    conversation = await make_conversation(db, messages=1)
    user, here = conversation.user_id, conversation.id
    conversations, messages, resources = (
        db.conversation.conversations,
        db.conversation.messages,
        db.conversation.resources,
    )
    some: Any = None
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "no list of messages": lambda: messages.append_many(here, some),
        "a message alone": lambda: messages.append_many(here, {"role": "user", "content": "x"}),  # type: ignore[dict-item]
        "a list as a parent": lambda: messages.append_many(
            here, [{"role": "user", "content": "x", "parent_id": [1]}, {"role": "user", "content": "x"}]
        ),
        "a text as a parent": lambda: messages.append(here, "user", "x", parent_id="x"),  # type: ignore[arg-type]
        "a limit too long to tell": lambda: messages.latest(here, limit=-LONG),
        "metadata of a conversation": lambda: conversations.create(user_id=user, metadata=[1]),  # type: ignore[arg-type]
        "metadata of one to find": lambda: conversations.get_or_create("key", user_id=user, metadata="x"),
        "metadata of a resource": lambda: resources.attach("r", user_id=user, metadata=5),  # type: ignore[arg-type]
        "most to purge": lambda: conversations.purge_deleted(before=clock.now(), most="1"),  # type: ignore[arg-type]
        "endlessly many to purge": lambda: conversations.purge_deleted(before=clock.now(), most=math.inf),  # type: ignore[arg-type]
        "an order by a list": lambda: conversations.page(by=[]),  # type: ignore[arg-type]
        "an order too long to tell": lambda: conversations.page(by=LONG),  # type: ignore[arg-type]
        "a list of users": lambda: resources.attach("r", user_id=[1], conversation_id=here),  # type: ignore[arg-type]
        "a flag as a user": lambda: resources.attach("r", user_id=True, conversation_id=here),
        "a list of conversations": lambda: resources.attach("r", conversation_id=[1], message_id=1),  # type: ignore[arg-type]
        "a name too long to tell": lambda: resources.attach(LONG),  # type: ignore[arg-type]
        "no text": lambda: resources.attach_text("r", 5, user_id=user),  # type: ignore[arg-type]
    }

    for what, call in calls.items():
        with subtests.test(what), pytest.raises(BadInput):
            await call()
    assert [message.position for message in await messages.latest(here)] == [1]


async def test_a_parent_is_refused_alike_on_both_databases(db: Database) -> None:
    here = (await make_conversation(db)).id

    with pytest.raises(BadInput):
        await db.conversation.messages.append(here, "user", "x", parent_id=b"1")  # type: ignore[arg-type]
    with pytest.raises(MissingReference):
        await db.conversation.messages.append(here, "user", "x", parent_id=4_711)


@pytest.mark.parametrize("tokens", [-1, 2**31, 2**63 - 1, 1.5, True, "1"])
async def test_tokens_are_counted_so_that_their_sum_can_be_told(db: Database, tokens: Any) -> None:
    here, messages = (await make_conversation(db)).id, db.conversation.messages
    message = await messages.append(here, "user", "x", tokens=2**31 - 1)

    with pytest.raises(BadInput, match=r"messages\.tokens"):
        await messages.append(here, "user", "x", tokens=tokens)
    with pytest.raises(BadInput, match=r"messages\.tokens"):
        await messages.append_many(here, [{"role": "user", "content": "x", "tokens": tokens}])
    with pytest.raises(BadInput, match=r"messages\.tokens"):
        await messages.edit(message.id, "y", tokens=tokens)
    with pytest.raises(BadInput, match=r"messages\.tokens"):
        await messages.update(message.id, tokens=tokens)
    await messages.append(here, "user", "x", tokens=2**31 - 1)
    assert (await messages.tokens(here)).tokens == 2 * (2**31 - 1)


@pytest.mark.parametrize("given", [5, None, b"x", ["x"], timedelta(1)])
def test_only_a_text_is_split(given: Any) -> None:
    with pytest.raises(BadInput, match="text"):
        split_text(given)


@pytest.mark.parametrize("size", ["x", math.nan, 4_000.0, None])
def test_a_piece_has_a_whole_number_of_characters(size: Any) -> None:
    with pytest.raises(BadInput, match="size"):
        split_text("x", size=size)
