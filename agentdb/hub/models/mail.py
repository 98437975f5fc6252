"""Mail and chat among users, and the files that go with them."""

from __future__ import annotations

from enum import StrEnum, auto

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from agentdb.base import Entity, Mutable
from agentdb.engine.folding import folded
from agentdb.engine.schema.ddl import partial_index
from agentdb.owners import Owner
from agentdb.types import CASCADE, RESTRICT, SET_NULL, Digest, Key, Moment, Name, Prose, Whole, choice, flag, ref, words


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
    subject_folded: Mapped[str] = words("")  # what a search compares: the text, `folded`
    body_folded: Mapped[str] = words("")

    recipients: Mapped[list[MailRecipient]] = relationship(
        back_populates="message", lazy="raise", passive_deletes="all", order_by="MailRecipient.id"
    )
    attachments: Mapped[list[Attachment]] = relationship(
        secondary="mail_attachments", lazy="raise", passive_deletes=True
    )

    @validates("subject", "body")
    def _fold(self, name: str, text: str) -> str:
        """Keep what is searched with what is shown, whoever writes through a session."""
        if isinstance(text, str):
            setattr(self, f"{name}_folded", folded(text))
        return text


class MailRecipient(Mutable, Entity):
    """A user's own row of a message: as what they are named on it, and whether they have read it and put it away.

    What lists are filtered by is repeated from the message, so that every page is one range of an index.
    """

    __tablename__ = "mail_recipients"
    __table_args__ = (
        # serves a user's row of a message, and that there is one only
        UniqueConstraint("message_id", "user_id"),
        # serves a search in all of a user's messages, and the user's deletion
        Index(None, "user_id", "message_id"),
        # serves what a user received and has not put away
        partial_index(
            "ix_mail_recipients__received",
            "user_id",
            "kind",
            "message_id",
            where="archived_at IS NULL AND type <> 'from'",
        ),
        # serves what a user sent and has not put away
        partial_index("ix_mail_recipients__sent", "user_id", "kind", "message_id", where="archived_at IS NULL AND own"),
        # serves what a user has put away
        partial_index("ix_mail_recipients__archived", "user_id", "kind", "message_id", where="archived_at IS NOT NULL"),
        # serves a user's unread messages, their counts, and whom to wake
        partial_index(
            "ix_mail_recipients__unread",
            "user_id",
            "kind",
            "message_id",
            where="read_at IS NULL AND archived_at IS NULL AND type <> 'from'",
        ),
        # serves how many messages of a conversation are unread
        partial_index(
            "ix_mail_recipients__unread_in_conversation",
            "user_id",
            "kind",
            "participants_digest",
            where="read_at IS NULL AND archived_at IS NULL AND type <> 'from'",
        ),
        # serves a user's conversations, and the messages of each
        Index("ix_mail_recipients__conversation", "user_id", "kind", "participants_digest", "message_id"),
        # serves the same among certain people, and whether all of a conversation is put away
        partial_index(
            "ix_mail_recipients__current",
            "user_id",
            "kind",
            "participants_digest",
            "message_id",
            where="archived_at IS NULL",
        ),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    message_id: Mapped[int] = ref("mail_messages.id", CASCADE, index=False)
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    type: Mapped[RecipientType] = choice(RecipientType)
    kind: Mapped[MailKind] = choice(MailKind, MailKind.mail)  # the message's
    participants_digest: Mapped[Digest]  # the message's
    own: Mapped[bool] = flag(False)  # the user sent it: of type from, or addressed to themselves
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
    __table_args__ = (
        UniqueConstraint("public_id"),
        # serves a user's uploads, newest first, and the user's deletion
        Index(None, "uploaded_by", "id"),
    )
    # Whoever got the letter, or has the log, that it goes with, reads it too.
    __owner__ = Owner.any_of(
        Owner.by("uploaded_by"),
        Owner.among("mail_attachments", "attachment_id"),
        Owner.among("context_log", "attachment_id"),
    )

    id: Mapped[Key]
    public_id: Mapped[str] = words(length=22)  # base64url of 128 bits: cannot be guessed
    filename: Mapped[Prose]
    media_type: Mapped[Prose]
    file_size: Mapped[Whole]  # bytes
    file_hash: Mapped[Digest] = mapped_column(index=True)  # serves whether a file is in use
    purpose: Mapped[AttachmentPurpose] = choice(AttachmentPurpose)
    storage_key: Mapped[Prose]  # a path below the folder of attachments, by hash
    uploaded_by: Mapped[int | None] = ref("users.id", SET_NULL, index=False)
