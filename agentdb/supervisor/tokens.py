"""Opaque tokens: 256 random bits, shown once; what is kept is a digest."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from agentdb.engine.asked import is_number
from agentdb.errors import BadInput, brief

_BYTES: Final = 32


def new_token() -> str:
    """Return a new token: 43 characters of URL-safe base64."""
    return secrets.token_urlsafe(_BYTES)


def digest_of(token: str) -> str:
    """Return what is kept of a token: its SHA-256, in hex. No salt: nobody guesses 256 random bits.

    Raises: BadInput for what is not text.
    """
    if not isinstance(token, str):
        raise BadInput(f"a token is a str, not {type(token).__name__}")
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def ending(what: str, now: datetime, ttl_seconds: float, longest_seconds: float) -> datetime:
    """Return when something ends that lives for so long.

    Raises: BadInput, with ``what`` it is, for a time that is not above zero, or beyond the longest.
    """
    if not is_number(ttl_seconds) or not 0 < ttl_seconds <= longest_seconds:
        raise BadInput(f"{what} lives for up to {longest_seconds} seconds, not {brief(ttl_seconds)}")
    return now + timedelta(seconds=ttl_seconds)
