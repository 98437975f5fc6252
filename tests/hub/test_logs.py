"""The context log: all or nothing, counted, and pointed at."""

from __future__ import annotations

import asyncio

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference
from agentdb.models import RunSession, UserNotification
from agentdb.repository import Repository


class Notifications(Repository[UserNotification]):
    model = UserNotification


async def _run(db: Database) -> RunSession:
    user = await db.supervisor.users.add(username="bob")
    host = await db.hub.hosts.register(name="box")
    return await db.hub.runs.start(user_id=user.id, host_id=host.id, model_name="m")


async def test_entries_are_stored_in_order_with_counters_and_pointers(db: Database) -> None:
    run = await _run(db)

    logs = await db.hub.logs.append(
        run, [{"role": "llm", "message": "a\nb\n"}, {"role": "platform", "source": "console", "message": "c"}]
    )

    assert [log.message for log in logs] == ["a\nb\n", "c"]
    assert logs[0].id < logs[1].id
    assert {log.host_id for log in logs} == {run.host_id}
    assert [await db.hub.logs.get(log.id) for log in logs]
    session = await db.hub.runs.get(run.id)
    assert (session.total_lines, session.latest_log_id) == (4, logs[1].id)
    assert (await Notifications(db._over).get(run.user_id)).latest_log_id == logs[1].id


async def test_entries_are_appended_all_or_none(db: Database) -> None:
    run = await _run(db)

    with pytest.raises(BadInput, match="nobody"):
        await db.hub.logs.append(run, [{"role": "llm", "message": "a"}, {"role": "nobody", "message": "b"}])
    with pytest.raises(MissingReference):
        await db.hub.logs.append(run, [{"role": "llm", "message": "a", "attachment_id": 99}])

    session = await db.hub.runs.get(run.id)
    assert (session.total_lines, session.latest_log_id, await db.hub.logs.count()) == (0, 0, 0)


async def test_appends_at_once_are_all_counted_and_the_pointers_only_move_forward(db: Database) -> None:
    run = await _run(db)
    other = await db.hub.runs.next_session(run_id=run.run_id, model_name="m")

    appended = await asyncio.gather(
        *(
            db.hub.logs.append(run if number % 2 else other, [{"role": "llm", "message": "a\nb"}] * (number % 3 + 1))
            for number in range(40)
        )
    )

    for session in (run, other):
        stored = await db.hub.runs.get(session.id)
        own = [log for logs in appended for log in logs if log.run_session_id == session.id]
        assert stored.total_lines == 2 * len(own)
        assert stored.latest_log_id == max(log.id for log in own)
    newest = max(log.id for logs in appended for log in logs)
    assert (await Notifications(db._over).get(run.user_id)).latest_log_id == newest


NO_ENTRIES: list[list[dict[str, object]]] = [[], [{"role": "llm"}], [{"role": "llm", "message": 5}], [{"nope": 1}]]


async def test_what_is_no_entry_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    for entries in NO_ENTRIES:
        with subtests.test(entries=entries), pytest.raises(BadInput):
            await db.hub.logs.append(1, entries)


async def test_windows_of_a_log(db: Database) -> None:
    run = await _run(db)
    logs = await db.hub.logs.append(run.id, [{"role": "llm", "message": str(number)} for number in range(6)])

    def shown(entries: list[object]) -> list[object]:
        return [getattr(entry, "message", None) for entry in entries]

    assert shown(list(await db.hub.logs.after(run.id, logs[1].id, limit=2))) == ["2", "3"]
    assert shown(list(await db.hub.logs.before(run.id, logs[4].id, limit=2))) == ["3", "2"]
    assert shown(list(await db.hub.logs.latest(run.id, limit=2))) == ["5", "4"]
