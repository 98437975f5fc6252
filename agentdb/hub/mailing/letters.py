"""A message as one user may see it: blind copies only for the sender and for whom they were meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import Table, and_, bindparam, case, false, func, literal_column, or_, select
from sqlalchemy.sql import ColumnElement, FromClause, Select

from agentdb.engine.connection import Connection
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.scoping.beyond import beyond_tenant
from agentdb.hub.models.mail import Attachment, MailAttachment, MailKind, MailMessage, MailRecipient, RecipientType
from agentdb.supervisor.models import User

messages: Final[Table] = MailMessage.__table__  # type: ignore[assignment]
recipients: Final[Table] = MailRecipient.__table__  # type: ignore[assignment]
_links: Final[Table] = MailAttachment.__table__  # type: ignore[assignment]
_attachments: Final[Table] = Attachment.__table__  # type: ignore[assignment]
users: Final[Table] = User.__table__  # type: ignore[assignment]

ME: Final = bindparam("user_id", type_=recipients.c.user_id.type)
# A literal: a partial index is taken only for the words it was made with.
RECEIVED: Final[ColumnElement[bool]] = recipients.c.type != literal_column("'from'")


@dataclass(frozen=True, slots=True)
class Addressee:
    """A user a message is addressed to."""

    message_id: int
    user_id: int
    username: str
    type: RecipientType
    read_at: datetime | None  # told to the sender and to the addressee; to others it is None


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A file that goes with a message."""

    message_id: int
    public_id: str
    filename: str
    media_type: str
    file_size: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as one user sees it."""

    id: int
    kind: MailKind
    subject: str
    body: str | None  # None in a list of mail, which shows subjects only
    participants: str  # the key of its conversation
    sender_id: int | None  # None, as the name: the sender is gone
    sender_name: str | None
    sent_as: str  # the sender's name as it was then
    created_at: datetime
    is_unread: bool
    read_at: datetime | None
    archived_at: datetime | None
    recipients: tuple[Addressee, ...] = ()
    attachments: tuple[Enclosure, ...] = ()


def letter_columns(mine: FromClause, *, whole: bool) -> list[ColumnElement[Any]]:
    """Return the columns of a letter, from messages, users and a user's rows of recipients.

    Args: whole: with the body of mail too, which may be long; a chat's is always there.
    """
    body = messages.c.body if whole else case((messages.c.kind == literal_column("'chat'"), messages.c.body))
    unread = and_(mine.c.read_at.is_(None), mine.c.type != literal_column("'from'"))
    return [
        messages.c.id,
        messages.c.kind,
        messages.c.subject,
        body,
        messages.c.participants,
        messages.c.from_user_id,
        users.c.username,
        messages.c.from_username,
        messages.c.created_at,
        func.coalesce(unread, false()).label("is_unread"),
        mine.c.read_at,
        mine.c.archived_at,
    ]


def letters_from(mine: FromClause, *, whole: bool) -> Select[Any]:
    """Return the SELECT of the letters that a user's rows of recipients are of."""
    sources = mine.join(messages, messages.c.id == mine.c.message_id)
    sources = sources.outerjoin(users, users.c.id == messages.c.from_user_id)
    return select(*letter_columns(mine, whole=whole)).select_from(sources)


def _addressees_plan() -> Plan[Addressee]:
    knows = or_(recipients.c.user_id == ME, messages.c.from_user_id == ME)
    sources = recipients.join(messages, messages.c.id == recipients.c.message_id)
    statement = (
        select(
            recipients.c.message_id,
            recipients.c.user_id,
            users.c.username,
            recipients.c.type,
            case((knows, recipients.c.read_at)),
        )
        .select_from(sources.join(users, users.c.id == recipients.c.user_id))
        .where(
            among(recipients.c.message_id, "ids"),
            RECEIVED,
            or_(recipients.c.type != literal_column("'bcc'"), knows),
        )
        .order_by(recipients.c.id)
    )
    return beyond_tenant(
        Plan(statement, name="mail.addressees", rows=Addressee),
        "who else got a letter is part of it; only letters found before are asked for",
        own=("user_id",),
    )


ADDRESSEES: Final = _addressees_plan()
_ENCLOSURES: Final = Plan[Enclosure](
    select(
        _links.c.message_id,
        _attachments.c.public_id,
        _attachments.c.filename,
        _attachments.c.media_type,
        _attachments.c.file_size,
    )
    .select_from(_links.join(_attachments, _attachments.c.id == _links.c.attachment_id))
    .where(among(_links.c.message_id, "ids"))
    .order_by(_links.c.attachment_id),
    name="mail.enclosures",
    rows=Enclosure,
)

P = TypeVar("P", Addressee, Enclosure)


async def completed(connection: Connection, user_id: int, letters: Sequence[Letter]) -> list[Letter]:
    """Return letters with their recipients, as this user may see them, and their attachments.

    Cost: two statements for all of them.
    """
    if not letters:
        return []
    ids = [letter.id for letter in letters]
    addressees = _by_message(await connection.fetch_all(ADDRESSEES, {"user_id": user_id, "ids": ids}))
    enclosures = _by_message(await connection.fetch_all(_ENCLOSURES, {"ids": ids}))
    return [
        replace(letter, recipients=tuple(addressees[letter.id]), attachments=tuple(enclosures[letter.id]))
        for letter in letters
    ]


def _by_message(parts: Iterable[P]) -> defaultdict[int, list[P]]:
    parted: defaultdict[int, list[P]] = defaultdict(list)
    for part in parts:
        parted[part.message_id].append(part)
    return parted
