"""API keys as callers see them, how their text is made and read, and what a list shows in place of it."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from agentdb.engine.asked import texts
from agentdb.errors import BadInput
from agentdb.supervisor.models import ApiKeyKind, UserKind

_MARK: Final = "adb_"
_BYTES: Final = 32
# 43 characters carry 258 bits; of the last only these spell 256, so that a key has one spelling.
_key: Final = re.compile(_MARK + r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]").fullmatch
_SHOWN: Final = len(_MARK) + 6
# Of a provider's key at most a third is shown, and of a short one nothing.
_HEAD: Final = 7
_TAIL: Final = 4
_LONG: Final = 3 * (_HEAD + _TAIL)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """An API key without what proves it: neither the key nor a digest nor a sealed secret.

    Attributes:
        prefix: what a list shows in place of the key.
        scopes: what the key may be used for; ``*`` is everything.
        expires_at: it is dead from then on; None: it lives until it is revoked.
        replaced_at: when a new key took its name; it lives on until it expires.
    """

    id: int
    uuid: UUID
    user_id: int
    kind: ApiKeyKind
    provider_id: int | None
    name: str
    prefix: str
    scopes: Sequence[str]
    is_active: bool
    is_valid: bool
    usage_count: int
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_at: datetime | None
    metadata: Mapping[str, Any]
    created_at: datetime


# The columns of api_keys that make an entry, in its order.
ENTRY: Final = tuple(KeyEntry.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Issued:
    """A new access key: its text is here once, and nowhere else."""

    key: KeyEntry
    plaintext: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who presented an access key, and what it may be used for."""

    key_id: int
    key_name: str
    user_id: int
    uuid: UUID
    username: str
    kind: UserKind
    scopes: Sequence[str]
    expires_at: datetime | None

    def may(self, scope: str) -> bool:
        """Tell whether the key may be used for something."""
        return scope in self.scopes or "*" in self.scopes


def new_key() -> str:
    """Return a fresh access key: 32 random bytes in URL-safe base64, behind ``adb_``."""
    return _MARK + base64.urlsafe_b64encode(secrets.token_bytes(_BYTES)).rstrip(b"=").decode()


def digest_of(plaintext: object) -> str:
    """Return what is stored of an access key.

    Raises: BadInput, which does not repeat it, for what cannot be one.
    """
    # The length first: a pattern is not run over a megabyte that somebody sends.
    if not (isinstance(plaintext, str) and len(plaintext) < 2 * _BYTES and _key(plaintext)):
        raise BadInput(f"not an API key: {_MARK} and 43 characters of URL-safe base64 are expected")
    return hashlib.sha256(plaintext.encode()).hexdigest()


def prefix_of(plaintext: str) -> str:
    """Return what a list shows in place of an access key."""
    return plaintext[:_SHOWN]


def hint_of(secret: str) -> str:
    """Return what a list shows in place of a provider's key."""
    return f"{secret[:_HEAD]}...{secret[-_TAIL:]}" if len(secret) >= _LONG else "***"


def checked_scopes(scopes: Sequence[Any]) -> list[str]:
    """Return scopes, each once, in their order.

    Raises: BadInput for what is not a list of words.
    """
    words = texts(scopes, "scopes")
    if not all(words):
        raise BadInput("scopes are a list of words, none of which is empty")
    return list(dict.fromkeys(words))
