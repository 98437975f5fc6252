"""Following the log: each entry once, whoever commits when, across crashes, processes and a server that hangs up."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import agentdb
from agentdb import Database
from agentdb.engine.postgresql.embedded import EmbeddedPostgreSQL
from agentdb.errors import BadInput, Unavailable
from agentdb.following import NOW, Change
from agentdb.models import ContextLog, RunSession
from agentdb.testing.factories import make_run_session
from agentdb.trails import Trail

NEVER = 3600.0  # seconds between looks: what arrives was told


def _entries(*messages: object) -> list[dict[str, Any]]:
    return [{"role": "llm", "message": str(message)} for message in messages]


def _url(db: Database) -> str:
    path = getattr(db._there(), "path", None)
    return db.settings.target.secret_url() if path is None else f"sqlite:///{path}"


async def _take(changes: AsyncIterator[Change[ContextLog]], number: int) -> list[Change[ContextLog]]:
    async with asyncio.timeout(20):
        return [await anext(changes) for _ in range(number)]


def _said(changes: list[Change[ContextLog]]) -> list[str]:
    return [change.row.message for change in changes]


async def test_what_is_there_comes_first_and_then_what_is_appended(db: Database) -> None:
    run = await make_run_session(db)
    await db.hub.logs.append(run, _entries(1, 2))
    changes = db.hub.logs.follow(poll_seconds=NEVER)
    assert _said(await _take(changes, 2)) == ["1", "2"]

    waiting = asyncio.ensure_future(_take(changes, 2))
    await asyncio.sleep(0.1)
    await db.hub.logs.append(run, _entries(3))
    await db.hub.logs.append(await make_run_session(db), _entries(4))

    assert _said(await waiting) == ["3", "4"]
    await changes.aclose()


async def test_only_what_comes_after_now(db: Database) -> None:
    run, other = await make_run_session(db), await make_run_session(db)
    await db.hub.logs.append(run, _entries("before"))

    for session in (None, run):
        end = await db.hub.logs.end(session)
        changes = db.hub.logs.follow(session, after=NOW, poll_seconds=NEVER)
        waiting = asyncio.ensure_future(_take(changes, 1))
        await asyncio.sleep(0.1)
        await db.hub.logs.append(run, _entries(f"after {session}"))
        (change,) = await waiting

        assert change.row.message == f"after {session}"
        again = db.hub.logs.follow(session, after=end)
        assert _said(await _take(again, 1)) == [f"after {session}"]
        await changes.aclose()
        await again.aclose()
    await db.hub.logs.append(other, _entries("another's"))


async def test_now_is_exact_while_others_hold_transactions_open(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    run, other = await make_run_session(db), await make_run_session(db)
    async with db.write() as unit:
        await unit.hub.logs.append(run, _entries("open"))
        await asyncio.create_task(_append(db, other, "before"))
        end = json.loads(json.dumps(await asyncio.create_task(db.hub.logs.end())))
        await asyncio.create_task(_append(db, other, "after"))
    changes = db.hub.logs.follow(after=end)

    assert _said(await _take(changes, 2)) == ["open", "after"]
    (first,) = await Trail(ContextLog, lifted=True).changes(db._shortcut, after=end, limit=1)
    again = db.hub.logs.follow(after=first.cursor)
    assert _said(await _take(again, 1)) == ["after"]
    await again.aclose()
    await db.hub.logs.append(run, _entries("last"))
    assert _said(await _take(changes, 1)) == ["last"]
    await changes.aclose()


async def test_what_is_under_way_now_comes_later_though_its_session_was_written_to_by_a_younger_transaction(
    agentdb_postgresql: Database,
) -> None:
    db = agentdb_postgresql
    run, elsewhere = await make_run_session(db), await make_run_session(db)
    async with db.write() as unit:
        await unit.hub.logs.append(elsewhere, _entries("x"))  # it is numbered
        await asyncio.create_task(_append(db, run, "younger"))
        await unit.hub.logs.append(run, _entries("older"))
        end = await asyncio.create_task(db.hub.logs.end())

    changes = db.hub.logs.follow(after=end)
    assert sorted(_said(await _take(changes, 2))) == ["older", "x"]
    await changes.aclose()
    everything = db.hub.logs.follow()
    assert _said(await _take(everything, 3)) == ["x", "younger", "older"]
    await everything.aclose()


async def _append(db: Database, run: RunSession, *messages: object) -> None:
    await db.hub.logs.append(run, _entries(*messages))


@pytest.mark.parametrize("own", [False, True], ids=["all", "one session"])
async def test_an_entry_that_commits_late_is_not_skipped(agentdb_postgresql: Database, own: bool) -> None:
    db = agentdb_postgresql
    late, early = await make_run_session(db), await make_run_session(db)
    changes = db.hub.logs.follow(early if own else None)
    async with db.write() as unit:
        await unit.hub.logs.append(late, _entries("late"))
        await asyncio.create_task(_append(db, early, "early"))
        waiting = asyncio.ensure_future(_take(changes, 1 if own else 2))
        await asyncio.sleep(0.2)
        assert not waiting.done()

    assert _said(await waiting) == (["early"] if own else ["late", "early"])
    await changes.aclose()


async def test_of_one_session_no_number_is_passed_by_whenever_its_transaction_began(
    agentdb_postgresql: Database,
) -> None:
    db = agentdb_postgresql
    run, elsewhere = await make_run_session(db), await make_run_session(db)
    begun, between, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def old() -> None:
        async with db.write() as unit:
            await unit.hub.logs.append(elsewhere, _entries("x"))  # its number is drawn
            begun.set()
            await between.wait()
            await unit.hub.logs.append(run, _entries("second"))

    async def blocker() -> None:
        async with db.write() as unit:
            await unit.hub.hosts.register(name="box")
            begun.set()
            await done.wait()

    first = asyncio.create_task(old())
    await begun.wait()
    begun.clear()
    holding = asyncio.create_task(blocker())
    await begun.wait()
    await db.hub.logs.append(run, _entries("first"))
    between.set()
    await first
    changes = db.hub.logs.follow(run)
    waiting = asyncio.ensure_future(_take(changes, 2))
    await asyncio.sleep(0.3)  # "second" is settled by now, "first" before it is not
    done.set()
    await holding

    assert _said(await waiting) == ["first", "second"]
    await changes.aclose()


async def test_a_follower_of_one_session_sees_only_its_entries(db: Database) -> None:
    run = await make_run_session(db)
    other = await db.hub.runs.next_session(run_id=run.run_id, model_name="m", subagent_id=-1)
    for number in range(6):
        await db.hub.logs.append(other if number % 2 else run, _entries(number))

    changes = db.hub.logs.follow(run.id)
    assert _said(await _take(changes, 3)) == ["0", "2", "4"]
    waiting = asyncio.ensure_future(_take(changes, 1))
    await db.hub.logs.append(other, _entries(6))
    await db.hub.logs.append(run, _entries(7))

    assert _said(await waiting) == ["7"]
    await changes.aclose()


async def test_a_cursor_is_of_what_it_was_followed_from(db: Database) -> None:
    run = await make_run_session(db)
    other = await make_run_session(db)
    end = await db.hub.logs.end(run)

    for cursor, session in ((end, other), (end, None), ("nonsense", None), ("", run)):
        with pytest.raises(BadInput):
            db.hub.logs.follow(session, after=cursor)
    with pytest.raises(BadInput, match="poll_seconds"):
        db.hub.logs.follow(poll_seconds=0)


async def test_a_unit_does_not_follow(db: Database) -> None:
    async with db.write() as unit:
        with pytest.raises(BadInput, match="follow on the database"):
            unit.hub.logs.follow()
        with pytest.raises(BadInput, match="unit"):
            db.hub.logs.follow()


async def test_a_database_that_is_closed_ends_its_followers(db: Database) -> None:
    waiting = asyncio.ensure_future(_take(db.hub.logs.follow(poll_seconds=NEVER), 1))
    await asyncio.sleep(0.1)

    await db.close()

    with pytest.raises(Unavailable, match="was closed"):
        await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cancelled_follower_leaves_nothing_behind(db: Database) -> None:
    run = await make_run_session(db)
    for _ in range(3):
        waiting = asyncio.ensure_future(_take(db.hub.logs.follow(poll_seconds=NEVER), 1))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
    await db.hub.logs.append(run, _entries("a"))
    await db.close()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_entries_are_only_appended(db: Database) -> None:
    run = await make_run_session(db)
    (log,) = await db.hub.logs.append(run, _entries("a"))

    for refused in (
        db.hub.logs.add(run_session_id=run.id, role="llm", message="b"),
        db.hub.logs.add_many([{"run_session_id": run.id, "role": "llm", "message": "b"}]),
        db.hub.logs.update(log.id, message="b"),
        db.hub.logs.upsert(on=["id"], id=log.id, message="b"),
    ):
        with pytest.raises(BadInput, match="append"):
            await refused
    assert [entry.message for entry in await db.hub.logs.latest(run)] == ["a"]


async def test_windows_between_two_entries(db: Database) -> None:
    run = await make_run_session(db)
    logs = await db.hub.logs.append(run, _entries(*range(1, 11)))
    number = {log.message: log.id for log in logs}

    between = await db.hub.logs.latest(run, after=number["3"], before=number["8"], limit=2)
    assert [log.message for log in between] == ["7", "6"]
    assert [log.message for log in await db.hub.logs.latest(run, after=number["8"])] == ["10", "9"]
    assert [log.message for log in await db.hub.logs.before(run.id, number["2"], limit=5000)] == ["1"]


# Many writers, some of whom commit late, in two processes


async def _write(db: Database, sessions: list[RunSession], rows: int, writer: int) -> None:
    """Append rows to sessions at random, some in units that stay open while others commit."""
    chance = random.Random(writer)  # noqa: S311
    written = 0
    while written < rows:
        lines = [f"{writer}:{written + number}" for number in range(min(chance.randint(1, 150), rows - written))]
        written += len(lines)
        run = chance.choice(sessions)
        if chance.random() < 0.2:
            async with db.write() as unit:
                await unit.hub.logs.append(run, _entries(*lines))
                await asyncio.sleep(chance.choice([0.005, 0.05]))
        else:
            await db.hub.logs.append(run, _entries(*lines))


_PROCESS = """
import asyncio, random, sys, agentdb

