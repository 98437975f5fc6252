"""Mail and chat in plain Python: what the databases must agree with, one call at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agentdb.errors import BadInput, InvalidTransition, MissingReference, NotFound

Shown = tuple[Any, ...]  # a message, a conversation: as its user sees it


@dataclass
class User:
    """Somebody, for as long as they are there."""

    name: str
    status: str = "active"
    is_gone: bool = False
    latest: dict[str, int | None] = field(default_factory=lambda: {"mail": None, "chat": None})


@dataclass
class Row:
    """What one user has of a message."""

    user: int
    type: str
    own: bool
    read_at: datetime | None
    archived_at: datetime | None = None

    @property
    def is_unread(self) -> bool:
        """Whether it is still to be read, put away or not."""
        return self.read_at is None and self.type != "from"

    @property
    def is_waiting(self) -> bool:
        """Whether it is still waited for."""
        return self.is_unread and self.archived_at is None


@dataclass
class Message:
    """A message, and everybody's rows of it, in the order they were named."""

    sender: int
    sent_as: str
    kind: str
    subject: str
    body: str
    members: frozenset[int]
    rows: dict[int, Row]


@dataclass
class Model:
    """All of it: users and messages are known by their numbers."""

    users: list[User] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    # Writing

    def send(
        self, sender: int, addressed: Sequence[tuple[int, str]], kind: str, text: tuple[str, str], now: datetime
    ) -> int:
        """Send a message, and return its number."""
        to = [user for user, _ in addressed]
        if not to or len(set(to)) < len(to):
            raise BadInput("nobody, or somebody twice")
        for user in (sender, *to):
            if user >= len(self.users) or self.users[user].is_gone:
                raise MissingReference(f"no user {user}", constraint="")
        rows = {user: Row(user, type_, user == sender, None) for user, type_ in addressed}
        rows.setdefault(sender, Row(sender, "from", own=True, read_at=now))
        members = frozenset({sender, *(user for user, type_ in addressed if type_ != "bcc")})
        self.messages.append(Message(sender, self.users[sender].name, kind, *text, members, rows))
        for user in to:
            self.users[user].latest[kind] = len(self.messages) - 1
        return len(self.messages) - 1

    def mark_read(self, user: int, numbers: Iterable[int], now: datetime) -> list[int]:
        """Mark as read what is unread."""
        changed = [number for number, row in self.own(user) if number in set(numbers) and row.is_unread]
        for number in changed:
            self.messages[number].rows[user].read_at = now
        return changed

    def put_away(self, user: int, numbers: Sequence[int], now: datetime | None) -> list[int]:
        """Put away, or take out again when no moment is given: all of them or none."""
        own = dict(self.own(user))
        if not own.keys() >= set(numbers):
            raise NotFound("somebody else's")
        changed = sorted(number for number in set(numbers) if (own[number].archived_at is None) is (now is not None))
        for number in changed:
            own[number].archived_at = now
        return changed

    def put_all_away(self, user: int, kind: str, now: datetime) -> int:
        """Put away all of a kind."""
        mine = [row for number, row in self.own(user) if self.messages[number].kind == kind and row.archived_at is None]
        for row in mine:
            row.archived_at = now
        return len(mine)

    def move(self, user: int, status: str) -> None:
        """Enable, disable, archive or restore a user."""
        known = self.users[user]
        if known.is_gone:
            raise NotFound(f"no user {user}")
        if (known.status == "archived") is (status != "restored") and status != "archived":
            raise InvalidTransition("archived, or not")
        known.status = "disabled" if status == "restored" else status

    def rename(self, user: int, name: str) -> None:
        """Give a user another name."""
        if self.users[user].is_gone:
            raise NotFound(f"no user {user}")
        self.users[user].name = name

    def remove(self, user: int) -> bool:
        """Remove a user with their rows; what they sent stays with those who got it."""
        known = self.users[user]
        was_there, known.is_gone = not known.is_gone, True
        for message in self.messages:
            message.rows.pop(user, None)
        return was_there

    # Reading

    def own(self, user: int) -> Iterator[tuple[int, Row]]:
        """Yield a user's rows with the numbers of their messages, oldest first."""
        for number, message in enumerate(self.messages):
            if user in message.rows:
                yield number, message.rows[user]

    def listed(self, user: int, box: str, kind: str | None, *, archived: bool) -> list[Shown]:
        """Return a list of letters, newest first."""
        chosen = []
        for number, row in self.own(user):
            of_kind = kind in {None, self.messages[number].kind}
            in_box = {"received": row.type != "from", "sent": row.own, "both": True}[box]
            if of_kind and in_box and (row.archived_at is not None) is archived:
                chosen.append(self.letter(user, number, whole=False))
        return chosen[::-1]

    def among(self, user: int, members: frozenset[int], kind: str | None) -> list[Shown]:
        """Return the letters among certain people that are not put away, newest first."""
        return [
            self.letter(user, number, whole=False)
            for number, row in reversed(list(self.own(user)))
            if self.messages[number].members == members
            and kind in {None, self.messages[number].kind}
            and row.archived_at is None
        ]

    def conversation(self, user: int, members: frozenset[int], kind: str) -> list[Shown]:
        """Return all letters of a conversation, newest first."""
        found = [
            self.letter(user, number, whole=True)
            for number, _ in self.own(user)
            if self.messages[number].members == members and self.messages[number].kind == kind
        ]
        if not found:
            raise NotFound("no such conversation")
        return found[::-1]

    def conversations(self, user: int, kind: str) -> list[Shown]:
        """Return a user's conversations, by their last message, newest first."""
        last: dict[frozenset[int], list[tuple[int, Row]]] = {}
        for number, row in self.own(user):
            if self.messages[number].kind == kind:
                last.setdefault(self.messages[number].members, []).append((number, row))
        shown = []
        for members, rows in last.items():
            message = self.messages[rows[-1][0]]
            others = tuple((other, self.name(other)) for other in sorted(members) if other != user)
            unread = sum(row.is_waiting for _, row in rows)
            away = all(row.archived_at is not None for _, row in rows)
            shown.append((rows[-1][0], message.body, self.name(message.sender), message.sent_as, unread, away, others))
        return sorted(shown, reverse=True)

    def search(self, user: int, terms: str, *, subject_only: bool, include_archived: bool) -> list[Shown]:
        """Return a user's letters that contain a phrase, newest first."""
        found = []
        for number, row in self.own(user):
            message = self.messages[number]
            text = [message.subject] if subject_only else [message.subject, message.body]
            if any(terms.casefold() in one.casefold() for one in text) and (
                include_archived or row.archived_at is None
            ):
                found.append(self.letter(user, number, whole=False))
        return found[::-1]

    def unread(self, user: int, kind: str | None, after: int) -> list[Shown]:
        """Return what is waited for behind a message, oldest first."""
        return [
            self.letter(user, number, whole=True)
            for number, row in self.own(user)
            if row.is_waiting and number > after and kind in {None, self.messages[number].kind}
        ]

    def counts(self, user: int) -> tuple[int, int]:
        """Return how many letters and how many lines of chat are waited for."""
        kinds = [self.messages[number].kind for number, row in self.own(user) if row.is_waiting]
        return kinds.count("mail"), kinds.count("chat")

    def message(self, user: int, number: int) -> Shown:
        """Return a letter with its body."""
        if user not in self.messages[number].rows:
            raise NotFound("not this user's")
        return self.letter(user, number, whole=True)

    def read_by(self, user: int, number: int) -> list[int]:
        """Return who has read a message, for its sender."""
        message = self.messages[number]
        if message.sender != user or self.users[user].is_gone:
            raise NotFound("not sent by this user")
        return [row.user for row in message.rows.values() if row.type != "from" and row.read_at is not None]

    def to_wake(self) -> list[int]:
        """Return the active users who are waited for."""
        return [
            number
            for number, user in enumerate(self.users)
            if user.status == "active" and not user.is_gone and self.counts(number) != (0, 0)
        ]

    def name(self, user: int) -> str | None:
        """Return a user's present name."""
        return None if self.users[user].is_gone else self.users[user].name

    def letter(self, user: int, number: int, *, whole: bool) -> Shown:
        """Return a message as one user sees it: blind copies are for the sender, and for whom they were meant."""
        message = self.messages[number]
        mine = message.rows[user]
        knows = message.sender == user
        recipients = tuple(
            (row.user, self.name(row.user), row.type, row.read_at if knows or row.user == user else None)
            for row in message.rows.values()
            if row.type != "from" and (row.type != "bcc" or knows or row.user == user)
        )
        return (
            number,
            message.kind,
            message.subject,
            message.body if whole or message.kind == "chat" else None,
            tuple(sorted(message.members)),
            self.name(message.sender),
            message.sent_as,
            mine.is_unread,
            mine.read_at,
            mine.archived_at,
            recipients,
        )
