"""Which tables' rows may go, and by which column: every table is declared here, and a test sees to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from sqlalchemy import ColumnElement, Table, and_, exists, func, or_, select

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.hub.filing.keeping import NEXT
from agentdb.models import AgentSessionStatus, ApiKeyKind, RecipientType
from agentdb.operating.retaining.removing import Kept, Purged, Rule, Walked

_tables: Final[Mapping[str, Table]] = Entity.metadata.tables
_sessions, _logs, _mail, _recipients, _tokens, _reservations, _agent_sessions = (
    _tables[name]
    for name in (
        "run_session",
        "context_log",
        "mail_messages",
        "mail_recipients",
        "registration_tokens",
        "cost_reservations",
        "agent_sessions",
    )
)

# The longest month, and some: limits are mostly of windows up to that, and count entries by the moment.
_LEDGER: Final = timedelta(days=35)


def _ended(before: ColumnElement[datetime]) -> Sequence[ColumnElement[bool]]:
    logged = exists().where(_logs.c.run_session_id == _sessions.c.id)
    return [_sessions.c.last_active < before, ~logged]


def _read(before: ColumnElement[datetime]) -> Sequence[ColumnElement[bool]]:
    unread = and_(
        _recipients.c.message_id == _mail.c.id,
        _recipients.c.read_at.is_(None),
        _recipients.c.archived_at.is_(None),
        _recipients.c.type != RecipientType.from_,
    )
    return [_mail.c.created_at < before, ~exists().where(unread)]


def _over(before: ColumnElement[datetime]) -> Sequence[ColumnElement[bool]]:
    status = _agent_sessions.c.status
    ended = or_(status == AgentSessionStatus.completed, status == AgentSessionStatus.failed)
    silent = or_(_agent_sessions.c.completed_at.is_(None), _agent_sessions.c.completed_at < before)
    return [ended, silent, _agent_sessions.c.last_active_at < before]


async def _fold(db: Database, before: datetime, limit: int) -> tuple[int, bool]:
    # In a unit, which is begun again when somebody is in its way.
    folded = await db.run(lambda unit: unit.hub.costs.fold(before=before, limit=limit))
    return folded, folded > 0


async def _collect(db: Database, before: datetime, limit: int) -> tuple[int, bool]:
    grace = max(timedelta(0), db.now() - before).total_seconds()
    collected = await db.hub.attachments.collect(grace_seconds=grace, limit=limit)
    return collected.attachments, collected.more


async def _unattached(db: Database, before: datetime) -> int:
    found = after = 0
    while rows := await db.hub.connection.fetch_all(NEXT, {"after": after, "before": before, "limit": 1_000}):
        found, after = found + sum(row.unused for row in rows), rows[-1].id
    return found


def _purged(
    table: str,
    by: str,
    also: ColumnElement[bool] | None,
    purge: Callable[[Database, datetime, int], Awaitable[int]],
    *,
    fixed: bool = False,
    rows: int = 1_000,
) -> Purged:
    """Return the rule of rows whose repository removes so many at once, and of which a column is before a moment."""
    moment = _tables[table].c[by]
    before = of(moment, "before")
    old = moment <= before if fixed else moment < before
    conditions = [old] if also is None else [old, also]
    count = Plan[int](
        select(func.count()).select_from(_tables[table]).where(*conditions), name=f"{table}.retention: count"
    )

    async def some(db: Database, before: datetime, limit: int) -> tuple[int, bool]:
        removed = await purge(db, before, limit)
        return removed, removed >= limit

    async def counted(db: Database, before: datetime) -> int:
        return await db.hub.connection.fetch_one(count, {"before": before}) or 0

    return Purged(by, some, counted, fixed=fixed, rows=rows)


_PRINCIPAL: Final = Kept("who may act goes when it is taken away")
_CATALOG: Final = Kept("it has no age: it goes when it is removed")
_CONVERSATION: Final = Kept("it goes with its conversation; name conversations")
_OF_EXECUTION: Final = Kept("it goes with its execution; name executions")
_KNOWLEDGE: Final = Kept("what is known has no age: it goes when it is removed")
_OF_MAIL: Final = Kept("it goes with its message; name mail_messages")

RULES: Final[Mapping[str, Rule | Kept]] = MappingProxyType(
    {
        # In the order in which they are dealt with: what others wait for goes first.
        "sessions": _purged(
            "sessions",
            "expires_at",
            None,
            lambda db, _before, limit: db.supervisor.logins.purge(limit=limit),
            fixed=True,
        ),
        "memories": _purged(
            "memories",
            "expires_at",
            None,
            lambda db, _before, limit: db.knowledge.memories.purge(most=limit),
            fixed=True,
        ),
        "registration_tokens": Walked(_tokens, "expires_at", lambda before: [_tokens.c.expires_at < before]),
        "api_keys": _purged(
            "api_keys",
            "expires_at",
            _tables["api_keys"].c.kind == ApiKeyKind.access,
            lambda db, before, limit: db.supervisor.api_keys.remove_expired(before, limit=limit),
        ),
        "conversations": _purged(
            "conversations",
            "deleted_at",
            None,
            lambda db, before, limit: db.conversation.conversations.purge_deleted(before=before, most=limit),
            rows=100,
        ),
        "executions": _purged(
            "executions",
            "completed_at",
            None,
            lambda db, before, limit: db.execution.executions.prune(before, limit=limit),
            rows=200,
        ),
        "agent_sessions": Walked(_agent_sessions, "last_active_at, of those that have ended", _over),
        "integration_events": Walked(_tables["integration_events"]),
        "config_revisions": Walked(_tables["config_revisions"]),
        "cost_reservations": Walked(_reservations, "settled_at", lambda before: [_reservations.c.settled_at < before]),
        "costs": Purged(
            "created_at, in whole UTC days, folded into cost_days",
            _fold,
            lambda db, before: db.hub.costs.foldable(before=before),
            least=_LEDGER,
        ),
        "context_log": Walked(_logs),
        "run_session": Walked(_sessions, "last_active, once its log has gone", _ended, rows=100),
        "mail_messages": Walked(_mail, "created_at, once nobody has it unread", _read, rows=100),
        "attachments": Purged("created_at, of those that nothing refers to", _collect, _unattached),
        # What never goes by age.
        "audit_log": Kept("it is the proof, and is kept for ever"),
        "cost_days": Kept("they are what is left of costs; without them sums would change"),
        "runs": Kept("a run's number is never given again"),
        "users": _PRINCIPAL,
        "roles": _PRINCIPAL,
        "policies": _PRINCIPAL,
        "role_policies": _PRINCIPAL,
        "user_permissions": _PRINCIPAL,
        "passkey_credentials": _PRINCIPAL,
        "hosts": Kept("a machine goes when it is removed"),
        "user_hosts": Kept("it goes with its user or host"),
        "user_notifications": Kept("it is one row for each user, and goes with the user"),
        "mail_recipients": _OF_MAIL,
        "mail_attachments": _OF_MAIL,
        "variables": Kept("a variable goes when it is removed"),
        "schema_version": Kept("it is one row, which says what the schema is"),
        "spend_limits": Kept("a limit goes when it is removed"),
        "providers": _CATALOG,
        "models": _CATALOG,
        "prompts": _CATALOG,
        "tools": _CATALOG,
        "agents": _CATALOG,
        "user_agents": _CATALOG,
        "user_tools": _CATALOG,
        "agent_tools": _CATALOG,
        "messages": _CONVERSATION,
        "resources": _CONVERSATION,
        "vector_collections": _KNOWLEDGE,
        "vectors": _KNOWLEDGE,
        "knowledge_base": _KNOWLEDGE,
        "workflows": Kept("a workflow goes when it is removed"),
        "workflow_versions": Kept("it goes with its workflow"),
        "execution_logs": _OF_EXECUTION,
        "execution_changes": _OF_EXECUTION,
        "integration_connections": Kept("it goes when its user removes it"),
    }
)
"""Every table: how its rows may go, or why they may not."""
