"""The history goes up, down and up again; one process migrates; what fails leaves no trace; what is newer stays out."""

from __future__ import annotations

import asyncio
import shutil
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import asyncpg
import numpy as np
import pytest
from alembic import command
from sqlalchemy import Column, Connection, ForeignKey, Table, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from agentdb import connect, migrating
from agentdb.base import Entity
from agentdb.config import Settings
from agentdb.engine.blobs import VectorType
from agentdb.engine.choice import AnyEngine, engine_for
from agentdb.engine.plan import Plan
from agentdb.engine.schema.catalog import Description, describe
from agentdb.engine.schema.direct import alone, connected
from agentdb.engine.schema.history import configuration
from agentdb.engine.spelling import ChoiceType, FlagType, JsonType, TextType
from agentdb.errors import AgentDBError, BadInput, BadSettings, DatabaseCorrupt, NotFound, SchemaMismatch
from agentdb.types import uuid7

NOON: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
# Where one value of the column's type does not do.
SPECIAL: Final[dict[str, dict[str, Any]]] = {
    "api_keys": {"kind": "provider", "digest": None},
    "costs": {"corrects_id": None},
    "run_session": {"subagent_id": 0},
    "variables": {"value": None},  # it has a secret
    "vectors": {"embedding": np.ones(1, dtype=np.float32)},  # as long as its collection says
}

NOT_ITSELF: Final = "users.lead_user_id"  # a row of one cannot refer to another


def value_for(column: Column[Any]) -> Any:
    """Return some value that a column takes."""
    kind = column.type
    if isinstance(kind, ChoiceType):
        return next(iter(kind.enum))
    if isinstance(kind, JsonType):
        return {"a": [1]}
    if isinstance(kind, VectorType):
        return np.ones(kind.length or 3, dtype=np.float32)
    if isinstance(kind, FlagType):
        return True
    if isinstance(kind, TextType):
        return "x" * min(kind.length or 5, 64)
    return {"UuidType": uuid7(), "MomentType": NOON, "MoneyType": Decimal("0.5"), "SecretType": b"secret"}.get(
        type(kind).__name__, 1
    )


def waits(key: ForeignKey) -> bool:
    """Tell whether a reference can be set only when both rows are there."""
    return bool(key.use_alter) or key.column.table is key.parent.table


async def make_rows(session: AsyncSession) -> None:
    """Put one row into every table, every column filled and every reference set."""
    ordered = [table for table in Entity.metadata.sorted_tables if table.name != "schema_version"]
    for table in ordered:
        values = {column.name: value_for(column) for column in table.columns if column.identity is None}
        values |= {key.parent.name: None for key in table.foreign_keys if waits(key)}
        await session.execute(insert(table).values(values | SPECIAL.get(table.name, {})))
    for table in ordered:
        late = {key.parent.name: 1 for key in table.foreign_keys if waits(key) and str(key.parent) != NOT_ITSELF}
        if late and "deletes" not in table.info:
            await session.execute(update(table).values(late))


async def fill(url: str) -> None:
    async with connect(url) as db, db.write() as unit:
        await make_rows(unit.session)


