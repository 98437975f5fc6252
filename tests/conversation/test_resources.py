"""Resources: where they belong, whose they are, and their texts in pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdb.conversation.splitting import split_text
from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference, NotFound
from agentdb.testing.factories import make_conversation, make_user


async def test_a_resource_belongs_where_its_message_does(db: Database) -> None:
    agent, _ = await db.catalog.agents.get_or_create("ada")
    conversation = await make_conversation(db, messages=1, agent_id=agent.id)
    (message,) = await db.conversation.messages.latest(conversation.id)
    attach = db.conversation.resources.attach

    of_message = await attach("a", message_id=message.id, content="x", type="text/plain", metadata={"k": 1})
    of_conversation = await attach("b", conversation_id=conversation.id, s3_uri="s3://bucket/key")

    for resource in (of_message, of_conversation):
        assert resource.conversation_id == conversation.id
        assert (resource.user_id, resource.agent_id) == (conversation.user_id, agent.id)
    assert (of_message.message_id, of_message.content, of_message.type) == (message.id, "x", "text/plain")
    assert (of_conversation.message_id, of_conversation.s3_uri) == (None, "s3://bucket/key")


async def test_a_resource_is_refused_where_it_does_not_belong(db: Database) -> None:
    one, other = [await make_conversation(db, messages=1) for _ in range(2)]
    (strange,) = await db.conversation.messages.latest(other.id)
    resources = db.conversation.resources

    with pytest.raises(MissingReference, match="is not in conversation"):
        await resources.attach("x", conversation_id=one.id, message_id=strange.id)
    with pytest.raises(MissingReference):
        await resources.attach("x", conversation_id=one.id, message_id=4_711)
    with pytest.raises(NotFound):
        await resources.attach("x", message_id=4_711)
    with pytest.raises(NotFound):
        await resources.attach("x", conversation_id=one.id, user_id=other.user_id)
    with pytest.raises(NotFound):
        await resources.attach("x", message_id=strange.id, user_id=one.user_id)
    with pytest.raises(BadInput, match="belongs to nobody"):
        await resources.attach("x")
    with pytest.raises(MissingReference):
        await resources.attach("x", user_id=4_711)
    own = await resources.attach("x", user_id=one.user_id)
    with pytest.raises(BadInput, match="never changes"):
        await resources.update(own.id, conversation_id=other.id)

    assert (await resources.update(own.id, name="y")).name == "y"
    assert await resources.count() == 1


async def test_resources_are_listed_by_conversation_and_by_user(db: Database) -> None:
    one, other = [await make_conversation(db) for _ in range(2)]
    resources = db.conversation.resources
    for number in range(3):
        await resources.attach(f"one {number}", conversation_id=one.id)
    await resources.attach("other", conversation_id=other.id)
    await resources.attach("kept", user_id=one.user_id)

    page = await resources.of_conversation(one.id, limit=2)
    rest = await resources.of_conversation(one.id, limit=2, after=page.next)

    assert [resource.name for resource in page.items + rest.items] == ["one 2", "one 1", "one 0"]
    assert [resource.name for resource in (await resources.of_user(one.user_id)).items][:2] == ["kept", "one 2"]
    assert (await resources.of_conversation(one.id, user_id=other.user_id)).items == []
    assert len((await resources.of_conversation(one.id, user_id=one.user_id)).items) == 3


async def test_a_resource_is_found_and_removed_by_its_owner_only(db: Database) -> None:
    resource = await db.conversation.resources.attach("x", user_id=(await make_user(db)).id)
    stranger = (await make_user(db)).id
    resources = db.conversation.resources

    with pytest.raises(NotFound):
        await resources.get(resource.id, user_id=stranger)
    assert not await resources.remove(resource.id, user_id=stranger)
    assert await resources.remove(resource.id, user_id=resource.user_id)
    assert await resources.find(resource.id) is None
    assert not await resources.remove(resource.id)


async def test_a_text_is_stored_whole_and_given_in_pieces(db: Database) -> None:
    conversation = await make_conversation(db)
    text = "word " * 2_000

    stored = await db.conversation.resources.attach_text("words", text, conversation_id=conversation.id)
    lines = await db.conversation.resources.attach_text("lines", "a\nb", split=str.splitlines, user_id=1)

    assert (await db.conversation.resources.get(stored.resource.id)).content == text
    assert stored.pieces == split_text(text)
    assert lines.pieces == ["a", "b"]


@given(st.text("ab .\n", max_size=300), st.integers(1, 40), st.integers(0, 20))
def test_pieces_lose_nothing_and_overlap(text: str, size: int, overlap: int) -> None:
    overlap = min(overlap, size // 2)

    pieces = split_text(text, size=size, overlap=overlap)

    if not text.strip():
        assert pieces == []
        return
    assert all(0 < len(piece) <= size for piece in pieces)
    # Each begins so many characters before the end of the one before, or one further on when that is as short.
    whole = pieces[0]
    for before, piece in pairwise(pieces):
        shared = min(overlap, len(before) - 1)
        assert before[len(before) - shared :] == piece[:shared]
        whole += piece[shared:]
    assert whole == text


def test_a_piece_ends_where_something_ends() -> None:
    assert split_text("one. two\n\nthree four five", size=14, overlap=0) == ["one. two\n\n", "three four ", "five"]
    assert split_text("x" * 10, size=4, overlap=2) == ["xxxx", "xxxx", "xxxx", "xxxx"]
    assert split_text("short") == ["short"]
    for size, overlap in ((0, 0), (10, 6), (10, -1)):
        with pytest.raises(BadInput, match="at most half"):
            split_text("x", size=size, overlap=overlap)
