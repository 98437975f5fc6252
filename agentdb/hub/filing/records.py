"""What is told of attachments: never their hashes, nor where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agentdb.hub.models.mail import AttachmentPurpose


@dataclass(frozen=True, slots=True)
class Upload:
    """An attachment, without its contents."""

    id: int
    public_id: str
    filename: str
    media_type: str
    file_size: int  # bytes
    purpose: AttachmentPurpose
    uploaded_by: int | None  # None, as the name: the uploader is gone
    uploader_name: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class UploadedBy:
    """How much one user has uploaded; user_id None: users who are gone."""

    user_id: int | None
    files: int
    file_size: int  # bytes, of each upload, though equal files lie there once


@dataclass(frozen=True, slots=True)
class Collected:
    """What was cleared away."""

    attachments: int
    files: int
    file_size: int  # bytes, of the files
    unfinished: int  # files that never came in as a whole
    more: bool  # it stopped at the limit: there may be more
