"""Activity: what there is, and which tools are used."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, update

from agentdb.conversation.models import Message
from agentdb.database import Database
from agentdb.reports.records import ToolUse, Totals


def call(name: Any) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}


async def test_an_empty_database_has_nothing(db: Database) -> None:
    assert await db.reports.activity.totals() == Totals(0, 0, 0, 0, 0)
    assert await db.reports.activity.tools() == []


async def test_totals_count_what_there_is(db: Database) -> None:
    user = await db.supervisor.users.create("ada")
    run = await db.hub.runs.start(user_id=user.id, model_name="m")
    await db.hub.logs.append(run, [{"role": "llm", "message": "one"}, {"role": "llm", "message": "two"}])
    talk = await db.conversation.conversations.create(user_id=user.id)
    await db.conversation.messages.append(talk.id, "user", "hello")

    async with db.read() as unit:
        totals = await unit.reports.activity.totals()

    assert totals == Totals(users=1, runs=1, conversations=1, messages=1, log_entries=2)


async def test_tools_are_counted_in_what_assistants_called(db: Database) -> None:
    user = await db.supervisor.users.create("ada")
    talk = await db.conversation.conversations.create(user_id=user.id)
    said = [
        ("assistant", {"tool_calls": [call("search"), call("read"), call("search")]}),
        ("assistant", {"tool_calls": [call("Write")]}),
        ("assistant", {"tool_calls": [call("été"), call("read")]}),
        ("assistant", {"tool_calls": []}),
        ("assistant", {}),
        ("user", {"tool_calls": [call("forged")]}),
    ]
    await db.conversation.messages.append_many(
        talk.id, [{"role": role, "content": "", "metadata": metadata} for role, metadata in said]
    )

    tools = await db.reports.activity.tools()

    assert tools == [ToolUse("read", 2), ToolUse("search", 2), ToolUse("Write", 1), ToolUse("été", 1)]
    assert await db.reports.activity.tools(limit=1) == tools[:1]


async def test_metadata_of_another_form_is_passed_over(db: Database) -> None:
    user = await db.supervisor.users.create("ada")
    talk = await db.conversation.conversations.create(user_id=user.id)
    forms: list[Any] = [
        None,
        "search",
        7,
        {"function": {"name": "search"}},
        ["search", '{"function":', 7, None, [], {}],
        [{"function": "search"}, {"function": {}}, {"function": {"name": 7}}, {"function": {"name": {"a": 1}}}],
        [call("real")],
    ]
    await db.conversation.messages.append_many(
        talk.id, [{"role": "assistant", "content": "", "metadata": {"tool_calls": form}} for form in forms]
    )
    foreign = await db.conversation.messages.append(talk.id, "assistant", "")
    async with db.write() as unit:  # as an import from elsewhere may have left it
        messages = Message.__table__
        assert isinstance(messages, Table)
        await unit.session.execute(
            update(messages).where(messages.c.id == foreign.id).values({"metadata": ["tool_calls"]})
        )

    assert await db.reports.activity.tools() == [ToolUse("real", 1)]
