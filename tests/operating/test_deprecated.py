"""What older versions of the platform left behind goes on request, and nothing else does."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.operating.deprecated import DEPRECATED, Dropped, drop_deprecated
from agentdb.operating.digests import table_digests
from agentdb.testing.factories import make_user


async def _leave(db: Database, *names: str, rows: int = 2) -> None:
    async with db.write() as unit:
        for name in names:
            await unit.session.execute(text(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)"))
            for id_ in range(rows):
                await unit.session.execute(text(f"INSERT INTO {name} VALUES ({id_})"))


async def test_deprecated_tables_go_with_their_rows_and_others_stay(db: Database) -> None:
    await _leave(db, *DEPRECATED, "somebody_elses")
    before = await table_digests(db)

    dropped = await drop_deprecated(db)

    after = await table_digests(db)
    assert dropped == [Dropped(name, 2) for name in DEPRECATED]
    assert set(before) - set(after) == set(DEPRECATED)
    assert {name for name in after if after[name] != before[name]} == {"audit_log"}


async def test_each_dropped_table_is_on_record(db: Database) -> None:
    await _leave(db, "_migrations_old", rows=3)

    await drop_deprecated(db)

    (entry,) = (await db.supervisor.audit.page(limit=5)).items
    assert (entry.action, entry.entity, entry.detail) == ("drop", "_migrations_old", {"rows": 3})


async def test_where_none_is_there_nothing_happens(db: Database) -> None:
    await make_user(db)
    looked_at = ["audit_log", "users", "schema_version"]
    before = await table_digests(db, looked_at)

    assert await drop_deprecated(db) == []
    assert await table_digests(db, looked_at) == before


@pytest.mark.long
async def test_a_dry_run_drops_nothing(db: Database) -> None:
    await _leave(db, "agent_template_history")
    before = await table_digests(db)

    assert await drop_deprecated(db, dry_run=True) == [Dropped("agent_template_history", 2)]
    assert await table_digests(db) == before


async def test_a_view_over_one_of_them_goes_with_it_on_postgresql(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    await _leave(db, "agent_template_versions")
    async with db.write() as unit:
        await unit.session.execute(text("CREATE VIEW seen AS SELECT id FROM agent_template_versions"))

    assert await drop_deprecated(db) == [Dropped("agent_template_versions", 2)]
    async with db.read() as unit:
        assert await unit.session.scalar(text("SELECT to_regclass('seen') IS NULL"))


async def test_all_go_or_none(db: Database) -> None:
    await _leave(db, *DEPRECATED)
    looked_at = [*DEPRECATED, "audit_log"]
    before = await table_digests(db, looked_at)

    # Nobody has this id: the last entry of the audit log cannot be stored.
    with pytest.raises(BadInput):
        await drop_deprecated(db, by="nobody")  # type: ignore[arg-type]

    assert await table_digests(db, looked_at) == before
