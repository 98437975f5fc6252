"""Standing: users are disabled, archived, renamed and removed, and a search finds them by any part of a name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, InvalidTransition, NotFound, StaleVersion
from agentdb.models import Attachment, AuditLog, ConfigRevision, User, UserStatus
from agentdb.supervisor.access import Permission
from agentdb.testing.factories import make_conversation, make_run_session, make_user


async def told(db: Database, user_id: int) -> list[tuple[str, int | None, Any]]:
    """Return what the audit log says was done to a user, the oldest first."""
    entries = (await db.supervisor.audit.of_entity("users", user_id)).items
    return [(entry.action, entry.actor_user_id, entry.detail) for entry in reversed(entries)]


async def test_whoever_is_stopped_has_no_runtime_key_and_does_not_get_it_back(
    db: Database, subtests: pytest.Subtests
) -> None:
    users, keys = db.supervisor.users, db.supervisor.runtime_keys

    for stop in ("disable", "archive"):
        with subtests.test(stop=stop):
            bot = await make_user(db, kind="agent")
            key = await keys.issue(bot.id)

            stopped = await getattr(users, stop)(bot.id)

            assert (stopped.status, stopped.runtime_key_hash) == (UserStatus(f"{stop}d"), None)
            with pytest.raises(NotFound):
                await keys.user_of(key)
            if stop == "archive":
                assert (await users.restore(bot.id)).status is UserStatus.disabled
            assert (await users.enable(bot.id)).status is UserStatus.active
            with pytest.raises(NotFound):
                await keys.user_of(key)


async def test_login_sessions_stop_with_their_user_at_once_and_go_on_when_enabled(db: Database) -> None:
    ada = await make_user(db)
    token, _ = await db.supervisor.logins.start(ada.id)

    await db.supervisor.users.disable(ada.id)

    with pytest.raises(NotFound):
        await db.supervisor.logins.authenticate(token)
    await db.supervisor.users.enable(ada.id)
    assert (await db.supervisor.logins.authenticate(token)).user_id == ada.id


async def test_standing_changes_in_its_order_and_each_change_is_told_once(db: Database) -> None:
    users = db.supervisor.users
    eve = await make_user(db)
    ada = await users.create("ada", by=eve.id)

    for change in (users.disable, users.disable, users.enable, users.enable, users.archive, users.archive):
        await change(ada.id, by=eve.id)
    for refused in (users.disable, users.enable):
        with pytest.raises(InvalidTransition, match="'ada' is archived and cannot"):
            await refused(ada.id)
    await users.restore(ada.id)
    with pytest.raises(InvalidTransition, match="only who is archived is restored"):
        await users.restore(ada.id)

    assert await told(db, ada.id) == [
        ("create", eve.id, {"username": "ada", "kind": "human"}),
        ("disable", eve.id, {"from": "active", "to": "disabled"}),
        ("enable", eve.id, {"from": "disabled", "to": "active"}),
        ("archive", eve.id, {"from": "active", "to": "archived"}),
        ("restore", None, {"from": "archived", "to": "disabled"}),
    ]
    assert (await users.get(ada.id)).version == 5
    with pytest.raises(NotFound):
        await users.disable(404)


async def test_the_last_administrator_stays(db: Database) -> None:
    ada = await make_user(db)
    await db.supervisor.permissions.grant(ada.id, Permission.supervisor_admin, by=None)

    for refused in (db.supervisor.users.disable, db.supervisor.users.archive, db.supervisor.users.remove):
        with pytest.raises(InvalidTransition, match="the last administrator"):
            await refused(ada.id)

    assert (await db.supervisor.users.get(ada.id)).status is UserStatus.active


async def test_of_two_administrators_who_disable_each_other_one_is_left(db: Database) -> None:
    pair = [await make_user(db) for _ in range(2)]
    for user in pair:
        await db.supervisor.permissions.grant(user.id, Permission.supervisor_admin, by=None)

    answers = await asyncio.gather(*(db.supervisor.users.disable(user.id) for user in pair), return_exceptions=True)

    assert {type(answer) for answer in answers} == {InvalidTransition, User}
    assert await db.supervisor.users.count(status="active") == 1


async def test_a_change_that_expects_another_version_is_stale(db: Database) -> None:
    users = db.supervisor.users
    ada = await users.create("ada")

    changed = await users.update(ada.id, title="Countess", expected_version=1)
    renamed = await users.rename(ada.id, "lovelace", expected_version=2)

    assert (changed.version, renamed.version, renamed.username) == (2, 3, "lovelace")
    with pytest.raises(StaleVersion, match="at version 3, not 2"):
        await users.rename(ada.id, "byron", expected_version=2)
    with pytest.raises(StaleVersion):
        await users.update(ada.id, title="Lady", expected_version=1)
    assert (await told(db, ada.id))[1:] == [
        ("update", None, {"columns": ["title"]}),
        ("rename", None, {"from": "ada", "to": "lovelace"}),
    ]


async def test_a_name_that_is_taken_or_none_is_not_given_again(db: Database) -> None:
    users = db.supervisor.users
    ada, _ = await users.create("ada"), await users.create("eve")

    with pytest.raises(Conflict):
        await users.rename(ada.id, "eve")
    with pytest.raises(BadInput):
        await users.rename(ada.id, "a b")
    with pytest.raises(NotFound):
        await users.rename(404, "carl")
    assert len(await told(db, ada.id)) == 1


async def test_a_renamed_user_keeps_their_chat(db: Database) -> None:
    ada, bob = await make_user(db), await make_user(db)
    await db.hub.mail.send(ada.id, to=[bob.id], body="before", kind="chat")

    await db.supervisor.users.rename(ada.id, "somebody-else")
    await db.hub.mail.send(ada.id, to=[bob.id], body="after", kind="chat")

    letters = (await db.hub.mail.with_users(bob.id, [ada.id], kind="chat")).items
    assert len(letters) == 2


async def test_what_has_a_method_of_its_own_is_not_changed_by_its_value(
    db: Database, subtests: pytest.Subtests
) -> None:
    ada = await make_user(db)

    for column in ("status", "role_id", "lead_user_id", "password_hash", "runtime_key_hash"):
        with subtests.test(column=column):
            with pytest.raises(BadInput, match=f"users.{column} is not changed by its value; use"):
                await db.supervisor.users.update(ada.id, **{column: None})
            with pytest.raises(BadInput, match=f"users.{column}"):
                await db.supervisor.users.upsert(on=["username"], username=ada.username, **{column: None})


async def test_whoever_is_removed_takes_what_is_theirs_and_leaves_what_is_others(db: Database) -> None:
    boss, ada, bob = await make_user(db), await make_user(db), await make_user(db)
    for led in (ada, bob):
        await db.supervisor.leads.set_lead(led.id, boss.id if led is ada else ada.id)
    session = await make_run_session(db, user_id=ada.id)
    await db.hub.costs.append(user_id=ada.id, run_session_id=session.id, model="m", source="console", cost=1)
    conversation = await make_conversation(db, user_id=ada.id, messages=2)
    letter = await db.hub.mail.send(ada.id, to=[bob.id], body="b")
    async with db.write() as unit:
        upload = Attachment(
            public_id="a" * 22,
            filename="a.txt",
            media_type="text/plain",
            file_size=1,
            file_hash="0" * 64,
            purpose="mail",
            storage_key="00/00",
            uploaded_by=ada.id,
        )
        unit.session.add_all([upload, ConfigRevision(user_id=bob.id, config={}, changed_by_id=ada.id)])
    token, _ = await db.supervisor.logins.start(ada.id)
    await db.supervisor.users.archive(ada.id)

    assert await db.supervisor.users.remove(ada.id, by=ada.id)

    assert not await db.supervisor.users.remove(ada.id)
    assert (await db.supervisor.users.get(bob.id)).lead_user_id is None
    assert await db.conversation.conversations.find(conversation.id) is None
    with pytest.raises(NotFound):
        await db.supervisor.logins.authenticate(token)
    assert [unread.id for unread in await db.hub.mail.unread(bob.id)] == [letter.id]
    async with db.read() as unit:
        uploads = (await unit.session.scalars(select(Attachment.uploaded_by))).all()
        revisions = (await unit.session.scalars(select(ConfigRevision.changed_by_id))).all()
    assert (uploads, revisions) == ([None], [None])
    (spent,) = [cost async for cost in db.hub.costs.stream()]
    assert spent.user_id is None
    assert spent.cost == 1
    gone: AuditLog = (await db.supervisor.audit.of_entity("users", ada.id)).items[0]
    assert (gone.action, gone.actor_user_id, gone.actor_name) == ("remove", ada.id, ada.username)


async def test_a_search_finds_names_titles_and_addresses_in_any_case_and_nothing_by_wildcards(db: Database) -> None:
    users = db.supervisor.users
    await users.create("zoe", title="Straßenbau ÉCOLE")
    await users.create("Ada_L", email="Countess@Example.org")
    await users.create("carl", title="100% sure!")
    await users.add_many([{"username": "Dora-Ecole"}])

    async def found(text: str, **criteria: Any) -> list[str]:
        return [user.username for user in (await users.search(text, **criteria)).items]

    assert await found("STRASSENBAU") == ["zoe"]
    assert await found("école") == ["zoe"]
    assert await found("ESS@EXAMPLE") == ["Ada_L"]
    assert await found("aDA") == ["Ada_L"]
    assert await found("a_l") == ["Ada_L"]
    assert await found("_") == ["Ada_L"]
    assert await found("%") == ["carl"]
    assert await found("e!") == ["carl"]
    assert await found("!") == ["carl"]
    assert await found("nobody") == []


async def test_a_search_finds_what_a_user_has_become(db: Database) -> None:
    users = db.supervisor.users
    ada = await users.create("ada", title="Countess", email="ada@example.org")

    await users.rename(ada.id, "lovelace")
    await users.update(ada.id, title="Lady", email=None)
    async with db.write() as unit:
        bob = User(username="bob", title="Ünter")
        unit.session.add(bob)

    assert [user.username for user in (await users.search("LOVE")).items] == ["lovelace"]
    for text in ("ada", "countess", "example"):
        assert (await users.search(text)).items == []
    assert [user.username for user in (await users.search("üNT")).items] == ["bob"]


async def test_a_search_is_read_by_pages_of_a_kind_and_status(db: Database) -> None:
    users = db.supervisor.users
    for number in range(5):
        await users.create(f"bot-{number}", kind="agent")
    await users.create("bot-human")
    await users.disable((await users.by_username("bot-3")).id)

    first = await users.search("BOT", kind="agent", status="active", limit=3)
    second = await users.search("bot", kind="agent", status="active", limit=3, after=first.next)

    assert [user.username for user in first.items] == ["bot-0", "bot-1", "bot-2"]
    assert [user.username for user in second.items] == ["bot-4"]
    assert second.next is None
    with pytest.raises(BadInput, match="cursor"):
        await users.search("bot", after=first.next)
    for text in ("", "  ", "a" * 256):
        with pytest.raises(BadInput, match="1 to 255 characters"):
            await users.search(text)
