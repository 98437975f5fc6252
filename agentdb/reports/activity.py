"""Activity: what there is in a database, and which tools are used."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Table, bindparam, func, select, true

from agentdb.conversation.models import Conversation, Message, MessageRole
from agentdb.engine.connection import Connection
from agentdb.engine.functions import elements_under, text_at
from agentdb.engine.plan import Plan
from agentdb.hub.models.machines import ContextLog, Run
from agentdb.reports.records import ToolUse, Totals
from agentdb.repository import capped
from agentdb.supervisor.models import User

_messages: Final[Table] = Message.__table__  # type: ignore[assignment]


def _how_many(model: Any) -> Any:
    return select(func.count()).select_from(model).scalar_subquery()


_TOTALS: Final = Plan[Totals](
    select(*(_how_many(model) for model in (User, Run, Conversation, Message, ContextLog))),
    name="reports.totals",
    rows=Totals,
)


def _tools_plan() -> Plan[ToolUse]:
    called = elements_under(_messages.c.metadata, "tool_calls").table_valued("value", name="called")
    tool = text_at(called.c.value, "function", "name")
    uses = (
        select(tool.label("tool"))
        .select_from(_messages)
        .join(called, true())
        .where(_messages.c.role == str(MessageRole.assistant))
        .subquery("uses")
    )
    calls = func.count()
    statement = (
        select(uses.c.tool, calls)
        .where(uses.c.tool.is_not(None))
        .group_by(uses.c.tool)
        .order_by(calls.desc(), uses.c.tool)
    )
    return Plan(statement.limit(bindparam("limit")), name="reports.tools", rows=ToolUse)


_TOOLS: Final = _tools_plan()


class Activity:
    """What there is, and what is used.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
    """

    def __init__(self, connection: Connection, *, most: int) -> None:
        self.connection = connection
        self.most = most

    async def totals(self) -> Totals:
        """Return how many users, runs, conversations, messages and log entries there are.

        Cost: one statement that counts each table.
        """
        return await self.connection.fetch_one(_TOTALS, {}) or Totals(0, 0, 0, 0, 0)

    async def tools(self, *, limit: int = 20) -> list[ToolUse]:
        """Return the tools that assistants called, the most used first.

        What counts is ``tool_calls`` in an assistant message's metadata, in the OpenAI chat form.

        Cost: one statement that reads all messages.
        """
        return await self.connection.fetch_all(_TOOLS, {"limit": capped(limit, self.most)})
