"""JSON text that both databases store, and give back equal."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdb import jsons
from agentdb.errors import BadInput

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=10,
)


def _storable(value: Any) -> bool:  # noqa: PLR0911 (one return for each kind)
    match value:
        case bool() | None:
            return True
        case str():
            return "\0" not in value and not any(0xD800 <= ord(character) < 0xE000 for character in value)
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case list():
            return all(map(_storable, value))
        case dict():
            return all(_storable(key) and _storable(item) for key, item in value.items())
    return False


@given(_values)
def test_a_value_is_encoded_and_decoded_equal_or_refused(value: Any) -> None:
    if _storable(value):
        assert jsons.decode(jsons.encode(value)) == value
    else:
        with pytest.raises(BadInput):
            jsons.encode(value)


@pytest.mark.parametrize("text", ["null", "\\u0000", "1234567890123456789012345", "NaN"])
def test_texts_that_look_suspicious_are_stored(text: str) -> None:
    assert jsons.decode(jsons.encode({text: text})) == {text: text}
