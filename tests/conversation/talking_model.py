"""Conversations in plain Python: what the databases must agree with, one call at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass
class Said:
    """A message; a parent is a place in its conversation's list."""

    role: str
    content: str
    tokens: int | None
    parent: int | None
    edited_from: int | None = None
    removed: bool = False


@dataclass
class Talk:
    """A conversation."""

    user: int
    key: str | None
    title: str
    created_at: datetime
    messages: list[Said] = field(default_factory=list)  # the place in the list, from 1, is the position
    summary: int | None = None
    last_message_at: datetime | None = None
    deleted_at: datetime | None = None
    purged: bool = False

    @property
    def is_live(self) -> bool:
        """Whether it is shown."""
        return self.deleted_at is None and not self.purged

    @property
    def places(self) -> list[int]:
        """The places of the messages that are there."""
        return [place for place, message in enumerate(self.messages) if not message.removed]

    def path(self, place: int) -> list[int]:
        """Return the places on the way from the root to a message."""
        parent = self.messages[place].parent
        return [place] if parent is None else [*self.path(parent), place]

    def branches(self) -> list[tuple[int, int, int]]:
        """Return leaf, root and length of each branch, the latest leaf first."""
        parents = {self.messages[place].parent for place in self.places}
        leaves = [place for place in reversed(self.places) if place not in parents]
        return [(leaf, self.path(leaf)[0], len(self.path(leaf))) for leaf in leaves]

    def context(self, limit: int) -> list[int]:
        """Return the places of the summary and of the latest that follow it."""
        if self.summary is None:
            return self.places[-limit:]
        rest = [place for place in self.places if place > self.summary]
        return [self.summary, *rest[len(rest) - min(limit - 1, len(rest)) :]]

    def say(self, now: datetime, *messages: Said) -> None:
        """Append messages."""
        self.messages += messages
        self.last_message_at = max(now, self.last_message_at or now)

    def remove(self, place: int) -> None:
        """Remove a message; its children have no parent then."""
        self.messages[place].removed = True
        for message in self.messages:
            if message.parent == place:
                message.parent = None
        if self.summary == place:
            self.summary = None


@dataclass
class Model:
    """All of it."""

    talks: list[Talk] = field(default_factory=list)

    def of_key(self, key: str) -> Talk | None:
        """Return the conversation that has a key, deleted or not."""
        return next((talk for talk in self.talks if talk.key == key and not talk.purged), None)

    def listed(self, user: int, by: str) -> list[int]:
        """Return the numbers of a user's conversations in the order of a list."""
        numbers = [
            number
            for number, talk in enumerate(self.talks)
            if talk.user == user
            and not talk.purged
            and (talk.deleted_at is not None) is (by == "deleted_at")
            and getattr(talk, by) is not None
        ]
        return sorted(numbers, key=lambda number: (getattr(self.talks[number], by), number), reverse=True)
