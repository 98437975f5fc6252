"""Editing a row: through its repository, only what was typed, and only what was seen."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from sqlalchemy import select, text

from agentdb.conversation.models import MessageRole
from agentdb.database import Database
from agentdb.testing.factories import make_conversation, make_host, make_run_session, make_user
from tests.studio.conftest import Browser, alert


async def test_without_write_nothing_is_edited(db: Database, reading: Browser) -> None:
    ada = await make_user(db, first_name="Ada")
    page = await reading.text("/users/detail", pk=ada.id)
    token = reading.client.cookies["starlette_admin_csrftoken"]

    assert "/users/edit" not in page
    for path in (f"/users/edit?pk={ada.id}", f"/_api/users/inline-edit?pk={ada.id}&field=first_name"):
        assert (await reading.open(path)).status_code == 403
        answer = await reading.client.post(path, data={"first_name": "Eve"}, headers={"X-CSRFToken": token})
        assert answer.status_code == 403
    assert (await db.supervisor.users.get(ada.id)).first_name == "Ada"


async def test_nothing_is_made_or_removed_even_with_write(db: Database, writing: Browser) -> None:
    ada = await make_user(db)
    await writing.text("/users/list")
    token = {"X-CSRFToken": writing.client.cookies["starlette_admin_csrftoken"]}

    for path in (
        f"/_api/users/row-action?pk={ada.id}&name=delete",
        f"/_api/users/action?pks={ada.id}&name=delete",
        "/users/create",
        "/_api/users/import",
    ):
        assert (await writing.client.post(path, headers=token)).status_code in {400, 403}
    assert await db.supervisor.users.count() == 1


async def test_a_form_that_came_from_elsewhere_is_refused(db: Database, writing: Browser) -> None:
    ada = await make_user(db, first_name="Ada")

    answer = await writing.client.post(f"/users/edit?pk={ada.id}", data={"first_name": "Eve"})
    assert answer.status_code == 403
    assert (await db.supervisor.users.get(ada.id)).first_name == "Ada"


async def test_what_was_typed_is_stored_and_nothing_else(db: Database, writing: Browser) -> None:
    ada = await make_user(
        db, first_name="Ada", title="of\nmany\r\nlines", config={}, settings={"b": 1, "a": [1.5, None]}
    )

    answer = await writing.edit("users", ada.id, first_name="Augusta")
    assert answer.status_code == 303, alert(answer)
    now = await db.supervisor.users.get(ada.id)
    assert now.first_name == "Augusta"
    assert now.version == ada.version + 1
    assert (now.title, now.config, now.settings, now.last_name, now.email) == (
        ada.title,
        ada.config,
        ada.settings,
        None,
        None,
    )


async def test_a_change_of_a_user_is_in_the_audit_log(db: Database, writing: Browser) -> None:
    ada = await make_user(db)
    before = await db.supervisor.audit.count(entity="users") + await db.supervisor.audit.count(entity="user")

    await writing.edit("users", ada.id, last_name="Lovelace")
    after = await db.supervisor.audit.count(entity="users") + await db.supervisor.audit.count(entity="user")
    assert after == before + 1


async def test_a_form_that_nobody_touched_changes_nothing(db: Database, writing: Browser) -> None:
    talk = await make_conversation(db, title="\nbegins with an empty line")
    talk = await db.conversation.conversations.update(talk.id, session_context={"n": 1e16})
    user = await db.supervisor.users.get(talk.user_id)
    model = await db.catalog.models.add(
        key="m", name="m", version_name="m", type="llm", price_input=Decimal("0.000000001")
    )

    for table, key in (("conversations", talk.id), ("users", user.id), ("models", model.id)):
        answer = await writing.edit(table, key)
        assert answer.status_code == 303, alert(answer)
    assert await db.conversation.conversations.get(talk.id) is not None
    assert (await db.conversation.conversations.get(talk.id)).updated_at == talk.updated_at
    assert (await db.supervisor.users.get(user.id)).version == user.version
    assert (await db.catalog.models.get(model.id)).updated_at == model.updated_at


async def test_each_kind_of_value_can_be_typed(db: Database, writing: Browser) -> None:
    model = await db.catalog.models.add(key="m", name="m", version_name="m", type="llm", is_active=True)

    answer = await writing.submit(
        (await writing.text(f"/models/edit?pk={model.id}")).replace('name="is_active"', 'name="gone"'),
        f"/models/edit?pk={model.id}",
        max_context="200000",
        price_input="0.25",
        description="two\r\nlines",
        meta='{"a": [1, "ä"]}',
    )
    assert answer.status_code == 303, answer.text
    now = await db.catalog.models.get(model.id)
    assert (now.max_context, now.price_input, now.description) == (200_000, Decimal("0.25"), "two\nlines")
    assert now.meta == {"a": [1, "ä"]}
    assert now.is_active is False


async def test_a_row_that_somebody_changed_meanwhile_is_not_overwritten(db: Database, writing: Browser) -> None:
    host = await make_host(db)
    page = await writing.text("/hosts/edit", pk=host.id)
    await db.hub.hosts.update(host.id, restricted=True)

    refused = await writing.submit(page, f"/hosts/edit?pk={host.id}", name="renamed")
    assert refused.status_code == 422
    assert "somebody else changed this row" in alert(refused)
    assert (await db.hub.hosts.get(host.id)).name == host.name
    again = await writing.submit(refused.text, f"/hosts/edit?pk={host.id}", name="renamed")
    assert again.status_code == 422


async def test_a_row_that_is_being_changed_is_waited_for(db: Database, writing: Browser) -> None:
    host = await make_host(db)  # without a version
    path = f"/hosts/edit?pk={host.id}"
    page = await writing.text(path)
    changed, may_end = asyncio.Event(), asyncio.Event()

    async def change() -> None:
        async with db.write() as unit:
            await unit.hub.hosts.update(host.id, restricted=True)
            changed.set()
            await may_end.wait()

    changing = asyncio.create_task(change())
    await changed.wait()
    submitted = asyncio.create_task(writing.submit(page, path, restricted="", name="renamed"))
    while not (await _waiting(db) or submitted.done()):  # noqa: ASYNC110 (nobody tells of it)
        await asyncio.sleep(0.01)
    may_end.set()
    await changing

    assert (await submitted).status_code == 422
    now = await db.hub.hosts.get(host.id)
    assert (now.name, now.restricted) == (host.name, True)


async def _waiting(db: Database) -> int:
    """Return how many wait for a lock, or for their turn to write."""
    if db.settings.target.system == "sqlite":
        return db.connections()["waiting"]
    async with db.read() as unit:
        waiting = text("count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        return await unit.session.scalar(select(waiting)) or 0


async def test_what_changes_all_the_time_does_not_stand_in_the_way(db: Database, writing: Browser) -> None:
    run = await make_run_session(db)
    page = await writing.text("/run_session/edit", pk=run.id)
    await db.hub.logs.append(run, [{"role": "llm", "message": "hello"}])

    answer = await writing.submit(page, f"/run_session/edit?pk={run.id}", model_name="another")
    assert answer.status_code == 303, alert(answer)
    assert (await db.hub.runs.get(run.id)).model_name == "another"


async def test_a_guarded_repository_tells_why_it_refuses(db: Database, writing: Browser) -> None:
    role = await db.supervisor.roles.create("auditor", by=None)

    refused = await writing.edit("roles", role.id, name="emperor")
    assert refused.status_code == 422
    assert "Roles has methods for it" in alert(refused)
    assert (await db.supervisor.roles.get(role.id)).name == "auditor"


async def test_a_repository_refuses_what_it_always_refuses(db: Database, writing: Browser) -> None:
    talk = await make_conversation(db, messages=1)
    (message,) = (await db.conversation.messages.page(conversation_id=talk.id)).items
    assert message.role is MessageRole.user

    refused = await writing.edit("messages", message.id, position="7")
    assert refused.status_code == 422
    assert "never changes" in alert(refused)
    assert 'value="7"' in refused.text


async def test_what_cannot_be_meant_is_told_beside_its_field(db: Database, writing: Browser) -> None:
    ada = await make_user(db, config={"a": 1})

    refused = await writing.edit("users", ada.id, config='{"a": ', role_id="seven", first_name="Typed")
    assert refused.status_code == 422
    assert "this is not JSON" in refused.text
    assert "a whole number is expected" in refused.text
    assert "Typed</textarea>" in refused.text
    assert (await db.supervisor.users.get(ada.id)).first_name is None


async def test_the_ledger_and_the_audit_log_have_no_forms(db: Database, writing: Browser) -> None:
    ada = await make_user(db)
    cost = await db.hub.costs.append(source="console", model="m", cost=Decimal(1), user_id=ada.id)
    (entry, *_) = (await db.supervisor.audit.page()).items

    for table, key in (("costs", cost.id), ("audit_log", entry.id), ("variables", "x"), ("cost_days", 1)):
        assert (await writing.open(f"/{table}/edit", pk=key)).status_code == 403
