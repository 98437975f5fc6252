"""A page of mail takes the same work among a million messages as among a thousand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import text

from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.hub import chat
from agentdb.hub.mailing import letters, lists
from agentdb.hub.mailing.lists import Box, Window
from agentdb.models import MailKind
from tests.hub.test_list_plans import LIMIT, on_driver, steps_of

FEW, MANY, PORTION = 1_000, 1_000_000, 100_000

# A user's messages with twenty others, of which the same ones are unread however many there are. A quarter is chat; all
# that follows the first thousand is read and put away every third time, as mail is.
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})"
OTHER = "(2 + n / 2 % 20)"
KIND = "CASE WHEN n % 4 = 0 THEN 'chat' ELSE 'mail' END"
NOW = "(SELECT min(created_at) FROM users)"
SENT = f"CASE WHEN n % 2 = 1 THEN 1 ELSE {OTHER} END"
GOT = f"CASE WHEN n % 2 = 1 THEN {OTHER} ELSE 1 END"
READ = f"CASE WHEN n > {FEW} OR n % 5 <> 0 THEN {NOW} END"
AWAY = f"CASE WHEN n % 3 = 0 THEN {NOW} END"
FILL = (
    f"""INSERT INTO mail_messages
        (from_user_id, from_username, kind, participants, participants_digest, subject, body, body_folded)
        {NUMBERS} SELECT {SENT}, 'u', {KIND}, '1,' || {OTHER}, 'd-' || {OTHER}, 'subject', 'body', 'body'
        FROM numbers""",
    f"""INSERT INTO mail_recipients (message_id, user_id, type, kind, participants_digest, own, read_at, archived_at)
        {NUMBERS} SELECT n, {SENT}, 'from', {KIND}, 'd-' || {OTHER}, n = n, {NOW}, {AWAY} FROM numbers""",
    f"""INSERT INTO mail_recipients (message_id, user_id, type, kind, participants_digest, read_at, archived_at)
        {NUMBERS} SELECT n, {GOT}, 'to', {KIND}, 'd-' || {OTHER}, {READ}, {AWAY} FROM numbers""",
)

MAIL, CHAT = MailKind.mail, MailKind.chat
WITH_SEVEN = {"participants_digest": "d-7"}
# The places are behind the first few hundred: the work is that of the second page, not of an empty one.
PAGES: dict[str, tuple[Plan[Any], Mapping[str, Any]]] = {
    "received": (lists.page_plan(Box.received, MAIL, False, False), {}),
    "received, of both kinds": (lists.page_plan(Box.received, None, False, False), {}),
    "received, further": (lists.page_plan(Box.received, MAIL, False, True), {"place": 700}),
    "received, put away": (lists.page_plan(Box.received, MAIL, True, False), {}),
    "sent": (lists.page_plan(Box.sent, MAIL, False, False), {}),
    "sent, further": (lists.page_plan(Box.sent, MAIL, False, True), {"place": 700}),
    "sent and received": (lists.page_plan(Box.both, None, False, False), {}),
    "with one other": (lists.page_plan(Box.among_them, MAIL, False, False), WITH_SEVEN),
    "with one other, further": (lists.page_plan(Box.among_them, MAIL, False, True), {**WITH_SEVEN, "place": 700}),
    "unread": (lists.unread_plan(MAIL), {"place": 0}),
    "unread, behind one": (lists.unread_plan(None), {"place": 300}),
    "unread, counted": (lists.COUNTS, {}),
    "a conversation's last": (lists.conversation_plan(CHAT, Window.latest), WITH_SEVEN),
    "a conversation, further": (lists.conversation_plan(CHAT, Window.before), {**WITH_SEVEN, "place": 700}),
    "conversations": (chat._CONVERSATIONS[CHAT, False], {}),
    "conversations, further": (chat._CONVERSATIONS[CHAT, True], {"place": 990}),
    "what is found at once": (lists.search_plan(False, False, False), {"pattern": "%body%"}),
    "what completes a page": (letters.ADDRESSEES, {"ids": list(range(600, 611))}),
    "whom to wake": (lists.to_wake_plan(False), {"after": 0}),
}


async def fill(db: Database, first: int, last: int) -> None:
    """Add the messages of these numbers, in portions, and let the database count them."""
    for begins in range(first, last + 1, PORTION):
        async with db.sessions() as session:
            for statement in FILL:
                await session.execute(text(statement.format(first=begins, last=min(begins + PORTION - 1, last))))
            await session.commit()
    async with db.sessions() as session:
        await session.execute(text("ANALYZE"))
        await session.commit()


async def work_of(driver: Any, statement: str, arguments: Sequence[Any]) -> int:
    """Return how many steps SQLite's machine makes, or how many rows PostgreSQL reads.

    Not its blocks: each row of a page is looked up, in trees that are two levels higher among a million.
    """
    if isinstance(driver, aiosqlite.Connection):
        return await steps_of(driver, statement, arguments)
    told = await driver.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments)
    return _rows((json.loads(told) if isinstance(told, str) else told)[0]["Plan"])


def _rows(node: Mapping[str, Any]) -> int:
    """Return how many rows are read where a plan's branches end, those that are read in vain too."""
    if node.get("Plans"):
        return sum(map(_rows, node["Plans"]))
    passed = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    own: float = sum(node.get(name, 0) for name in passed) * node["Actual Loops"]
    return round(own)


async def work(db: Database) -> dict[str, int]:
    """Return the work of each page of the first user."""
    whose = {name: {} if name == "whom to wake" else {"user_id": 1} for name in PAGES}
    return {
        name: await on_driver(db, plan, {**whose[name], **values}, work_of) for name, (plan, values) in PAGES.items()
    }


@pytest.mark.long
async def test_a_page_of_mail_among_a_million_takes_the_work_of_one_among_a_thousand(db: Database) -> None:
    await db.supervisor.users.add_many({"username": f"user-{number}"} for number in range(1, 201))
    await fill(db, 1, FEW)
    few = await work(db)

    await fill(db, FEW + 1, MANY)
    many = await work(db)

    # Few messages are joined as a whole; among many four ranges are read, and each row looked up: as much always.
    same = {name: max(1.3 * few[name], 9 * LIMIT) for name in PAGES}
    assert {name: (few[name], many[name]) for name in PAGES if many[name] > same[name]} == {}
