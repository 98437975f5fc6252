"""Sending: a message, its recipients, its attachments and their pointers, all or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table, insert, select, update

from agentdb.engine.asked import whole_numbers
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, each, every, one
from agentdb.engine.folding import folded
from agentdb.engine.functions import among, greater_of, writing_transaction
from agentdb.engine.plan import Plan
from agentdb.engine.scoping.beyond import beyond_tenant
from agentdb.engine.statements import insert_into, insert_one
from agentdb.errors import BadInput, MissingReference, NotFound
from agentdb.hub.mailing.letters import users
from agentdb.hub.mailing.participants import digest_of, participants_of
from agentdb.hub.models.machines import UserNotification
from agentdb.hub.models.mail import (
    Attachment,
    AttachmentPurpose,
    MailAttachment,
    MailKind,
    MailMessage,
    MailRecipient,
    RecipientType,
)

MOST_RECIPIENTS: Final = 1_000

_attachments: Final[Table] = Attachment.__table__  # type: ignore[assignment]
_links: Final[Table] = MailAttachment.__table__  # type: ignore[assignment]
_notifications: Final[Table] = UserNotification.__table__  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class _Named:
    """A user, by their present name."""

    id: int
    username: str


@dataclass(frozen=True, slots=True)
class _File:
    """An attachment, as far as it matters to whoever sends it."""

    id: int
    uploaded_by: int | None
    purpose: AttachmentPurpose


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be sent, checked for what can be known without the database."""

    sender_id: int
    addressed: Sequence[tuple[int, RecipientType]]  # in the order they were named
    subject: str
    body: str
    kind: MailKind
    host_id: int | None
    attachment_ids: Sequence[int]

    @property
    def recipient_ids(self) -> list[int]:
        """Whom it is addressed to, by ascending id."""
        return sorted(user_id for user_id, _ in self.addressed)


# Held to the end, as references to them would be: nobody is removed between being found and being written to.
_NAMES: Final = beyond_tenant(
    Plan[_Named](
        select(users.c.id, users.c.username)
        .where(among(users.c.id, "ids"))
        .order_by(users.c.id)
        .with_for_update(read=True, key_share=True),
        name="mail.send: users",
        rows=_Named,
    ),
    "a letter goes to other users, by their ids",
)
# Held, so that none is collected before it is attached.
_FILES: Final = Plan[_File](
    select(_attachments.c.id, _attachments.c.uploaded_by, _attachments.c.purpose)
    .where(among(_attachments.c.id, "ids"))
    .order_by(_attachments.c.id)
    .with_for_update(read=True, key_share=True),
    name="mail.send: attachments",
    rows=_File,
)


def _hold_plan() -> Plan[None]:
    """Touch everybody's notifications, in the order of their ids.

    Before the message has its number: of one user, whoever reads "after" a message never misses a smaller number that
    is committed later. In one order, so that senders to the same users wait for each other and never in a ring.
    """
    now = of(_notifications.c.updated_at, "now")
    given = insert_into(_notifications)
    given = given.from_select(
        ["user_id", "created_at", "updated_at"],
        select(users.c.id, now, now).where(among(users.c.id, "ids")).order_by(users.c.id),
        include_defaults=False,
    )
    changes = {"updated_at": given.excluded.updated_at, "tx": writing_transaction()}
    held: Plan[None] = Plan(
        given.on_conflict_do_update(index_elements=["user_id"], set_=changes), name="mail.send: hold"
    )
    return beyond_tenant(held, "the pointers of those a letter goes to")


_HOLD: Final = _hold_plan()
_ADDRESS: Final = beyond_tenant(
    insert_one(MailRecipient), "a letter goes to other users; that it is the sender's own is checked when it is stored"
)
_LINK: Final = Plan[None](
    insert(_links).from_select(
        ["message_id", "attachment_id", "created_at"],
        select(of(_links.c.message_id), _attachments.c.id, of(_links.c.created_at, "now")).where(
            among(_attachments.c.id, "ids")
        ),
        include_defaults=False,
    ),
    name="mail.send: links",
)


def _pointer_plan(kind: MailKind) -> Plan[None]:
    """Move the recipients' pointers to the message; one that is ahead stays where it is."""
    pointer = _notifications.c[f"latest_{kind}_id"]
    moved: Plan[None] = Plan(
        update(_notifications)
        .where(among(_notifications.c.user_id, "ids"))
        .values({pointer: greater_of(pointer, of(pointer, "message_id")), _notifications.c.tx: writing_transaction()}),
        name=f"mail.send: latest {kind}",
    )
    return beyond_tenant(moved, "the pointers of those a letter goes to")


_POINTERS: Final = {kind: _pointer_plan(kind) for kind in MailKind}


