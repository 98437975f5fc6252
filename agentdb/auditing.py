"""Entries of the audit log: written by whatever script does what they tell of, of every aggregate."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import Insert, func, insert, select

from agentdb.base import Entity
from agentdb.engine.asked import is_text, members, whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count
from agentdb.engine.plan import Plan
from agentdb.engine.scoping.beyond import beyond_tenant

SYSTEM: Final = "system"  # the actor's name where nobody in particular acted
UNKNOWN: Final = "unknown"  # where the actor is no user any more
ACTOR: Final = "actor_user_id"
ONES_OWN_ACTS: Final = "the record of what a user did is nobody's, and is not read within a scope"


def entry_statement() -> Insert:
    """Return the statement that adds an entry, with the actor's name of this moment; its parameters: `entry_of`.

    The tables are named, not imported: whoever owns them writes entries too.
    """
    log, users = (Entity.metadata.tables[name] for name in ("audit_log", "users"))
    actor = of(log.c.actor_user_id)
    name = select(users.c.username).where(users.c.id == actor).scalar_subquery()
    given = ("action", "entity", "entity_id", "detail", "ip_address", "correlation_id")
    return insert(log).values(
        actor_user_id=actor,
        actor_name=func.coalesce(name, of(log.c.actor_name, "otherwise")),
        **{key: of(log.c[key]) for key in given},
    )


@cache
def _record() -> Plan[None]:
    return beyond_tenant(Plan(entry_statement(), name="audit.record"), ONES_OWN_ACTS, own=(ACTOR,), actor=ACTOR)


def recorded(
    *,
    actor_id: int | None,
    action: str,
    entity: str,
    entity_id: int | str | None = None,
    detail: Mapping[str, Any] | None = None,
    ip_address: str | None = None,
    correlation_id: str | None = None,
) -> Script[None]:
    """Within a script: record what its transaction does; both are stored, or neither.

    Args: as of `Audit.record`.
    """
    yield from count(_record(), **entry_of(actor_id, action, entity, entity_id, detail, ip_address, correlation_id))


def entry_of(
    actor_id: int | None,
    action: str,
    entity: str,
    entity_id: int | str | None,
    detail: Mapping[str, Any] | None,
    ip_address: str | None,
    correlation_id: str | None,
) -> dict[str, Any]:
    """Return the parameters of `entry_statement`, of which the arguments are those of `recorded`."""
    return {
        "actor_user_id": actor_id,
        "otherwise": SYSTEM if actor_id is None else UNKNOWN,
        "action": action,
        "entity": entity,
        "entity_id": None if entity_id is None else spelled(entity_id),
        "detail": members(detail, "detail"),
        "ip_address": ip_address,
        "correlation_id": correlation_id,
    }


def spelled(entity_id: int | str) -> str:
    """Return what a row is called in the log.

    Raises: BadInput for what is neither text nor a whole number.
    """
    return entity_id if is_text(entity_id) else str(whole_number(entity_id, "entity_id"))  # type: ignore[return-value]
