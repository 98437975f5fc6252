"""Variables: saved in one statement, shown to whom they may be, and sealed once there are keys."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

import agentdb
from agentdb import clock, keys
from agentdb.database import Database
from agentdb.errors import BadInput, BadSettings, DecryptionFailed, MissingReference, NotFound
from agentdb.hub.templates import BULLETS, references
from agentdb.hub.variables import RESERVED, _seal
from agentdb.models import Variable
from agentdb.testing.factories import make_user

KEY, NEWER_KEY = keys.new_key(), keys.new_key()


async def _stored(db: Database, key: str) -> tuple[str | None, bytes | None, bool]:
    async with db.read() as unit:
        row = (
            await unit.session.execute(
                text("SELECT value, secret, sensitive FROM variables WHERE key = :key"), {"key": key}
            )
        ).one()
    return row[0], row[1], bool(row[2])


async def test_a_variable_is_saved_and_read(db: Database) -> None:
    alice, bob = await make_user(db), await make_user(db)
    with clock.hold(datetime(2026, 1, 1, tzinfo=UTC)) as hand:
        first = await db.hub.variables.save("REGION", "north", by=alice.id)
        hand.forward(timedelta(hours=1))
        await db.hub.variables.save("REGION", "south", export_to_shell=True, by=bob.id)

    again = await db.hub.variables.get("REGION")

    assert (first.value, first.created_by, first.updated_by) == ("north", alice.id, alice.id)
    assert (again.value, again.created_by, again.updated_by) == ("south", alice.id, bob.id)
    assert (again.export_to_shell, again.sensitive) == (True, False)
    assert (again.created_at, again.updated_at) == (first.created_at, first.created_at + timedelta(hours=1))
    assert await db.hub.variables.value("REGION") == "south"
    assert await db.hub.variables.value("ELSEWHERE") is None


async def test_a_variable_saved_by_many_at_once_is_one(db: Database) -> None:
    await asyncio.gather(*(db.hub.variables.save("REGION", str(number)) for number in range(10)))

    (only,) = (await db.hub.variables.list()).items
    assert only.value in [str(number) for number in range(10)]


async def test_a_removed_variable_is_gone(db: Database) -> None:
    await db.hub.variables.save("REGION", "north")
    await db.hub.variables.remove("REGION")

    for call in (db.hub.variables.remove, db.hub.variables.get):
        with pytest.raises(NotFound, match="'REGION'"):
            await call("REGION")


NO_KEYS: list[Any] = [*RESERVED, "", "x" * 256, "a\0b", "\ud800", 7]


async def test_a_key_that_cannot_be_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    for key in NO_KEYS:
        with subtests.test(key=key):
            for call in (db.hub.variables.ensure(key), db.hub.variables.save(key, "value")):
                with pytest.raises(BadInput):
                    await call
            assert (await db.hub.variables.list()).items == []


NO_TEXTS: list[Any] = [None, 5, "a\0b", "\ud800"]


async def test_a_value_that_is_no_text_is_refused_alike_sealed_or_not(
    migrated_url: str, subtests: pytest.Subtests
) -> None:
    async with agentdb.connect(migrated_url, encryption_keys=KEY) as db:
        for value, sensitive in itertools.product(NO_TEXTS, (False, True)):
            with subtests.test(value=value, sensitive=sensitive), pytest.raises(BadInput, match="text"):
                await db.hub.variables.save("TOKEN", value, sensitive=sensitive)


async def test_an_unknown_user_is_refused_and_a_deleted_one_forgotten(db: Database) -> None:
    user = await make_user(db)
    await db.hub.variables.save("REGION", "north", by=user.id)

    with pytest.raises(MissingReference):
        await db.hub.variables.save("OTHER", "north", by=10**9)
    await db.supervisor.users.remove(user.id)

    assert (await db.hub.variables.get("REGION")).created_by is None


async def test_lists_go_by_key_in_pages_and_hide_what_is_sensitive(db: Database) -> None:
    for key in ("b", "a", "Z", "é", "c"):
        await db.hub.variables.save(key, f"value of {key}", sensitive=key == "b")

    first = await db.hub.variables.list(limit=3)
    rest = await db.hub.variables.list(limit=3, after=first.next)
    revealed = await db.hub.variables.list(reveal=True)

    assert [variable.key for variable in (*first.items, *rest.items)] == ["Z", "a", "b", "c", "é"]
    assert [variable.value for variable in first.items] == ["value of Z", "value of a", None]
    assert [variable.value for variable in revealed.items] == [f"value of {key}" for key in ("Z", "a", "b", "c", "é")]
    assert rest.next is None


async def test_no_record_shows_a_value(db: Database) -> None:
    saved = await db.hub.variables.save("TOKEN", "hunter2-hunter2", sensitive=True)
    revealed = await db.hub.variables.get("TOKEN", reveal=True)

    assert saved.value is None
    assert revealed.value == "hunter2-hunter2"
    assert "hunter2" not in f"{saved!r} {revealed!r} {[revealed]} {await db.hub.redaction.current()!r}"


async def test_shells_have_what_is_exported_to_them(db: Database) -> None:
    await db.hub.variables.save("SHOWN", "plain", export_to_shell=True)
    await db.hub.variables.save("TOKEN", "secret", export_to_shell=True, sensitive=True)
    await db.hub.variables.save("OTHER", "other")

    assert await db.hub.variables.exported() == {"SHOWN": "plain", "TOKEN": "secret"}


async def test_templates_are_resolved_and_sensitive_values_masked(db: Database) -> None:
    await db.hub.variables.save("REGION", "north")
    await db.hub.variables.save("TOKEN", "secret", sensitive=True)
    names = references("in ${env.REGION} with ${env.TOKEN}", "${env.REGION} ${env.GONE} ${ENV.X} ${env.} ${env.a b}")

    assert names == ["REGION", "TOKEN", "GONE"]
    assert await db.hub.variables.resolve(names) == {"REGION": "north", "TOKEN": BULLETS}
    assert await db.hub.variables.resolve(names, reveal=True) == {"REGION": "north", "TOKEN": "secret"}
    assert await db.hub.variables.resolve([]) == {}
    assert BULLETS == "••••••"


async def test_what_is_ensured_is_made_empty_and_only_ever_becomes_sensitive(db: Database) -> None:
    alice, bob = await make_user(db), await make_user(db)
    made = await db.hub.variables.ensure("NEW", by=alice.id)
    await db.hub.variables.save("TOKEN", "value", export_to_shell=True, by=alice.id)

    upgraded = await db.hub.variables.ensure("TOKEN", sensitive=True, by=bob.id)
    kept = await db.hub.variables.ensure("TOKEN", by=alice.id)

    assert (made.value, made.sensitive, made.created_by) == ("", False, alice.id)
    assert (upgraded.sensitive, upgraded.export_to_shell, upgraded.updated_by) == (True, True, bob.id)
    assert kept == upgraded
    assert await db.hub.variables.value("TOKEN") == "value"


async def test_variables_ensured_by_many_at_once_are_sensitive_if_one_says_so(db: Database) -> None:
    await asyncio.gather(*(db.hub.variables.ensure("TOKEN", sensitive=number == 3) for number in range(10)))

    assert (await db.hub.variables.get("TOKEN")).sensitive


async def test_sensitive_values_are_stored_plainly_only_while_there_are_no_keys(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url) as db:
        for number in range(7):
            await db.hub.variables.save(f"T{number}", f"token-{number}", sensitive=True)
        await db.hub.variables.save("REGION", "north")
        assert await _stored(db, "T0") == ("token-0", None, True)
        with pytest.raises(BadSettings, match="AGENTDB_ENCRYPTION_KEYS"):
            await db.hub.variables.seal_all()

    async with agentdb.connect(migrated_url, encryption_keys=KEY) as db:
        assert await db.hub.variables.value("T0") == "token-0"
        await db.hub.variables.save("T0", "again", sensitive=True)
        assert await db.hub.variables.seal_all(batch=2) == 6
        assert await db.hub.variables.seal_all() == 0

        for number in range(7):
            value, secret, _ = await _stored(db, f"T{number}")
            assert value is None
            assert secret is not None
            assert b"token" not in secret
        assert await _stored(db, "REGION") == ("north", None, False)
        assert [await db.hub.variables.value(f"T{number}") for number in range(7)] == [
            "again",
            *(f"token-{number}" for number in range(1, 7)),
        ]


async def test_a_value_that_is_sensitive_no_more_is_plain_again(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url, encryption_keys=KEY) as db:
        await db.hub.variables.save("TOKEN", "value", sensitive=True)
        await db.hub.variables.save("TOKEN", "value")

        assert await _stored(db, "TOKEN") == ("value", None, False)


async def test_what_becomes_sensitive_is_sealed_at_once(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url, encryption_keys=KEY) as db:
        await db.hub.variables.save("TOKEN", "value")
        await db.hub.variables.ensure("TOKEN", sensitive=True)
        await db.hub.variables.ensure("NEW", sensitive=True)

        assert (await _stored(db, "TOKEN"))[0] is None
        assert (await _stored(db, "NEW"))[0] is None
        assert await db.hub.variables.value("TOKEN") == "value"
        assert await db.hub.variables.value("NEW") == ""


async def test_sealing_never_takes_back_what_was_saved_meanwhile(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url) as before:
        for number in range(20):
            await before.hub.variables.save(f"T{number:02}", "old", sensitive=True)

    async with agentdb.connect(migrated_url, encryption_keys=KEY) as db:
        await asyncio.gather(
            db.hub.variables.seal_all(batch=3),
            *(db.hub.variables.save(f"T{number:02}", "new", sensitive=number % 2 == 0) for number in range(20)),
        )

        assert {await db.hub.variables.value(f"T{number:02}") for number in range(20)} == {"new"}
        assert [(await _stored(db, f"T{number:02}"))[0] for number in range(4)] == [None, "new", None, "new"]


async def test_what_was_read_before_a_save_is_not_sealed_after_it(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url) as before:
        await before.hub.variables.save("TOKEN", "old", sensitive=True)

    async with agentdb.connect(migrated_url, encryption_keys=KEY) as db:
        variables = db.hub.variables
        sealing = variables._sealing(Variable(key="TOKEN", value="old"))
        await variables.save("TOKEN", "new", sensitive=True)

        assert await db._over.run(partial(_seal, [sealing])) == 0
        assert await variables.value("TOKEN") == "new"


async def test_what_no_key_opens_hides_nothing_else(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url, encryption_keys=KEY) as db:
        await db.hub.variables.save("LOST", "lost-value", sensitive=True, export_to_shell=True)

    async with agentdb.connect(migrated_url, encryption_keys=NEWER_KEY) as db:
        await db.hub.variables.save("TOKEN", "token-value", sensitive=True)

        assert [variable.key for variable in (await db.hub.variables.list()).items] == ["LOST", "TOKEN"]
        assert await db.hub.redaction.redact(["token-value lost-value"]) == ["[REDACTED:TOKEN] lost-value"]
        with pytest.raises(DecryptionFailed):
            await db.hub.variables.value("LOST")
        await db.hub.variables.ensure("LOST", sensitive=True)
        await db.hub.variables.save("LOST", "found", sensitive=True)
        assert await db.hub.variables.value("LOST") == "found"


async def test_the_database_holds_a_value_once_and_a_secret_only_where_it_is_sensitive(
    db: Database, subtests: pytest.Subtests
) -> None:
    for value, sensitive in (("a", True), (None, False)):
        with subtests.test(sensitive=sensitive), pytest.raises(BadInput, match="value_or_secret"):
            await _added(db, Variable(key="k", value=value, secret=b"sealed", sensitive=sensitive))


async def _added(db: Database, variable: Variable) -> None:
    async with db.write() as unit:
        unit.session.add(variable)
