"""What one user may ask and do within a scope that concerns more than their rows: standing, secrets, the audit log."""

from __future__ import annotations

import pytest

from agentdb.database import Database
from agentdb.errors import InvalidTransition, MissingReference, NotFound
from agentdb.testing.factories import make_user


async def test_what_masks_secrets_tells_none_of_them_and_is_ones_own(db: Database) -> None:
    await db.hub.variables.save("TOKEN", "a-very-secret-value", sensitive=True)
    ada, eve = await make_user(db), await make_user(db)
    db.hub.redaction.register(eve.id, "runtime key of eve")
    scoped = db.as_user(ada.id)

    redactor = await scoped.hub.redaction.current()
    assert redactor.redact("a-very-secret-value") == "[REDACTED:TOKEN]"
    told = [getattr(redactor, name) for name in dir(redactor) if not name.startswith("_")]
    assert "secret-value" not in f"{redactor} {told}"
    async with scoped.write() as unit:
        for hub in (scoped.hub, unit.hub):
            with pytest.raises(MissingReference):
                hub.redaction.forget(eve.id)
            with pytest.raises(MissingReference):
                hub.redaction.register(eve.id, "what ada says")
            hub.redaction.register(ada.id, "runtime key of ada")
    said = "runtime key of eve, runtime key of ada, what ada says"
    masked = f"[REDACTED:NAISYS_API_KEY:{eve.id}], [REDACTED:NAISYS_API_KEY:{ada.id}], what ada says"
    assert await db.hub.redaction.redact([said]) == [masked]


async def test_a_user_learns_what_they_may_do_themselves_by_their_role_too(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    await db.supervisor.policies.create("read all", "things", "read", by=None)
    role = await db.supervisor.roles.create("reader", by=None)
    await db.supervisor.roles.add_policy(role.id, "things", "read", by=None)
    for user in (ada, eve):
        await db.supervisor.roles.assign(user.id, "reader", by=None)
    scoped = db.as_user(ada.id).supervisor.permissions

    assert await scoped.can(ada.id, "read", "things")
    assert (await scoped.access_map(ada.id)).role == "reader"
    assert not await scoped.can(eve.id, "read", "things")
    with pytest.raises(NotFound):
        await scoped.access_map(eve.id)


async def test_all_administrators_count_when_one_leaves(db: Database) -> None:
    ada, root = await make_user(db), await make_user(db)
    for user in (ada, root):
        await db.supervisor.permissions.grant(user.id, "supervisor_admin", by=None)

    assert await db.as_user(ada.id).supervisor.permissions.revoke(ada.id, "supervisor_admin", by=None)
    with pytest.raises(InvalidTransition, match="last administrator"):
        await db.as_user(root.id).supervisor.leads.disable_tree(root.id)
    with pytest.raises(InvalidTransition, match="last administrator"):
        await db.as_user(root.id).supervisor.users.archive(root.id)


async def test_what_is_done_within_a_scope_is_the_users_doing(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    scoped = db.as_user(ada.id).supervisor

    issued = await scoped.api_keys.issue(ada.id, "key", by=None)
    entry = await scoped.audit.record(actor_id=None, action="look", entity="users")
    for refused in (
        scoped.api_keys.issue(ada.id, "another", by=eve.id),
        scoped.audit.record(actor_id=eve.id, action="look", entity="users"),
    ):
        with pytest.raises(MissingReference):
            await refused
    (told,) = (await db.supervisor.audit.of_entity("api_keys", issued.key.id)).items
    for one in (told, entry):
        assert (one.actor_user_id, one.actor_name) == (ada.id, ada.username)
