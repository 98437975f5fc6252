"""What one user writes: their own rows alone, and none that refers to another's."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, union, update
from sqlalchemy.dialects import sqlite

from agentdb.base import Entity
from agentdb.conversation.models import Conversation
from agentdb.database import Database
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, one
from agentdb.engine.plan import Plan
from agentdb.errors import AgentDBError, BadInput, MissingReference, NotFound, ReadOnly
from agentdb.repository import Repository
from agentdb.testing.factories import make_conversation, make_user

TALKS = Entity.metadata.tables["conversations"]
RUNS = Entity.metadata.tables["runs"]
RESOURCES = Entity.metadata.tables["resources"]


class Conversations(Repository[Conversation]):
    """Conversations by their columns alone."""

    model = Conversation


async def test_nobody_gives_a_row_away_or_takes_another(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    own, theirs = await make_conversation(db, user_id=ada.id), await make_conversation(db, user_id=eve.id, key="k")
    rows = Conversations(db.as_user(ada.id).conversation.connection)

    with pytest.raises(MissingReference):
        await rows.update(own.id, user_id=eve.id)
    with pytest.raises(NotFound):
        await rows.update(theirs.id, user_id=ada.id)
    with pytest.raises(NotFound):
        await rows.upsert(on=["key"], key="k", user_id=ada.id, title="taken")
    assert not await rows.remove(theirs.id)
    after = await db.conversation.conversations.get(theirs.id)
    assert (after.user_id, after.title) == (eve.id, theirs.title)


async def test_rows_in_bulk_are_stored_all_or_none(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    rows = Conversations(db.as_user(ada.id).conversation.connection)

    assert await rows.add_many({"user_id": ada.id, "title": f"{number}"} for number in range(300)) == 300
    with pytest.raises(MissingReference):
        await rows.add_many([{"user_id": ada.id}, {"user_id": eve.id}])
    with pytest.raises(BadInput, match="row 1 of the call"):
        await rows.add_many([{"user_id": ada.id}, {"title": "nobody's"}])
    assert await rows.add_many([]) == 0
    assert await db.conversation.conversations.count() == 300


async def test_a_row_does_not_choose_its_id(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    theirs = await make_conversation(db, user_id=eve.id)
    connection = db.as_user(ada.id).conversation.connection
    rows, largest = Conversations(connection), (1 << 63) - 1
    moment = {"created_at": db.now(), "updated_at": db.now()}

    for chosen in (theirs.id, theirs.id + 1, largest):
        with pytest.raises(BadInput, match="id"):
            await rows.add_many([{"id": chosen, "user_id": ada.id}])
    start = insert(RUNS).values(id=largest, user_id=ada.id, **moment)
    with pytest.raises(BadInput, match="made by the database"):
        await connection.execute(Plan(start, name="start"), {})
    own = await make_conversation(db, user_id=ada.id)
    with pytest.raises(BadInput, match="made by the database"):
        await connection.execute(Plan(update(TALKS).where(TALKS.c.id == own.id).values(id=largest), name="move"), {})
    assert (await make_conversation(db, user_id=eve.id)).id == own.id + 1


async def test_a_letter_stays_as_it_was_sent(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    sent = await db.as_user(ada.id).hub.mail.send(ada.id, to=[eve.id], body="hello")

    for user in (ada, eve):
        mail = db.as_user(user.id).hub.mail
        with pytest.raises(ReadOnly):
            await mail.remove(sent.id)
        with pytest.raises(ReadOnly):
            await mail.update(sent.id, body="something else")
    (letter,) = (await db.hub.mail.received(eve.id)).items
    assert (letter.id, (await db.hub.mail.get(sent.id)).body) == (sent.id, "hello")


async def test_a_conflict_is_settled_among_ones_own_rows_or_not_at_all(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    theirs = await make_conversation(db, user_id=eve.id, key="k", title="eve's")
    row = {"user_id": ada.id, "key": "k", "title": "", "uuid": uuid4(), "session_context": {}, "metadata": {}}
    spelled = sqlite.insert(TALKS).values(**row, last_position=0, created_at=db.now(), updated_at=db.now())
    taken = spelled.on_conflict_do_update(index_elements=["key"], set_={"title": "taken"})

    with pytest.raises(BadInput, match="conflict"):
        await db.as_user(ada.id).conversation.connection.execute(Plan(taken, name="take"), {})
    assert (await db.conversation.conversations.get(theirs.id)).title == "eve's"


async def test_what_is_everybodys_is_nobodys_to_change(db: Database) -> None:
    ada = await make_user(db)
    shared = await db.catalog.agents.create("everybody's")
    hammer = await db.catalog.tools.create("hammer")
    scoped = db.as_user(ada.id).catalog

    with pytest.raises(ReadOnly, match="everybody's"):
        await scoped.agents.update(shared.id, description="mine")
    with pytest.raises(MissingReference):
        await scoped.agents.create("for everybody")
    with pytest.raises(AgentDBError):
        await scoped.agents.set_tools(shared.id, ["hammer"])
    with pytest.raises(ReadOnly, match="installation"):
        await scoped.tools.update(hammer.id, description="mine")
    assert (await db.catalog.agents.get(shared.id)).description is None
    assert await db.catalog.agents.tools_of(shared.id) == []


async def test_a_script_is_undone_as_a_whole(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    own, theirs = await make_conversation(db, user_id=ada.id), await make_conversation(db, user_id=eve.id)
    rename = Plan[None](
        update(TALKS).where(TALKS.c.title != "renamed").values(title="renamed"),
        name="rename all",
        columns=["updated_at"],
    )
    start = Plan[int](insert(RUNS).returning(RUNS.c.id), name="start", columns=["user_id", "created_at"])
    scoped = db.as_user(ada.id).conversation.connection

    def script(for_whom: int) -> Script[int]:
        changed = yield from count(rename, updated_at=scoped.now())
        yield from one(start, user_id=for_whom)
        return changed

    with pytest.raises(MissingReference):
        await scoped.run(lambda: script(eve.id))
    assert (await db.conversation.conversations.get(own.id)).title == ""
    assert await scoped.run(lambda: script(ada.id)) == 1
    assert (await db.conversation.conversations.get(theirs.id)).title == ""


@pytest.mark.parametrize("arms", [1, 2])
async def test_rows_that_are_selected_are_checked_as_any(db: Database, arms: int) -> None:
    ada, eve = await make_user(db), await make_user(db)
    own, theirs = await make_conversation(db, user_id=ada.id), await make_conversation(db, user_id=eve.id)
    names = ["user_id", "name", "conversation_id", "metadata", "created_at", "updated_at"]
    one_row = select(
        *(of(RESOURCES.c[name]) for name in ("user_id", "name", "conversation_id", "metadata")),
        *(of(RESOURCES.c[name], "now") for name in ("created_at", "updated_at")),
    )
    rows = one_row if arms == 1 else union(one_row, one_row)
    plan = Plan[None](insert(RESOURCES).from_select(names, rows, include_defaults=False), name="copy")
    nameless = Plan[None](
        insert(RESOURCES).from_select(names[1:], _without_owner(one_row), include_defaults=False), name="c"
    )
    connection = db.as_user(ada.id).conversation.connection
    given: dict[str, Any] = {"user_id": ada.id, "name": "x", "conversation_id": own.id, "metadata": {}, "now": db.now()}

    assert await connection.execute(plan, given) == 1
    for wrong in ({"user_id": eve.id}, {"conversation_id": theirs.id}, {"user_id": None}):
        with pytest.raises(MissingReference):
            await connection.execute(plan, given | wrong)
    with pytest.raises(MissingReference):
        await connection.execute(nameless, {name: value for name, value in given.items() if name != "user_id"})
    assert await db.conversation.resources.count() == 1


def _without_owner(rows: Any) -> Any:
    return rows.with_only_columns(*list(rows.selected_columns)[1:])