def count(connection: Connection) -> dict[str, int]:
    there = {name.removeprefix("table ") for name in describe(connection) if name.startswith("table ")}
    tables: list[Table] = [table for table in Entity.metadata.sorted_tables if table.name in there]
    return {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


async def counted(settings: Settings) -> dict[str, int]:
    async with connected(settings) as connection:
        return await connection.run_sync(count)


async def described(settings: Settings) -> Description:
    async with connected(settings) as connection:
        return await connection.run_sync(describe)


async def say(settings: Settings, *statements: str) -> None:
    async with connected(settings) as connection:
        for statement in statements:
            await connection.execute(text(statement))
        await connection.commit()


@pytest.mark.long
async def test_the_history_goes_down_and_up_again_with_rows_in_every_table(database_url: str) -> None:
    settings = Settings.load(database_url)
    await fill(database_url)
    before = await counted(settings)

    assert len(before) == 50
    assert before.pop("execution_changes") == 3  # two of them were noted by the database
    assert set(before.values()) == {1}
    for number in range(migrating.head() - 1, 0, -1):
        await migrating.downgrade(settings, f"{number:04}")
        left = await counted(settings)
        left.pop("execution_changes", None)
        # The only rows that go with a later table are the keys of providers.
        assert {name for name, rows in left.items() if rows != 1} <= {"api_keys"}
    report = await migrating.downgrade(settings, "base")
    assert (report.before, report.after, report.revisions) == ("0001", None, ("0001",))
    assert await migrating.current(settings) is None
    assert not [name for name in await described(settings) if not name.startswith("extension")]
    await migrating.upgrade(settings)
    assert await migrating.check(settings) == []
    await fill(database_url)


async def test_the_models_the_history_and_its_description_agree(database_url: str) -> None:
    settings = Settings.load(database_url)
    report = await migrating.upgrade(settings)

    assert report.before is None
    assert report.revisions == tuple(f"{number + 1:04}" for number in range(migrating.head()))
    assert [str(difference) for difference in await migrating.check(settings)] == []
    current = await migrating.current(settings)
    assert current is not None
    assert (current.number, str(current)) == (migrating.head(), report.after)
    assert abs(current.updated - datetime.now(UTC)).total_seconds() < 60


class Counting:
    """An engine that counts the reads that go through it."""

    def __init__(self, engine: AnyEngine) -> None:
        self.engine = engine
        self.reads = 0

    async def fetch_one(self, plan: Plan[Any], parameters: dict[str, Any]) -> Any:
        self.reads += 1
        return await self.engine.fetch_one(plan, parameters)


async def test_connecting_reads_once_when_there_is_nothing_to_do(migrated_url: str) -> None:
    settings = Settings.load(migrated_url)
    engine = engine_for(settings)
    counting: Any = Counting(engine)
    await engine.open()
    try:
        await migrating.ensure(counting, settings)
    finally:
        await engine.close()

    assert counting.reads == 1


CONNECT: Final = """
import asyncio, sys
from agentdb import connect

async def main() -> None:
    async with connect(sys.argv[1]):
        pass

asyncio.run(main())
print("alembic" in sys.modules)
"""
# Four processes, forked from one that has imported everything: they begin within a millisecond of each other.
UPGRADE: Final = """
import asyncio, os, sys
from agentdb.config import Settings
from agentdb.migrating import upgrade

settings = Settings.load(sys.argv[1])
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        print(len(asyncio.run(upgrade(settings)).revisions), flush=True)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


async def said(program: str, url: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, url, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().split()


@pytest.mark.long
async def test_alembic_is_not_even_imported_when_there_is_nothing_to_do(sqlite_url: str) -> None:
    await migrating.upgrade(Settings.load(sqlite_url))

    assert await said(CONNECT, sqlite_url) == ["False"]


@pytest.mark.long
async def test_of_processes_that_start_at_once_one_migrates(database_url: str) -> None:
    revisions = await said(UPGRADE, database_url)

    assert sorted(revisions) == ["0", "0", "0", str(migrating.head())]
    assert (await migrating.current(Settings.load(database_url))) is not None


async def test_whoever_waits_for_another_can_be_cancelled(database_url: str) -> None:
    settings = Settings.load(database_url)
    async with alone(settings):
        waiting = asyncio.create_task(migrating.upgrade(settings))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert (await migrating.upgrade(settings, "0001")).revisions == ("0001",)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Path]:
    """Yield a copy of the history, for a test to add to."""
    copy = tmp_path / "history"
    shutil.copytree(migrating.HISTORY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    yield copy
    migrating.head.cache_clear()


def add(history: Path, body: str) -> None:
    number = migrating.head(history) + 1
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (history / "versions" / f"{number:04}_next.py").write_text(
        f'from alembic import op\n\nrevision = "{number:04}"\ndown_revision = "{number - 1:04}"\n\n'
        f"def upgrade():\n{lines}\ndef downgrade():\n    pass\n"
    )
    migrating.head.cache_clear()


FAILING: Final = """\
op.execute("CREATE TABLE more (id integer)")
op.execute("DROP INDEX ix_users__role_id")
op.execute("INSERT INTO roles (name) VALUES ('half')")
op.execute("INSERT INTO nowhere VALUES (1)")
"""


async def test_a_failing_migration_leaves_the_database_as_it_was(migrated_url: str, history: Path) -> None:
    settings = Settings.load(migrated_url)
    before = await described(settings), await counted(settings)
    add(history, FAILING)

    with pytest.raises(SchemaMismatch, match="the database is as it was"):
        await migrating.upgrade(settings, history=history)
    assert (await described(settings), await counted(settings)) == before
    assert str(await migrating.current(settings)) == f"{migrating.head():04}"


async def test_an_empty_database_stays_empty_when_the_last_migration_fails(database_url: str, history: Path) -> None:
    settings = Settings.load(database_url)
    add(history, FAILING)

    with pytest.raises(AgentDBError):
        await migrating.upgrade(settings, history=history)
    assert await described(settings) == {}
    async with connected(settings) as connection:
        assert not await connection.run_sync(lambda c: c.dialect.has_table(c, "alembic_version"))


async def test_rows_that_would_refer_to_nothing_are_refused(migrated_sqlite_url: str, history: Path) -> None:
    settings = Settings.load(migrated_sqlite_url)
    await fill(migrated_sqlite_url)
    add(history, 'op.execute("DELETE FROM roles")')

    with pytest.raises(SchemaMismatch, match="users"):
        await migrating.upgrade(settings, history=history)
    assert (await counted(settings))["roles"] == 1


CONCURRENTLY: Final = """\
with op.get_context().autocommit_block():
    op.create_index("ix_roles__display_order", "roles", ["display_order"], unique=True, postgresql_concurrently=True)
"""


@pytest.mark.long
async def test_an_invalid_index_is_removed_by_the_next_run(postgresql_url: str, history: Path) -> None:
    settings = Settings.load(postgresql_url)
    await migrating.upgrade(settings)
    before = await described(settings)
    await say(settings, "INSERT INTO roles (name) VALUES ('a'), ('b')")
    add(history, CONCURRENTLY)
    with pytest.raises(AgentDBError):
        await migrating.upgrade(settings, history=history)
    left = set(await described(settings)) - set(before)
    await say(settings, "UPDATE roles SET display_order = id")
    await migrating.upgrade(settings, history=history)

    assert left == {"index roles.ix_roles__display_order"}
    after = await described(settings)
    assert "invalid" not in after["index roles.ix_roles__display_order"]
    assert str(await migrating.current(settings)) == f"{migrating.head() + 1:04}"


async def test_a_newer_database_is_refused(migrated_url: str) -> None:
    settings = Settings.load(migrated_url)
    await say(settings, "UPDATE schema_version SET version = 99")

    with pytest.raises(SchemaMismatch, match="version 99, newer than this code's"):
        await connect(migrated_url).open()
    with pytest.raises(SchemaMismatch, match="newer"):
        await migrating.upgrade(settings)


async def test_without_leave_to_migrate_an_older_database_is_refused(database_url: str) -> None:
    settings = Settings.load(database_url)
    with pytest.raises(SchemaMismatch, match="has no schema yet; run `agentdb migrate`"):
        await connect(database_url, migrate="never").open()
    await migrating.upgrade(settings, "0006")

    with pytest.raises(SchemaMismatch, match="version 6, older than this code's"):
        await connect(database_url, migrate="never").open()
    async with connect(database_url):
        pass
    async with connect(database_url, migrate="never"):
        pass


async def test_a_version_that_cannot_be_read_is_no_new_database(migrated_url: str) -> None:
    settings = Settings.load(migrated_url)
    await say(settings, "DELETE FROM schema_version")
    with pytest.raises(SchemaMismatch, match="schema_version has no row"):
        await connect(migrated_url).open()
    await migrating.stamp(settings, "head")
    async with connect(migrated_url):
        pass
    await say(settings, "ALTER TABLE schema_version RENAME COLUMN version TO number")

    with pytest.raises(SchemaMismatch):
        await connect(migrated_url).open()


async def test_a_truncated_file_is_no_new_database(
    migrated_sqlite_url: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    whole = (tmp_path / "agentdb.db").read_bytes()

    for size in (50, 4096, 200_000):
        with subtests.test(size=size):
            broken = tmp_path / f"broken-{size}.db"
            broken.write_bytes(whole[:size])
            with pytest.raises(DatabaseCorrupt):
                await connect(f"sqlite:///{broken}").open()
            with pytest.raises(DatabaseCorrupt):
                await migrating.upgrade(Settings.load(f"sqlite:///{broken}"))
            assert broken.stat().st_size == size


async def test_a_database_in_memory_is_migrated_when_it_is_opened() -> None:
    async with connect("sqlite://") as db:
        with pytest.raises(NotFound):
            await db.supervisor.users.get(1)
    with pytest.raises(BadSettings, match="in memory"):
        await migrating.upgrade(Settings.load("sqlite://"))


async def test_a_revision_nobody_knows_is_refused(database_url: str) -> None:
    settings = Settings.load(database_url)
    with pytest.raises(BadInput, match="nowhere"):
        await migrating.upgrade(settings, "nowhere")

    assert await migrating.current(settings) is None


async def test_a_stamp_changes_the_version_alone(migrated_url: str) -> None:
    settings = Settings.load(migrated_url)
    before = await described(settings)
    report = await migrating.stamp(settings, "0003")
    stamped = await migrating.current(settings)
    await migrating.stamp(settings, "head")

    assert str(stamped) == "0003"
    assert (report.before, report.after) == (f"{migrating.head():04}", "0003")
    assert await described(settings) == before
    assert await migrating.check(settings) == []


@pytest.mark.long
async def test_nothing_is_left_to_write_a_migration_for(database_url: str, history: Path) -> None:
    settings = Settings.load(database_url)
    await migrating.upgrade(settings)
    await say(settings, "CREATE TABLE somebody_elses (id integer)")
    path = await migrating.revision(settings, "Add nothing", history=history)

    assert path.name == f"{migrating.head() + 1:04}_add_nothing.py"
    assert path.read_text().count("    pass\n") == 2


async def test_alembic_by_itself_knows_no_database() -> None:
    with pytest.raises(BadSettings, match="agentdb migrate"):
        command.current(configuration(migrating.HISTORY))


# PostgreSQL


@pytest.mark.long
async def test_a_schema_of_its_own_is_made_beside_another_installation(postgresql_url: str) -> None:
    joined = "&" if "?" in postgresql_url else "?"
    await fill(postgresql_url)
    settings = Settings.load(f'{postgresql_url}{joined}schema=my%20"team')
    assert await migrating.current(settings) is None
    await fill(f'{postgresql_url}{joined}schema=my%20"team')

    assert await migrating.check(settings) == []
    assert 0 not in (await counted(settings)).values()


@pytest.mark.long
async def test_a_pooler_is_not_migrated_through(postgresql_url: str) -> None:
    with pytest.raises(BadSettings, match="AGENTDB_DIRECT_URL"):
        await migrating.upgrade(Settings.load(postgresql_url, pooler="transaction"))
    settings = Settings.load(postgresql_url, pooler="transaction", direct_url=postgresql_url)

    assert len((await migrating.upgrade(settings)).revisions) == migrating.head()


@pytest.fixture
async def administrator(postgresql_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(**Settings.load(postgresql_url).target.connect_arguments())
    yield connection
    await connection.close()


@pytest.mark.long
async def test_who_may_not_create_pgvector_is_told_the_command(postgresql_url: str, administrator: Any) -> None:
    login = f"agentdb_test_{uuid.uuid4().hex}"
    await administrator.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'guessed'; GRANT ALL ON SCHEMA public TO {login}")
    address = postgresql_url.partition("@")[2]
    settings = Settings.load(f"postgresql://{login}:guessed@{address}")
    try:
        with pytest.raises(BadSettings, match=r"lacks pgvector.*CREATE EXTENSION vector"):
            await migrating.upgrade(settings)
        assert await described(settings) == {}
        await administrator.execute("CREATE EXTENSION vector")
        await migrating.upgrade(settings)
        # This user may not make a schema for the models either: they are left out.
        assert await migrating.check(settings) == []
    finally:
        await administrator.execute(f"DROP OWNED BY {login}; DROP ROLE {login}")


async def test_a_pgvector_that_is_too_old_is_refused(postgresql_url: str, administrator: Any) -> None:
    await administrator.execute("CREATE EXTENSION vector")
    await administrator.execute("UPDATE pg_extension SET extversion = '0.8.3' WHERE extname = 'vector'")

    with pytest.raises(BadSettings, match=r"pgvector 0\.8\.3 is too old, 0\.8\.4 .*ALTER EXTENSION vector UPDATE"):
        await migrating.upgrade(Settings.load(postgresql_url))
