"""Pages of messages: before and after a position, as context, and with no call cut from its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from agentdb.conversation.pairs import REACH, widened
from agentdb.database import Database
from agentdb.errors import BadInput, NotFound
from agentdb.models import Message
from agentdb.testing.factories import make_conversation, make_user


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def calls(*ids: str) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "metadata": {"tool_calls": [{"id": one} for one in ids]}}


def result(call: str) -> dict[str, Any]:
    return {"role": "tool", "content": "done", "tool_call_id": call}


def use(*ids: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text"}, *({"type": "tool_use", "id": one} for one in ids)]}


def results(*ids: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": one} for one in ids]}


def places(messages: Sequence[Message]) -> list[int]:
    return [message.position for message in messages]


async def conversation_of(db: Database, *messages: dict[str, Any]) -> int:
    conversation = (await make_conversation(db)).id
    await db.conversation.messages.append_many(conversation, messages)
    return conversation


async def test_pages_before_and_after_a_position_meet(db: Database) -> None:
    conversation = (await make_conversation(db, messages=9)).id
    await make_conversation(db, messages=9)
    messages = db.conversation.messages

    assert places(await messages.latest(conversation, limit=4)) == [6, 7, 8, 9]
    assert places(await messages.before(conversation, 6, limit=4)) == [2, 3, 4, 5]
    assert places(await messages.before(conversation, 2, limit=4)) == [1]
    assert places(await messages.before(conversation, 1)) == []
    assert places(await messages.after(conversation, 0, limit=4)) == [1, 2, 3, 4]
    assert places(await messages.after(conversation, 7, limit=4)) == [8, 9]
    assert places(await messages.after(conversation, 9)) == []
    for limit in (0, -1, "x"):
        with pytest.raises(BadInput):
            await messages.before(conversation, 6, limit=limit)  # type: ignore[arg-type]


async def test_somebody_elses_messages_are_not_there(db: Database) -> None:
    conversation = await make_conversation(db, messages=2)
    stranger = (await make_user(db)).id
    messages = db.conversation.messages
    first, _ = await messages.latest(conversation.id, user_id=conversation.user_id)

    for call in (
        messages.latest(conversation.id, user_id=stranger),
        messages.before(conversation.id, 2, user_id=stranger),
        messages.after(conversation.id, 0, user_id=stranger),
        messages.context(conversation.id, user_id=stranger),
        messages.branches(conversation.id, user_id=stranger),
        messages.tokens(conversation.id, user_id=stranger),
        messages.roles(conversation.id, user_id=stranger),
        messages.children(first.id, user_id=stranger),
        messages.path(first.id, user_id=stranger),
        messages.get(first.id, user_id=stranger),
        messages.latest(4_711),
        messages.tokens(4_711),
        db.conversation.conversations.get(conversation.id, user_id=stranger),
        db.conversation.conversations.rename(conversation.id, "x", user_id=stranger),
        db.conversation.conversations.delete(conversation.id, user_id=stranger),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await messages.get(first.id, user_id=conversation.user_id)).id == first.id
    assert await db.conversation.conversations.find(conversation.id, user_id=stranger) is None
    assert (await db.conversation.conversations.get(conversation.id, user_id=conversation.user_id)).title == ""


@pytest.mark.parametrize("form", [(calls, result), (use, results)], ids=["openai", "blocks"])
async def test_a_page_cuts_no_call_from_its_results(db: Database, form: Any) -> None:
    call, answer = form
    # 1 said, 2 calls a and b, 3 b, 4 a, 5 said, 6 calls a again, 7 a
    conversation = await conversation_of(
        db, said("1"), call("a", "b"), answer("b"), answer("a"), said("5"), call("a"), answer("a")
    )
    messages = db.conversation.messages

    async def latest(limit: int) -> list[int]:
        return places(await messages.latest(conversation, limit=limit, keep_pairs=True))

    async def before(position: int, limit: int) -> list[int]:
        return places(await messages.before(conversation, position, limit=limit, keep_pairs=True))

    async def after(position: int, limit: int) -> list[int]:
        return places(await messages.after(conversation, position, limit=limit, keep_pairs=True))

    assert [await latest(limit) for limit in (1, 2, 3)] == [[6, 7], [6, 7], [5, 6, 7]]
    assert [await latest(limit) for limit in (4, 5, 6)] == [list(range(2, 8))] * 3
    assert [await before(5, 1), await before(4, 1), await before(3, 1), await before(2, 1)] == [[2, 3, 4]] * 3 + [[1]]
    assert [await after(0, 1), await after(0, 2), await after(5, 1)] == [[1], [1, 2, 3, 4], [6, 7]]
    assert places(await messages.latest(conversation, limit=1)) == [7]


async def test_a_page_is_extended_by_what_the_extension_cuts(db: Database) -> None:
    # The results of two turns that ran at once lie between one another.
    conversation = await conversation_of(
        db, said("1"), use("a"), use("b"), results("a"), said("5"), results("b"), said("7"), results("lost")
    )
    messages = db.conversation.messages

    assert places(await messages.before(conversation, 7, limit=1, keep_pairs=True)) == [2, 3, 4, 5, 6]
    assert places(await messages.before(conversation, 5, limit=1, keep_pairs=True)) == [2, 3, 4, 5, 6]
    assert places(await messages.latest(conversation, limit=1, keep_pairs=True)) == [8]


async def test_an_extension_reaches_only_so_far(db: Database) -> None:
    near = await conversation_of(db, calls("a"), *([said("x")] * (REACH - 1)), result("a"))
    far = await conversation_of(db, calls("a"), *([said("x")] * REACH), result("a"))
    messages = db.conversation.messages

    assert len(await messages.latest(near, limit=1, keep_pairs=True)) == REACH + 1
    assert len(await messages.latest(far, limit=1, keep_pairs=True)) == 1
    assert len(await messages.after(near, 0, limit=1, keep_pairs=True)) == REACH + 1
    assert len(await messages.after(far, 0, limit=1, keep_pairs=True)) == 1


def test_what_only_looks_like_a_call_extends_nothing() -> None:
    odd: list[Any] = [
        {"tool_calls": "a"},
        {"tool_calls": ["a", {"id": 7}, {}]},
        ["a"],
        None,
    ]
    messages = [Message(role="assistant", content=[{"type": "tool_use"}, "a"], metadata_=one) for one in odd]

    assert widened([Message(role="user", content="x", metadata_={})], messages, messages) == messages


async def test_a_context_is_the_summary_and_the_latest_of_what_follows(db: Database) -> None:
    conversation = await make_conversation(db, messages=4)
    messages = db.conversation.messages
    summary = await messages.append(conversation.id, "user", "summary")

    async def context(limit: int) -> list[int]:
        return places(await messages.context(conversation.id, limit=limit, user_id=conversation.user_id))

    assert await context(3) == [3, 4, 5]
    await db.conversation.conversations.set_summary(conversation.id, summary.id)
    assert await context(3) == [5]
    await messages.append_many(conversation.id, [said(str(n)) for n in range(4)])
    assert [await context(limit) for limit in (1, 2, 3, 5, 9)] == [
        [5],
        [5, 9],
        [5, 8, 9],
        [*range(5, 10)],
        [*range(5, 10)],
    ]
    await db.conversation.conversations.set_summary(conversation.id, None)
    assert await context(20) == [*range(1, 10)]


async def test_a_context_cuts_no_call_and_reaches_not_before_its_summary(db: Database) -> None:
    conversation = await conversation_of(db, calls("a"), said("sum"), result("a"), calls("b"), result("b"), said("6"))
    messages = db.conversation.messages
    second = (await messages.after(conversation, 1))[0]

    async def context(limit: int) -> list[int]:
        return places(await messages.context(conversation, limit=limit, keep_pairs=True))

    assert [await context(limit) for limit in (1, 2, 3, 4)] == [[6], [4, 5, 6], [4, 5, 6], [*range(1, 7)]]
    await db.conversation.conversations.set_summary(conversation, second.id)
    assert [await context(limit) for limit in (1, 2, 3, 4, 5)] == [
        [2],
        [2, 6],
        [2, 4, 5, 6],
        [2, 4, 5, 6],
        [*range(2, 7)],
    ]


async def test_tokens_are_summed_in_all_and_since_a_position(db: Database) -> None:
    conversation = (await make_conversation(db)).id
    messages = db.conversation.messages
    empty = await messages.tokens(conversation)
    for role, tokens in (("system", 5), ("user", 7), ("assistant", None), ("user", 11)):
        await messages.append(conversation, role, "x", tokens=tokens)

    total, since = await messages.tokens(conversation), await messages.tokens(conversation, since=2)

    assert (empty.messages, empty.counted, empty.tokens) == (0, 0, 0)
    assert (total.messages, total.counted, total.tokens) == (4, 3, 23)
    assert (since.messages, since.counted, since.tokens) == (2, 1, 11)
    assert type(total.tokens) is int
    told = await messages.roles(conversation)
    assert [(one.role, one.messages, one.tokens) for one in told] == [
        ("assistant", 1, 0),
        ("system", 1, 5),
        ("user", 2, 18),
    ]
