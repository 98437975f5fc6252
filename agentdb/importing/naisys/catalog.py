"""Models: those that are not known here by their key, with their prices in dollars per million tokens."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Table, select

from agentdb.catalog.models import AIModel, ModelType
from agentdb.criteria import table_of
from agentdb.engine.plan import Plan
from agentdb.importing.naisys.source import Row
from agentdb.importing.naisys.values import dollars, flag, mapping, maybe, moment, name, word
from agentdb.importing.naisys.work import Importing

_models: Final[Table] = table_of(AIModel)
_KEYS: Final = Plan[AIModel](select(AIModel), name="import: models", rows=AIModel)
_PRICES: Final = {
    "price_input": "inputCost",
    "price_output": "outputCost",
    "price_cache_write": "cacheWriteCost",
    "price_cache_read": "cacheReadCost",
}


async def import_models(work: Importing) -> None:
    """Bring models: their ``meta`` says all that was known of them."""

    def convert(row: Row) -> dict[str, Any]:
        meta, created = mapping(row["meta"]), moment(row["created_at"])
        kind = word(ModelType, row["type"])
        prices: dict[str, Decimal | None] = {}
        if kind is ModelType.llm:
            prices = {ours: maybe(dollars, meta.get(theirs)) for ours, theirs in _PRICES.items()}
        each_image = maybe(dollars, meta.get("cost")) if kind is ModelType.image else None
        size = meta.get("maxTokens")
        return {
            "key": name(row["key"]),
            "name": name(row["label"]),
            "version_name": name(row["version_name"]),
            "type": kind,
            "max_context": size if type(size) is int and 0 < size < 2**63 else None,
            "pricing": {} if each_image is None else {"image": f"{each_image:f}"},
            "meta": meta,
            "is_builtin": flag(row["is_builtin"]),
            "is_custom": flag(row["is_custom"]),
            "created_at": created,
            "updated_at": maybe(moment, row["updated_at"]) or created,
            **prices,
        }

    rows = await work.hub.all("models")
    await work.add_unless_there("models", AIModel, ("key",), work.carried("models", rows, convert))
    work.models.update({model.key: model.id for model in await work.connection.fetch_all(_KEYS, {})})
    work.progress("models", len(rows), len(rows))
