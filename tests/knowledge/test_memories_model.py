"""Whatever is done with memories, each database answers as a plain list of them would, and so both answer alike."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from sqlalchemy import delete

from agentdb import clock
from agentdb.database import Database
from agentdb.engine.fulltext import words_of
from agentdb.knowledge.models import Memory
from agentdb.testing.factories import make_user

TEXTS = st.text(st.sampled_from('abAB éÉ-"*\n') | st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
TAGS = st.lists(st.sampled_from(["a", "b", "é", "%", '"', "1"]), max_size=2)
KINDS = st.sampled_from(["", "note", "event"])
WHO = st.sampled_from([None, 0, 1])
CALLS = st.one_of(
    st.tuples(st.just("remember"), TEXTS, WHO, KINDS, TAGS, st.sampled_from([None, 1, 3])),
    st.tuples(st.just("change"), st.integers(0, 9), TEXTS),
    st.tuples(st.just("forget"), st.integers(0, 9), WHO),
    st.tuples(st.just("pass"), st.integers(0, 2)),
    st.tuples(st.just("purge"), st.integers(1, 3)),
    st.tuples(st.just("newest"), WHO, st.lists(KINDS, max_size=2), TAGS),
    st.tuples(st.just("search"), TEXTS, WHO, st.lists(KINDS, max_size=1), TAGS),
)


@dataclass
class Told:
    """A memory as the plain list has it."""

    id: int
    content: str
    user_id: int | None
    kind: str
    tags: list[str]
    created_at: datetime
    expires_at: datetime | None


@dataclass
class Plain:
    """The list, and what it answers."""

    rows: list[Told] = field(default_factory=list)

    def seen(self, now: datetime, user_id: int | None, kinds: list[str], tags: list[str]) -> list[Told]:
        return [
            row
            for row in self.rows
            if (row.expires_at is None or row.expires_at > now)
            and (user_id is None or row.user_id in {None, user_id})
            and (not kinds or row.kind in kinds)
            and set(tags) <= set(row.tags)
        ]


def sequences(many: int, length: int) -> list[list[Any]]:
    """Return sequences of calls, the same each time."""
    made: list[list[Any]] = []

    def keep(calls: list[Any]) -> bool:
        made.append(calls)
        return len(made) >= many

    with suppress(NoSuchExample):
        find(
            st.lists(CALLS, min_size=length, max_size=length),
            keep,
            settings=settings(max_examples=many * 4, phases=[Phase.generate], derandomize=True, database=None),
        )
    return made


async def test_each_database_answers_as_a_plain_list_would(db: Database, subtests: pytest.Subtests) -> None:
    agent = (await db.catalog.agents.create("helper")).id
    users = [(await make_user(db)).id for _ in range(2)]

    for place, calls in enumerate(sequences(6, 60)):
        with subtests.test(place=place):
            await _agree(db, agent, users, calls)
        async with db.write() as unit:
            await unit.session.execute(delete(Memory))


async def _agree(db: Database, agent: int, users: list[int], calls: list[Any]) -> None:  # noqa: C901 (one case for each call)
    memories, plain = db.knowledge.memories, Plain()

    def whom(who: int | None) -> int | None:
        return None if who is None else users[who]

    with clock.hold(clock.now()) as hand:
        for call in calls:
            now = clock.now()
            match call:
                case ("remember", text, who, kind, tags, days):
                    ttl = None if days is None else timedelta(days=days)
                    row = await memories.remember(agent, text, user_id=whom(who), kind=kind, tags=tags, ttl=ttl)
                    ends = None if ttl is None else now + ttl
                    plain.rows.append(Told(row.id, text, whom(who), kind, tags, now, ends))
                case ("change", which, text) if which < len(plain.rows):
                    plain.rows[which].content = text
                    await memories.update(plain.rows[which].id, content=text)
                case ("forget", which, who) if which < len(plain.rows):
                    row_ = plain.rows[which]
                    mine = who is None or row_.user_id == whom(who)
                    assert await memories.forget(agent, row_.id, user_id=whom(who)) is mine
                    if mine:
                        plain.rows.remove(row_)
                case ("pass", days):
                    hand.forward(timedelta(days=days))
                case ("purge", most):
                    ended = [row for row in plain.rows if row.expires_at is not None and row.expires_at <= now]
                    ended.sort(key=lambda row: (row.expires_at, row.id))
                    assert await memories.purge(most=most) == len(ended[:most])
                    plain.rows = [row for row in plain.rows if row not in ended[:most]]
                case ("newest", who, kinds, tags):
                    page = await memories.newest(agent, user_id=whom(who), kinds=kinds, tags=tags, limit=100)
                    seen = plain.seen(now, whom(who), kinds, tags)
                    seen.sort(key=lambda row: (row.created_at, row.id), reverse=True)
                    assert [row.id for row in page.items] == [row.id for row in seen]
                case ("search", text, who, kinds, tags):
                    found = await memories.search(agent, text, user_id=whom(who), kinds=kinds, tags=tags, limit=100)
                    words = set(words_of(text))
                    seen = plain.seen(now, whom(who), kinds, tags)
                    wanted = [row.id for row in seen if words and words <= set(words_of(row.content))]
                    assert [row.id for row in found] == sorted(wanted, reverse=True)
                case _:
                    continue
