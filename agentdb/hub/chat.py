"""Chat: messages as conversations, by who takes part in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, exists, func, literal_column, not_, select

from agentdb.engine.asked import is_text, whole_number, whole_numbers
from agentdb.engine.connection import Connection
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.errors import BadInput, NotFound, brief
from agentdb.hub.mailing.letters import ME, Letter, completed, messages, recipients, users
from agentdb.hub.mailing.lists import CURRENT, TAKES_PART, UNREAD, Window, conversation_plan, kind_of
from agentdb.hub.mailing.participants import digest_of, ids_of, participants_of
from agentdb.hub.models.mail import MailKind, MailMessage
from agentdb.page import Page, cursor_of, values_of
from agentdb.repository import Repository, capped


@dataclass(frozen=True, slots=True)
class Participant:
    """A user who takes part in a conversation, by their present name; None: the user is gone."""

    user_id: int
    username: str | None


@dataclass(frozen=True, slots=True)
class MailConversation:
    """A conversation as one user sees it: who takes part, and its last message."""

    participants: str  # its key: the ids of all, the user's own too
    latest_id: int
    subject: str
    body: str
    sender_id: int | None
    sender_name: str | None
    sent_as: str
    created_at: datetime  # of its last message
    unread: int
    is_archived: bool  # all of it
    others: tuple[Participant, ...] = ()


def _conversations_plan(kind: MailKind, after: bool) -> Plan[MailConversation]:
    """Step from key to key by the index, look up the last message of each, and read those of the page.

    Source: https://wiki.postgresql.org/wiki/Loose_indexscan
    """
    digest, message_id = recipients.c.participants_digest, recipients.c.message_id
    mine = (recipients.c.user_id == ME, recipients.c.kind == literal_column(f"'{kind}'"))
    keys = select(func.max(digest).label("digest")).where(*mine).cte("keys", recursive=True)
    following = select(func.max(digest)).where(*mine, digest < keys.c.digest).scalar_subquery()
    keys = keys.union_all(select(following).where(keys.c.digest.is_not(None)))

    latest = select(func.max(message_id)).where(*mine, digest == keys.c.digest).scalar_subquery()
    last = select(keys.c.digest, latest.label("latest")).where(keys.c.digest.is_not(None)).subquery("last")
    shown = select(last.c.digest, last.c.latest).order_by(last.c.latest.desc()).limit(bindparam("limit"))
    if after:
        shown = shown.where(last.c.latest < bindparam("place"))
    page = shown.subquery("page")

    unread = select(func.count()).where(*mine, digest == page.c.digest, *UNREAD).scalar_subquery()
    current = exists().where(*mine, digest == page.c.digest, CURRENT)
    sources = page.join(messages, messages.c.id == page.c.latest)
    sources = sources.outerjoin(users, users.c.id == messages.c.from_user_id)
    statement = (
        select(
            messages.c.participants,
            messages.c.id,
            messages.c.subject,
            messages.c.body,
            messages.c.from_user_id,
            users.c.username,
            messages.c.from_username,
            messages.c.created_at,
            unread.label("unread"),
            not_(current).label("is_archived"),
        )
        .select_from(sources)
        .order_by(page.c.latest.desc())
    )
    return Plan(statement, name="mail.conversations", rows=MailConversation)


_CONVERSATIONS: Final = {
    (kind, after): _conversations_plan(kind, after) for kind in MailKind for after in (False, True)
}
_PARTICIPANTS: Final = Plan[Participant](
    select(users.c.id, users.c.username).where(among(users.c.id, "ids")),
    name="mail.conversations: participants",
    rows=Participant,
)


class Chats(Repository[MailMessage]):
    """Messages as conversations: all that the same people sent to each other, whatever they are called by now."""

    model = MailMessage

    async def conversations(
        self,
        user_id: int,
        *,
        kind: MailKind | str = MailKind.chat,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[MailConversation]:
        """Return the conversations a user takes part in, by their last message, newest first.

        One that was put away whole is there too, and says so. A message that arrives meanwhile takes its conversation
        to the beginning of the list.

        Cost: two reads, whose cost grows with the user's conversations and unread messages, never with all messages.
        """
        asked = kind_of(kind)
        limit = capped(limit, self.most)
        listing = f"mail.conversations:{asked}"
        values: dict[str, Any] = {"user_id": user_id, "limit": limit + 1}
        if after is not None:
            values["place"] = values_of(listing, after, [messages.c.id])[0]
        rows = await self.connection.fetch_all(_CONVERSATIONS[asked, after is not None], values)
        shown = await _with_others(self.connection, user_id, rows[:limit])
        return Page(shown, cursor_of(listing, [shown[-1].latest_id]) if len(rows) > limit else None)

    async def messages(
        self,
        user_id: int,
        *,
        participants: str | None = None,
        with_users: Iterable[int] | None = None,
        kind: MailKind | str = MailKind.chat,
        before: int | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> list[Letter]:
        """Return messages of one conversation with their bodies: the last ones, or those around a message.

        Put away or not: a conversation is read whole. A user sees the messages they have a row of.

        Args:
            user_id: who reads.
            participants: the conversation's key; or instead
            with_users: the others who take part, exactly.
            kind: of which messages.
            before: an id: what precedes it, newest first, as without either.
            after: an id: what follows it, oldest first. Nothing is skipped that is committed later.
            limit: how many.

        Raises: NotFound when it is not a conversation of this user; BadInput.
        Cost: three reads by ix_mail_recipients__conversation.
        """
        if (participants is None) == (with_users is None):
            raise BadInput("a conversation is named by its participants or by with_users, one of them")
        if before is not None and after is not None:
            raise BadInput("messages are read before a message or after it, not both")
        others = () if with_users is None else whole_numbers(with_users, "with_users")
        key = participants_of([whole_number(user_id, "user_id"), *others]) if participants is None else participants
        if not is_text(key) or not key.isascii():
            raise BadInput(f"participants is the key of a conversation, such as '3,17', not {brief(key)}")
        asked = kind_of(kind)
        whose = {"user_id": user_id, "participants_digest": digest_of(key)}
        values: dict[str, Any] = {**whose, "limit": capped(limit, self.most)}
        window, place = Window.latest, before if after is None else after
        if place is not None:
            window, values["place"] = Window.before if after is None else Window.after, place
        letters = await self.connection.fetch_all(conversation_plan(asked, window), values)
        if not letters and await self.connection.fetch_one(TAKES_PART, {**whose, "kind": asked}) is None:
            raise NotFound(f"user {user_id} takes part in no {asked} conversation of users {key[:80]}")
        return await completed(self.connection, user_id, letters)


async def _with_others(
    connection: Connection, user_id: int, conversations: Sequence[MailConversation]
) -> list[MailConversation]:
    """Return conversations with the present names of those who take part, the user left out."""
    others = [[other for other in ids_of(row.participants) if other != user_id] for row in conversations]
    wanted = sorted({other for row in others for other in row})
    found = await connection.fetch_all(_PARTICIPANTS, {"ids": wanted}) if wanted else []
    known = {participant.user_id: participant for participant in found}
    return [
        replace(row, others=tuple(known.get(other, Participant(other, None)) for other in ids))
        for row, ids in zip(conversations, others, strict=True)
    ]
