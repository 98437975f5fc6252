"""Password hashes: argon2id for every new one; bcrypt is understood, so that existing ones can be brought along."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from asyncio import AbstractEventLoop, Semaphore
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

import argon2.low_level
import bcrypt
from argon2 import Parameters, PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from agentdb.errors import BadInput

R = TypeVar("R")
Given = TypeVarTuple("Given")

SHORTEST: Final = 8  # of a password, in characters
LONGEST: Final = 128
LONGEST_FOR_BCRYPT: Final = 72  # bytes: bcrypt passes over what follows
AT_ONCE: Final = 4  # hashes: each takes 64 MiB
# Of hashes that were made elsewhere: beyond these one login takes seconds, and few of them the machine.
MOST_BCRYPT_ROUNDS: Final = 16  # as a power of two: some four seconds
MOST_MEMORY: Final = 1 << 20  # KiB
MOST_LANES: Final = 16
MOST_WORK: Final = 1 << 22  # passes over KiB: as many seconds as bcrypt's

_is_bcrypt: Final = re.compile(r"\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}").fullmatch
_is_argon2id: Final = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>\d{1,10}),t=(?P<passes>\d{1,10}),p=(?P<lanes>\d{1,10})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{6,86}"  # a salt of 8 to 64 bytes, a digest of 4 to 64
).fullmatch


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
        return await self._in_a_thread(self.hash_now, encoded)

    async def rehash(self, password: str) -> str:
        """Return the hash of a password that was accepted before, by whatever rules."""
        return await self._in_a_thread(self.hash_now, password.encode())

    async def matches(self, stored: str | None, password: str) -> bool:
        """Tell whether a password is the one of a stored hash; without a hash as much is computed, for the answer no.

        More than 72 bytes never match a bcrypt hash, which would pass over the rest.
        """
        encoded = _encoded(password)
        compared = stored if stored is not None and encoded is not None and _fits(stored, encoded) else self._nobody
        agrees = await self._in_a_thread(self.agrees_now, compared, encoded)
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

    async def _in_a_thread(self, compute: Callable[[*Given], R], *given: *Given) -> R:
        """Compute in a thread, with few others; a caller who is cancelled leaves its place to the next at its end.

        A thread is not stopped: were the place free at once, those who come and go would fill the memory.
        """
        gate = self._gate
        await gate.acquire()
        try:
            computing = asyncio.get_running_loop().run_in_executor(None, compute, *given)
        except BaseException:
            gate.release()
            raise
        computing.add_done_callback(lambda _: gate.release())
        return await asyncio.shield(computing)

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
    """Tell whether this is a hash that can be checked, within bounds of time and memory."""
    if _is_bcrypt(stored):
        return int(stored[4:6]) <= MOST_BCRYPT_ROUNDS
    found = _is_argon2id(stored)
    if found is None:
        return False
    memory, passes, lanes = (int(found[name]) for name in ("memory", "passes", "lanes"))
    return 1 <= lanes <= MOST_LANES and 8 * lanes <= memory <= MOST_MEMORY and 1 <= passes * memory <= MOST_WORK


def checked_hash(stored: Any) -> str:
    """Return a hash that was made elsewhere, if it can be checked.

    Raises: BadInput, which does not repeat it.
    """
    if not isinstance(stored, str) or not (_is_bcrypt(stored) or _is_argon2id(stored)):
        raise BadInput("a password hash is of argon2id ($argon2id$v=19$...) or of bcrypt ($2a$, $2b$ or $2y$)")
    if not is_hash(stored):
        raise BadInput(
            f"a password hash of bcrypt has a cost of up to {MOST_BCRYPT_ROUNDS}; one of argon2id takes up to "
            f"{MOST_MEMORY:,} KiB, {MOST_LANES} lanes, and passes times KiB up to {MOST_WORK:,}; set a new password"
        )
    try:
        _read(stored)
    except (VerificationError, InvalidHashError, ValueError):
        raise BadInput("this password hash is cut off or altered: its salt or its digest cannot be read") from None
    return stored


def _read(stored: str) -> None:
    """Have a hash read by who checks it, made as cheap as can be: the cost is no part of salt and digest."""
    if _is_bcrypt(stored):
        bcrypt.checkpw(b"", f"{stored[:4]}04{stored[6:]}".encode())
        return
    cheap = re.sub(r"m=\d+,t=\d+,p=\d+", "m=8,t=1,p=1", stored, count=1)
    with suppress(VerifyMismatchError):
        argon2.low_level.verify_secret(cheap.encode(), b"", argon2.Type.ID)


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
