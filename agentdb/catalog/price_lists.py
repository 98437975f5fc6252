"""A price list within a transaction: what becomes of the models and providers that are there."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Table, select, update

from agentdb.catalog.models import AIModel, Provider
from agentdb.catalog.prices import ListedModel
from agentdb.catalog.records import PriceReport
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one, insert_unless_there
from agentdb.errors import NotFound

_models: Final[Table] = AIModel.__table__  # type: ignore[assignment]
_providers: Final[Table] = Provider.__table__  # type: ignore[assignment]

_WITH_KEYS: Final = Plan[AIModel](
    select(AIModel).where(among(_models.c.key, "keys")).order_by(AIModel.id), name="models.import: models", rows=AIModel
)
_WITH_NAMES: Final = Plan[Provider](
    select(Provider).where(among(_providers.c.name, "names")), name="models.import: providers", rows=Provider
)

# What a price list knows; everything else of a model is the installation's own.
_LISTED: Final = (
    "provider_id",
    "name",
    "version_name",
    "type",
    "max_context",
    "max_output",
    "price_input",
    "price_output",
    "price_cache_read",
    "price_cache_write",
)
_CHANGE: Final = Plan[int](
    update(_models)
    .where(_models.c.id == of(_models.c.id, "model_id"), _models.c.is_custom == of(_models.c.is_custom, "custom"))
    .values({key: of(_models.c[key], f"new_{key}") for key in _LISTED})
    .returning(_models.c.id),
    name="models.import: change",
)


def imported(models: Sequence[ListedModel]) -> Script[PriceReport]:
    """Within a script: store the models of a price list, and tell what was done."""
    names = sorted({model.provider for model in models if model.provider})
    providers, providers_added = yield from _providers_of(names)
    present = {row.key: row for row in (yield from every(_WITH_KEYS, keys=[model.key for model in models]))}
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    kept = 0
    for model in models:
        values = {**model.values, "provider_id": providers[model.provider] if model.provider else None}
        row = present.get(model.key)
        if row is None:
            new.append({**values, "key": model.key})
        elif row.is_custom:
            kept += 1
        elif any(getattr(row, name) != values[name] for name in _LISTED):
            changed.append({"model_id": row.id, "custom": False, **{f"new_{name}": values[name] for name in _LISTED}})
    yield from each(insert_one(AIModel), new)
    changed.sort(key=itemgetter("model_id"))  # two imports that change the same models never wait crosswise
    done = yield from each(_CHANGE, changed)
    return PriceReport(
        added=len(new),
        changed=sum(key is not None for key in done),
        unchanged=len(models) - len(new) - len(changed) - kept,
        kept=kept + done.count(None),
        providers_added=providers_added,
        rounded=sum(model.rounded for model in models),
    )


def _providers_of(names: Sequence[str]) -> Script[tuple[dict[str, int], int]]:
    """Return the providers' ids by name, and how many were made."""
    ids = {row.name: row.id for row in (yield from every(_WITH_NAMES, names=names))}
    made = yield from each(
        insert_unless_there(Provider, ("name",)), [{"name": name} for name in names if name not in ids]
    )
    ids |= {row.name: row.id for row in made if row is not None}
    if len(ids) < len(names):  # another import made some of them meanwhile
        ids |= {row.name: row.id for row in (yield from every(_WITH_NAMES, names=names))}
    missing = [name for name in names if name not in ids]
    if missing:
        raise NotFound(f"the provider {missing[0]!r} was removed while it was being made")
    return ids, sum(row is not None for row in made)