async def write(db, writer, sessions, rows):
    chance, written = random.Random(writer), 0
    while written < rows:
        some = min(chance.randint(1, 150), rows - written)
        entries = [{"role": "llm", "message": f"{writer}:{written + number}"} for number in range(some)]
        written += some
        session = chance.choice(sessions)
        if chance.random() < 0.2:
            async with db.write() as unit:
                await unit.hub.logs.append(session, entries)
                await asyncio.sleep(chance.choice([0.005, 0.05]))
        else:
            await db.hub.logs.append(session, entries)

async def main(url, writers, sessions, rows):
    async with agentdb.connect(url) as db:
        await asyncio.gather(*(write(db, writer, sessions, rows) for writer in writers))

numbers = lambda text: [int(number) for number in text.split(",")]
asyncio.run(main(sys.argv[1], numbers(sys.argv[2]), numbers(sys.argv[3]), int(sys.argv[4])))
"""


async def _follow_with_crashes(db: Database, total: int) -> list[ContextLog]:
    """Follow in tasks that are cancelled again and again; what was dealt with, and where to go on, outlives them."""
    chance = random.Random(7)  # noqa: S311
    rows: list[ContextLog] = []
    cursor: str | None = None

    async def deal_with(most: int) -> None:
        nonlocal cursor
        async for change in db.hub.logs.follow(after=cursor):
            if most == 0:
                await asyncio.sleep(60)  # it hangs over a row that it has not dealt with
            most -= 1
            rows.append(change.row)
            cursor = json.loads(json.dumps(change.cursor))
            if len(rows) >= total:
                return

    async with asyncio.timeout(120):
        while len(rows) < total:
            task = asyncio.ensure_future(deal_with(chance.randint(1, total // 4)))
            await asyncio.wait([task], timeout=chance.uniform(0.05, 1.0))
            task.cancel()
            await asyncio.wait([task])
    return rows


async def _exactly_once(db: Database, rows: int) -> None:
    sessions = [await make_run_session(db) for _ in range(5)]
    total = 8 * rows
    followed: dict[int, list[ContextLog]] = {run.id: [] for run in sessions}

    async def follow_one(run: RunSession) -> None:
        async for change in db.hub.logs.follow(run):
            followed[run.id].append(change.row)

    ones = [asyncio.create_task(follow_one(run)) for run in sessions[:2]]
    everything = asyncio.create_task(_follow_with_crashes(db, total))
    ids = ",".join(str(run.id) for run in sessions)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROCESS, _url(db), "4,5,6,7", ids, str(rows), env=environment
    )
    await asyncio.gather(*(_write(db, sessions, rows, writer) for writer in range(4)))
    assert await process.wait() == 0
    seen = await everything

    assert len({row.id for row in seen}) == len(seen) == total == await db.hub.logs.count()
    for run in sessions:
        numbers = [row.id for row in seen if row.run_session_id == run.id]
        assert numbers == sorted(numbers)
    async with asyncio.timeout(20):
        for run in sessions[:2]:
            own = [row.id for row in seen if row.run_session_id == run.id]
            while len(followed[run.id]) < len(own):  # noqa: ASYNC110 (a follower has no end to wait for)
                await asyncio.sleep(0.05)
            assert [row.id for row in followed[run.id]] == own
    for task in ones:
        task.cancel()
    await asyncio.wait(ones)
    assert Counter(row.message for row in seen) == Counter(f"{w}:{n}" for w in range(8) for n in range(rows))


async def test_every_entry_comes_exactly_once_and_in_order_however_late_it_commits(
    agentdb_postgresql: Database,
) -> None:
    await _exactly_once(agentdb_postgresql, 800)


@pytest.mark.long
async def test_every_entry_comes_exactly_once_when_another_process_writes_the_file(agentdb: Database) -> None:
    await _exactly_once(agentdb, 250)


@pytest.mark.long
async def test_every_one_of_very_many_entries_comes_exactly_once(db: Database) -> None:
    await _exactly_once(db, 25_000)


# PostgreSQL that hangs up


async def test_a_server_that_hangs_up_on_everybody_is_followed_further(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    run = await make_run_session(db)
    changes = db.hub.logs.follow(poll_seconds=NEVER)
    waiting = asyncio.ensure_future(_take(changes, 1))
    await asyncio.sleep(0.2)

    plain = await asyncpg.connect(**db.settings.target.connect_arguments())
    await plain.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await plain.close()
    async with agentdb.connect(_url(db)) as other:
        await other.hub.logs.append(run, _entries("after"))

    assert _said(await waiting) == ["after"]
    await changes.aclose()


@pytest.fixture
def server() -> Iterator[EmbeddedPostgreSQL]:
    """A server of the test's own, to be stopped and started."""
    folder = Path(tempfile.mkdtemp(prefix="agentdb-following-"))
    folder.chmod(0o755)
    server = EmbeddedPostgreSQL(folder / "embedded", parameters={"fsync": "off"})
    server.launch()
    yield server
    server.shut_down()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.long
async def test_a_server_that_restarts_is_followed_further(server: EmbeddedPostgreSQL) -> None:
    sockets = Path(server.target().host)
    async with agentdb.connect(server.target().secret_url()) as db:
        run = await make_run_session(db)
        changes = db.hub.logs.follow()
        await db.hub.logs.append(run, _entries("before"))
        assert _said(await _take(changes, 1)) == ["before"]

        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.to_thread(server.shut_down)
        await asyncio.sleep(1.2)  # it has looked, and met nobody
        assert not waiting.done()
        await asyncio.to_thread(server.launch)
        await asyncio.to_thread(sockets.symlink_to, server.target().host)  # they have moved; a real server's do not
        async with agentdb.connect(server.target().secret_url()) as other:
            await other.hub.logs.append(run, _entries("after"))

        async with asyncio.timeout(20):
            assert (await waiting).row.message == "after"
        await changes.aclose()
