"""Encryption keys as settings hold them: how one is made, read, and refused when it is weak."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from typing import Final

from agentdb.errors import BadSettings
from agentdb.guessing import most_bits_saved

LENGTH: Final = 32  # bytes, at least
LONGEST: Final = 1_024  # characters: more of them make no key better, and looking for patterns takes their time
REMEDY: Final = 'make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`'

# Of 2**32 random keys an expectation tells one in so many bits less: see `agentdb.guessing`.
_SAVED: Final = 32
_hex: Final = re.compile(r"(?:[0-9a-fA-F]{2})+").fullmatch


def new_key() -> str:
    """Return a fresh key: 32 random bytes in URL-safe base64."""
    return secrets.token_urlsafe(LENGTH)


def material(text: str, *, place: int) -> bytes:
    """Return the bytes of a key.

    Args:
        text: hex, base64 or URL-safe base64, with or without padding.
        place: the key's place in the setting, from 1: messages name it by that, and never repeat it.

    Raises: BadSettings when it is shorter than 32 bytes, longer than 1,024 characters or obviously not random.
    """
    if len(text) > LONGEST:
        raise _weak(place, f"has more than {LONGEST:,} characters")
    key = _decoded(text, place)
    if len(key) < LENGTH:
        raise _weak(place, f"holds {len(key)} bytes where at least {LENGTH} are needed")
    kind, saved = most_bits_saved(text.rstrip("="), key)
    if saved >= _SAVED:
        raise _weak(place, f"{kind}, so it can be guessed")
    return key


def _decoded(text: str, place: int) -> bytes:
    if _hex(text):
        return bytes.fromhex(text)
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _weak(place, "is neither base64 nor hex") from None


def _weak(place: int, reason: str) -> BadSettings:
    return BadSettings(f"AGENTDB_ENCRYPTION_KEYS: key {place} {reason}; {REMEDY}")
