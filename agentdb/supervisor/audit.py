"""The audit log: who did what to which entity, written in the transaction that did it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from agentdb.auditing import ACTOR, ONES_OWN_ACTS, entry_of, entry_statement, spelled
from agentdb.engine.plan import Plan
from agentdb.engine.scoping.beyond import beyond_tenant
from agentdb.errors import ReadOnly
from agentdb.guarded import Guarded
from agentdb.page import Page
from agentdb.supervisor.models import AuditLog

_RECORD: Final = beyond_tenant(
    Plan[AuditLog](entry_statement().returning(AuditLog.__table__), name="audit.record: entry", rows=AuditLog),
    ONES_OWN_ACTS,
    own=(ACTOR,),
    actor=ACTOR,
)


class Audit(Guarded[AuditLog]):
    """The record of what was done. Entries are appended, never changed, never removed.

    An entry keeps the actor's name of that moment, and outlives the actor. Never put a secret into its detail.
    """

    model = AuditLog

    async def record(
        self,
        *,
        actor_id: int | None,
        action: str,
        entity: str,
        entity_id: int | str | None = None,
        detail: Mapping[str, Any] | None = None,
        ip_address: str | None = None,
        correlation_id: str | None = None,
    ) -> AuditLog:
        """Record that somebody did something, and return the entry.

        Args:
            actor_id: the user who did it; None: the system itself, or the user within whose scope it was done.
            action: what was done: a verb, such as ``revoke``.
            entity: to what: a table, such as ``api_keys``.
            entity_id: to which row of it.
            detail: what else is worth knowing, without secrets.
            ip_address: where the request came from.
            correlation_id: what the request is called in other logs.

        Raises: BadInput.
        Cost: one statement, which looks up the actor's name.
        """
        entry = entry_of(actor_id, action, entity, entity_id, detail, ip_address, correlation_id)
        row: AuditLog | None = await self.connection.fetch_one(_RECORD, entry)
        return self._there(row)

    async def of_actor(self, actor_id: int | None, *, limit: int = 50, after: str | None = None) -> Page[AuditLog]:
        """Return what a user did, newest first; None: what the system did.

        Cost: one read by ix_audit_log__actor_user_id_id.
        """
        return await self.page(newest_first=True, limit=limit, after=after, actor_user_id=actor_id)

    async def of_entity(
        self, entity: str, entity_id: int | str, *, limit: int = 50, after: str | None = None
    ) -> Page[AuditLog]:
        """Return what was done to one row, newest first.

        Cost: one read by ix_audit_log__entity_entity_id_id.
        """
        return await self.page(newest_first=True, limit=limit, after=after, entity=entity, entity_id=spelled(entity_id))

    async def between(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        entity: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[AuditLog]:
        """Return what was done in a time, newest first.

        Args:
            since: from this moment on; None: from the beginning.
            until: before this moment; None: up to now.
            entity: to rows of this table only.
            limit: how many.
            after: the ``next`` of the page before.

        Cost: one read by ix_audit_log__created_at_id, which passes over entries of another entity.
        """
        asked = {"created_at__ge": since, "created_at__lt": until, "entity": entity}
        criteria: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        return await self.page(by="created_at", newest_first=True, limit=limit, after=after, **criteria)

    # Entries are added by `record` alone, which knows the actor's name. The database refuses these three as well; here
    # the refusal names the entry.

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: an entry never changes."""
        raise ReadOnly(f"audit entry {key[0] if key else ''} never changes; record what came after")

    async def upsert(self, *, on: Sequence[str], **values: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: an entry never changes."""
        raise ReadOnly("audit entries never change; record() adds one")

    async def remove(self, *key: Any) -> NoReturn:
        """Refuse: an entry is never removed."""
        raise ReadOnly(f"audit entry {key[0] if key else ''} stays: the audit log is append-only")
