"""Whatever stands where a key is expected: the key, or an error of ours that does not repeat it, and soon."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentdb.config import Settings
from agentdb.errors import AgentDBError, BadInput, BadSettings, DecryptionFailed
from agentdb.keyring import Keyring, open_platform_form
from agentdb.keys import LENGTH, material, new_key
from agentdb.supervisor import key_records

# What keys are written in, what resembles it, and what no key is written in.
_PIECES = st.sampled_from(["=", "==", "-", "_", "+", "/", "adb_", "0x", ",", " ", "\n", "\0", "\ud800", "٣", "é"])
_WRITTEN = st.one_of(
    st.binary(max_size=70).map(bytes.hex),
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_+/=", max_size=90),
    st.text(st.characters(exclude_categories=()), max_size=90),  # lone surrogates too
)
_TEXTS = st.lists(st.one_of(_PIECES, _WRITTEN), max_size=4).map("".join)
_LONG = 1_000_000


def _told(work: Callable[[], object], refusal: type[AgentDBError]) -> str | None:
    """Return what is told of a text that is refused; None when it is taken."""
    try:
        work()
    except refusal as refused:
        return str(refused)
    return None


def _seals(key: bytes) -> None:
    assert len(key) >= LENGTH
    assert Keyring([key]).ready


@settings(derandomize=True, deadline=None, max_examples=400)
@given(_TEXTS)
@example("=" * 44)
@example("٣" * 64)
@example("\ud800" * 43)
def test_whatever_is_called_an_encryption_key_is_one_or_is_refused_untold(text: str) -> None:
    told = _told(lambda: _seals(material(text, place=3)), BadSettings)

    assert told is None or told.startswith("AGENTDB_ENCRYPTION_KEYS: key 3 ")
    assert told is None or len(text) < 8 or text not in told


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.one_of(_TEXTS, st.just(new_key())), max_size=3).map(",".join))
def test_whatever_the_setting_holds_is_keys_or_is_refused_by_its_name(setting: str) -> None:
    told = _told(lambda: Settings.load("sqlite://", encryption_keys=setting), BadSettings)

    assert told is None or "AGENTDB_ENCRYPTION_KEYS" in told
    assert told is None or len(setting) < 8 or setting not in told


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.one_of(_TEXTS, _TEXTS.map(lambda text: f"adb_{text}"), st.none(), st.binary(), st.integers()))
@example("adb_" + "A" * 43 + "\n")
@example("adb_" + "٣" * 43)
def test_whatever_is_presented_as_an_access_key_has_a_digest_or_is_refused_untold(given: object) -> None:
    told = _told(lambda: key_records.digest_of(given), BadInput)

    if told is None:
        assert re.fullmatch("adb_[A-Za-z0-9_-]{43}", str(given))
    else:
        assert not isinstance(given, str) or len(given) < 8 or given not in told


@settings(derandomize=True, deadline=None, max_examples=15)
@given(_TEXTS, _TEXTS)
def test_whatever_is_called_a_key_of_the_platform_is_refused_by_an_error_of_ours(text: str, passphrase: str) -> None:
    with pytest.raises((BadInput, DecryptionFailed)):
        open_platform_form(text, passphrase)


@pytest.mark.parametrize("piece", ["a", "0", "=", "A-", "٣", "\ud800", " ", ","])
def test_a_million_characters_are_refused_soon(piece: str) -> None:
    text = piece * (_LONG // len(piece))
    began = time.process_time()

    with pytest.raises(BadSettings, match="more than 1,024 characters"):
        material(text, place=1)
    with pytest.raises(BadInput):
        key_records.digest_of(text)
    with pytest.raises((BadInput, DecryptionFailed)):
        open_platform_form(text[:100_000], text)

    assert time.process_time() - began < 10
