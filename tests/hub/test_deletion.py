"""Deletion: what goes with a user or a host, what stays, and nothing that dangles."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import exists, func, select

from agentdb.criteria import table_of
from agentdb.database import Database
from agentdb.errors import Contended, MissingReference, NotFound
from agentdb.hub.models.mail import AttachmentPurpose, MailKind, RecipientType
from agentdb.models import (
    Attachment,
    AuditLog,
    ConfigRevision,
    ContextLog,
    Cost,
    CostReservation,
    MailAttachment,
    MailMessage,
    MailRecipient,
    Run,
    RunSession,
    SpendLimit,
    User,
    UserHost,
    UserNotification,
    Variable,
    tables,
)
from agentdb.testing.factories import make_host, make_run_session, make_user

NOBODY = "0" * 64


async def count(db: Database, model: type[Any], *conditions: Any) -> int:
    async with db.read() as unit:
        return int(await unit.session.scalar(select(func.count()).select_from(model).where(*conditions)) or 0)


async def dangling(db: Database) -> list[str]:
    """Return the references of all tables that lead to no row."""
    found = []
    async with db.read() as unit:
        for model in tables.values():
            table = table_of(model)
            for key in table.foreign_keys:
                target = key.column.table.alias()
                there = exists().where(target.c[key.column.name] == key.parent)
                if await unit.session.scalar(select(key.parent).where(key.parent.is_not(None), ~there).limit(1)):
                    found.append(f"{table.name}.{key.parent.name}")
    return found


async def _mail(unit: Any, sender: User, recipient: User, host_id: int, body: str) -> MailMessage:
    message = MailMessage(
        from_user_id=sender.id,
        from_username=sender.username,
        host_id=host_id,
        kind=MailKind.mail,
        participants=",".join(map(str, sorted((sender.id, recipient.id)))),
        participants_digest=NOBODY,
        subject="s",
        body=body,
    )
    unit.session.add(message)
    await unit.session.flush()
    for user, type_ in ((sender, RecipientType.from_), (recipient, RecipientType.to)):
        unit.session.add(MailRecipient(message_id=message.id, user_id=user.id, type=type_, participants_digest=NOBODY))
    await unit.session.flush()
    return message


async def _lived(db: Database) -> tuple[User, User, RunSession]:
    """Make a user who did all there is to do, one who had to do with that user, and the user's session."""
    user, other = await make_user(db, username="goes"), await make_user(db, username="stays")
    await db.supervisor.users.disable(other.id)
    run = await make_run_session(db, user_id=user.id)
    host_id = run.host_id or 0
    away = await make_host(db)
    await db.hub.runs.start_subagent(run, subagent_id=-1, model_name="m", host_id=away.id)
    foreign = await db.hub.runs.start(user_id=other.id, host_id=host_id, model_name="m")
    await db.hub.hosts.assign(user.id, host_id)
    await db.hub.hosts.assign(other.id, host_id)
    await db.hub.heartbeats.beat({host_id: [run.id, foreign.id]})
    for session in (run, foreign):
        await db.hub.logs.append(
            session, [{"role": "llm", "message": "a"}, {"role": "llm", "message": "b", "host_id": away.id}]
        )
    await db.hub.costs.append(
        source="console", model="m", cost=Decimal("0.25"), user_id=user.id, run_session_id=run.id, host_id=host_id
    )
    async with db.write() as unit:
        attachment = Attachment(
            public_id="a" * 22,
            filename="f",
            media_type="text/plain",
            file_size=1,
            file_hash=NOBODY,
            purpose=AttachmentPurpose.mail,
            storage_key="k",
            uploaded_by=user.id,
        )
        limit = SpendLimit(user_id=user.id, amount=Decimal(1), period="day", window_started_at=db.now())
        reservation = CostReservation(user_id=user.id, amount=Decimal(1), expires_at=db.now())
        unit.session.add_all(
            [
                attachment,
                limit,
                reservation,
                ConfigRevision(user_id=other.id, config={}, changed_by_id=user.id),
                ConfigRevision(user_id=user.id, config={}, changed_by_id=other.id),
                Variable(key="K", value="v", created_by=user.id, updated_by=user.id),
                AuditLog(actor_user_id=user.id, actor_name="goes", action="a", entity="users"),
            ]
        )
        await unit.session.flush()
        reservation.limit_ids = [limit.id]
        sent = await _mail(unit, user, other, host_id, "sent")
        unit.session.add(MailAttachment(message_id=sent.id, attachment_id=attachment.id))
        await _mail(unit, other, user, host_id, "received")
    return user, other, run


