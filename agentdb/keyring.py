"""The keyring: seals what goes into a Secret column, and opens what comes out.

A sealed secret is a version byte (1), the id of its key (8 bytes), a nonce (12 bytes), and AES-256-GCM's ciphertext and
tag. What it belongs to - table, column, and the row's uuid (a variable's key) - is authenticated with it: copied to
another row or column it does not open, and carried to another database with its row it does.

The nonce is random: NIST SP 800-38D allows 2**32 messages under one key that way. Whoever stores more secrets than
that rotates to a new key before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import uuid
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agentdb import jsons, keys
from agentdb.config import Settings
from agentdb.errors import BadInput, BadSettings, DecryptionFailed

VERSION: Final = b"\x01"
ID_LENGTH: Final = 8  # bytes, from the second on
_NONCE_LENGTH: Final = 12
_HEAD: Final = len(VERSION) + ID_LENGTH + _NONCE_LENGTH
_TAG_LENGTH: Final = 16
_TEXT: Final = b"t"  # what the sealed value begins with says what it is
_JSON: Final = b"j"


class _Place(NamedTuple):
    """Where a secret is stored."""

    table: str
    column: str
    row: uuid.UUID | str

    def __str__(self) -> str:
        return f"{self.table}.{self.column} of row {self.row}"

    @property
    def bound(self) -> bytes:
        """What a secret is bound to: no name of a table or column holds a NUL, so no two places read alike."""
        return "\0".join((self.table, self.column, str(self.row))).encode(errors="surrogatepass")


class Keyring:
    """The encryption keys of this process: the newest seals, all open.

    Its methods take no turn of the event loop and cost some ten microseconds; any thread may call them.

    Args: materials: of each key at least 32 random bytes, the newest first.
    """

    __slots__ = ("_ciphers",)

    def __init__(self, materials: Iterable[bytes] = ()) -> None:
        # The keys themselves are not kept, so that nothing that prints an object shows them.
        self._ciphers = {
            _derived(material, b"agentdb key id", ID_LENGTH): AESGCM(_derived(material, b"agentdb secret", 32))
            for material in materials
        }

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the keyring of these settings.

        Raises: BadSettings for a weak key.
        """
        given = enumerate(settings.encryption_keys, 1)
        return cls(keys.material(key.get_secret_value(), place=place) for place, key in given)

    def __repr__(self) -> str:
        """Return the ids of the keys."""
        return f"Keyring({', '.join(self.ids)})"

    @property
    def ready(self) -> bool:
        """Whether there is a key to seal with."""
        return bool(self._ciphers)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys, the newest first: 16 characters of hex that tell nothing of the key."""
        return tuple(key.hex() for key in self._ciphers)

    def seal(self, value: Any, *, table: str, column: str, row: uuid.UUID | str) -> bytes:
        """Return what is stored of a secret.

        Args:
            value: text, or a JSON value other than null: a secret that is not there is a NULL.
            table: where it is stored, ...
            column: ... in which column, ...
            row: ... and in which row: its uuid, a variable's key.

        Raises: BadSettings when there is no key; BadInput for what is neither text nor JSON.
        """
        if not self._ciphers:
            raise BadSettings(f"{table}.{column} cannot be stored: AGENTDB_ENCRYPTION_KEYS is not set; {keys.REMEDY}")
        return self._encrypted(_marked(value), _Place(table, column, row))

    def open(self, sealed: bytes, *, table: str, column: str, row: uuid.UUID | str) -> Any:
        """Return a secret as it was given: text as text, JSON as JSON.

        Args: as of `seal`.
        Raises: DecryptionFailed when its key is not here, it was altered, or it belongs elsewhere.
        """
        place = _Place(table, column, row)
        marked = self._decrypted(sealed, place)
        if marked[:1] == _TEXT:
            return marked[1:].decode()
        if marked[:1] == _JSON:
            return jsons.decode(marked[1:])
        raise DecryptionFailed(f"{place} was sealed by a newer version of agentdb; upgrade this one")

    def reseal(self, sealed: bytes, *, table: str, column: str, row: uuid.UUID | str) -> bytes:
        """Return the same secret, sealed with the newest key.

        Args and Raises: as of `open`.
        """
        place = _Place(table, column, row)
        return self._encrypted(self._decrypted(sealed, place), place)

    def _encrypted(self, marked: bytes, place: _Place) -> bytes:
        key, cipher = next(iter(self._ciphers.items()))
        nonce = os.urandom(_NONCE_LENGTH)
        return VERSION + key + nonce + cipher.encrypt(nonce, marked, place.bound)

    def _decrypted(self, sealed: bytes, place: _Place) -> bytes:
        if not _is_sealed(sealed):
            raise DecryptionFailed(f"{place} is not a sealed secret; store it anew through agentdb")
        key = sealed[len(VERSION) : len(VERSION) + ID_LENGTH]
        cipher = self._ciphers.get(key)
        if cipher is None:
            raise DecryptionFailed(
                f"{place} is sealed with key {key.hex()}, which AGENTDB_ENCRYPTION_KEYS does not hold; add it behind "
                "the newest"
            )
        nonce, hidden = sealed[_HEAD - _NONCE_LENGTH : _HEAD], sealed[_HEAD:]
        try:
            return cipher.decrypt(nonce, hidden, place.bound)
        except InvalidTag:
            raise DecryptionFailed(
                f"{place} does not open with its key {key.hex()}: it was altered, or copied from elsewhere; "
                "store it anew"
            ) from None

    @staticmethod
    def key_of(sealed: bytes) -> str:
        """Return the id of the key that a secret is sealed with.

        Raises: BadInput for what is no sealed secret.
        """
        if not _is_sealed(sealed):
            raise BadInput("not a sealed secret")
        return sealed[len(VERSION) : len(VERSION) + ID_LENGTH].hex()


def _is_sealed(sealed: bytes) -> bool:
    return sealed[: len(VERSION)] == VERSION and len(sealed) > _HEAD + _TAG_LENGTH


def _derived(material: bytes, purpose: bytes, length: int) -> bytes:
    """Return bytes made of a key for one purpose, which tell nothing of it or of those made for another.

    Source: RFC 5869.
    """
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose).derive(material)


def _marked(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return _TEXT + value.encode()
        except UnicodeEncodeError:
            # Not chained: the original carries the text.
            raise BadInput("the secret holds a lone surrogate, which is not text; decode its source as UTF-8") from None
    if value is None or isinstance(value, bytes | bytearray | memoryview):
        raise BadInput(f"a secret is text or a JSON value, not {type(value).__name__}")
    return _JSON + jsons.encode(value).encode()


# The form of the platform this library took over from: base64 of salt, nonce, tag and ciphertext.
_SALT: Final = 32
_LONG_NONCE: Final = 16


def open_platform_form(text: str, passphrase: str) -> str:
    """Return an API key as the platform's own service encrypted it.

    Args:
        text: base64 of salt (32 bytes), nonce (16), tag (16) and ciphertext of AES-256-GCM.
        passphrase: the service's ENCRYPTION_KEY, from which scrypt makes the key.

    Raises: BadInput for what is not of this form; DecryptionFailed when the passphrase is not its own.
    Cost: 50 milliseconds of processor and 16 MB; call it on a thread.
    """
    try:
        stored, word = base64.b64decode(text, validate=True), passphrase.encode()
    except (binascii.Error, ValueError):
        raise BadInput("not an encrypted key of the platform: base64 and a passphrase of text are expected") from None
    if len(stored) < _SALT + _LONG_NONCE + _TAG_LENGTH:
        raise BadInput(f"not an encrypted key of the platform: {len(stored)} bytes are too few")
    salt, rest = stored[:_SALT], stored[_SALT:]
    nonce, tag, hidden = rest[:16], rest[16:32], rest[32:]
    key = hashlib.scrypt(word, salt=salt, n=16384, r=8, p=1, dklen=32)
    try:
        return AESGCM(key).decrypt(nonce, hidden + tag, None).decode()
    except (InvalidTag, UnicodeDecodeError):
        raise DecryptionFailed(
            "the platform's encrypted key does not open: the passphrase is another, or it was altered"
        ) from None
