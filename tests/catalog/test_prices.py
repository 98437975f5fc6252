"""Prices: read from a list, and applied to tokens."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdb.catalog.models import AIModel, ModelType
from agentdb.catalog.prices import cost_of, is_priced, listed, model_type
from agentdb.errors import BadInput

prices = st.none() | st.decimals(min_value=0, max_value=1000, places=9)
tokens = st.integers(min_value=0, max_value=2**40)


def model(**values: Any) -> AIModel:
    unpriced = dict.fromkeys(("price_input", "price_output", "price_cache_read", "price_cache_write"))
    return AIModel(**{**unpriced, **values})


def test_a_price_for_a_token_becomes_a_price_for_a_million() -> None:
    row = {"key": "brook/chat", "provider": "brook", "mode": "chat", "input_cost_per_token": "2.5e-06"}

    read = listed(row)

    assert read.values["price_input"] == Decimal("2.5")
    assert read.values["price_output"] is None
    assert (read.provider, read.values["version_name"], read.values["type"]) == ("brook", "chat", ModelType.llm)
    assert read.rounded == 0


ROUNDED: list[tuple[str, str, int]] = [
    ("0.0000000333333333333333", "0.033333333", 1),
    ("0.0000000000000005", "0.000000000", 1),  # half to even: down
    ("0.0000000000000015", "0.000000002", 1),  # half to even: up
    ("0.000000000000001", "0.000000001", 0),
]


def test_what_nine_places_do_not_hold_is_rounded_half_to_even(subtests: pytest.Subtests) -> None:
    for per_token, per_million, rounded in ROUNDED:
        with subtests.test(per_token=per_token):
            read = listed({"key": "m", "output_cost_per_token": per_token})

            assert read.values["price_output"] == Decimal(per_million)
            assert read.rounded == rounded


TYPES: list[tuple[str, str]] = [
    ("chat", "llm"),
    ("completion", "llm"),
    ("responses", "llm"),
    ("image_generation", "image"),
    ("embedding", "embedding"),
    ("audio_speech", "audio"),
    ("audio_transcription", "audio"),
    ("rerank", "rerank"),
    ("moderation", "moderation"),
    ("ocr", "other"),
    ("", "other"),
]


def test_each_mode_is_a_type(subtests: pytest.Subtests) -> None:
    for mode, type_ in TYPES:
        with subtests.test(mode=mode):
            assert model_type(mode) == type_


NO_MODELS: list[tuple[dict[str, str | None], str]] = [
    ({"key": " "}, "a model needs a key"),
    ({"key": "m", "input_cost_per_token": "cheap"}, "m: input_cost_per_token is a number, not 'cheap'"),
    ({"key": "m", "input_cost_per_token": "-1"}, "is a number from 0, not '-1'"),
    ({"key": "m", "input_cost_per_token": "NaN"}, "is a number from 0, not 'NaN'"),
    ({"key": "m", "max_input_tokens": "1.5"}, "m: max_input_tokens is a whole number, not '1.5'"),
]


def test_a_row_that_is_no_model_says_why(subtests: pytest.Subtests) -> None:
    for row, reason in NO_MODELS:
        with subtests.test(reason=reason), pytest.raises(BadInput, match=reason):
            listed(row)


def test_a_call_costs_what_its_tokens_cost() -> None:
    priced = model(price_input=Decimal("2.5"), price_output=Decimal(10), price_cache_read=Decimal("1.25"))

    assert cost_of(priced, 1000, 200, cache_read_tokens=400) == Decimal("0.005000000")


def test_cached_tokens_without_a_price_cost_what_input_costs() -> None:
    priced = model(price_input=Decimal(2))

    assert cost_of(priced, cache_read_tokens=500_000, cache_write_tokens=500_000) == Decimal(2)


def test_a_model_without_prices_costs_nothing_and_says_so() -> None:
    assert cost_of(model(), 1000, 1000) == 0
    assert not is_priced(model())
    assert is_priced(model(price_input=Decimal(0)))


def test_tokens_are_not_negative() -> None:
    with pytest.raises(BadInput, match="a call takes 0 tokens or more, not -1"):
        cost_of(model(), -1)


@given(prices, prices, prices, prices, tokens, tokens, tokens, tokens)
def test_a_cost_is_exact_and_rounded_once(
    first: Decimal | None,
    second: Decimal | None,
    third: Decimal | None,
    fourth: Decimal | None,
    a: int,
    b: int,
    c: int,
    d: int,
) -> None:
    priced = model(price_input=first, price_output=second, price_cache_read=third, price_cache_write=fourth)

    cost = cost_of(priced, a, b, c, d)

    def units(price: Decimal | None) -> int:
        return int((price or Decimal(0)).scaleb(9))

    third, fourth = (first if third is None else third), (first if fourth is None else fourth)
    exact = a * units(first) + b * units(second) + c * units(third) + d * units(fourth)  # in 10 ** -15 dollars
    quotient, rest = divmod(exact, 10**6)
    quotient += rest > 500_000 or (rest == 500_000 and quotient % 2 == 1)
    assert cost.as_tuple().exponent == -9
    assert cost == Decimal(quotient).scaleb(-9)
