"""How memories are read: the newest, by words, and the removal of those that have ended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, or_, select
from sqlalchemy.sql import ColumnElement, Select

from agentdb.catalog.models import Agent
from agentdb.criteria import beyond
from agentdb.engine.columns import of
from agentdb.engine.containing import contains
from agentdb.engine.fulltext import has_words, hits, weighed
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.knowledge.models import Memory

memories: Final[Table] = Memory.__table__  # type: ignore[assignment]

LIMIT: Final = bindparam("limit", type_=WholeType())
NOW: Final = of(memories.c.created_at, "now")
ALIVE: Final = or_(memories.c.expires_at.is_(None), memories.c.expires_at > NOW)
ORDER: Final = [memories.c.created_at, memories.c.id]


@dataclass(frozen=True, slots=True)
class Which:
    """What a search for memories is narrowed by: those that make a plan of their own."""

    of_user: bool = False
    kinds: bool = False
    tagged: bool = False

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions: of one agent, and alive; of a user, or of everybody."""
        every: list[ColumnElement[bool]] = [memories.c.agent_id == of(memories.c.agent_id), ALIVE]
        if self.of_user:
            every.append(or_(memories.c.user_id.is_(None), memories.c.user_id == of(memories.c.user_id)))
        if self.kinds:
            every.append(among(memories.c.kind, "kinds"))
        if self.tagged:
            every.append(contains(memories.c.tags, "tags"))
        return every


def _plan(name: str, statement: Select[Any]) -> Plan[Memory]:
    return Plan(statement.limit(LIMIT), name=f"memories.{name}", rows=Memory)


@cache
def newest_plan(which: Which, after: bool) -> Plan[Memory]:
    """Return the plan that reads the newest memories."""
    conditions = [*which.conditions, *([beyond(ORDER, newest_first=True)] if after else [])]
    return _plan("newest", select(Memory).where(*conditions).order_by(*(column.desc() for column in ORDER)))


@cache
def all_words_plan(which: Which) -> Plan[Memory]:
    """Return the plan that finds the memories with all the words, the newest first."""
    statement = select(Memory).where(has_words(memories), *which.conditions)
    return _plan("search: all words", statement.order_by(memories.c.id.desc()))


@cache
def any_words_plan(which: Which) -> Plan[Memory]:
    """Return the plan that finds the memories with any of the words, those with more and rarer ones first."""
    hit = hits(memories)
    own = select(hit.c.place, hit.c.id).join(memories, memories.c.id == hit.c.id).where(*which.conditions)
    weights = weighed(own.subquery("found"))
    statement = select(Memory).join(weights, weights.c.id == memories.c.id)
    return _plan("search: any word", statement.order_by(weights.c.weight.desc(), memories.c.id.desc()))


AGENT: Final = Plan[Agent](
    select(Agent).where(Agent.id == of(Agent.__table__.c.id, "agent_id")),  # type: ignore[arg-type]
    name="memories.of_agent: agent",
    rows=Agent,
)
_ended: Final = (
    select(memories.c.id)
    .where(memories.c.expires_at <= NOW)
    .order_by(memories.c.expires_at, memories.c.id)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
    .cte("ended")
)
PURGE: Final = Plan[int](
    delete(memories).where(memories.c.id.in_(select(_ended.c.id))).returning(memories.c.id), name="memories.purge"
)
FORGET: Final = Plan[None](
    delete(memories).where(
        memories.c.id == of(memories.c.id, "memory_id"),
        memories.c.agent_id == of(memories.c.agent_id),
        or_(
            memories.c.user_id == of(memories.c.user_id),
            bindparam("anybodys", type_=WholeType()) == 1,
        ),
    ),
    name="memories.forget",
)
