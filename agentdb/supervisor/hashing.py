"""Password hashes: argon2id for every new one; bcrypt is understood, so that existing ones can be brought along."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from asyncio import AbstractEventLoop, Semaphore
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

import bcrypt
from argon2 import Parameters, PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from agentdb.errors import BadInput

SHORTEST: Final = 8  # of a password, in characters
LONGEST: Final = 128
LONGEST_FOR_BCRYPT: Final = 72  # bytes: bcrypt passes over what follows
AT_ONCE: Final = 4  # hashes: each takes 64 MiB

_is_bcrypt: Final = re.compile(r"\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}").fullmatch
_is_argon2id: Final = re.compile(r"\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+").fullmatch


class Hasher:
    """Makes and checks password hashes, in threads: one takes a tenth of a second, in which the loop must not stand.

    Args: parameters: how hard it is; those of stored hashes may be others.
    Source: RFC 9106, section 4 (the second recommended option: 64 MiB, three passes, four lanes).
    """

    def __init__(self, parameters: Parameters = RFC_9106_LOW_MEMORY) -> None:
        self._argon2 = PasswordHasher.from_parameters(parameters)
        self._nobody = _unmatched(parameters)
        self._gates: WeakKeyDictionary[AbstractEventLoop, Semaphore] = WeakKeyDictionary()

    async def hash(self, password: str) -> str:
        """Return the hash of a password.

        Raises: BadInput for one that is no password, before anything is computed.
        """
        encoded = password_bytes(password)
        async with self._gate:
            return await asyncio.to_thread(self.hash_now, encoded)

    async def rehash(self, password: str) -> str:
        """Return the hash of a password that was accepted before, by whatever rules."""
        async with self._gate:
            return await asyncio.to_thread(self.hash_now, password.encode())

    async def matches(self, stored: str | None, password: str) -> bool:
        """Tell whether a password is the one of a stored hash; without a hash as much is computed, for the answer no.

        More than 72 bytes never match a bcrypt hash, which would pass over the rest.
        """
        encoded = _encoded(password)
        compared = stored if stored is not None and encoded is not None and _fits(stored, encoded) else self._nobody
        async with self._gate:
            agrees = await asyncio.to_thread(self.agrees_now, compared, encoded)
        return agrees and compared is not self._nobody

    def is_outdated(self, stored: str) -> bool:
        """Tell whether a hash is not what this hasher would make."""
        return not _is_argon2id(stored) or self._argon2.check_needs_rehash(stored)

    def hash_now(self, password: bytes) -> str:
        """Return the hash of a password; the thread that calls is busy meanwhile."""
        return self._argon2.hash(password)

    def agrees_now(self, stored: str, password: bytes | None) -> bool:
        """Tell whether a password is the one of a hash; the thread that calls is busy meanwhile."""
        with suppress(VerificationError, InvalidHashError, ValueError):
            if _is_bcrypt(stored):
                return bcrypt.checkpw(password or b"", stored.encode())
            return self._argon2.verify(stored, password or b"")
        return False

    @property
    def _gate(self) -> Semaphore:
        return self._gates.setdefault(asyncio.get_running_loop(), Semaphore(AT_ONCE))


def _unmatched(parameters: Parameters) -> str:
    """Return a hash of these parameters that no password has: its tag is random."""
    salt, tag = (
        base64.b64encode(secrets.token_bytes(length)).rstrip(b"=").decode()
        for length in (parameters.salt_len, parameters.hash_len)
    )
    cost = f"m={parameters.memory_cost},t={parameters.time_cost},p={parameters.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${tag}"


def is_hash(stored: str) -> bool:
    """Tell whether this is a hash that can be checked."""
    return bool(_is_argon2id(stored) or _is_bcrypt(stored))


def _fits(stored: str, encoded: bytes) -> bool:
    return is_hash(stored) and not (_is_bcrypt(stored) and len(encoded) > LONGEST_FOR_BCRYPT)


def password_bytes(password: str) -> bytes:
    """Return what is hashed of a new password: all of it, also beyond 72 bytes, as argon2 takes any length.

    Raises: BadInput, which never repeats it.
    """
    if not isinstance(password, str):
        raise BadInput(f"a password is text, not {type(password).__name__}")
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadInput(f"a password has {SHORTEST} to {LONGEST} characters, not {len(password)}")
    encoded = _encoded(password)
    if encoded is None:
        raise BadInput("a password is text that UTF-8 can spell")
    return encoded


def _encoded(password: Any) -> bytes | None:
    """Return a password in UTF-8; None for what can be nobody's: it is too long, or no text."""
    if not isinstance(password, str) or len(password) > LONGEST:
        return None
    try:
        return password.encode()
    except UnicodeEncodeError:
        return None


HASHER: Final = Hasher()
