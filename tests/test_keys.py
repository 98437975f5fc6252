"""Encryption keys: whatever is random is accepted, whatever somebody thought of is refused."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable

import pytest

from agentdb.errors import BadSettings
from agentdb.keys import LENGTH, material, new_key

RANDOM = random.Random(20261121)  # noqa: S311 (the same keys in every run)
SPELLED: tuple[Callable[[bytes], str], ...] = (
    bytes.hex,
    lambda key: key.hex().upper(),
    lambda key: base64.b64encode(key).decode(),
    lambda key: base64.urlsafe_b64encode(key).rstrip(b"=").decode(),
)


def _coded(key: bytes) -> str:
    return base64.b64encode(key).decode()


WEAK = {
    "a phrase": _coded(b"correct horse battery staple, and some more"),
    "a phrase of the very length": _coded(b"my very secret pass phrase 1234!"),
    "a phrase in another script": _coded("пароль для базы данных".encode()),
    "a phrase with zeros behind": _coded(b"correct horse battery".ljust(32, b"\0")),
    "a phrase with zeros behind, in hex": b"Tr0ub4dor&3 is a password".ljust(32, b"\0").hex(),
    "a password with x behind": _coded(b"hunter2-hunter3-qwerty".ljust(32, b"x")),
    "a generated password": _coded(b"v9$Kq!7xZ@2mW#pL5^tR&8nB*4cY(1dG"),
    "the alphabet": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ",
    "the whole alphabet": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    "the alphabet behind digits": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
    "the alphabet backwards": "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJ",
    "the keyboard": "qwertyuiopasdfghjklzxcvbnmQWERTYUIOPASDFGHJK",
    "words": "thisisaverysecretkeythatnobodywilleverguess",
    "words again": "CorrectHorseBatteryStapleCorrectHorseBatter",
    "words in hex": "deadbeefcafebabefeedfacebaadf00ddeadc0dec0ffee00facefeedbadcab1e",
    "digits": "3141592653589793238462643383279502884197169399375105820974944592",
    "dates": "2026112120261122202611232026112420261125202611262026112720261128",
    "hex in order": "0123456789abcdef" * 4,
    "pairs in order": "00112233445566778899aabbccddeeff" * 2,
    "bytes in order": bytes(range(32)).hex(),
    "every second byte": bytes(range(0, 64, 2)).hex(),
    "a counter": b"".join(number.to_bytes(4, "big") for number in range(8)).hex(),
    "random, twice": (RANDOM.randbytes(16) * 2).hex(),
    "random, twice, in base64": _coded(RANDOM.randbytes(16) * 2),
    "random, four times": (RANDOM.randbytes(8) * 4).hex(),
    "random, then nothing": (RANDOM.randbytes(16) + bytes(16)).hex(),
}


@pytest.mark.parametrize("weak", WEAK.values(), ids=list(WEAK))
def test_what_somebody_thought_of_is_refused(weak: str) -> None:
    with pytest.raises(BadSettings, match="so it can be guessed") as caught:
        material(weak, place=1)

    assert weak not in str(caught.value)


@pytest.mark.parametrize("length", [32, 33, 48, 64])
def test_random_bytes_are_accepted_however_they_are_spelled(length: int) -> None:
    for _ in range(50):
        key = RANDOM.randbytes(length)
        assert {material(spell(key), place=1) for spell in SPELLED} == {key}
    assert len(material(new_key(), place=1)) == LENGTH


@pytest.mark.long
def test_of_a_hundred_thousand_random_keys_none_is_refused() -> None:
    for number in range(100_000):
        material(SPELLED[number % len(SPELLED)](RANDOM.randbytes(LENGTH)), place=1)
