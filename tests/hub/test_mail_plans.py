"""Which index answers which list: a page costs the same however many messages there are."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from agentdb.database import Database
from agentdb.engine.dialects import POSTGRESQL, SQLITE
from agentdb.engine.plan import Plan
from agentdb.hub import chat
from agentdb.hub.mailing import letters, lists
from agentdb.hub.mailing.lists import Box, Window
from agentdb.models import MailKind

MESSAGES = 4_000
# Half of them from the first user to one of forty, half from one of the forty to the first.
NUMBERS = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MESSAGES})"
OTHER = "(2 + n / 2 % 40)"
KIND = "CASE WHEN n % 4 < 2 THEN 'chat' ELSE 'mail' END"
NOW = "(SELECT min(created_at) FROM users)"
FILL = (
    f"""INSERT INTO mail_messages (from_user_id, from_username, kind, participants, participants_digest, subject, body)
        {NUMBERS} SELECT CASE WHEN n % 2 = 1 THEN 1 ELSE {OTHER} END, 'u', {KIND}, '1,' || {OTHER}, 'd-' || {OTHER},
        'subject', 'body' FROM numbers""",
    f"""INSERT INTO mail_recipients (message_id, user_id, type, kind, participants_digest, own, read_at, archived_at)
        {NUMBERS} SELECT n, CASE WHEN n % 2 = 1 THEN 1 ELSE {OTHER} END, 'from', {KIND}, 'd-' || {OTHER}, n = n, {NOW},
        CASE WHEN n % 3 = 0 THEN {NOW} END FROM numbers""",
    f"""INSERT INTO mail_recipients (message_id, user_id, type, kind, participants_digest, read_at, archived_at)
        {NUMBERS} SELECT n, CASE WHEN n % 2 = 1 THEN {OTHER} ELSE 1 END, 'to', {KIND}, 'd-' || {OTHER},
        CASE WHEN n % 5 <> 0 THEN {NOW} END, CASE WHEN n % 3 = 0 THEN {NOW} END FROM numbers""",
    "ANALYZE",
)


@pytest_asyncio.fixture
async def filled(db: Database) -> Database:
    await db.supervisor.users.add_many({"username": f"user-{number}"} for number in range(1, 201))
    async with db.write() as unit:
        for statement in FILL:
            await unit.session.execute(text(statement))
    return db


async def _explained(db: Database, plan: Plan[Any], parameters: dict[str, Any]) -> str:
    async with db.write() as unit:
        transaction: Any = unit._connection.transaction
        await unit.supervisor.users.count()  # the transaction begins
        compiled = plan.on(POSTGRESQL if transaction.chains else SQLITE)
        arguments = compiled.arguments(parameters, db.now())
        if transaction.chains:
            return "\n".join(
                row[0] for row in await transaction._connection.fetch("EXPLAIN " + compiled.text, *arguments)
            )
        rows = await transaction._connection.hop(
            lambda raw: raw.execute("EXPLAIN QUERY PLAN " + compiled.text, arguments).fetchall()
        )
        return "\n".join(row[3] for row in rows)


def _indexes(explained: str) -> set[str]:
    """Return which indexes of recipients a plan uses."""
    return set(re.findall(r"ix_mail_recipients__\w+", explained)) | (
        {"uq"} if re.search(r"uq_mail_recipients|autoindex_mail_recipients", explained) else set()
    )


def _index(name: str) -> set[str]:
    return {f"ix_mail_recipients__{name}"}


MAIL = MailKind.mail
CASES: list[tuple[Plan[Any], dict[str, Any], set[str]]] = [
    (lists.page_plan(Box.received, MAIL, False, True), {"place": 9}, _index("received")),
    (lists.page_plan(Box.received, None, False, True), {"place": 9}, _index("received")),
    (lists.page_plan(Box.received, MAIL, False, False), {}, _index("received")),
    (lists.page_plan(Box.sent, MAIL, False, True), {"place": 9}, _index("sent")),
    (lists.page_plan(Box.sent, None, False, False), {}, _index("sent")),
    (lists.page_plan(Box.both, MAIL, False, True), {"place": 9}, _index("received") | _index("sent")),
    (lists.page_plan(Box.both, MAIL, True, True), {"place": 9}, _index("archived")),
    (
        lists.page_plan(Box.among_them, MAIL, False, True),
        {"place": 9, "participants_digest": "d-7"},
        _index("current"),
    ),
    (lists.page_plan(Box.received, None, True, False), {}, _index("archived")),
    (lists.page_plan(Box.sent, MAIL, True, False), {}, _index("archived")),
    (lists.page_plan(Box.both, None, False, False), {}, _index("received") | _index("sent")),
    (lists.page_plan(Box.among_them, None, False, False), {"participants_digest": "d-7"}, _index("current")),
    (lists.unread_plan(MAIL), {"place": 9}, _index("unread")),
    (lists.unread_plan(None), {"place": 9}, _index("unread")),
    (
        lists.conversation_plan(MailKind.chat, Window.before),
        {"place": 3_000, "participants_digest": "d-7"},
        _index("conversation"),
    ),
    (lists.conversation_plan(MAIL, Window.latest), {"participants_digest": "d-7"}, _index("conversation")),
    (
        lists.conversation_plan(MAIL, Window.after),
        {"place": 3_000, "participants_digest": "d-7"},
        _index("conversation"),
    ),
    (
        chat._CONVERSATIONS[MailKind.mail, False],
        {},
        _index("conversation") | _index("current") | _index("unread_in_conversation"),
    ),
    (
        chat._CONVERSATIONS[MailKind.chat, True],
        {"place": 9},
        _index("conversation") | _index("current") | _index("unread_in_conversation"),
    ),
]


async def _each_list_is_read_by_its_own_index(filled: Database) -> None:
    for plan, parameters, indexes in CASES:
        explained = await _explained(filled, plan, {"user_id": 1, "limit": 21, **parameters})

        assert _indexes(explained) == indexes, f"{plan.name} {parameters}\n{explained}"
        assert not re.search(r"(Seq Scan on|SCAN) mail_recipients", explained), f"{plan.name}\n{explained}"


async def _what_completes_a_page_is_found_by_the_messages_ids(filled: Database) -> None:
    ids = list(range(2_000, 2_020))

    addressees = await _explained(filled, letters.ADDRESSEES, {"user_id": 1, "ids": ids})
    message = await _explained(filled, lists.MESSAGE, {"user_id": 1, "message_id": 2_000})

    for explained in (addressees, message):
        # PostgreSQL may skip through the one that begins with the user.
        assert _indexes(explained) <= {"uq"} | _index("user_id_message_id"), explained
        assert not re.search(r"(Seq Scan on|SCAN) mail_recipients", explained), explained


async def _searches_counts_and_wakings_stay_within_the_users_own_rows(filled: Database) -> None:
    own = _index("user_id_message_id")
    searched = {"user_id": 7, "limit": 51, "pattern": "%nothing%"}

    search = await _explained(filled, lists.search_plan(False, True, False), searched)
    counts = await _explained(filled, lists.COUNTS, {"user_id": 1})
    wake = await _explained(filled, lists.to_wake_plan(False), {"after": 0, "limit": 100})

    assert _indexes(search) == own, search
    for explained in (counts, wake):
        assert _indexes(explained) <= _index("unread") | _index("unread_in_conversation"), explained
    assert not re.search(r"(Seq Scan on|SCAN) mail_recipients", search + counts + wake)


async def test_no_statement_reads_more_than_its_index_has_for_it(filled: Database, subtests: pytest.Subtests) -> None:
    for claim in (
        _each_list_is_read_by_its_own_index,
        _what_completes_a_page_is_found_by_the_messages_ids,
        _searches_counts_and_wakings_stay_within_the_users_own_rows,
    ):
        with subtests.test(claim=claim.__name__):
            await claim(filled)
