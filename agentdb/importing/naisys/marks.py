"""Marks: how far an import has come, in the audit log, each written in the transaction of its batch.

Rows that have no key of their own outside their database - log entries, mail, revisions - are read by rising id, and
the last mark says from where. So an import that is killed goes on behind its last whole batch, one that is run again
brings what is new, and of two at once one waits and then finds the batch done.

A source has no name: it is known by its users' UUIDs, which are random and stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Table, select

from agentdb.auditing import recorded
from agentdb.criteria import table_of
from agentdb.engine.advisory import turn_taken
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, count, every, one
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.supervisor.models import AuditLog

R = TypeVar("R")

ACTION: Final = "import"
SOURCE: Final = "naisys"


@dataclass(frozen=True, slots=True)
class _Known:
    uuid: str
    detail: Any


_log: Final[Table] = table_of(AuditLog)
_TURN: Final = Plan[None](turn_taken("import naisys"), name="import: turn")
_LAST: Final = Plan[Any](
    select(_log.c.detail)
    .where(_log.c.entity == of(_log.c.entity), _log.c.entity_id == of(_log.c.entity_id), _log.c.action == ACTION)
    .order_by(_log.c.id.desc())
    .limit(1),
    name="import: mark",
)
_ALL: Final = Plan[Any](
    select(_log.c.detail)
    .where(_log.c.entity == of(_log.c.entity), _log.c.entity_id == of(_log.c.entity_id), _log.c.action == ACTION)
    .order_by(_log.c.id),
    name="import: marks",
)
_KNOWN: Final = Plan[_Known](
    select(_log.c.entity_id, _log.c.detail)
    .where(_log.c.entity == SOURCE, _log.c.action == ACTION, among(_log.c.entity_id, "uuids"))
    .order_by(_log.c.id),
    name="import: source",
    rows=_Known,
)


class Marks:
    """The marks of one source.

    Args: identity: what the source is known by.
    """

    def __init__(self, identity: str) -> None:
        self.name = f"{SOURCE}:{identity}"

    async def until(self, connection: Connection, entity: str) -> int:
        """Return the id up to which rows of a table are imported; 0 when none is."""
        return _until(await connection.fetch_one(_LAST, {"entity": entity, "entity_id": self.name}))

    async def all(self, connection: Connection, entity: str) -> list[Mapping[str, Any]]:
        """Return what all marks of a table tell."""
        return await connection.fetch_all(_ALL, {"entity": entity, "entity_id": self.name})

    def every(self, entity: str) -> Script[list[Mapping[str, Any]]]:
        """Within a script: return what all marks of a table tell."""
        return (yield from every(_ALL, entity=entity, entity_id=self.name))

    def batch(self, entity: str, after: int, until: int, work: Callable[[], Script[R]]) -> Script[R | None]:
        """Within a script: do a batch and mark it, or give None when somebody else has done it."""
        yield from count(_TURN)
        if _until((yield from one(_LAST, entity=entity, entity_id=self.name))) != after:
            return None
        result = yield from work()
        yield from self.mark(entity, {"after": after, "until": until})
        return result

    def mark(self, entity: str, detail: Mapping[str, Any]) -> Script[None]:
        """Within a script: tell what it has imported."""
        yield from recorded(actor_id=None, action=ACTION, entity=entity, entity_id=self.name, detail=detail)


def turn() -> Script[None]:
    """Within a script: wait for other imports, and let them wait until its end."""
    yield from count(_TURN)


def identified(uuids: Sequence[str]) -> Script[str]:
    """Within a script: return what a source with these users is known by, from now on if it was not before.

    Each of its users tells, so that it is known although some are deleted.

    Args: uuids: of its users.
    """
    yield from count(_TURN)
    known = yield from every(_KNOWN, uuids=list(uuids))
    identity: str = next((user.detail["source"] for user in known), uuids[0])
    told = {user.uuid for user in known}
    for uuid in uuids:
        if uuid not in told:
            yield from recorded(
                actor_id=None, action=ACTION, entity=SOURCE, entity_id=uuid, detail={"source": identity}
            )
    return identity


def _until(detail: Any) -> int:
    until = detail.get("until") if isinstance(detail, dict) else None
    return until if isinstance(until, int) else 0