def addressed(to: Iterable[int], cc: Iterable[int], bcc: Iterable[int]) -> list[tuple[int, RecipientType]]:
    """Return whom a message is addressed to, and how, in the order they were named.

    Raises: BadInput for nobody, somebody twice, or too many.
    """
    named = [
        *((user_id, RecipientType.to) for user_id in whole_numbers(to, "to")),
        *((user_id, RecipientType.cc) for user_id in whole_numbers(cc, "cc")),
        *((user_id, RecipientType.bcc) for user_id in whole_numbers(bcc, "bcc")),
    ]
    if not named:
        raise BadInput("nobody to send to; name a user in to, cc or bcc")
    if len(named) > MOST_RECIPIENTS:
        raise BadInput(f"a message has at most {MOST_RECIPIENTS:,} recipients, not {len(named):,}; send several")
    _refuse_repeated("recipient", (user_id for user_id, _ in named))
    return named


def enclosed(attachment_ids: Iterable[int]) -> list[int]:
    """Return what goes with a message.

    Raises: BadInput for a file that is named twice.
    """
    ids = whole_numbers(attachment_ids, "attachment_ids")
    _refuse_repeated("attachment", ids)
    return ids


def _refuse_repeated(what: str, ids: Iterable[int]) -> None:
    repeated = sorted(one_id for one_id, times in Counter(ids).items() if times > 1)
    if repeated:
        raise BadInput(f"{what} {_told(repeated)} named more than once; name each once, in one of the lists")


def _told(ids: Sequence[int]) -> str:
    """Return ids as an error names them: the first ten."""
    return ", ".join(map(str, ids[:10])) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")


def send(draft: Draft, now: datetime) -> Script[MailMessage]:
    """Store a message with all that belongs to it, and move the recipients' pointers."""
    everybody = sorted({draft.sender_id, *draft.recipient_ids})
    named = yield from every(_NAMES, ids=everybody)
    names = {user.id: user.username for user in named}
    strangers = [user_id for user_id in everybody if user_id not in names]
    if strangers:
        raise MissingReference(
            f"there is no user {_told(strangers)}; a message is sent by and to users that exist",
            constraint="fk_mail_recipients__user_id",
        )
    yield from _check_files(draft)
    yield from count(_HOLD, ids=everybody, now=now)
    participants = participants_of(
        [draft.sender_id, *(user_id for user_id, type_ in draft.addressed if type_ is not RecipientType.bcc)]
    )
    message: MailMessage | None = yield from one(
        insert_one(MailMessage),
        **folded_with({"subject": draft.subject, "body": draft.body}),
        from_user_id=draft.sender_id,
        from_username=names[draft.sender_id],
        host_id=draft.host_id,
        kind=draft.kind,
        participants=participants,
        participants_digest=digest_of(participants),
        created_at=now,
    )
    if message is None:
        raise NotFound("the message was not stored")
    yield from each(_ADDRESS, _rows(draft, message, now))
    if draft.attachment_ids:
        yield from count(_LINK, message_id=message.id, ids=draft.attachment_ids, now=now)
    yield from count(_POINTERS[draft.kind], ids=draft.recipient_ids, message_id=message.id)
    return message


def _check_files(draft: Draft) -> Script[None]:
    """Refuse files that the sender did not upload for mail; somebody else's is as good as not there."""
    if not draft.attachment_ids:
        return
    found = yield from every(_FILES, ids=draft.attachment_ids)
    own = {file.id: file for file in found if file.uploaded_by == draft.sender_id}
    missing = [file_id for file_id in draft.attachment_ids if file_id not in own]
    if missing:
        raise MissingReference(
            f"user {draft.sender_id} has uploaded no attachment {_told(missing)}; upload it first",
            constraint="fk_mail_attachments__attachment_id",
        )
    others = [file.id for file in own.values() if file.purpose is not AttachmentPurpose.mail]
    if others:
        raise BadInput(f"attachment {_told(sorted(others))} was not uploaded for mail; upload it with purpose 'mail'")


def _rows(draft: Draft, message: MailMessage, now: datetime) -> list[dict[str, Any]]:
    """Return everybody's row: the sender has one too, read already, unless they addressed themselves."""
    common = {
        "message_id": message.id,
        "kind": message.kind,
        "participants_digest": message.participants_digest,
        "created_at": now,
        "updated_at": now,
    }
    rows: list[dict[str, Any]] = [
        {**common, "user_id": user_id, "type": type_, "own": user_id == draft.sender_id}
        for user_id, type_ in draft.addressed
    ]
    if draft.sender_id not in draft.recipient_ids:
        own = {"user_id": draft.sender_id, "type": RecipientType.from_, "own": True, "read_at": now}
        rows.append({**common, **own})
    return rows


def folded_with(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message's values with what a search compares."""
    texts = {name: values[name] for name in ("subject", "body") if isinstance(values.get(name), str)}
    return {**values, **{f"{name}_folded": folded(text) for name, text in texts.items()}}
