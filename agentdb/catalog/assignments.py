"""Which agents and tools are given to which users, and the credentials that tools are used with."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import Table, bindparam, delete, select, update

from agentdb.auditing import recorded
from agentdb.catalog.models import Agent, Tool, UserAgent, UserTool
from agentdb.catalog.records import AgentOfUser, ToolOfUser
from agentdb.criteria import beyond
from agentdb.engine.asked import whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, every, one
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_or_update, insert_unless_there
from agentdb.errors import BadInput, NotFound
from agentdb.keyring import Keyring
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of
from agentdb.types import uuid7

G = TypeVar("G", UserAgent, UserTool)

_agents: Final[Table] = Agent.__table__  # type: ignore[assignment]
_tools: Final[Table] = Tool.__table__  # type: ignore[assignment]
_user_agents: Final[Table] = UserAgent.__table__  # type: ignore[assignment]
_user_tools: Final[Table] = UserTool.__table__  # type: ignore[assignment]


@cache
def _page_plan(model: type[Any], *, after: bool) -> Plan[Any]:
    rows: Table = model.__table__
    statement = select(model).where(rows.c.user_id == of(rows.c.user_id))
    if after:
        statement = statement.where(beyond([rows.c.id], newest_first=False))
    return Plan(statement.order_by(rows.c.id).limit(bindparam("limit")), name=f"{rows.name}.list", rows=model)


_AGENTS: Final = Plan[Agent](
    select(Agent).where(among(_agents.c.id, "ids")), name="user_agents.list: agents", rows=Agent
)
_TOOLS: Final = Plan[Tool](select(Tool).where(among(_tools.c.id, "ids")), name="user_tools.list: tools", rows=Tool)

_OF_AGENT: Final = (
    _user_agents.c.user_id == of(_user_agents.c.user_id),
    _user_agents.c.agent_id == of(_user_agents.c.agent_id),
)
_FIND_AGENT: Final = Plan[UserAgent](
    select(UserAgent).where(*_OF_AGENT), name="user_agents.find", rows=UserAgent, point=True
)
_TAKE_AGENT: Final = Plan[None](delete(_user_agents).where(*_OF_AGENT), name="user_agents.take")

_OF_TOOL: Final = (
    _user_tools.c.user_id == of(_user_tools.c.user_id),
    _user_tools.c.tool_id == of(_user_tools.c.tool_id),
)
_FIND_TOOL: Final = Plan[UserTool](select(UserTool).where(*_OF_TOOL), name="user_tools.find", rows=UserTool, point=True)
_LOCK_TOOL: Final = Plan[UserTool](
    select(UserTool).where(*_OF_TOOL).with_for_update(), name="user_tools.locked", rows=UserTool
)
_CREDENTIAL: Final = Plan[UserTool](
    update(_user_tools)
    .where(_user_tools.c.id == of(_user_tools.c.id, "row_id"))
    .values(credential=of(_user_tools.c.credential, "sealed"))
    .returning(_user_tools),
    name="user_tools.set_credential",
    rows=UserTool,
)
_TAKE_TOOL: Final = Plan[None](delete(_user_tools).where(*_OF_TOOL), name="user_tools.take")


class UserAgents:
    """Which agents are given to which users, and as what.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
    """

    def __init__(self, connection: Connection, *, most: int) -> None:
        self.connection = connection
        self.most = most

    async def give(self, user_id: int, agent_id: int, *, role: str | None = None) -> UserAgent:
        """Give an agent to a user, or change as what the user has it; return the assignment.

        Raises: MissingReference for an unknown user or agent; BadInput.
        Cost: one statement.
        """
        plan = insert_or_update(UserAgent, ("user_id", "agent_id"), frozenset({"role"}))
        row: UserAgent | None = await self.connection.fetch_one(
            plan, {"user_id": user_id, "agent_id": agent_id, "role": role}
        )
        if row is None:
            raise NotFound("user_agents: the row was not stored; a trigger or a rule took it away")
        return row

    async def find(self, user_id: int, agent_id: int) -> UserAgent | None:
        """Return the assignment of an agent to a user, or None.

        Cost: one read by uq_user_agents__user_id_agent_id.
        """
        return await self.connection.fetch_one(_FIND_AGENT, {"user_id": user_id, "agent_id": agent_id})

    async def take(self, user_id: int, agent_id: int) -> bool:
        """Take an agent from a user, and tell whether the user had it."""
        return await self.connection.execute(_TAKE_AGENT, {"user_id": user_id, "agent_id": agent_id}) > 0

    async def list(self, user_id: int, *, limit: int = 50, after: str | None = None) -> Page[AgentOfUser]:
        """Return the agents that are given to a user, the first to be given first.

        Cost: two reads.
        """
        rows = await _page(self.connection, UserAgent, user_id, capped(limit, self.most), after)
        given = await self.connection.fetch_all(_AGENTS, {"ids": [row.agent_id for row in rows.items]})
        agents = {agent.id: agent for agent in given}
        items = [
            AgentOfUser(row.id, row.user_id, row.role, agents[row.agent_id])
            for row in rows.items
            if row.agent_id in agents  # one that was removed between the reads is gone with its row
        ]
        return Page(items, rows.next)


class UserTools:
    """Which tools are given to which users, and with what credential: stored sealed, and told by `reveal` only.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
    """

    def __init__(self, connection: Connection, *, most: int) -> None:
        self.connection = connection
        self.most = most

    async def give(self, user_id: int, tool_id: int, *, credential: Any = None) -> ToolOfUser:
        """Give a tool to a user; one who has it keeps it, with the credential that is given now, if one is.

        Args: credential: text or JSON; stored sealed.
        Raises: MissingReference for an unknown user or tool; BadSettings when there is no key to seal with; BadInput.
        Cost: one transaction of three or four statements.
        """
        script = partial(_given, user_id, tool_id, credential, self.connection.keyring, uuid7())
        return await self.connection.run(script)

    async def set_credential(self, user_id: int, tool_id: int, credential: Any) -> None:
        """Store the credential a user uses a tool with; None takes it away.

        Raises: NotFound when the user does not have the tool; BadSettings when there is no key to seal with; BadInput.
        Cost: one transaction of two statements.
        """
        script = partial(_stored, user_id, tool_id, credential, self.connection.keyring)
        if await self.connection.run(script) is None:
            raise NotFound(f"user {user_id} does not have tool {tool_id}; give it first")

    async def reveal(self, user_id: int, tool_id: int, *, by: int | None = None) -> Any:
        """Return the credential a user uses a tool with, as it was given, or None; the audit log tells who read it.

        Args: user_id: whose; tool_id: of which tool; by: the user who reads it, None: the system.
        Raises: NotFound when the user does not have the tool; DecryptionFailed.
        Cost: one transaction of two statements, by uq_user_tools__user_id_tool_id.
        """
        return await self.connection.run(partial(_revealed, user_id, tool_id, self.connection.keyring, by))

    async def take(self, user_id: int, tool_id: int) -> bool:
        """Take a tool from a user with its credential, and tell whether the user had it."""
        return await self.connection.execute(_TAKE_TOOL, {"user_id": user_id, "tool_id": tool_id}) > 0

    async def list(self, user_id: int, *, limit: int = 50, after: str | None = None) -> Page[ToolOfUser]:
        """Return the tools that are given to a user, the first to be given first, without credentials.

        Cost: two reads.
        """
        rows = await _page(self.connection, UserTool, user_id, capped(limit, self.most), after)
        given = await self.connection.fetch_all(_TOOLS, {"ids": [row.tool_id for row in rows.items]})
        tools = {tool.id: tool for tool in given}
        return Page([_shown(row, tools[row.tool_id]) for row in rows.items if row.tool_id in tools], rows.next)


async def _page(connection: Connection, model: type[G], user_id: int, limit: int, after: str | None) -> Page[G]:
    table: Table = model.__table__  # type: ignore[assignment]
    listing = f"{table.name}.list:{whole_number(user_id, 'user_id')}"
    values: dict[str, Any] = {"user_id": user_id, "limit": limit + 1}
    if after is not None:
        (values["after_0"],) = values_of(listing, after, [table.c.id])
    rows: list[G] = await connection.fetch_all(_page_plan(model, after=after is not None), values)
    return page_of(rows, limit, listing, ["id"])


def _revealed(user_id: int, tool_id: int, keyring: Keyring, by: int | None) -> Script[Any]:
    row: UserTool | None = yield from one(_FIND_TOOL, user_id=user_id, tool_id=tool_id)
    if row is None:
        raise NotFound(f"user {user_id} does not have tool {tool_id}")
    if row.credential is None:
        return None
    opened = keyring.open(row.credential, table="user_tools", column="credential", row=row.uuid)
    detail = {"user_id": user_id, "tool_id": tool_id}
    yield from recorded(actor_id=by, action="read", entity="user_tools", entity_id=row.id, detail=detail)
    return opened


def _given(user_id: int, tool_id: int, credential: Any, keyring: Keyring, uuid: UUID) -> Script[ToolOfUser]:
    """Within a script: the row is there, or made; then its credential is sealed, bound to the uuid it has."""
    ids = {"user_id": user_id, "tool_id": tool_id}
    row: UserTool | None = None
    while row is None:
        row = yield from one(_LOCK_TOOL, **ids)
        if row is None:
            # Another call may give it at this very moment: then nothing is inserted, and it is there.
            row = yield from one(insert_unless_there(UserTool, ("user_id", "tool_id")), **ids, uuid=uuid)
    if credential is not None:
        row = yield from one(_CREDENTIAL, row_id=row.id, sealed=_sealed(keyring, credential, row.uuid))
    tools = yield from every(_TOOLS, ids=[tool_id])
    if row is None or not tools:
        raise NotFound(f"tool {tool_id} was taken away while it was given")
    return _shown(row, tools[0])


def _stored(user_id: int, tool_id: int, credential: Any, keyring: Keyring) -> Script[UserTool | None]:
    row = yield from one(_LOCK_TOOL, user_id=user_id, tool_id=tool_id)
    if row is None:
        return None
    sealed = None if credential is None else _sealed(keyring, credential, row.uuid)
    return (yield from one(_CREDENTIAL, row_id=row.id, sealed=sealed))


def _sealed(keyring: Keyring, credential: Any, uuid: UUID) -> bytes:
    if credential == "":
        raise BadInput("a credential is not empty; None takes it away")
    return keyring.seal(credential, table="user_tools", column="credential", row=uuid)


def _shown(row: UserTool, tool: Tool) -> ToolOfUser:
    return ToolOfUser(row.id, row.uuid, row.user_id, tool, row.credential is not None)
