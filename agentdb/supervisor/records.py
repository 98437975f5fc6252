"""What identity hands out: records that never show a token or a digest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from agentdb.supervisor.models import User, UserKind


@dataclass(frozen=True, slots=True)
class Login:
    """A live login session, and whose it is."""

    session_id: int
    user_id: int
    username: str
    uuid: UUID
    kind: UserKind
    expires_at: datetime
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A login session as its user sees it in a list."""

    id: int
    user_id: int
    created_at: datetime
    last_seen_at: datetime | None
    expires_at: datetime
    ip_address: str | None
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class Registration:
    """A live registration token, and whom it lets register."""

    id: int
    user_id: int
    username: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PasskeyShown:
    """A passkey as its user sees it in a list."""

    id: int
    device_label: str
    device_type: str | None
    backed_up: bool
    transports: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class PasskeyFound:
    """A passkey that somebody signs in with, and its user, who is active."""

    id: int
    credential_id: str
    public_key: str
    counter: int
    transports: str
    user_id: int
    username: str
    uuid: UUID
    kind: UserKind


class NewLogin(NamedTuple):
    """A token that is not shown again, and the session it opens."""

    token: str
    session: Login

    def __repr__(self) -> str:
        """Return it without the token."""
        return f"NewLogin(session={self.session!r})"


class NewRegistration(NamedTuple):
    """A token that is not shown again, and what it is for."""

    token: str
    registration: Registration

    def __repr__(self) -> str:
        """Return it without the token."""
        return f"NewRegistration(registration={self.registration!r})"


class Administrator(NamedTuple):
    """The first administrator, and a registration token, which is not shown again; None: none was needed."""

    user: User
    token: str | None

    def __repr__(self) -> str:
        """Return it without the token."""
        return f"Administrator(user={self.user!r})"
