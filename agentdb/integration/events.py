"""Events: what happened on users' connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from datetime import datetime
from functools import cache, partial
from typing import Any, Final

from sqlalchemy import Table, bindparam, func, literal_column, select

from agentdb.criteria import beyond
from agentdb.engine.asked import is_text, members, whole_number
from agentdb.engine.columns import of
from agentdb.engine.lists import listed
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MomentType
from agentdb.engine.spelling import TextType
from agentdb.errors import BadInput
from agentdb.following import Change, Trail, follow
from agentdb.guarded import Guarded
from agentdb.integration.changing import used
from agentdb.integration.models import IntegrationEvent, IntegrationEventType
from agentdb.integration.records import ToolCount
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of

_events: Final[Table] = IntegrationEvent.__table__  # type: ignore[assignment]
_ORDER: Final = [_events.c.occurred_at, _events.c.id]


@cache
def _filters(given: frozenset[str]) -> list[Any]:
    conditions: dict[str, Any] = {
        "user_id": _events.c.user_id == of(_events.c.user_id),
        "integration_id": _events.c.integration_id == of(_events.c.integration_id),
        "types": _events.c.event_type.in_(select(listed("types", TextType()).c.value)),
        "since": _events.c.occurred_at >= bindparam("since", type_=MomentType()),
        "until": _events.c.occurred_at < bindparam("until", type_=MomentType()),
    }
    return [conditions[name] for name in sorted(given)]


@cache
def _page_plan(given: frozenset[str], *, after: bool) -> Plan[IntegrationEvent]:
    statement = select(IntegrationEvent).where(*_filters(given))
    if after:
        statement = statement.where(beyond(_ORDER, newest_first=True))
    statement = statement.order_by(*(column.desc() for column in _ORDER)).limit(bindparam("limit"))
    return Plan(statement, name="events.latest", rows=IntegrationEvent)


@cache
def _count_plan(given: frozenset[str]) -> Plan[ToolCount]:
    uses = func.count()
    statement = (
        select(_events.c.tool_name, uses, func.max(_events.c.occurred_at, type_=MomentType()))
        .where(
            _events.c.event_type == literal_column("'tool_used'", _events.c.event_type.type),
            _events.c.tool_name.is_not(None),
            *_filters(given),
        )
        .group_by(_events.c.tool_name)
        .order_by(uses.desc(), _events.c.tool_name)
        .limit(bindparam("limit"))
    )
    return Plan(statement, name="events.tool_counts", rows=ToolCount)


class Events(Guarded[IntegrationEvent]):
    """What happened on users' connections: stored once, and never changed.

    Connecting, disconnecting, refreshing and failing tell of themselves; who uses a connection tells of the use.
    """

    model = IntegrationEvent

    async def record_use(
        self,
        connection_id: int,
        tool_name: str,
        *,
        parameters: Any = None,
        result: Any = None,
        event_data: dict[str, Any] | None = None,
        user_id: int | None = None,
    ) -> IntegrationEvent:
        """Tell that a tool was used over a connection, and return the event.

        Args:
            connection_id: which.
            tool_name: of the tool.
            parameters: what it was called with; any JSON, and no secrets: it is stored as it is.
            result: what it returned.
            event_data: whatever else there is to know.
            user_id: whose connection; None: anybody's.

        Raises: NotFound; InvalidTransition when it is not connected; BadInput.
        Cost: one transaction of three statements.
        """
        if not is_text(tool_name) or not tool_name:
            raise BadInput("a tool is named by a text that is not empty")
        details = {
            "tool_name": tool_name,
            "tool_parameters": parameters,
            "tool_result": result,
            "event_data": members(event_data, "integration_events.event_data"),
        }
        kind = IntegrationEventType.tool_used
        return await self.connection.run(partial(used, connection_id, user_id, kind, self.connection.now(), details))

    async def latest(
        self,
        *,
        user_id: int | None = None,
        integration_id: int | None = None,
        types: Collection[IntegrationEventType | str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[IntegrationEvent]:
        """Return events, newest first.

        Args:
            user_id: of whose connections; None: of everybody's.
            integration_id: of which connection.
            types: only these.
            since: not before it.
            until: before it.
            limit: how many.
            after: the ``next`` of the page before.

        Cost: one read by the index of the user, the connection, or the moment.
        """
        given = _given(user_id, integration_id, types, since, until)
        limit, listing = capped(limit, self.most), f"events:{sorted(given.items(), key=str)}"
        values: dict[str, Any] = {**given, "limit": limit + 1}
        if after is not None:
            values |= {f"after_{place}": it for place, it in enumerate(values_of(listing, after, _ORDER))}
        plan = _page_plan(frozenset(given), after=after is not None)
        return page_of(await self.connection.fetch_all(plan, values), limit, listing, ["occurred_at", "id"])

    async def tool_counts(
        self,
        *,
        user_id: int | None = None,
        integration_id: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> list[ToolCount]:
        """Return how often each tool was used, the most used first; equal ones by name.

        Args: as of `latest`; limit: how many tools.
        Cost: one read of the events that are meant.
        """
        given = _given(user_id, integration_id, None, since, until)
        values = {**given, "limit": capped(limit, self.most)}
        return await self.connection.fetch_all(_count_plan(frozenset(given)), values)

    def follow(
        self, *, after: str | None = None, poll_seconds: float = 1.0
    ) -> AsyncGenerator[Change[IntegrationEvent]]:
        """Yield events as they are committed, each once; see `agentdb.hub.logs.Logs.follow`.

        Raises: BadInput in a unit, or for a cursor of something else.
        """
        return follow(self.connection, Trail(IntegrationEvent), after=after, poll_seconds=poll_seconds)


def _given(
    user_id: int | None,
    integration_id: int | None,
    types: Collection[IntegrationEventType | str] | None,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, Any]:
    named: list[str] | None = None
    for name, number in (("user_id", user_id), ("integration_id", integration_id)):
        if number is not None:
            whole_number(number, name)
    if types is not None:
        try:
            named = sorted(IntegrationEventType(one) for one in types)
        except (ValueError, TypeError):
            kinds = ", ".join(IntegrationEventType)
            raise BadInput(f"types are a list of {kinds}") from None
    given = {"user_id": user_id, "integration_id": integration_id, "types": named, "since": since, "until": until}
    return {name: value for name, value in given.items() if value is not None}
