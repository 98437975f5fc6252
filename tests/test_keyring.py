"""The keyring: what it seals opens there and nowhere else, and nothing it says shows a secret or a key."""

from __future__ import annotations

import base64
import hashlib
import traceback
import uuid
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdb.config import Settings
from agentdb.database import Database
from agentdb.errors import AgentDBError, BadInput, BadSettings, DecryptionFailed
from agentdb.keyring import Keyring, open_platform_form
from agentdb.keys import new_key

OLD: Final = hashlib.sha256(b"old").digest()
NEW: Final = hashlib.sha256(b"new").digest()
VALUE: Final = "sk-hunter2"
ROW: Final = uuid.UUID("0190d3c8-0000-7000-8000-000000000001")
HERE: Final[dict[str, Any]] = {"table": "providers", "column": "api_key", "row": ROW}

# The platform's own encryption of a known text, made by its service.
PLATFORM_TEXT: Final = (
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9kZWZnaGlqa2xtbm9wcXJzFMiz5u5+wEBU0O4o7nkkWOz/RgL3TLqTyd5nPPBr3p93moyL"
    "HKdR6g=="
)
PLATFORM_PASSPHRASE: Final = "0123456789abcdef0123456789abcdef"


def _told(error: BaseException) -> str:
    """Return everything a log would show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error)


# Sealing and opening

_json = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=10,
)


@given(value=st.text(st.characters(codec="utf-8")) | _json)
def test_a_secret_comes_back_as_it_was_given(value: Any) -> None:
    ring = Keyring([NEW])

    opened = ring.open(ring.seal(value, **HERE), **HERE)

    assert opened == value
    assert type(opened) is type(value)


def test_text_that_reads_like_json_stays_text() -> None:
    ring = Keyring([NEW])

    assert ring.open(ring.seal('{"a": 1}', **HERE), **HERE) == '{"a": 1}'
    assert ring.open(ring.seal({"a": 1}, **HERE), **HERE) == {"a": 1}


def test_the_stored_form_holds_the_key_s_id_and_not_the_value() -> None:
    ring = Keyring([NEW])
    sealed = ring.seal(VALUE, **HERE)

    assert sealed[0] == 1
    assert sealed[1:9].hex() == Keyring.key_of(sealed) == ring.ids[0]
    assert len(sealed) == 1 + 8 + 12 + 1 + len(VALUE) + 16
    assert VALUE.encode() not in sealed


def test_the_same_value_is_never_sealed_alike_twice() -> None:
    ring = Keyring([NEW])

    assert len({ring.seal(VALUE, **HERE) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"row": uuid.UUID("0190d3c8-0000-7000-8000-000000000002")},
        {"column": "api_key_variable"},
        {"table": "user_tools"},
        {"table": "provider", "column": "sapi_key"},  # the same letters, divided otherwise
    ],
)
def test_a_ciphertext_copied_elsewhere_does_not_open(elsewhere: dict[str, Any]) -> None:
    ring = Keyring([NEW])
    sealed = ring.seal(VALUE, **HERE)

    with pytest.raises(DecryptionFailed, match="copied from elsewhere"):
        ring.open(sealed, **{**HERE, **elsewhere})


def test_no_single_bit_can_be_flipped() -> None:
    ring = Keyring([NEW])
    sealed = ring.seal(VALUE, **HERE)

    for bit in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptionFailed):
            ring.open(bytes(altered), **HERE)


def test_the_newest_key_seals_and_all_open() -> None:
    before = Keyring([OLD])
    sealed = before.seal(VALUE, **HERE)
    both = Keyring([NEW, OLD])

    assert both.open(sealed, **HERE) == VALUE
    assert Keyring.key_of(both.seal(VALUE, **HERE)) == both.ids[0] != before.ids[0]


def test_resealing_moves_a_secret_to_the_newest_key_and_nowhere_else() -> None:
    sealed = Keyring([OLD]).seal({"a": [1]}, **HERE)
    both = Keyring([NEW, OLD])

    assert Keyring([NEW]).open(both.reseal(sealed, **HERE), **HERE) == {"a": [1]}
    with pytest.raises(DecryptionFailed):
        both.reseal(sealed, **{**HERE, "column": "secret"})


@pytest.mark.parametrize("row", ["é\0", "\ud800", ""])
def test_a_row_may_be_called_by_any_text(row: str) -> None:
    ring = Keyring([NEW])

    assert ring.open(ring.seal(VALUE, **{**HERE, "row": row}), **{**HERE, "row": row}) == VALUE


def test_a_key_that_is_not_there_is_named_by_its_id() -> None:
    sealed = Keyring([OLD]).seal(VALUE, **HERE)

    with pytest.raises(DecryptionFailed) as caught:
        Keyring([NEW]).open(sealed, **HERE)

    for part in ("providers.api_key", str(ROW), Keyring.key_of(sealed)):
        assert part in str(caught.value)


@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda rest: b"\1" + rest))
def test_garbage_does_not_open(garbage: bytes) -> None:
    with pytest.raises(DecryptionFailed):
        Keyring([NEW]).open(garbage, **HERE)


@pytest.mark.parametrize("value", [None, b"bytes", bytearray(b"bytes"), float("nan"), 2**64, object()])
def test_what_is_neither_text_nor_json_is_refused(value: Any) -> None:
    with pytest.raises(BadInput):
        Keyring([NEW]).seal(value, **HERE)


# Nothing is shown


def test_without_a_key_nothing_is_sealed_and_the_remedy_is_told() -> None:
    ring = Keyring()

    assert not ring.ready
    with pytest.raises(BadSettings, match=r"AGENTDB_ENCRYPTION_KEYS is not set; make one with .python -c") as caught:
        ring.seal(VALUE, **HERE)
    assert VALUE not in _told(caught.value)


def test_no_error_shows_the_secret() -> None:
    ring = Keyring([NEW])
    sealed = ring.seal(VALUE, **HERE)

    with pytest.raises(BadInput) as refused:
        ring.seal(f"{VALUE}\ud800", **HERE)
    with pytest.raises(DecryptionFailed) as closed:
        ring.open(sealed[:-1], **HERE)

    for caught in (refused, closed):
        assert caught.value.__cause__ is None
        assert VALUE not in str(caught.value)
        assert sealed.hex() not in _told(caught.value)


def test_a_keyring_shows_the_ids_of_its_keys_only() -> None:
    ring = Keyring([NEW, OLD])

    assert repr(ring) == str(ring) == f"Keyring({ring.ids[0]}, {ring.ids[1]})"
    assert not hasattr(ring, "__dict__")
    for key in (NEW, OLD):
        assert key.hex()[:16] not in repr(ring)


# Keys


def test_a_key_is_the_same_in_each_of_its_spellings() -> None:
    plain, safe = base64.b64encode(NEW).decode(), base64.urlsafe_b64encode(NEW).decode()

    ids = {_ring(key).ids for key in (NEW.hex(), NEW.hex().upper(), plain, plain.rstrip("="), safe, safe.rstrip("="))}

    assert ids == {Keyring([NEW]).ids}


def _ring(keys: str) -> Keyring:
    return Keyring.from_settings(Settings.load("sqlite://", encryption_keys=keys))


def test_the_first_key_of_the_setting_is_the_newest() -> None:
    assert _ring(f"{NEW.hex()}, {OLD.hex()},").ids == Keyring([NEW, OLD]).ids


def test_a_longer_key_counts_to_its_last_byte() -> None:
    assert _ring((NEW + OLD).hex()).ids != _ring((NEW + OLD[:-1] + b"\0").hex()).ids


def test_fresh_keys_are_taken_and_are_all_different() -> None:
    fresh = [new_key() for _ in range(200)]

    assert len(set(_ring(",".join(fresh)).ids)) == 200


@pytest.mark.parametrize(
    ("weak", "reason"),
    [
        ("hunter 2!", "is neither base64 nor hex"),
        ("hunter2", "holds 5 bytes"),
        ("ü" * 50, "is neither base64 nor hex"),
        (NEW[:31].hex(), "holds 31 bytes where at least 32 are needed"),
        (base64.b64encode(NEW[:16]).decode(), "holds 16 bytes"),
        ("00" * 32, "repeats itself"),
        ((NEW[:8] * 4).hex(), "repeats itself"),
        (bytes(range(32)).hex(), "repeats itself"),
        ("Password" * 8, "repeats itself"),
        ("thisisaverysecretkeythatnobodywilleverguess", "reads like a phrase"),
    ],
)
def test_a_weak_key_is_refused_and_not_repeated(weak: str, reason: str) -> None:
    with pytest.raises(BadSettings) as caught:
        Settings.load("sqlite://", encryption_keys=f"{NEW.hex()},{weak}")

    told = str(caught.value)
    assert told.startswith(f"AGENTDB_ENCRYPTION_KEYS: key 2 {reason}")
    assert told.endswith('make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`')
    assert weak not in _told(caught.value)
    assert NEW.hex() not in _told(caught.value)


# Where repositories find it


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": (NEW.hex(), OLD.hex())}


async def test_every_connection_has_the_keyring_of_its_settings(db: Database) -> None:
    expected = Keyring([NEW, OLD]).ids
    assert db.supervisor.connection.keyring.ids == expected

    async with db.write() as unit:
        assert unit.supervisor.connection.keyring.ids == expected
    async with db.read() as unit:
        assert unit.supervisor.connection.keyring.ids == expected


# The platform's form


def test_the_platform_s_own_ciphertext_opens() -> None:
    assert open_platform_form(PLATFORM_TEXT, PLATFORM_PASSPHRASE) == "sk-test-ABCDEFGHIJKLMNOP"


def test_another_passphrase_and_altered_text_do_not_open() -> None:
    stored = bytearray(base64.b64decode(PLATFORM_TEXT))
    stored[-1] ^= 1

    with pytest.raises(DecryptionFailed):
        open_platform_form(PLATFORM_TEXT, PLATFORM_PASSPHRASE[::-1])
    with pytest.raises(DecryptionFailed):
        open_platform_form(base64.b64encode(stored).decode(), PLATFORM_PASSPHRASE)


@settings(max_examples=60, deadline=None)
@given(
    text=st.text() | st.binary(max_size=120).map(lambda stored: base64.b64encode(stored).decode()),
    passphrase=st.text(st.characters()),
)
def test_garbage_of_the_platform_is_refused_by_errors_of_ours(text: str, passphrase: str) -> None:
    with pytest.raises(AgentDBError) as caught:
        open_platform_form(text, passphrase)

    assert type(caught.value) in {BadInput, DecryptionFailed}


def test_surrogates_in_a_passphrase_are_refused() -> None:
    with pytest.raises(BadInput) as caught:
        open_platform_form(PLATFORM_TEXT, "\ud800")

    assert caught.value.__cause__ is None
