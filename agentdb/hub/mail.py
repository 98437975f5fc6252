"""Mail: sent to users, read, put away by each for themselves; its lists are the inbox's, its conversations chat's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentdb.engine.asked import is_text, several, whole_number, whole_numbers
from agentdb.engine.connection import Connection
from agentdb.errors import BadInput
from agentdb.hub.chat import Chats
from agentdb.hub.inbox import Inbox
from agentdb.hub.mailing.lists import kind_of, to_wake_plan
from agentdb.hub.mailing.marks import ARCHIVE_ALL, READ, put_away
from agentdb.hub.mailing.sending import Draft, addressed, enclosed, folded_with, send
from agentdb.hub.masking import KnownSecrets, Redact, Redaction
from agentdb.hub.models.mail import MailKind, MailMessage
from agentdb.repository import MOST, capped
from agentdb.supervisor.models import UserKind


class Mail(Inbox, Chats):
    """The messages of an installation. Whoever is neither sender nor recipient of one finds nothing.

    What a message says, whom it is to and what goes with it stays as it was sent; each user reads and puts away for
    themselves.

    Args:
        connection: the database itself, each call its own transaction, or an open unit.
        most: the cap on every limit.
        redact: what subjects and bodies go through before they are stored; None: `Redaction` over this connection.
    """

    def __init__(self, connection: Connection, *, most: int = MOST, redact: Redact | None = None) -> None:
        super().__init__(connection, most=most)
        self._redact = redact or Redaction(connection, KnownSecrets()).redact

    async def send(
        self,
        from_user_id: int,
        *,
        to: Iterable[int] = (),
        cc: Iterable[int] = (),
        bcc: Iterable[int] = (),
        subject: str = "",
        body: str,
        kind: MailKind | str = MailKind.mail,
        host_id: int | None = None,
        attachment_ids: Iterable[int] = (),
    ) -> MailMessage:
        """Send a message, its secrets masked, and return it: stored whole for everybody, or not at all.

        Args:
            from_user_id: the sender, who keeps a row of it, read already; unread if they address themselves.
            to: whom it is for, by ids.
            cc: who gets a copy.
            bcc: who gets a copy that only the sender and they themselves know of.
            subject: empty for chat.
            body: the text.
            kind: mail or chat; the recipients' pointer of this kind moves forward.
            host_id: where the sender runs.
            attachment_ids: files that the sender uploaded for mail.

        Raises:
            BadInput: nobody to send to, more than 1,000 recipients, somebody or a file named twice, a file that was
                uploaded for something else.
            MissingReference: unknown users, or files that the sender has not uploaded, by their ids; an unknown host.

        Cost: one transaction of six statements, eight with attachments. Messages to the same user are committed in the
            order of their ids.
        """
        if not is_text(body):
            raise BadInput(f"a message needs a body, which is text, not {type(body).__name__}")
        redacted = await self._redact((subject, body))
        draft = Draft(
            sender_id=whole_number(from_user_id, "from_user_id"),
            addressed=addressed(to, cc, bcc),
            subject=redacted[0],
            body=redacted[1],
            kind=kind_of(kind),
            host_id=host_id,
            attachment_ids=enclosed(attachment_ids),
        )
        now = self.connection.now()
        return await self.connection.run(lambda: send(draft, now))

    # Each user's own rows

    async def mark_read(self, user_id: int, ids: Iterable[int]) -> list[int]:
        """Mark messages as read by a user, and return the ids of those that were unread.

        The first time counts; what was read before, sent, or is not the user's stays as it is.

        Cost: one statement.
        """
        values = {"user_id": user_id, "ids": whole_numbers(ids, "ids"), "now": self.connection.now()}
        return sorted(await self.connection.fetch_all(READ, values))

    async def archive(self, user_id: int, ids: Iterable[int]) -> list[int]:
        """Put messages away for a user, all or none, and return the ids of those that were not.

        Others keep theirs where they are. The first time counts; unread stays unread, but is no longer waited for.

        Raises: NotFound naming those that are not the user's; nothing is archived then.
        Cost: one transaction of two statements.
        """
        return await self._put(user_id, ids, away=True)

    async def unarchive(self, user_id: int, ids: Iterable[int]) -> list[int]:
        """Take messages out again, all or none, and return the ids of those that were put away.

        Raises: NotFound naming those that are not the user's; nothing is taken out then.
        Cost: one transaction of two statements.
        """
        return await self._put(user_id, ids, away=False)

    async def _put(self, user_id: int, ids: Iterable[int], *, away: bool) -> list[int]:
        these = whole_numbers(ids, "ids")
        now = self.connection.now()
        return await self.connection.run(lambda: put_away(user_id, these, now, away=away))

    async def archive_all(self, user_id: int, kind: MailKind | str) -> int:
        """Put away all of a user's messages of a kind, sent ones too, and return how many.

        Cost: one statement.
        """
        values = {"user_id": user_id, "kind": kind_of(kind), "now": self.connection.now()}
        return await self.connection.execute(ARCHIVE_ALL, values)

    async def to_wake(self, *, kind: UserKind | str | None = None, after: int = 0, limit: int = 100) -> list[int]:
        """Return the ids of active users who have received what they have neither read nor put away, ascending.

        Args:
            kind: of which users; by default all.
            after: an id: those that follow it.
            limit: how many.

        Cost: one read: a look into an index of what is unread for each active user.
        """
        values: dict[str, Any] = {"after": after, "limit": capped(limit, self.most)}
        if kind is not None:
            values["kind"] = kind
        return await self.connection.fetch_all(to_wake_plan(kind is not None), values)

    # Whichever way a message is written, what is searched is kept with what is shown.

    async def add(self, **values: Any) -> MailMessage:
        """Add a message without recipients, by columns; `send` adds all that belongs to one."""
        return await super().add(**folded_with(values))

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add messages in bulk, by columns, all or none, and return how many."""
        return await super().add_many(
            [folded_with(row) if isinstance(row, Mapping) else row for row in several(rows, "rows")]
        )

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> MailMessage:
        """Change columns of a message, and return the message."""
        return await super().update(*key, expected_version=expected_version, **folded_with(changes))

    async def upsert(self, *, on: Sequence[str], **values: Any) -> MailMessage:
        """Add a message, or change the one with the same values in the columns ``on``; return it either way."""
        return await super().upsert(on=on, **folded_with(values))
