"""The SQL functions that SQLite is given by every connection of this library: the schema itself uses none of them."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import Any

from agentdb import jsons
from agentdb.engine.fulltext import words_of
from agentdb.engine.schema.fulltext_functions import COUNTED


def add_functions(raw: sqlite3.Connection) -> None:
    """Let a connection call them."""
    raw.create_function("agentdb_said", 1, _said, deterministic=True)
    raw.create_function("agentdb_says", 2, _says, deterministic=True)
    raw.create_function("agentdb_places_said", 2, _places_said, deterministic=True)


def _said(content: str | None) -> str | None:
    """Return the text of a message's content."""
    if content is None:
        return None
    value: Any = jsons.decode(content)
    if isinstance(value, str):
        return value
    blocks = value if isinstance(value, list) else []
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    return " ".join(text for text in texts if isinstance(text, str))


@lru_cache(maxsize=64)
def _query(spelled: str) -> tuple[frozenset[str], bool]:
    """Return the words of a query as it is spelled for SQLite, and whether any of them will do."""
    return frozenset(word for word in spelled.split('"') if word and word not in {" ", " OR "}), " OR " in spelled


def _says(text: str | None, spelled: str) -> bool | None:
    if text is None:
        return None
    asked, any_of_them = _query(spelled)
    said = asked.intersection(words_of(text[:COUNTED]))
    return bool(said) if any_of_them else len(said) == len(asked)


@lru_cache(maxsize=64)
def _queries(spelled: str) -> tuple[str, ...]:
    return tuple(query.strip('"') for query in jsons.decode(spelled))


def _places_said(text: str | None, spelled: str) -> str:
    said = frozenset(words_of((text or "")[:COUNTED]))
    places = [place for place, word in enumerate(_queries(spelled), 1) if word in said]
    encoded: str = jsons.encode(places)
    return encoded
