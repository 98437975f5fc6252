"""Importing chat: each run whole, once, and nothing else disturbed."""

from __future__ import annotations

import asyncio
import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.hub.models.machines import LogRole, LogSource, LogType
from agentdb.importing import Problem, import_chat, import_prices
from agentdb.importing.chat import username
from agentdb.reports.records import ToolUse, Totals
from agentdb.repository import Repository

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
CALL = {"id": "c1", "type": "function", "function": {"name": "find_order", "arguments": '{"number": 7}'}}
RUN: dict[str, Any] = {
    "id": "r1",
    "user": "ada",
    "model": "chat",
    "reward": 0.5,
    "messages": [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "Where is   order 7?\n"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "sent"},
        {"role": "assistant", "content": "On its way.", "usage": {"prompt_tokens": 1000, "completion_tokens": 100}},
    ],
}
PRICE: dict[str, str | None] = {
    "key": "chat",
    "mode": "chat",
    "input_cost_per_token": "0.000001",
    "output_cost_per_token": "0.00001",
}


def write(path: Path, *runs: dict[str, Any] | str) -> Path:
    file = path / "runs.jsonl"
    file.write_text("".join((run if isinstance(run, str) else json.dumps(run)) + "\n" for run in runs), "utf-8")
    return file


async def everything(db: Database) -> list[tuple[str, int, Any]]:
    """Return how many rows each table has, and when one last changed."""
    repositories: list[Repository[Any]] = [
        db.supervisor.users,
        db.catalog.agents,
        db.catalog.models,
        db.hub.hosts,
        db.hub.runs,
        db.hub.logs,
        db.hub.costs,
        db.conversation.conversations,
        db.conversation.messages,
    ]
    return [
        (
            repository.model.__tablename__,
            await repository.count(),
            [getattr(row, "updated_at", row.created_at) async for row in repository.stream()],
        )
        for repository in repositories
    ]


async def test_a_run_becomes_a_conversation_a_log_and_costs(db: Database, tmp_path: Path) -> None:
    await db.catalog.models.import_prices([PRICE])

    report = await import_chat(db, write(tmp_path, RUN), agent="clerk")

    talk = await db.conversation.conversations.by_key("import:r1")
    assert talk is not None
    messages = await db.conversation.messages.latest(talk.id)
    user = await db.supervisor.users.by_username("ada")
    session = (await db.hub.runs.newest(user_id=user.id)).items[0]
    assert (report.runs, report.present, report.messages, report.calls, report.unpriced) == (1, 0, 5, 2, 0)
    assert report.problems == []
    assert (talk.title, talk.user_id) == ("Where is order 7?", user.id)
    assert talk.metadata_ == {"imported": {"id": "r1", "model": "chat", "reward": 0.5}}
    assert (await db.catalog.agents.get(talk.agent_id)).name == "clerk"
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert messages[2].content == ""
    assert messages[2].metadata_ == {"tool_calls": [CALL], "tokens_estimated": True}
    assert (messages[3].name, messages[3].tool_call_id) == ("find_order", "c1")
    assert (messages[4].tokens, messages[4].metadata_) == (100, {})
    assert (session.model_name, session.total_cost) == ("chat", report.cost)


async def test_the_log_tells_who_spoke(db: Database, tmp_path: Path) -> None:
    await import_chat(db, write(tmp_path, RUN))

    logs = [log async for log in db.hub.logs.stream()]

    assert [(log.role, log.source, log.type, log.message) for log in logs] == [
        (LogRole.platform, LogSource.start_prompt, LogType.system, "You help."),
        (LogRole.platform, LogSource.console, None, "Where is   order 7?\n"),
        (LogRole.llm, LogSource.llm, LogType.tool, 'find_order({"number": 7})'),
        (LogRole.platform, LogSource.console, LogType.tool, "sent"),
        (LogRole.llm, LogSource.llm, None, "On its way."),
    ]


async def test_each_answer_is_charged_at_the_models_price(db: Database, tmp_path: Path) -> None:
    await db.catalog.models.import_prices([PRICE])

    report = await import_chat(db, write(tmp_path, RUN))

    first, second = [cost async for cost in db.hub.costs.stream()]
    assert (first.input_tokens, first.output_tokens) == (3 + 5, 7)  # a quarter of the characters, rounded up
    assert first.cost == Decimal("0.000078")
    assert (second.input_tokens, second.output_tokens, second.cost) == (1000, 100, Decimal("0.002"))
    assert [first.request_id, second.request_id] == ["import:r1:2", "import:r1:4"]
    assert report.cost == Decimal("0.002078")
    assert None not in {first.host_id, first.agent_id, first.model_id, first.message_id, first.run_session_id}


async def test_a_model_nobody_knows_costs_nothing_and_is_counted(db: Database, tmp_path: Path) -> None:
    report = await import_chat(db, write(tmp_path, RUN))

    assert (report.calls, report.unpriced, report.cost) == (2, 2, Decimal(0))
    assert (await db.hub.costs.total()).calls == 2


