"""Tools: found in whatever case, given to users, and built-in ones left as they are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from agentdb.catalog.models import Tool, UserTool
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, InvalidTransition, MissingReference, NotFound
from agentdb.testing.factories import make_user


async def test_tools_are_searched_in_whatever_case(db: Database) -> None:
    await db.catalog.tools.create("STRASSE", description="finds 100% of the way")
    await db.catalog.tools.add(name="browse", description="opens a Page")
    await db.catalog.tools.add_many([{"name": "code_runner", "description": "runs it", "category": "code"}])
    async with db.write() as unit:
        unit.session.add(Tool(name="Ärger", description=""))

    async def found(text: str, **filters: str) -> list[str]:
        return [tool.name for tool in (await db.catalog.tools.search(text, **filters)).items]  # type: ignore[arg-type]

    assert await found("straße") == ["STRASSE"]
    assert await found("PAGE") == ["browse"]
    assert await found("%") == ["STRASSE"]
    assert await found("_") == ["code_runner"]
    assert await found("äRG") == ["Ärger"]
    assert await found("r", category="code") == ["code_runner"]
    wrong: list[Any] = ["", " ", "x" * 256, 5, None]
    for text in wrong:
        with pytest.raises(BadInput):
            await found(text)


async def test_a_search_finds_what_a_tool_is_called_now(db: Database) -> None:
    tool = await db.catalog.tools.create("browse", description="old")

    await db.catalog.tools.update(tool.id, name="Wander", description="NEW")

    assert [found.name for found in (await db.catalog.tools.search("wander")).items] == ["Wander"]
    assert [found.name for found in (await db.catalog.tools.search("new")).items] == ["Wander"]
    assert not (await db.catalog.tools.search("browse")).items


async def test_a_user_may_use_built_in_tools_and_what_was_given(db: Database) -> None:
    user, other = await make_user(db), await make_user(db)
    built_in = await db.catalog.tools.create("browse", is_builtin=True)
    given = await db.catalog.tools.create("crm")
    await db.catalog.tools.create("secret")
    await db.catalog.user_tools.give(user.id, given.id)

    mine = await db.catalog.tools.list(user_id=user.id, limit=1)
    rest = await db.catalog.tools.list(user_id=user.id, limit=1, after=mine.next)

    assert [tool.id for tool in [*mine.items, *rest.items]] == [built_in.id, given.id]
    assert [tool.id for tool in (await db.catalog.tools.list(user_id=other.id)).items] == [built_in.id]
    assert [tool.name for tool in (await db.catalog.tools.list(is_builtin=False)).items] == ["crm", "secret"]


async def test_a_built_in_tool_is_neither_changed_nor_removed(db: Database) -> None:
    built_in = await db.catalog.tools.create("browse", is_builtin=True)
    own = await db.catalog.tools.create("crm")

    for refused in (db.catalog.tools.update(built_in.id, description="x"), db.catalog.tools.remove(built_in.id)):
        with pytest.raises(InvalidTransition):
            await refused
    with pytest.raises(BadInput):
        await db.catalog.tools.upsert(on=["name"], name="browse", description="x")
    assert (await db.catalog.tools.get(built_in.id)).description == ""
    assert await db.catalog.tools.remove(own.id)
    assert not await db.catalog.tools.remove(own.id)
    with pytest.raises(NotFound):
        await db.catalog.tools.update(own.id, description="x")
    with pytest.raises(Conflict):
        await db.catalog.tools.create("browse")
    with pytest.raises(NotFound):
        await db.catalog.tools.by_name("crm")


async def test_a_credential_is_sealed_and_told_to_reveal_only(db: Database) -> None:
    user, other = await make_user(db), await make_user(db)
    tool = await db.catalog.tools.create("crm")

    given = await db.catalog.user_tools.give(user.id, tool.id, credential={"token": "a secret token"})
    again = await db.catalog.user_tools.give(user.id, tool.id)

    assert (given.id, given.uuid) == (again.id, again.uuid)
    assert again.has_credential
    assert await db.catalog.user_tools.reveal(user.id, tool.id) == {"token": "a secret token"}
    listed = await db.catalog.user_tools.list(user.id)
    assert [entry.tool.name for entry in listed.items] == ["crm"]
    assert "a secret token" not in repr(listed)
    async with db.read() as unit:
        stored = (await unit.session.execute(select(UserTool.credential))).scalar_one()
    assert b"a secret token" not in bytes(stored or b"")
    with pytest.raises(NotFound):
        await db.catalog.user_tools.reveal(other.id, tool.id)
    await db.catalog.user_tools.set_credential(user.id, tool.id, None)
    assert await db.catalog.user_tools.reveal(user.id, tool.id) is None


async def test_credentials_given_at_once_end_as_one_that_opens(db: Database) -> None:
    user, tool = await make_user(db), await db.catalog.tools.create("crm")

    await asyncio.gather(*(db.catalog.user_tools.give(user.id, tool.id, credential=f"key {n}") for n in range(12)))

    assert await db.catalog.user_tools.reveal(user.id, tool.id) in {f"key {n}" for n in range(12)}
    assert len((await db.catalog.user_tools.list(user.id)).items) == 1


async def test_a_tool_is_taken_from_a_user(db: Database) -> None:
    user, tool = await make_user(db), await db.catalog.tools.create("crm")
    await db.catalog.user_tools.give(user.id, tool.id, credential="key")

    assert await db.catalog.user_tools.take(user.id, tool.id)
    assert not await db.catalog.user_tools.take(user.id, tool.id)
    with pytest.raises(NotFound):
        await db.catalog.user_tools.set_credential(user.id, tool.id, "key")
    with pytest.raises(BadInput):
        await db.catalog.user_tools.give(user.id, tool.id, credential="")
    with pytest.raises(MissingReference):
        await db.catalog.user_tools.give(user.id, 404)


async def test_who_read_a_credential_is_told(db: Database) -> None:
    user = await make_user(db)
    tool = await db.catalog.tools.create("browse")
    await db.catalog.user_tools.give(user.id, tool.id, credential="a secret token")

    await db.catalog.user_tools.reveal(user.id, tool.id, by=user.id)

    (told,) = [line for line in (await db.supervisor.audit.between()).items if line.entity == "user_tools"]
    assert (told.action, told.actor_user_id) == ("read", user.id)
    assert told.detail == {"user_id": user.id, "tool_id": tool.id}
