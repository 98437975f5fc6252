"""What the page on upgrading says of old processes beside a new schema."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

import agentdb
from agentdb import migrating
from agentdb.errors import SchemaMismatch
from agentdb.models import User


async def test_an_open_process_goes_on_when_the_schema_expands_and_one_that_starts_is_refused(
    database_url: str,
) -> None:
    async with agentdb.connect(database_url) as old:
        user = await old.supervisor.users.create("ada")
        talk = await old.conversation.conversations.create(user_id=user.id, title="Tea")
        await old.conversation.messages.append(talk.id, "user", "hello")

        async with old.write() as unit:
            for table in ("users", "conversations", "messages", "audit_log"):
                await unit.session.execute(text(f"ALTER TABLE {table} ADD COLUMN of_the_next_release text"))
            newer = migrating.head() + 1
            await unit.session.execute(text(f"UPDATE schema_version SET version = {newer}, revision = '{newer:04}'"))

        await old.supervisor.users.create("bob")
        await old.conversation.messages.append(talk.id, "user", "hello again")
        assert [said.content for said in await old.conversation.messages.latest(talk.id)] == ["hello", "hello again"]
        async with old.read() as unit:
            found = (await unit.session.execute(select(User.username).order_by(User.id))).scalars().all()
            assert len((await unit.session.execute(select(User))).scalars().all()) == 2
        assert found == ["ada", "bob"]
        with pytest.raises(SchemaMismatch, match="newer than this code"):
            await agentdb.connect(database_url).open()
