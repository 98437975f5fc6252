"""What the supervisors that agentdb takes over from do with users, permissions and proofs, step by step."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
import pytest
from argon2.profiles import CHEAPEST
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from agentdb import clock
from agentdb.database import Database
from agentdb.engine.spelling import ChoiceType
from agentdb.errors import BadInput, Conflict, InvalidTransition, NotFound
from agentdb.models import ModelType, User, tables
from agentdb.supervisor.access import Permission
from agentdb.supervisor.hashing import Hasher
from agentdb.supervisor.models import ApiKeyKind, UserKind, UserStatus
from agentdb.supervisor.passwords import Passwords
from agentdb.supervisor.registrations import Registrations
from agentdb.testing.factories import make_user

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
OWN = {UserKind, UserStatus, ApiKeyKind, ModelType}


# Every word


def _choices() -> dict[str, ChoiceType]:
    found = {}
    for name, model in tables.items():
        for column in model.metadata.tables[name].columns:
            if isinstance(column.type, ChoiceType):
                found[f"{name}.{column.name}"] = column.type
    return found


def test_every_word_of_every_choice_is_the_same_in_python_and_on_the_wire() -> None:
    choices = _choices()

    assert {choice.enum for choice in choices.values()} >= OWN
    for choice in choices.values():
        members = list(choice.enum)
        assert [str(member) for member in members] == [member.value for member in members]
        sent = msgspec.json.encode(members)
        assert msgspec.json.decode(sent, type=list[choice.enum]) == members  # type: ignore[name-defined]
        assert msgspec.json.decode(sent) == [member.value for member in members]


@pytest.mark.parametrize("name", ["users.kind", "users.status", "api_keys.kind", "models.type"])
async def test_the_database_takes_every_word_of_a_choice_and_no_other(db: Database, name: str) -> None:
    enum = _choices()[name].enum
    table, _, column = name.partition(".")

    async def stored(word: str) -> bool:
        try:
            await _write(db, table, column, word)
        except IntegrityError:
            return False
        return True

    await _prepare(db)
    taken = {word for word in (*map(str, enum), "", "Other", str(next(iter(enum))).upper()) if await stored(word)}

    assert taken == {str(word) for word in enum}


async def _prepare(db: Database) -> None:
    """Make a row of each table."""
    user = await make_user(db)
    await db.supervisor.api_keys.issue(user.id, "ci", by=None)
    await db.catalog.models.save_custom("m", name="M", version_name="m", type="llm")


async def _write(db: Database, table: str, column: str, word: str) -> None:
    """Store a word past every check of Python's, and take it back."""
    proof = ""
    if table == "api_keys":  # which proof a key has goes by its kind
        digest, secret = ("'" + "0" * 64 + "'", "NULL") if word != "provider" else ("NULL", "CAST('x' AS %s)")
        blob = "BLOB" if "sqlite" in str(db.settings.target) else "BYTEA"
        proof = f", digest = {digest}, secret = {secret.replace('%s', blob)}"
    async with db.write() as unit:
        changed: Any = await unit.session.execute(
            text(f"UPDATE {table} SET {column} = :word{proof}"),
            {"word": word},
        )
        assert changed.rowcount == 1


# Users


async def test_an_agent_of_the_hub_becomes_a_user_without_permissions_once(db: Database) -> None:
    made = await asyncio.gather(*(db.supervisor.users.get_or_create("bot", kind="agent") for _ in range(6)))

    users = {user.id: user for user, _ in made}
    assert sorted(created for _, created in made) == [False] * 5 + [True]
    (bot,) = users.values()
    assert bot.kind is UserKind.agent
    assert await db.supervisor.permissions.of_user(bot.id) == []
    key = await db.supervisor.runtime_keys.issue(bot.id)
    assert (await db.supervisor.runtime_keys.user_of(key)).id == bot.id
    with pytest.raises(Conflict):
        await db.supervisor.users.create("bot")


async def test_a_permission_is_given_taken_and_given_again_under_the_eyes_of_the_log(db: Database) -> None:
    giver, user = await make_user(db), await make_user(db)
    permissions = db.supervisor.permissions

    await permissions.grant(user.id, Permission.manage_hosts, by=giver.id)
    with pytest.raises(Conflict):
        await permissions.grant(user.id, Permission.manage_hosts, by=giver.id)
    assert [await permissions.revoke(user.id, "manage_hosts", by=giver.id) for _ in range(2)] == [True, False]
    await permissions.grant(user.id, Permission.manage_hosts, by=giver.id)
    await db.supervisor.users.remove(giver.id)
    (kept,) = await permissions.of_user(user.id)
    await db.supervisor.users.remove(user.id)

    assert kept.granted_by is None
    assert await permissions.of_user(user.id) == []
    entries = (await db.supervisor.audit.of_entity("users", user.id)).items
    assert [entry.action for entry in entries] == ["remove", "grant", "revoke", "grant", "create"]
    assert {entry.actor_name for entry in entries if entry.action in {"grant", "revoke"}} == {giver.username}


