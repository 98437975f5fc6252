"""Mail and chat among users, and the files that go with them."""

from __future__ import annotations

from enum import StrEnum, auto

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from agentdb.base import Entity, Mutable
from agentdb.engine.schema.ddl import partial_index
from agentdb.owners import Owner
from agentdb.types import CASCADE, RESTRICT, SET_NULL, Digest, Key, Moment, Name, Prose, Whole, choice, ref, words


class MailKind(StrEnum):
    """How a message is read: as a letter, or as a line of a conversation."""

    mail = auto()
    chat = auto()


class RecipientType(StrEnum):
    """How a user is named on a message."""

    to = auto()
    cc = auto()
    bcc = auto()
    from_ = "from"


class AttachmentPurpose(StrEnum):
    """What a file is attached to."""

    mail = auto()
    context = auto()


class MailMessage(Entity):
    """A message, as it was sent."""

    __tablename__ = "mail_messages"
    __table_args__ = (
        # serves a conversation's messages, in order
        Index(None, "participants_digest", "id"),
    )
    __owner__ = Owner.any_of(Owner.by("from_user_id"), Owner.among("mail_recipients", "message_id"))

    id: Mapped[Key]
    from_user_id: Mapped[int | None] = ref("users.id", SET_NULL)
    from_username: Mapped[Name]  # as it was then
    host_id: Mapped[int | None] = ref("hosts.id", SET_NULL)
    kind: Mapped[MailKind] = choice(MailKind, MailKind.mail)
    participants: Mapped[Prose]  # sorted user ids joined by comma, without bcc: survives a rename
    participants_digest: Mapped[Digest]
    subject: Mapped[Prose]
    body: Mapped[Prose]

    recipients: Mapped[list[MailRecipient]] = relationship(
        back_populates="message", lazy="raise", passive_deletes="all", order_by="MailRecipient.id"
    )
    attachments: Mapped[list[Attachment]] = relationship(
        secondary="mail_attachments", lazy="raise", passive_deletes=True
    )


class MailRecipient(Mutable, Entity):
    """A user named on a message, and whether they have read it."""

    __tablename__ = "mail_recipients"
    __table_args__ = (
        UniqueConstraint("message_id", "user_id", "type"),
        # serves a user's unread messages, and their count
        partial_index("ix_mail_recipients__unread", "user_id", "message_id", where="read_at IS NULL"),
    )
    __owner__ = Owner.via("message_id", "mail_messages")

    id: Mapped[Key]
    message_id: Mapped[int] = ref("mail_messages.id", CASCADE, index=False)
    user_id: Mapped[int] = ref("users.id", CASCADE)
    type: Mapped[RecipientType] = choice(RecipientType)
    read_at: Mapped[Moment | None]
    archived_at: Mapped[Moment | None]

    message: Mapped[MailMessage] = relationship(back_populates="recipients", lazy="raise")


class MailAttachment(Entity):
    """A file attached to a message."""

    __tablename__ = "mail_attachments"
    __owner__ = Owner.via("message_id", "mail_messages")

    message_id: Mapped[int] = ref("mail_messages.id", CASCADE, index=False, primary_key=True)
    attachment_id: Mapped[int] = ref("attachments.id", RESTRICT, primary_key=True)


class Attachment(Entity):
    """A file kept beside the database."""

    __tablename__ = "attachments"
    __table_args__ = (UniqueConstraint("public_id"),)
    __owner__ = Owner.by("uploaded_by")

    id: Mapped[Key]
    public_id: Mapped[str] = words(length=22)  # base64url of 128 bits: cannot be guessed
    filename: Mapped[Prose]
    media_type: Mapped[Prose]
    file_size: Mapped[Whole]  # bytes
    file_hash: Mapped[Digest] = mapped_column(index=True)  # serves finding the same file again
    purpose: Mapped[AttachmentPurpose] = choice(AttachmentPurpose)
    storage_key: Mapped[Prose]  # a path below the data folder, by hash
    uploaded_by: Mapped[int | None] = ref("users.id", SET_NULL)
