"""The same error, of the same constraint, on both databases; and nothing secret in it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.errors import AgentDBError, BadInput, Conflict, MissingReference, ReadOnly
from agentdb.models import Agent, ApiKey, AuditLog, Cost, Role, RolePolicy, User
from agentdb.repository import Repository

SECRET = "c0ffee" * 10


def rows(db: Any, of: type[Entity]) -> Repository[Any]:
    """Return a bare repository of a model."""

    class Rows(Repository[Any]):
        model = of

    return Rows(db._over)


async def refused(call: Any) -> AgentDBError:
    with pytest.raises(AgentDBError) as caught:
        await call
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.__cause__)
    return caught.value


async def test_a_taken_value_is_a_conflict_with_the_name_of_its_constraint(db: Database) -> None:
    await rows(db, User).add(username="bob", runtime_key_hash=SECRET)

    name = await refused(rows(db, User).add(username="bob"))
    digest = await refused(rows(db, User).add(username="eve", runtime_key_hash=SECRET))

    assert isinstance(name, Conflict)
    assert name.constraint == "uq_users__username"
    assert str(name) == "users: username 'bob' is taken already; choose another or update that row"
    assert isinstance(digest, Conflict)
    assert digest.constraint == "uq_users__runtime_key_hash"


async def test_a_taken_pair_is_a_conflict_with_the_name_of_its_constraint(db: Database) -> None:
    role = await rows(db, Role).add(name="admin")
    from agentdb.models import Policy

    policy = await rows(db, Policy).add(name="all", resource="*", action="*")
    await rows(db, RolePolicy).add(role_id=role.id, policy_id=policy.id)

    error = await refused(rows(db, RolePolicy).add(role_id=role.id, policy_id=policy.id))

    assert isinstance(error, Conflict)
    assert error.constraint == "uq_role_policies__role_id_policy_id"


async def test_a_taken_value_of_a_part_of_the_rows_is_a_conflict_with_the_name_of_its_index(db: Database) -> None:
    user = await rows(db, User).add(username="bob")
    key = {"user_id": user.id, "kind": "access", "name": "laptop", "prefix": "ak"}
    await rows(db, ApiKey).add(**key, digest=SECRET)

    error = await refused(rows(db, ApiKey).add(**key, digest="e" * 64))

    assert isinstance(error, Conflict)
    assert error.constraint == "uq_api_keys__user_id_name"


async def test_a_taken_primary_key_is_a_conflict_with_its_name(db: Database) -> None:
    await rows(db, User).add_many([{"id": 7, "username": "bob"}])

    error = await refused(rows(db, User).add_many([{"id": 8, "username": "eve"}, {"id": 7, "username": "sue"}]))

    assert isinstance(error, Conflict)
    assert error.constraint == "pk_users"
    assert error.row == 1


async def test_a_reference_to_nobody_is_told_by_its_constraint(db: Database) -> None:
    error = await refused(rows(db, User).add(username="bob", lead_user_id=99))

    assert isinstance(error, MissingReference)
    assert error.constraint == "fk_users__lead_user_id"
    assert "lead_user_id '99'" in str(error)


async def test_an_update_to_a_reference_to_nobody_is_told_by_its_constraint(db: Database) -> None:
    user = await rows(db, User).add(username="bob")

    error = await refused(rows(db, User).update(user.id, role_id=99))

    assert isinstance(error, MissingReference)
    assert error.constraint == "fk_users__role_id"


async def test_a_log_of_no_session_is_a_missing_reference(db: Database) -> None:
    error = await refused(db.hub.logs.append(99, [{"role": "llm", "message": "x"}]))

    assert isinstance(error, MissingReference)
    assert error.constraint == "fk_context_log__run_session_id"


async def test_a_row_that_is_still_referred_to_cannot_go(db: Database) -> None:
    from agentdb.models import Attachment, MailAttachment, MailMessage

    attachment = await rows(db, Attachment).add(
        public_id="x" * 22,
        filename="a",
        media_type="text/plain",
        file_size=1,
        file_hash=SECRET,
        purpose="mail",
        storage_key="a",
    )
    mail = await rows(db, MailMessage).add(
        from_username="bob", participants="1", participants_digest="d", subject="s", body="b"
    )
    await rows(db, MailAttachment).add(message_id=mail.id, attachment_id=attachment.id)

    error = await refused(rows(db, Attachment).remove(attachment.id))

    assert isinstance(error, Conflict)
    assert error.constraint == "fk_mail_attachments__attachment_id"
    assert "still referred to" in str(error)


async def test_what_is_required_is_told_by_table_and_column(db: Database) -> None:
    missing = await refused(rows(db, User).add())
    null = await refused(rows(db, User).add(username=None))

    assert isinstance(missing, BadInput)
    assert isinstance(null, BadInput)
    assert str(missing) == str(null) == "users.username is required"


async def test_what_a_check_refuses_is_told_by_its_name(db: Database) -> None:
    error = await refused(rows(db, User).add(username="not good", runtime_key_hash=SECRET, password_hash=SECRET))

    assert isinstance(error, BadInput)
    assert str(error) == "users: ck_users__username_characters refuses this value"


async def test_a_check_over_several_columns_does_not_show_the_row(db: Database) -> None:
    user = await rows(db, User).add(username="bob")

    error = await refused(
        rows(db, ApiKey).add(
            user_id=user.id, kind="access", name="x", prefix="x", digest=SECRET, secret=SECRET.encode()
        )
    )

    assert isinstance(error, BadInput)
    assert "ck_api_keys__digest_or_secret" in str(error)


async def test_what_is_append_only_refuses_to_change(db: Database) -> None:
    entry = await rows(db, AuditLog).add(actor_name="bob", action="a", entity="users")
    cost = await db.hub.costs.append(source="console", model="m", cost=Decimal("0.1"))

    for error in (
        await refused(rows(db, AuditLog).update(entry.id, action="b")),
        await refused(rows(db, AuditLog).remove(entry.id)),
        await refused(rows(db, Cost).update(cost.id, cost=Decimal(0))),
        await refused(rows(db, Cost).remove(cost.id)),
    ):
        assert isinstance(error, ReadOnly)
        assert "append-only" in str(error) or "cannot write" in str(error)


async def test_the_read_door_refuses_to_write_and_goes_on_reading(db: Database) -> None:
    async with db.read() as unit:
        error = await refused(unit.supervisor.users.add(username="bob"))
        many = await refused(unit.supervisor.users.add_many([{"username": "bob"}]))
        assert await unit.supervisor.users.count() == 0

    assert isinstance(error, ReadOnly)
    assert isinstance(many, ReadOnly)


async def test_a_script_through_the_read_door_is_refused(db: Database) -> None:
    with pytest.raises(ReadOnly):
        async with db.read() as unit:
            await unit.hub.hosts.register(name="box")


async def test_a_digest_that_is_too_long_is_not_repeated(db: Database) -> None:
    error = await refused(rows(db, User).add(username="bob", runtime_key_hash=SECRET * 2))

    assert isinstance(error, BadInput)


async def test_bulk_errors_name_the_first_offending_row(db: Database) -> None:
    await rows(db, User).add(username="taken")

    def many(bad: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"username": f"u{number}"} for number in range(30)] + [bad] + [{"username": "taken"}]

    conflict = await refused(rows(db, User).add_many(many({"username": "taken"})))
    missing = await refused(rows(db, User).add_many(many({"username": "x", "lead_user_id": 99_999})))
    check = await refused(rows(db, User).add_many(many({"username": "not good"})))
    kind = await refused(rows(db, User).add_many(many({"username": 5})))

    assert isinstance(conflict, Conflict)
    assert conflict.row == 30
    assert isinstance(missing, MissingReference)
    assert isinstance(check, BadInput)
    assert isinstance(kind, BadInput)
    assert all("row 30 of the call" in str(error) for error in (conflict, missing, check, kind))
    assert await rows(db, User).count() == 1


async def test_a_key_of_another_type_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    await rows(db, User).add(username="bob")

    for key in ["1", 1.0, True, 2**63, -(2**64), "x", b"1"]:
        with subtests.test(key=key):
            assert isinstance(await refused(rows(db, User).get(key)), BadInput)


async def test_an_unknown_table_is_a_schema_mismatch(db: Database) -> None:
    from sqlalchemy import column, select, table

    from agentdb.errors import SchemaMismatch

    plan = Plan[int](select(column("x")).select_from(table("no_such_table")), name="nothing")

    assert isinstance(await refused(db._there().fetch_one(plan, {})), SchemaMismatch)


async def test_two_units_in_opposite_order_both_succeed_under_run(db: Database) -> None:
    one, other = await rows(db, User).add(username="one"), await rows(db, User).add(username="other")
    attempts = 0
    first_locked = asyncio.Event()

    async def swap(first: int, second: int) -> None:
        async def work(unit: Any) -> None:
            nonlocal attempts
            attempts += 1
            await unit.supervisor.users.update(first, title=f"{first}")
            if attempts > 1:
                first_locked.set()
            elif unit._connection.chains:
                await first_locked.wait()
            await unit.supervisor.users.update(second, title=f"{first}")

        await db.run(work)

    await asyncio.gather(swap(one.id, other.id), swap(other.id, one.id))

    both = [await rows(db, User).get(user.id) for user in (one, other)]
    assert both[0].title == both[1].title
    assert {user.version for user in both} == {3}
    assert attempts >= 2


async def test_an_agent_knows_no_such_value(db: Database) -> None:
    error = await refused(rows(db, Agent).add(name="a", nope=1))

    assert isinstance(error, BadInput)
    assert "nope" in str(error)
