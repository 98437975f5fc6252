"""Rotation: every secret under the newest key, whoever writes meanwhile and wherever it is killed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Column, MetaData, Table, delete, select, update

import agentdb
from agentdb import clock
from agentdb.database import Database
from agentdb.engine.blobs import SecretType
from agentdb.engine.spelling import KEY
from agentdb.errors import BadInput, BadSettings
from agentdb.keyring import Keyring
from agentdb.models import (
    ApiKey,
    ApiKeyKind,
    IntegrationConnection,
    Provider,
    Tool,
    UserTool,
    Variable,
)
from agentdb.rotation import BATCH, Check, _pages, _Rotator, check, rotate
from agentdb.sealing import SecretColumn, _bound, secret_columns
from agentdb.testing.factories import make_user
from agentdb.types import uuid7

OLD: Final = hashlib.sha256(b"old").hexdigest()
NEW: Final = hashlib.sha256(b"new").hexdigest()
BEFORE: Final = Keyring([bytes.fromhex(OLD)])
AFTER: Final = Keyring([bytes.fromhex(NEW)])
MORNING: Final = datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": (NEW, OLD)}


def _sealed(ring: Keyring, value: Any, model: Any, column: str, row: uuid.UUID | str) -> bytes:
    return ring.seal(value, table=model.__tablename__, column=column, row=row)


async def _one_of_each(db: Database, ring: Keyring) -> None:
    """Store a secret in each column that has them."""
    user = await make_user(db)
    rows = [uuid7() for _ in range(4)]
    async with db.write() as unit:
        tool = Tool(name="search")
        unit.session.add(tool)
        await unit.session.flush()
        unit.session.add_all(
            [
                Provider(name="p", uuid=rows[0], api_key=_sealed(ring, "p's", Provider, "api_key", rows[0])),
                _api_key(ring, user.id, "k", "k's", rows[1]),
                UserTool(
                    user_id=user.id,
                    tool_id=tool.id,
                    uuid=rows[2],
                    credential=_sealed(ring, {"t": ["s"]}, UserTool, "credential", rows[2]),
                ),
                IntegrationConnection(
                    user_id=user.id,
                    provider="slack",
                    uuid=rows[3],
                    access_token=_sealed(ring, "a's", IntegrationConnection, "access_token", rows[3]),
                    refresh_token=_sealed(ring, "r's", IntegrationConnection, "refresh_token", rows[3]),
                ),
                Variable(key="é", sensitive=True, secret=_sealed(ring, "v's", Variable, "secret", "é")),
                Variable(key="plain", value="not a secret"),
            ]
        )


def _api_key(ring: Keyring, user_id: int, name: str, value: str, row: uuid.UUID | None = None) -> ApiKey:
    row = row or uuid7()
    sealed = _sealed(ring, value, ApiKey, "secret", row)
    return ApiKey(uuid=row, user_id=user_id, kind=ApiKeyKind.provider, name=name, prefix="***", secret=sealed)


async def _api_keys(db: Database) -> list[ApiKey]:
    async with db.read() as unit:
        return list((await unit.session.scalars(select(ApiKey).order_by(ApiKey.id))).all())


def _column(table: str, name: str) -> SecretColumn:
    return next(found for found in secret_columns() if str(found.column) == f"{table}.{name}")


# Which columns


def test_every_secret_column_is_known_with_what_its_rows_are_called_by() -> None:
    assert {str(column.column): column.row.name for column in secret_columns()} == {
        "api_keys.secret": "uuid",
        "integration_connections.access_token": "uuid",
        "integration_connections.refresh_token": "uuid",
        "providers.api_key": "uuid",
        "user_tools.credential": "uuid",
        "variables.secret": "key",
    }


def test_a_table_whose_rows_a_transfer_would_rename_cannot_hold_secrets() -> None:
    table = Table("t", MetaData(), Column("id", KEY, primary_key=True), Column("secret", SecretType()))

    with pytest.raises(TypeError, match=r"t\.secret: a secret is bound to its row's uuid, and t has none"):
        _bound(table, table.c.secret)


# Rotating


async def test_every_secret_column_is_sealed_anew_and_reads_the_same(db: Database) -> None:
    with clock.hold(MORNING):
        await _one_of_each(db, BEFORE)
    before = await _opened(db, BEFORE)

    with clock.hold(MORNING + timedelta(hours=1)):
        rotation = await rotate(db)

    assert (rotation.key, rotation.resealed, rotation.left, rotation.unreadable) == (AFTER.ids[0], 6, 0, [])
    assert await _opened(db, AFTER) == before
    assert sorted(map(str, before.values())) == ["a's", "k's", "p's", "r's", "v's", "{'t': ['s']}"]


async def _opened(db: Database, ring: Keyring) -> dict[tuple[str, str], Any]:
    """Return every secret, opened with these keys alone."""
    found = {}
    for column in secret_columns():
        async for batch in _pages(db.supervisor.connection, column):
            for stored in batch:
                found[str(column.column), str(stored.row)] = column.open(ring, stored.sealed, stored.row)
    return found


async def test_rotating_does_not_touch_the_moment_of_the_last_change(db: Database) -> None:
    with clock.hold(MORNING):
        await _one_of_each(db, BEFORE)

    with clock.hold(MORNING + timedelta(hours=1)):
        await rotate(db)

    assert {row.updated_at for row in await _api_keys(db)} == {MORNING}


async def test_what_is_under_the_newest_key_already_is_left_alone(db: Database) -> None:
    await _one_of_each(db, AFTER)
    (before,) = await _api_keys(db)

    rotation = await rotate(db)

    (after,) = await _api_keys(db)
    assert rotation.resealed == 0
    assert after.secret == before.secret


async def test_progress_is_told_to_its_end(db: Database) -> None:
    await _many(db, 2 * BATCH + 1)
    told: list[tuple[int, int]] = []

    await rotate(db, on_progress=lambda done, total: told.append((done, total)))

    assert told == [(0, 201), (100, 201), (200, 201), (201, 201)]


async def _many(db: Database, count: int) -> dict[str, str]:
    """Store that many API keys named by their numbers, under the old key; return their values by their uuids."""
    user = await make_user(db)
    rows = []
    for number in range(count):
        row = uuid7()
        rows.append(
            {
                "uuid": row,
                "user_id": user.id,
                "kind": ApiKeyKind.provider,
                "name": str(number),
                "prefix": "***",
                "secret": _sealed(BEFORE, f"value of {number}", ApiKey, "secret", row),
            }
        )
    await db.supervisor.connection.insert_many(_column("api_keys", "secret").column.table, rows)
    return {str(row["uuid"]): f"value of {row['name']}" for row in rows}


async def test_a_secret_that_does_not_open_is_named_and_stays_while_the_others_go_on(db: Database) -> None:
    user = await make_user(db)
    lost = Keyring([hashlib.sha256(b"lost").digest()])
    rows = [uuid7() for _ in range(4)]
    async with db.write() as unit:
        copied = _api_key(BEFORE, user.id, "copied", "value", rows[1])
        copied.secret = _sealed(BEFORE, "value", ApiKey, "secret", rows[0])
        unsealed = _api_key(BEFORE, user.id, "unsealed", "value", rows[2])
        unsealed.secret = b"in plain"
        good = _api_key(BEFORE, user.id, "good", "value")
        unit.session.add_all(
            [
                _api_key(lost, user.id, "lost", "value", rows[0]),
                copied,
                unsealed,
                good,
            ]
        )
    before = await _api_keys(db)

    rotation = await rotate(db)

    after = await _api_keys(db)
    assert (rotation.resealed, rotation.left) == (1, 3)
    assert [(found.table, found.column, found.row, found.key) for found in rotation.unreadable] == [
        ("api_keys", "secret", str(rows[0]), lost.ids[0]),
        ("api_keys", "secret", str(rows[1]), BEFORE.ids[0]),
        ("api_keys", "secret", str(rows[2]), None),
    ]
    assert [row.secret for row in after[:3]] == [row.secret for row in before[:3]]
    assert "in plain" not in repr(rotation)


async def test_a_newer_value_that_came_between_reading_and_writing_is_kept(db: Database) -> None:
    await _many(db, 2)
    rotator = _Rotator(db.supervisor.connection, None)
    column = _column("api_keys", "secret")
    (batch,) = [page async for page in _pages(db.supervisor.connection, column)]
    newer = _sealed(BEFORE, "newer", ApiKey, "secret", batch[0].row)
    async with db.write() as unit:
        await unit.session.execute(update(ApiKey).where(ApiKey.id == batch[0].key).values(secret=newer))

    await rotator._reseal(column, batch)

    first, second = await _api_keys(db)
    assert first.secret == newer
    assert Keyring.key_of(second.secret or b"") == AFTER.ids[0]


async def test_a_row_that_somebody_seals_with_the_old_key_behind_the_rotation_is_met_again(migrated_url: str) -> None:
    async def write_late() -> None:
        async with agentdb.connect(migrated_url) as other, other.write() as unit:
            late = _sealed(BEFORE, "late", ApiKey, "secret", first.uuid)
            await unit.session.execute(update(ApiKey).where(ApiKey.id == first.id).values(secret=late))

    def on_progress(done: int, _total: int) -> None:
        if done == BATCH:  # the first row has been passed
            executor.submit(asyncio.run, write_late()).result()

    async with agentdb.connect(migrated_url, encryption_keys=f"{NEW},{OLD}") as db:
        await _many(db, 2 * BATCH)
        first = (await _api_keys(db))[0]
        async with db.write() as unit:  # met last in each pass, and never moved
            unit.session.add(Variable(key="v", sensitive=True, secret=b"in plain"))

        with ThreadPoolExecutor(1) as executor:
            rotation = await rotate(db, on_progress=on_progress)

        assert (rotation.resealed, rotation.left, len(rotation.unreadable)) == (2 * BATCH + 1, 1, 1)
        async with db.write() as unit:
            await unit.session.execute(delete(Variable))
        assert (await _opened(db, AFTER))["api_keys.secret", str(first.uuid)] == "late"


async def test_rotation_gives_up_on_a_process_that_goes_on_with_the_old_key_and_says_so(migrated_url: str) -> None:
    async def write_again() -> None:
        async with agentdb.connect(migrated_url) as other, other.write() as unit:
            again = _sealed(BEFORE, "again", ApiKey, "secret", first.uuid)
            await unit.session.execute(update(ApiKey).where(ApiKey.id == first.id).values(secret=again))

    async with agentdb.connect(migrated_url, encryption_keys=f"{NEW},{OLD}") as db:
        await _many(db, 2)
        first = (await _api_keys(db))[0]

        with ThreadPoolExecutor(1) as executor:
            rotation = await rotate(db, on_progress=lambda *_: executor.submit(asyncio.run, write_again()).result())

        assert (rotation.left, rotation.unreadable) == (1, [])
        assert (await check(db)).unreadable == []


async def test_without_keys_nothing_is_rotated(db: Database) -> None:
    db._there().keyring = Keyring()

    with pytest.raises(BadSettings, match="AGENTDB_ENCRYPTION_KEYS is not set; make one with"):
        await rotate(db)


# Checking


async def test_a_check_tells_what_does_not_open_and_which_keys_are_in_use(db: Database) -> None:
    await _one_of_each(db, BEFORE)
    (row,) = await _api_keys(db)
    async with db.write() as unit:
        copied = _sealed(AFTER, "k's", ApiKey, "secret", uuid7())
        await unit.session.execute(update(ApiKey).values(secret=copied))

    found = await check(db)

    assert (found.checked, found.keys) == (6, {BEFORE.ids[0]: 5, AFTER.ids[0]: 1})
    assert [(bad.table, bad.column, bad.row, bad.key) for bad in found.unreadable] == [
        ("api_keys", "secret", str(row.uuid), AFTER.ids[0])
    ]


async def test_a_check_goes_through_all_pages_and_a_sample_takes_so_many_of_each_column(db: Database) -> None:
    await _one_of_each(db, BEFORE)
    await _many(db, 2 * BATCH)

    assert await check(db) == Check(206, {BEFORE.ids[0]: 206}, [])
    assert await check(db, sample=10) == Check(15, {BEFORE.ids[0]: 15}, [])
    with pytest.raises(BadInput, match="a sample is at least one"):
        await check(db, sample=0)


# Processes

# Writes values of its own under the old key, until a line comes; then tells what it wrote last, row by row.
_WRITER: Final = """
import asyncio, json, sys, threading, agentdb
from itertools import count
from random import Random
from sqlalchemy import insert, update
from agentdb.models import ApiKey, ApiKeyKind
from agentdb.types import uuid7