async def test_a_user_goes_with_what_is_theirs_and_others_keep_what_they_got(db: Database) -> None:
    user, other, _ = await _lived(db)
    led = await make_user(db, lead_user_id=user.id)

    assert await db.supervisor.users.remove(user.id)

    assert await dangling(db) == []
    for model in (Run, RunSession, UserHost, UserNotification, ConfigRevision):
        assert await count(db, model) == await count(db, model, model.user_id == other.id) == 1
    assert await count(db, ContextLog) == 2
    assert await count(db, SpendLimit) == 0
    # What is set aside counts in the limits of others until it is settled or overdue.
    assert await count(db, CostReservation, CostReservation.user_id.is_(None)) == await count(db, CostReservation) == 1
    assert (await db.supervisor.users.get(led.id)).lead_user_id is None
    assert await count(db, Cost, Cost.user_id.is_(None), Cost.run_session_id.is_(None)) == 1
    assert (await db.hub.costs.total()).cost == Decimal("0.25")
    assert await count(db, Attachment, Attachment.uploaded_by.is_(None)) == 1
    assert await count(db, ConfigRevision, ConfigRevision.changed_by_id.is_(None)) == 1
    assert await count(db, Variable, Variable.created_by.is_(None), Variable.updated_by.is_(None)) == 1
    assert await count(db, AuditLog, AuditLog.actor_user_id == user.id, AuditLog.actor_name == "goes") == 1
    assert await count(db, MailMessage, MailMessage.from_username == "goes", MailMessage.from_user_id.is_(None)) == 1
    assert await count(db, MailRecipient, MailRecipient.user_id == other.id) == await count(db, MailRecipient) == 2
    assert await count(db, MailAttachment) == 1


async def test_a_host_goes_and_what_happened_there_stays(db: Database) -> None:
    _, _, run = await _lived(db)
    before = [await count(db, model) for model in (RunSession, ContextLog, Cost, MailMessage, UserNotification)]

    assert await db.hub.hosts.remove(run.host_id)
    assert not await db.hub.hosts.remove(run.host_id)

    assert await dangling(db) == []
    after = [await count(db, model) for model in (RunSession, ContextLog, Cost, MailMessage, UserNotification)]
    assert after == before
    assert await count(db, UserHost) == 0
    assert (await db.hub.runs.get(run.id)).host_id is None
    assert await count(db, ContextLog, ContextLog.host_id.is_(None)) == 2
    assert await count(db, MailMessage, MailMessage.host_id.is_(None)) == 2
    assert await count(db, UserNotification, UserNotification.latest_host_id.is_(None)) == 2
    assert (await db.hub.costs.total()).cost == Decimal("0.25")


async def test_whoever_is_archived_or_disabled_keeps_everything(db: Database) -> None:
    user, _, _ = await _lived(db)
    before = {name: await count(db, model) for name, model in tables.items()}

    await db.supervisor.users.disable(user.id)
    await db.supervisor.users.archive(user.id)

    after = {name: await count(db, model) for name, model in tables.items()}
    assert {name: rows for name, rows in after.items() if name != "audit_log"} == {
        name: rows for name, rows in before.items() if name != "audit_log"
    }


@pytest.mark.long
async def test_users_are_removed_while_they_append(db: Database) -> None:
    host = await make_host(db)
    sessions = [await make_run_session(db, host_id=host.id) for _ in range(8)]
    for session in sessions:
        await db.hub.logs.append(session, [{"role": "llm", "message": "first"}])

    async def live(session: RunSession) -> None:
        for _ in range(6):
            try:
                await db.hub.logs.append(session, [{"role": "llm", "message": "a"}])
                await db.hub.costs.append(
                    source="console", model="m", cost=1, user_id=session.user_id, run_session_id=session.id
                )
                await db.hub.runs.next_session(run_id=session.run_id, model_name="m", host_id=host.id)
            except (MissingReference, NotFound, Contended):
                return

    async def remove(session: RunSession) -> bool:
        async def removal(unit: Any) -> bool:
            return bool(await unit.supervisor.users.remove(session.user_id))

        return await db.run(removal)

    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*(live(s) for s in sessions), *(remove(s) for s in sessions))

    assert outcomes[8:] == [True] * 8
    assert await dangling(db) == []
    for model in (User, Run, RunSession, ContextLog, UserNotification):
        assert await count(db, model) == 0
    assert await count(db, Cost) == await count(db, Cost, Cost.user_id.is_(None), Cost.run_session_id.is_(None))
