"""Prices: from a price list's figures to what the catalog keeps, and from tokens to what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, Final

from agentdb.catalog.models import AIModel, ModelType
from agentdb.engine.asked import is_number, is_text, members, whole_number
from agentdb.errors import BadInput, brief

NANO: Final = Decimal("0.000000001")
MILLION: Final = 1_000_000
# Wide enough that no product or sum of 64 bit counts and prices is rounded before the end.
_EXACT: Final = Context(prec=80, rounding=ROUND_HALF_EVEN)

_PRICES: Final[Mapping[str, str]] = {
    "price_input": "input_cost_per_token",
    "price_output": "output_cost_per_token",
    "price_cache_read": "cache_read_input_token_cost",
    "price_cache_write": "cache_creation_input_token_cost",
}
_SIZES: Final[Mapping[str, str]] = {"max_context": "max_input_tokens", "max_output": "max_output_tokens"}
COLUMNS: Final = ("key", "provider", "mode", *_SIZES.values(), *_PRICES.values())

_TYPES: Final[Mapping[str, ModelType]] = {
    "chat": ModelType.llm,
    "completion": ModelType.llm,
    "responses": ModelType.llm,
    "image_generation": ModelType.image,
    "embedding": ModelType.embedding,
    "rerank": ModelType.rerank,
    "moderation": ModelType.moderation,
}


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model as a price list has it."""

    key: str
    provider: str | None
    values: Mapping[str, Any]  # of the columns that an import writes, but for key and provider
    rounded: int  # how many of its prices have more than nine places


def listed(row: Mapping[str, str | None]) -> ListedModel:
    """Return the model that a row of a price list describes.

    Args: row: text by column, as in `COLUMNS`; what is empty or missing is not known. Prices are dollars per token.
    Raises: BadInput naming the model and the column.
    """
    given: object = row
    if not isinstance(given, Mapping):
        raise BadInput(f"a model of a price list is an object of texts, not {type(given).__name__}")
    key = _text(row, "key")
    if not key:
        raise BadInput("a model needs a key")
    values: dict[str, Any] = {"name": key, "version_name": key.rpartition("/")[2] or key}
    values["type"] = model_type(_text(row, "mode"))
    for column, listed_as in _SIZES.items():
        values[column] = _whole(key, listed_as, _text(row, listed_as))
    rounded = 0
    for column, listed_as in _PRICES.items():
        values[column], was_rounded = _per_million(key, listed_as, _text(row, listed_as))
        rounded += was_rounded
    return ListedModel(key, _text(row, "provider") or None, values, rounded)


def model_type(mode: str) -> ModelType:
    """Return what a model does, from a price list's word for it."""
    if mode.startswith("audio_"):
        return ModelType.audio
    return _TYPES.get(mode, ModelType.other)


def is_priced(model: AIModel) -> bool:
    """Tell whether it is known what a model's tokens cost."""
    return model.price_input is not None or model.price_output is not None


def cost_of(
    model: AIModel,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    units: Mapping[str, int | Decimal] | None = None,
) -> Decimal:
    """Return what a call cost, in US dollars: computed exactly, and rounded once, half to even, to nine places.

    Args:
        model: whose prices count; a price it does not have is 0.
        input_tokens: those that were neither read from a cache nor written to one.
        output_tokens: with those of reasoning.
        cache_read_tokens: at the price of input where the model has none for them.
        cache_write_tokens: likewise.
        units: how many of what else the model's ``pricing`` has a price for, such as images.

    Raises: BadInput for a negative count, and for a unit that has no price.
    """
    as_input = model.price_input
    cached = as_input if model.price_cache_read is None else model.price_cache_read
    caching = as_input if model.price_cache_write is None else model.price_cache_write
    counted = (
        (input_tokens, as_input),
        (output_tokens, model.price_output),
        (cache_read_tokens, cached),
        (cache_write_tokens, caching),
    )
    total = Decimal(0)
    for tokens, price in counted:
        if whole_number(tokens, "a number of tokens") < 0:
            raise BadInput(f"a call takes 0 tokens or more, not {tokens}")
        total = _EXACT.add(total, _EXACT.multiply(Decimal(tokens), price or Decimal(0)))
    total = _EXACT.divide(total, Decimal(MILLION))
    for unit, quantity in members(units, "units").items():
        counts = is_number(quantity) or isinstance(quantity, Decimal)
        many = Decimal(quantity) if counts else Decimal("NaN")
        if not many.is_finite() or not 0 <= many < 2**63:
            raise BadInput(f"a call takes 0 {unit} or more, not {brief(quantity)}")
        total = _EXACT.add(total, _EXACT.multiply(many, _unit_price(model, unit)))
    return _EXACT.quantize(total, NANO)


def _unit_price(model: AIModel, unit: str) -> Decimal:
    """Return what one of a unit costs.

    Raises: BadInput where the model's pricing has no price for it.
    """
    price = model.pricing.get(unit) if isinstance(model.pricing, Mapping) else None
    try:
        # A float's shortest text: 0.1 is a tenth, not what binary makes of it.
        amount = Decimal("NaN") if price is None or isinstance(price, bool) else Decimal(str(price))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount < 2**63:
        raise BadInput(f"model {model.key} has no price for {brief(unit)}; give its pricing one")
    return amount


def _text(row: Mapping[str, str | None], column: str) -> str:
    text = row.get(column)
    if text is not None and not is_text(text):
        raise BadInput(f"{column} is text in a price list, not {type(text).__name__}")
    return (text or "").strip()


def _whole(key: str, column: str, text: str) -> int | None:
    number = _number(key, column, text)
    if number is None:
        return None
    if number != number.to_integral_value():
        raise BadInput(f"{key}: {column} is a whole number, not {brief(text)}")
    return int(number)


def _per_million(key: str, column: str, text: str) -> tuple[Decimal | None, bool]:
    price = _number(key, column, text)
    if price is None:
        return None, False
    exact = _EXACT.multiply(price, Decimal(MILLION))
    rounded = _EXACT.quantize(exact, NANO)
    return rounded, rounded != exact


def _number(key: str, column: str, text: str) -> Decimal | None:
    """Return a number of a price list; None when there is none.

    Raises: BadInput for what is not a number, is negative, or is out of all proportion.
    """
    if not text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise BadInput(f"{key}: {column} is a number, not {brief(text)}") from None
    if not number.is_finite() or not 0 <= number < 2**63:
        raise BadInput(f"{key}: {column} is a number from 0, not {brief(text)}")
    return number