async def test_nothing_of_a_user_who_is_stopped_lets_anybody_in_and_enabling_does_not_bring_the_runtime_key_back(
    db: Database,
) -> None:
    user, supervisor = await make_user(db), db.supervisor
    login = await supervisor.logins.start(user.id)
    runtime = await supervisor.runtime_keys.issue(user.id)
    access = (await supervisor.api_keys.issue(user.id, "ci", by=None)).plaintext
    await supervisor.passkeys.enroll(user.id, credential_id="cred", public_key="k")
    ways: dict[str, Any] = {
        "login": lambda: supervisor.logins.authenticate(login.token),
        "access key": lambda: supervisor.api_keys.authenticate(access),
        "passkey": lambda: supervisor.passkeys.by_credential_id("cred"),
        "runtime key": lambda: supervisor.runtime_keys.user_of(runtime),
    }

    async def open_ways() -> list[str]:
        answers = await asyncio.gather(*(way() for way in ways.values()), return_exceptions=True)
        assert all(isinstance(answer, NotFound) for answer in answers if isinstance(answer, BaseException))
        return [name for name, answer in zip(ways, answers, strict=True) if not isinstance(answer, BaseException)]

    assert await open_ways() == list(ways)
    await supervisor.users.disable(user.id)
    assert await open_ways() == []
    await supervisor.users.archive(user.id)
    assert await open_ways() == []
    await supervisor.users.restore(user.id)
    assert await open_ways() == []
    await supervisor.users.enable(user.id)
    assert await open_ways() == ["login", "access key", "passkey"]


# Proofs


async def test_a_user_is_let_in_step_by_step_and_starts_anew_after_a_reset(db: Database) -> None:
    supervisor = db.supervisor
    registrations = Registrations(db._over, hasher=Hasher(CHEAPEST))
    passwords = Passwords(db._over, hasher=Hasher(CHEAPEST))
    with clock.hold(NOON) as hand:
        administrator, token = await registrations.bootstrap()
        assert (await registrations.bootstrap()).token is None  # the first one is still good
        hand.forward(timedelta(days=8))
        renewed = (await registrations.bootstrap()).token
        assert token is not None
        assert renewed is not None
        for late in (token, "nonsense"):
            with pytest.raises(NotFound):
                await registrations.consume_for_password(late, "a password of hers")

        with pytest.raises(BadInput):
            await registrations.consume_for_password(renewed, "x" * 129)
        await registrations.consume_for_password(renewed, "a password of hers")
        assert (await registrations.bootstrap()).token is None
        sessions = [await supervisor.logins.start(administrator.id) for _ in range(3)]
        own = sessions[0].session.session_id
        assert await supervisor.logins.revoke_all(administrator.id, but=own) == 2
        with pytest.raises(InvalidTransition):
            await passwords.clear(administrator.id)
        await supervisor.passkeys.enroll(administrator.id, credential_id="cred", public_key="k")
        assert await passwords.clear(administrator.id, but=own)
        assert (await supervisor.logins.authenticate(sessions[0].token)).session_id == own

        assert await supervisor.passkeys.clear(administrator.id) == 1
        again = await registrations.issue(administrator.id)
        assert (await supervisor.logins.of_user(administrator.id)).items == []
        assert await passwords.verify("superadmin", "a password of hers") is None
        await registrations.consume_for_passkey(again.token, credential_id="new", public_key="k")
        with pytest.raises(NotFound):
            await registrations.consume_for_password(again.token, "a password of hers")


async def test_a_session_lives_thirty_days_and_is_found_no_more_a_moment_after(db: Database) -> None:
    user: User = await make_user(db)
    with clock.hold(NOON) as hand:
        started = await db.supervisor.logins.start(user.id)
        hand.forward(timedelta(days=30) - timedelta(microseconds=1))
        assert (await db.supervisor.logins.authenticate(started.token)).user_id == user.id
        hand.forward(timedelta(microseconds=1))
        with pytest.raises(NotFound):
            await db.supervisor.logins.authenticate(started.token)
        assert await db.supervisor.logins.purge() == 1


def test_the_permissions_are_those_of_the_source_by_name() -> None:
    assert issubclass(Permission, StrEnum)
    assert {str(permission) for permission in Permission} == {
        "supervisor_admin",
        "manage_agents",
        "remote_execution",
        "manage_hosts",
        "agent_communication",
        "manage_models",
        "manage_variables",
        "view_run_logs",
    }
