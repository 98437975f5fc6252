"""Which attachments a user may see, and the lists of them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, Table, bindparam, cast, exists, func, or_, select
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.hub.filing.records import Upload, UploadedBy
from agentdb.hub.models.machines import ContextLog, RunSession
from agentdb.hub.models.mail import Attachment, MailAttachment, MailMessage, MailRecipient
from agentdb.supervisor.models import User

attachments: Final[Table] = Attachment.__table__  # type: ignore[assignment]
_links: Final[Table] = MailAttachment.__table__  # type: ignore[assignment]
_messages: Final[Table] = MailMessage.__table__  # type: ignore[assignment]
_recipients: Final[Table] = MailRecipient.__table__  # type: ignore[assignment]
_logs: Final[Table] = ContextLog.__table__  # type: ignore[assignment]
_sessions: Final[Table] = RunSession.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]

_ME: Final = of(_recipients.c.user_id, "user_id")


def _attached_to(source: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(select(1).select_from(source).where(*conditions))


# Whoever uploaded it, sent it, received it (blind copies too), or whose run logged it.
_VISIBLE: Final = or_(
    attachments.c.uploaded_by == _ME,
    _attached_to(
        _links.join(_messages, _messages.c.id == _links.c.message_id),
        _links.c.attachment_id == attachments.c.id,
        _messages.c.from_user_id == _ME,
    ),
    _attached_to(
        _links.join(_recipients, _recipients.c.message_id == _links.c.message_id),
        _links.c.attachment_id == attachments.c.id,
        _recipients.c.user_id == _ME,
    ),
    _attached_to(
        _logs.join(_sessions, _sessions.c.id == _logs.c.run_session_id),
        _logs.c.attachment_id == attachments.c.id,
        _sessions.c.user_id == _ME,
    ),
)
_NAMED: Final = attachments.c.public_id == of(attachments.c.public_id)
_UPLOADS: Final = select(
    attachments.c.id,
    attachments.c.public_id,
    attachments.c.filename,
    attachments.c.media_type,
    attachments.c.file_size,
    attachments.c.purpose,
    attachments.c.uploaded_by,
    _users.c.username,
    attachments.c.created_at,
).select_from(attachments.outerjoin(_users, _users.c.id == attachments.c.uploaded_by))

OPEN: Final = Plan[Attachment](select(Attachment).where(_NAMED, _VISIBLE), name="attachments.open", rows=Attachment)
DESCRIBE: Final = Plan[Upload](_UPLOADS.where(_NAMED, _VISIBLE), name="attachments.describe", rows=Upload)


@cache
def uploads_plan(*, of_user: bool, further: bool) -> Plan[Upload]:
    """Return the plan of a page of uploads, newest first."""
    statement = _UPLOADS
    if of_user:
        statement = statement.where(attachments.c.uploaded_by == of(attachments.c.uploaded_by))
    if further:
        statement = statement.where(attachments.c.id < of(attachments.c.id, "place"))
    ordered = statement.order_by(attachments.c.id.desc()).limit(bindparam("limit"))
    return Plan(ordered, name="attachments.uploads", rows=Upload)


_how_much: Final = func.coalesce(func.sum(attachments.c.file_size), 0)
USAGE: Final = Plan[UploadedBy](
    # A database may sum whole numbers to NUMERIC, which would come back as Decimal.
    select(attachments.c.uploaded_by, func.count().label("files"), cast(_how_much, BigInteger).label("file_size"))
    .group_by(attachments.c.uploaded_by)
    .order_by(cast(_how_much, BigInteger).desc(), attachments.c.uploaded_by)
    .limit(bindparam("limit")),
    name="attachments.usage",
    rows=UploadedBy,
)
