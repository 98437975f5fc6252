"""Words are found alike on both databases, whatever characters stand in texts and searches."""

# ruff: noqa: RUF001 (texts that look alike are the point)

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import product
from random import Random
from typing import Any, Final

import pytest
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.database import Database
from agentdb.engine.fulltext import words_of
from agentdb.engine.schema.fulltext import rebuild_words
from agentdb.errors import BadInput
from agentdb.knowledge.models import Memory


@pytest.mark.long
def test_the_tables_of_characters_are_those_of_sqlites_own_tokenizer() -> None:
    raw = sqlite3.connect(":memory:")
    raw.execute(
        "CREATE VIRTUAL TABLE t USING fts5(x, tokenize=\"unicode61 remove_diacritics 0 categories 'L* M* N* Co'\")"
    )
    raw.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance')")
    characters = [code for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    raw.executemany("INSERT INTO t (rowid, x) VALUES (?, ?)", ((code, chr(code)) for code in characters))
    told = {code: (word,) for word, code in raw.execute("SELECT term, doc FROM v")}

    assert {code: words for code in characters if (words := words_of(chr(code)))} == told


# Whatever a text may have in it: scripts with capitals and without, marks, digits, symbols, white space, syntax.
STRANGE: Final = (
    "aAzZ09_-'\"*:^()+{}[]!?.,;@#%&|\\/~`<>=$\t\n éÉßẞıİſΣσςЖжԱաⅧⅷ々世界한글ไทยहिन्दी\u0301\u00a0\u2028\u200b—“”’…"
    "𝔘𝟚🙂👩‍👩‍👧\ufeff\u00ad\ue000Ꭰꭰ\u1c90ა\u0378\U0010ffff"
)
SYNTAX: Final = (
    *('"', '"open', "NEAR(tea cup)", "tea NOT cup", "tea AND", "OR", "tea*", "te*", "words:tea", ":*", "tea:*"),
    *(
        "(",
        "tea)",
        "((",
        "'tea'",
        "tea''",
        "\\",
        "tea\\",
        "^tea",
        "tea & cup",
        "tea | cup",
        "!tea",
        "<->",
        "tea <2> cup",
    ),
    *("-tea", "+tea", "{tea}", "tea\0cup", "%", "_", "; DROP TABLE memories; --", "$1", "?", "\ud800tea"),
)


def raw_is_sqlite(connection: AsyncConnection) -> bool:
    return connection.dialect.name == "sqlite"


def found_by(texts: Sequence[str], query: str) -> list[str]:
    """Return what should be found, the newest first: a plain reading of the promise."""
    words = set(words_of(query))
    return [text for text in reversed(texts) if words and words <= set(words_of(text))]


async def kept(db: Database, texts: Sequence[str]) -> int:
    agent = (await db.catalog.agents.create("helper")).id
    await db.knowledge.memories.add_many({"agent_id": agent, "content": text} for text in texts)
    return agent


@pytest.mark.long
async def test_strange_texts_are_found_by_strange_searches_as_promised(db: Database) -> None:
    dice = Random(7)  # noqa: S311 (the same each time)
    texts = ["".join(dice.choices(STRANGE, k=dice.randint(0, 30))) for _ in range(300)]
    agent = await kept(db, texts)
    queries = ["".join(dice.choices(STRANGE, k=dice.randint(1, 4))) for _ in range(150)]
    queries += [dice.choice(words) for text in texts[:100] if (words := words_of(text))]

    for query in queries:
        found = await db.knowledge.memories.search(agent, query, limit=1_000)
        assert [memory.content for memory in found] == found_by(texts, query), query
    assert sum(bool(found_by(texts, query)) for query in queries) > 100


async def test_nothing_of_a_search_is_syntax(db: Database) -> None:
    texts = ["tea", "tea cup", "cup near tea", "not", "and or", "teapot", "te", "words tea"]
    agent = await kept(db, texts)

    for query in SYNTAX:
        found = await db.knowledge.memories.search(agent, query)
        some = await db.knowledge.memories.search(agent, query, any_word=True)
        assert [memory.content for memory in found] == found_by(texts, query), query
        assert {memory.content for memory in some} == {
            text for text in texts if set(words_of(query)) & set(words_of(text))
        }, query


async def test_what_divides_words_is_the_same_for_addresses_numbers_and_hyphens(db: Database) -> None:
    agent = await kept(db, ["ask john.doe@example.com about the well-known 3.14 at https://a.b/c?d=e_f"])

    for query in ("doe", "example.com", "known well", "14", "john.doe@example.com", "b", "e f", "https"):
        assert len(await db.knowledge.memories.search(agent, query)) == 1, query
    for query in ("johndoe", "wellknown", "know", "ab"):
        assert await db.knowledge.memories.search(agent, query) == [], query


@pytest.mark.long
async def test_very_long_words_and_texts_are_kept_and_found_alike(db: Database) -> None:
    long, longer = "x" * 255, "y" * 256
    texts = [f"{long} {longer} end", f"{'word ' * 39_999}last beyond", "z" * 300_000]
    agent = await kept(db, texts)
    search = db.knowledge.memories.search

    async def many(query: str) -> int:
        return len(await search(agent, query))

    assert [await many(query) for query in (long, f"{long} end", "last", "end")] == [1, 1, 1, 1]
    assert [await many(query) for query in (longer, f"end {longer}", "beyond", "z" * 300_000)] == [0, 0, 0, 0]
    assert len(await search(agent, f"end {longer}", any_word=True)) == 1
    with pytest.raises(BadInput, match="at most 64"):
        await search(agent, " ".join(f"w{number}" for number in range(65)))
    assert len(await search(agent, " ".join(["word", *(f"w{number}" for number in range(99))]), any_word=True)) == 1


async def test_a_search_for_what_is_no_text_is_refused(agentdb: Database, subtests: pytest.Subtests) -> None:
    agent = await kept(agentdb, ["tea"])

    some: tuple[Any, ...] = (None, 5, b"tea", ["tea"])
    for query, any_word in product(some, (False, True)):
        with subtests.test(query=query, any_word=any_word), pytest.raises(BadInput, match="a text"):
            await agentdb.knowledge.memories.search(agent, query, any_word=any_word)


async def test_the_words_follow_the_rows_whoever_writes_them_and_are_rebuilt_alike(db: Database) -> None:
    agent = await kept(db, ["one apple", "two pears", "three plums"])
    async with db.write() as unit:
        await unit.session.execute(sql("UPDATE memories SET content = 'four figs' WHERE content = 'one apple'"))
        await unit.session.execute(sql("DELETE FROM memories WHERE content = 'two pears'"))

    async def found() -> list[bool]:
        asked = ("apple", "pears", "plums", "figs")
        return [bool(await db.knowledge.memories.search(agent, word)) for word in asked]

    before = await found()
    async with db.write() as unit:
        connection = await unit.session.connection()
        await connection.run_sync(lambda raw: rebuild_words(raw, Memory))
        if raw_is_sqlite(connection):  # compares what is indexed with the rows
            await unit.session.execute(
                sql("INSERT INTO memories_words (memories_words, rank) VALUES ('integrity-check', 1)")
            )

    assert before == await found() == [False, False, True, True]


async def test_postgresql_searches_by_its_index(agentdb_postgresql: Database) -> None:
    agent = await kept(agentdb_postgresql, [f"common word{number}" for number in range(3_000)])
    async with agentdb_postgresql.write() as unit:
        await unit.session.execute(sql("ANALYZE memories"))
        plan = await unit.session.execute(
            sql(
                "EXPLAIN SELECT id FROM memories "
                "WHERE agentdb_words(memories.content) @@ CAST(CAST(:query AS text) AS tsquery) AND agent_id = :agent"
            ),
            {"query": "'word7'", "agent": agent},
        )
        told = "\n".join(plan.scalars())

    assert "ix_memories__words" in told
