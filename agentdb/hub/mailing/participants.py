"""The key of a conversation: who takes part, by ids, which survive a rename."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256


def participants_of(user_ids: Iterable[int]) -> str:
    """Return the key of the conversation among these users: each id once, sorted as numbers, joined by commas."""
    return ",".join(map(str, sorted(set(user_ids))))


def digest_of(participants: str) -> str:
    """Return what a conversation is looked up by: its key may be of a thousand ids, its digest fits an index."""
    return sha256(participants.encode()).hexdigest()


def ids_of(participants: str) -> list[int]:
    """Return the ids a key was made of; a key of another form names nobody."""
    return [int(name) for name in participants.split(",") if name.isascii() and name.isdigit()]