async def main(url, old, user, rows):
    stop, random, written = threading.Event(), Random(7), {}
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    async with agentdb.connect(url, encryption_keys=old) as db:
        ring = db.supervisor.connection.keyring
        def seal(value, row):
            return ring.seal(value, table="api_keys", column="secret", row=row)
        print("ready", flush=True)
        for number in count():
            if stop.is_set():
                break
            value = f"written {number}"
            async with db.write() as unit:
                if number % 10:
                    row = random.choice(rows)
                    change = update(ApiKey).where(ApiKey.uuid == row).values(secret=seal(value, row))
                else:
                    row = str(uuid7())
                    change = insert(ApiKey).values(uuid=row, user_id=user, kind=ApiKeyKind.provider,
                                                   name=f"new {number}", prefix="***", secret=seal(value, row))
                await unit.session.execute(change)
            written[row] = value
            await asyncio.sleep(0.002)
    print(json.dumps(written), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.load(open(sys.argv[4]))))
"""
# Says each time a batch is done.
_ROTATOR: Final = """
import asyncio, sys, agentdb
from agentdb.rotation import rotate

async def main(url, keys):
    async with agentdb.connect(url, encryption_keys=keys) as db:
        await rotate(db, on_progress=lambda done, total: print(done, total, flush=True))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def _start(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.long
async def test_no_secret_is_lost_while_a_process_writes_and_rotations_are_killed(
    migrated_url: str, tmp_path: Path
) -> None:
    both = f"{NEW},{OLD}"
    async with agentdb.connect(migrated_url, encryption_keys=both) as db:
        await _many(db, 2_000)
        keys = await _api_keys(db)
        expected = {str(row.uuid): f"value of {row.name}" for row in keys}
        rows = tmp_path / "rows.json"
        rows.write_text(json.dumps(list(expected)))
        writer = _start(_WRITER, migrated_url, OLD, str(keys[0].user_id), str(rows))
        try:
            assert await asyncio.to_thread(_line, writer) == "ready\n"
            dice = random.Random(11)  # noqa: S311 (the same points each time)
            killed = [await asyncio.to_thread(_kill_within, migrated_url, both, dice) for _ in range(4)]
            running = await rotate(db)
        finally:
            told, problem = await asyncio.to_thread(writer.communicate, "stop\n", 30)
        assert writer.returncode == 0, problem
        written = json.loads(told)

        last = await rotate(db)

    assert all(0 < done < total for done, total in killed)
    assert running.resealed > 0
    assert (last.left, last.unreadable) == (0, [])
    assert len(written) > 50
    async with agentdb.connect(migrated_url, encryption_keys=NEW) as db:  # the old key is gone
        found = await _opened(db, db.supervisor.connection.keyring)
    assert {row: value for (_, row), value in found.items()} == expected | written


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _kill_within(url: str, keys: str, dice: random.Random) -> tuple[int, int]:
    """Start a rotation, kill it some batches later at no particular point, and return how far it had come."""
    process = _start(_ROTATOR, url, keys)
    batches = dice.randint(2, 4)
    done, total = [_line(process) for _ in range(batches)][-1].split()
    pause = dice.uniform(0, 0.03)
    try:
        process.wait(pause)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    _, problem = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, problem
    return int(done), int(total)


async def test_an_empty_secret_is_met_and_told_as_one_that_does_not_open(db: Database) -> None:
    provider = await db.catalog.providers.create("brook", api_key="a key")
    async with db.write() as unit:
        await unit.session.execute(update(Provider).where(Provider.id == provider.id).values(api_key=b""))

    rotation = await rotate(db)

    assert [(found.table, found.column, found.key) for found in rotation.unreadable] == [("providers", "api_key", None)]
    assert (rotation.resealed, rotation.left) == (0, 1)
