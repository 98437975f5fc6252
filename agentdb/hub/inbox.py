"""A user's messages: received, sent, unread, searched, or one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentdb.engine.asked import flag, whole_number, whole_numbers
from agentdb.engine.plan import Plan
from agentdb.errors import NotFound
from agentdb.hub.mailing.letters import ADDRESSEES, Addressee, Letter, completed, messages
from agentdb.hub.mailing.lists import (
    COUNTS,
    MESSAGE,
    SENDER,
    Box,
    kind_of,
    page_plan,
    pattern_of,
    search_plan,
    unread_plan,
)
from agentdb.hub.mailing.participants import digest_of, participants_of
from agentdb.hub.models.mail import MailKind, MailMessage
from agentdb.page import Page, cursor_of, values_of
from agentdb.repository import Repository, capped


@dataclass(frozen=True, slots=True)
class UnreadCounts:
    """How many messages a user has neither read nor put away."""

    mail: int
    chat: int


class Inbox(Repository[MailMessage]):
    """What one user may see of all messages: those they sent, and those that were sent to them."""

    model = MailMessage

    async def received(
        self,
        user_id: int,
        *,
        kind: MailKind | str | None = None,
        archived: bool = False,
        limit: int = 20,
        after: str | None = None,
    ) -> Page[Letter]:
        """Return what a user received, newest first; what they sent is among it only if they addressed themselves.

        Args:
            user_id: who reads.
            kind: mail or chat; by default both.
            archived: what they have put away, instead of what they have not.
            limit: how many.
            after: the ``next`` of the page before.

        Cost: three reads, as quick at the millionth message as at the first; as the lists below.
        """
        return await self._page(Box.received, user_id, {}, kind=kind, archived=archived, limit=limit, after=after)

    async def sent(
        self,
        user_id: int,
        *,
        kind: MailKind | str | None = None,
        archived: bool = False,
        limit: int = 20,
        after: str | None = None,
    ) -> Page[Letter]:
        """Return what a user sent, newest first; as `received`."""
        return await self._page(Box.sent, user_id, {}, kind=kind, archived=archived, limit=limit, after=after)

    async def both(
        self,
        user_id: int,
        *,
        kind: MailKind | str | None = None,
        archived: bool = False,
        limit: int = 20,
        after: str | None = None,
    ) -> Page[Letter]:
        """Return what a user sent and received, newest first; as `received`."""
        return await self._page(Box.both, user_id, {}, kind=kind, archived=archived, limit=limit, after=after)

    async def with_users(
        self,
        user_id: int,
        others: Iterable[int],
        *,
        kind: MailKind | str | None = None,
        archived: bool = False,
        limit: int = 20,
        after: str | None = None,
    ) -> Page[Letter]:
        """Return what a user and exactly these others sent to each other, newest first; as `received`."""
        digest = digest_of(participants_of([whole_number(user_id, "user_id"), *whole_numbers(others, "others")]))
        whom = {"participants_digest": digest}
        return await self._page(Box.among_them, user_id, whom, kind=kind, archived=archived, limit=limit, after=after)

    async def _page(
        self,
        box: Box,
        user_id: int,
        values: Mapping[str, Any],
        *,
        kind: MailKind | str | None,
        archived: bool,
        limit: int,
        after: str | None,
    ) -> Page[Letter]:
        asked = None if kind is None else kind_of(kind)
        flag(archived, "archived")
        listing = f"mail.{box.name}:{asked}:{archived}:{values.get('participants_digest')}"
        plan = page_plan(box, asked, archived, after is not None)
        return await self._read(plan, listing, user_id, values, limit, after)

    async def _read(
        self,
        plan: Plan[Letter],
        listing: str,
        user_id: int,
        values: Mapping[str, Any],
        limit: int,
        after: str | None,
    ) -> Page[Letter]:
        """Return a page of letters, and the cursor of the next."""
        limit = capped(limit, self.most)
        given: dict[str, Any] = {**values, "user_id": user_id, "limit": limit + 1}
        if after is not None:
            given["place"] = values_of(listing, after, [messages.c.id])[0]
        rows = await self.connection.fetch_all(plan, given)
        letters = await completed(self.connection, user_id, rows[:limit])
        return Page(letters, cursor_of(listing, [letters[-1].id]) if len(rows) > limit else None)

    async def search(
        self,
        user_id: int,
        terms: str,
        *,
        subject_only: bool = False,
        include_archived: bool = False,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Letter]:
        """Return a user's messages, sent or received, that contain a phrase, newest first.

        Args:
            user_id: who searches, among what is theirs.
            terms: a phrase, as it is written but for its case: ``%`` and ``_`` stand for themselves.
            subject_only: not in the body.
            include_archived: in what they have put away too.
            limit: how many.
            after: the ``next`` of the page before.

        Raises: BadInput for an empty phrase, or one of more than 1,000 characters.
        Cost: three reads; the first looks through the user's messages from the newest, until the page is full.
        """
        pattern = pattern_of(terms)
        flag(subject_only, "subject_only")
        flag(include_archived, "include_archived")
        listing = f"mail.search:{subject_only}:{include_archived}:{pattern}"
        plan = search_plan(subject_only, include_archived, after is not None)
        return await self._read(plan, listing, user_id, {"pattern": pattern}, limit, after)

    async def unread(
        self, user_id: int, *, kind: MailKind | str | None = None, after: int = 0, limit: int = 100
    ) -> list[Letter]:
        """Return what a user has neither read nor put away, with bodies, oldest first; nothing is marked by that.

        Args:
            user_id: who reads.
            kind: mail or chat; by default both.
            after: an id: what follows it. Nothing is skipped that is committed later.
            limit: how many.

        Cost: three reads, the first by ix_mail_recipients__unread.
        """
        values = {"user_id": user_id, "place": after, "limit": capped(limit, self.most)}
        plan = unread_plan(None if kind is None else kind_of(kind))
        return await completed(self.connection, user_id, await self.connection.fetch_all(plan, values))

    async def unread_counts(self, user_id: int) -> UnreadCounts:
        """Return how many messages of each kind a user has neither read nor put away.

        Cost: one read of ix_mail_recipients__unread, of as many rows as there are.
        """
        rows = await self.connection.fetch_all(COUNTS, {"user_id": user_id})
        counts = {row.kind: row.messages for row in rows}
        return UnreadCounts(counts.get(MailKind.mail, 0), counts.get(MailKind.chat, 0))

    async def message(self, user_id: int, message_id: int) -> Letter:
        """Return a message with its body, put away or not; it is not marked as read by that.

        Raises: NotFound when there is none, or the user is neither its sender nor a recipient.
        Cost: three reads by unique keys.
        """
        letter = await self.connection.fetch_one(MESSAGE, {"user_id": user_id, "message_id": message_id})
        if letter is None:
            raise NotFound(f"user {user_id} has no message {message_id}")
        return (await completed(self.connection, user_id, [letter]))[0]

    async def read_by(self, user_id: int, message_id: int) -> list[Addressee]:
        """Return who has read a message, for its sender, in the order they were addressed.

        Raises: NotFound when the user has sent no such message.
        Cost: two reads by unique keys.
        """
        values = {"user_id": user_id, "message_id": message_id}
        if await self.connection.fetch_one(SENDER, values) is None:
            raise NotFound(f"user {user_id} has sent no message {message_id}")
        everybody = await self.connection.fetch_all(ADDRESSEES, {"user_id": user_id, "ids": [message_id]})
        return [addressee for addressee in everybody if addressee.read_at is not None]
