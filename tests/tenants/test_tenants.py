"""A database as one user sees it: its doors, and what is refused there."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import column, literal_column, select, text
from sqlalchemy import table as any_table

from agentdb.auditing import recorded
from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.engine.scoping.beyond import DECLARED
from agentdb.errors import (
    AgentDBError,
    BadInput,
    BudgetExceeded,
    MissingReference,
    NotFound,
    ReadOnly,
)
from agentdb.supervisor.models import User
from agentdb.testing.factories import make_conversation, make_run_session, make_user
from agentdb.unit import Unit

NO_IDS: list[Any] = ["1", 1.0, None, True]


async def test_a_user_is_named_by_their_id(db: Database, subtests: pytest.Subtests) -> None:
    for wrong in NO_IDS:
        with subtests.test(wrong=wrong), pytest.raises(BadInput):
            db.as_user(wrong)


async def test_who_is_not_there_sees_the_catalog(db: Database) -> None:
    ada = await make_user(db)
    await make_conversation(db, user_id=ada.id, messages=2)
    await db.catalog.tools.create("hammer")
    shared = await db.catalog.agents.create("everybody's")
    await db.catalog.agents.create("ada's", user_id=ada.id)

    nobody = db.as_user(404)

    assert [agent.id for agent in (await nobody.catalog.agents.page()).items] == [shared.id]
    assert await nobody.catalog.tools.count() == 1
    assert (await nobody.supervisor.users.count(), await nobody.conversation.messages.count()) == (0, 0)


async def test_a_unit_is_scoped_and_one_transaction(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    theirs = await make_conversation(db, user_id=eve.id)

    with pytest.raises(NotFound):  # noqa: PT012 (the error leaves the unit)
        async with db.as_user(ada.id).write() as unit:
            own = await unit.conversation.conversations.create(user_id=ada.id)
            async with unit.savepoint():
                await unit.conversation.messages.append(own.id, "user", "hello")
            await unit.conversation.messages.append(theirs.id, "user", "hello")
    async with db.as_user(ada.id).write() as unit:
        kept = await unit.conversation.conversations.create(user_id=ada.id)
    async with db.as_user(ada.id).read() as unit:
        assert [row.id async for row in unit.conversation.conversations.stream()] == [kept.id]
        with pytest.raises(ReadOnly):
            await unit.conversation.conversations.create(user_id=ada.id)
    assert await db.conversation.messages.count() == 0


async def test_work_is_run_again_within_the_scope(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    await make_conversation(db, user_id=eve.id)

    async def work(unit: Unit) -> int:
        await unit.conversation.conversations.create(user_id=ada.id)
        return await unit.conversation.conversations.count()

    assert await db.as_user(ada.id).run(work) == 1


async def test_sessions_are_refused(db: Database) -> None:
    tenant = db.as_user((await make_user(db)).id)

    async with tenant.write() as unit:
        with pytest.raises(BadInput, match="use the repositories"):
            _ = unit.session
    with pytest.raises(BadInput, match="use the repositories"):
        _ = tenant.sessions


async def test_a_scoped_call_within_an_open_unit_is_refused_as_any(db: Database) -> None:
    tenant = db.as_user((await make_user(db)).id)

    async with db.write():
        with pytest.raises(BadInput, match="inside an open write unit"):
            await tenant.conversation.conversations.count()
        with pytest.raises(BadInput, match="inside an open write unit"):
            async with tenant.write():
                pass


UNKNOWN: list[Any] = [
    text("SELECT id FROM users"),
    select(text("id")).select_from(any_table("users")),
    select(any_table("users", column("id")).c.id),
    select(User.__table__.c.id).where(text("1 = 1")),
    select(literal_column("(SELECT max(password_hash) FROM users)")),
    select(User.__table__.c.id).where(User.__table__.c.id.op("= 1 OR EXISTS (SELECT 1 FROM users) OR 1 =")(1)),
    select(User.__table__.c.id).with_statement_hint("UNION SELECT id FROM users"),
]


async def test_what_nobody_knows_the_tables_of_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    connection = db.as_user((await make_user(db)).id).supervisor.connection

    for statement in UNKNOWN:
        with subtests.test(statement=str(statement)), pytest.raises(BadInput, match="scope"):
            await connection.fetch_all(Plan(statement, name="asked"), {})


async def test_another_users_row_is_told_of_as_one_that_is_missing(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    theirs = await make_conversation(db, user_id=eve.id, messages=1)
    theirs = await make_conversation(db, user_id=eve.id, messages=1)
    scoped = db.as_user(ada.id)

    async def told(call: Any) -> tuple[type[AgentDBError], str]:
        with pytest.raises(AgentDBError) as caught:
            await call
        return type(caught.value), str(caught.value)

    talks, runs = scoped.conversation, scoped.hub
    calls: list[tuple[int, Callable[[int], Any]]] = [
        (theirs.id, talks.conversations.get),
        (theirs.id, lambda key: talks.messages.append(key, "user", "x")),
        (theirs.id, lambda key: talks.resources.attach("x", conversation_id=key)),
        (theirs.id, lambda key: talks.conversations.update(key, title="x")),
        (eve.id, lambda key: talks.conversations.create(user_id=key)),
        (eve.id, lambda key: runs.runs.start(user_id=key, model_name="m")),
        (eve.id, lambda key: runs.reservations.reserve(user_id=key, amount=1)),
    ]
    for key, call in calls:
        (kind, words), missing = await told(call(key)), await told(call(404))
        assert (kind, words.replace(f"{key}", "404")) == missing


async def test_a_letter_reaches_others_and_is_ones_own(db: Database) -> None:
    ada, eve, bob = [await make_user(db) for _ in range(3)]

    sent = await db.as_user(ada.id).hub.mail.send(ada.id, to=[eve.id], bcc=[bob.id], body="hello")
    (letter,) = (await db.as_user(eve.id).hub.mail.received(eve.id)).items
    assert (letter.id, letter.sent_as) == (sent.id, ada.username)
    assert [addressee.username for addressee in letter.recipients] == [eve.username]
    await db.as_user(eve.id).hub.mail.mark_read(eve.id, [sent.id])
    with pytest.raises(AgentDBError):
        await db.as_user(ada.id).hub.mail.send(eve.id, to=[bob.id], body="as if by eve")
    assert (await db.as_user(eve.id).hub.mail.received(bob.id)).items == []
    assert await db.hub.mail.count() == 1


async def test_what_goes_with_a_letter_is_read_by_whoever_got_it_and_nobody_else(db: Database) -> None:
    ada, eve, bob = [await make_user(db) for _ in range(3)]
    file = await db.hub.attachments.store(b"hello", filename="a.txt", purpose="mail", uploaded_by=ada.id)
    await db.as_user(ada.id).hub.mail.send(ada.id, to=[eve.id], body="see this", attachment_ids=[file.id])

    scoped = db.as_user(eve.id).hub
    (letter,) = (await scoped.mail.received(eve.id)).items
    assert [one.public_id for one in letter.attachments] == [file.public_id]
    assert (await scoped.attachments.open(file.public_id, eve.id)).filename == "a.txt"
    assert not await scoped.attachments.remove(file.id)
    with pytest.raises(MissingReference):
        await scoped.mail.send(eve.id, to=[bob.id], body="as if mine", attachment_ids=[file.id])
    with pytest.raises(NotFound):
        await db.as_user(bob.id).hub.attachments.open(file.public_id, bob.id)
    assert await db.as_user(bob.id).hub.attachments.count() == 0


async def test_limits_of_leads_and_of_the_installation_bind_within_a_scope(db: Database) -> None:
    lead = await make_user(db)
    ada = await make_user(db, lead_user_id=lead.id)
    await db.hub.limits.set(3, user_id=lead.id, covers="tree")
    scoped = db.as_user(ada.id).hub

    reserved = await scoped.reservations.reserve(user_id=ada.id, amount=2)
    with pytest.raises(BudgetExceeded, match="not this user's alone") as alone:
        await scoped.reservations.reserve(user_id=ada.id, amount=2)
    async with db.as_user(ada.id).write() as unit:
        with pytest.raises(BudgetExceeded, match="not this user's alone") as within:
            await unit.hub.reservations.reserve(user_id=ada.id, amount=2)
    assert not any("$" in str(refused.value) or refused.value.user_id for refused in (alone, within))
    await scoped.reservations.settle(reserved.id, source="chat", model="m", cost=Decimal("2.5"))
    limit = await db.hub.limits.of(lead.id, "tree")
    assert (limit.spent, limit.reserved) == (Decimal("2.5"), Decimal(0))
    await db.hub.limits.set(1, user_id=ada.id)
    with pytest.raises(BudgetExceeded, match=f"of user {ada.id} leaves"):
        await scoped.reservations.reserve(user_id=ada.id, amount=Decimal("0.25"))
    with pytest.raises(MissingReference):
        await db.as_user(lead.id).hub.reservations.reserve(user_id=ada.id, amount=100)


async def test_secrets_are_masked_in_what_a_user_logs(db: Database) -> None:
    await db.hub.variables.save("TOKEN", "a-very-secret-value", sensitive=True)
    session = await make_run_session(db)
    db.hub.redaction.changed()

    (entry,) = await db.as_user(session.user_id).hub.logs.append(
        session.id, [{"role": "llm", "message": "it is a-very-secret-value"}]
    )

    assert "a-very-secret-value" not in entry.message


def test_what_looks_beyond_a_scope_says_why() -> None:
    next(recorded(actor_id=None, action="look", entity="users"))  # its plan is made when it is first needed
    reasons = {plan.name: plan.beyond.why for plan in DECLARED if plan.beyond is not None}

    assert all(len(why.split()) > 4 for why in reasons.values())
    assert set(reasons) == {
        "audit.record",
        "audit.record: entry",
        "indexes: catalog",
        "indexes: version",
        "leads.disable_tree: administrators left",
        "limits.applied",
        "limits.keep",
        "limits.set: adopt",
        "costs.total of all",
        "costs.total of led_by",
        "costs.total of user_id",
        "mail.addressees",
        "mail.send: hold",
        "mail.send: latest chat",
        "mail.send: latest mail",
        "mail.send: users",
        "mail_recipients.add",
        "permissions.access_map",
        "permissions.administrators",
        "permissions.administrators: lock",
        "permissions.can",
        "variables.sensitive",
    }
