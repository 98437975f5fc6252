"""What one user writes: their own rows alone, and none that refers to another's."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select, union, update

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