async def test_a_second_import_changes_nothing(db: Database, tmp_path: Path) -> None:
    file = write(tmp_path, RUN, {**RUN, "id": "r2", "user": "grace"})
    with clock.hold(datetime(2026, 11, 20, 12, tzinfo=UTC)) as hand:
        await import_chat(db, file)
        before = await everything(db)
        hand.forward(timedelta(hours=1))

        again = await import_chat(db, file)

    assert (again.runs, again.present, again.messages, again.calls) == (0, 2, 0, 0)
    assert await everything(db) == before


async def test_this_machine_is_one_host(db: Database, tmp_path: Path) -> None:
    await import_chat(db, write(tmp_path, RUN))
    await import_chat(db, write(tmp_path, {**RUN, "id": "r2"}))

    hosts = await db.hub.hosts.list()
    assert len(hosts.items) == 1
    assert {session.host_id async for session in db.hub.runs.stream()} == {hosts.items[0].id}


async def test_two_imports_at_once_are_as_good_as_one(db: Database) -> None:
    reports = await asyncio.gather(*(import_chat(db, EXAMPLES / "chat-sample.jsonl") for _ in range(2)))

    assert sum(report.runs for report in reports) == 20
    assert sum(report.present for report in reports) == 20
    assert [report.problems for report in reports] == [[], []]
    totals = await db.reports.activity.totals()
    assert (totals.runs, totals.conversations) == (20, 20)
    assert totals.messages == totals.log_entries == sum(report.messages for report in reports)


async def test_what_was_deleted_does_not_come_back(db: Database, tmp_path: Path) -> None:
    file = write(tmp_path, RUN)
    await import_chat(db, file)
    talk = await db.conversation.conversations.by_key("import:r1")
    assert talk is not None
    await db.conversation.conversations.update(talk.id, deleted_at=db.now())

    again = await import_chat(db, file)

    assert (again.runs, again.present, again.problems) == (0, 1, [])


async def test_a_bad_line_is_named_and_the_others_go_in(db: Database, tmp_path: Path) -> None:
    nul = {**RUN, "id": "r2", "messages": [{"role": "user", "content": "a\0b"}]}
    named = {**RUN, "id": "r3", "messages": [{"role": "user", "content": "x", "name": "n" * 256}]}

    report = await import_chat(db, write(tmp_path, RUN, "{", nul, "", named, {**RUN, "id": "r4"}))

    assert report.runs == 2
    assert [problem.line for problem in report.problems] == [2, 3, 5]
    assert report.problems[0] == Problem(2, "not a run: input data was truncated")
    assert "NUL" in report.problems[1].reason
    assert "messages.name" in report.problems[2].reason
    totals = await db.reports.activity.totals()
    assert totals == Totals(users=1, runs=2, conversations=2, messages=10, log_entries=10)


async def test_names_of_any_characters_become_users_of_their_own(db: Database, tmp_path: Path) -> None:
    names = ["a.b", "a b", "a_b", "é" * 100]
    runs = [{**RUN, "id": f"r{number}", "user": name} for number, name in enumerate(names)]

    await import_chat(db, write(tmp_path, *runs))

    users = [user async for user in db.supervisor.users.stream()]
    assert len({user.username for user in users}) == 4
    assert [user.settings.get("imported_as") for user in users] == ["a.b", "a b", None, "é" * 100]
    assert max(len(user.username) for user in users) <= 64


def test_a_username_stays_the_same() -> None:
    assert username("ada_1-x") == "ada_1-x"
    assert username("a.b") == username("a.b") != username("a b")


@pytest.mark.long
async def test_a_line_of_ten_mebibytes_goes_in(db: Database, tmp_path: Path) -> None:
    long = "x" * 10 * 2**20
    file = tmp_path / "runs.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps({**RUN, "messages": [{"role": "user", "content": long}]}).encode(), 1))
    read: list[int] = []

    report = await import_chat(db, file, progress=read.append)

    talk = await db.conversation.conversations.by_key("import:r1")
    assert talk is not None
    assert (await db.conversation.messages.latest(talk.id))[0].content == long
    assert report.messages == 1
    assert 0 < read[-1] <= file.stat().st_size


async def test_a_file_that_is_not_there_is_refused(db: Database, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        await import_chat(db, tmp_path / "absent")


async def test_the_sample_is_priced_in_whole(db: Database) -> None:
    await import_prices(db, EXAMPLES / "prices-sample.csv")

    report = await import_chat(db, EXAMPLES / "chat-sample.jsonl")

    assert (report.runs, report.unpriced, report.problems) == (20, 0, [])
    assert len(await db.reports.spending.by_model()) == 4
    assert (await db.reports.activity.tools(limit=1)) == [ToolUse("run_command", 13)]
