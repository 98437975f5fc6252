"""Models: found by key, priced from a list, and what their tokens cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Table, bindparam, select, update

from agentdb.catalog.models import AIModel, ModelType, Provider
from agentdb.catalog.prices import ListedModel, listed
from agentdb.catalog.records import PriceReport
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one, insert_unless_there
from agentdb.errors import BadInput, NotFound
from agentdb.page import Page
from agentdb.repository import Repository

_models: Final[Table] = AIModel.__table__  # type: ignore[assignment]
_providers: Final[Table] = Provider.__table__  # type: ignore[assignment]

_BY_KEY: Final = Plan[AIModel](
    select(AIModel).where(AIModel.key == bindparam("key")), name="models.by_key", rows=AIModel, point=True
)
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
    .where(_models.c.id == bindparam("model_id"), _models.c.is_custom == of(_models.c.is_custom, "custom"))
    .values({key: of(_models.c[key], f"new_{key}") for key in _LISTED})
    .returning(_models.c.id),
    name="models.import: change",
)


class Models(Repository[AIModel]):
    """The models, what they can do, and what they cost in dollars per million tokens."""

    model = AIModel

    async def by_key(self, key: str) -> AIModel | None:
        """Return the model with this key, or None.

        Cost: one read by uq_models__key.
        """
        return await self.connection.fetch_one(_BY_KEY, {"key": key})

    async def list(
        self,
        *,
        type: ModelType | str | None = None,  # noqa: A002 (the column's name)
        provider_id: int | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[AIModel]:
        """Return models by key: all, or those of one type or provider.

        Cost: one read by uq_models__key, which passes over the others.
        """
        asked = {"type": type, "provider_id": provider_id}
        criteria: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        return await self.page(by="key", limit=limit, after=after, **criteria)

    async def import_prices(self, rows: Iterable[Mapping[str, str | None]]) -> PriceReport:
        """Make models and their providers from a price list, and bring those that are there up to date: all or none.

        Importing the same list again changes nothing. Custom models stay as they are; so does of every model what a
        list does not say, such as whether it is active, built in or the default.

        Args: rows: text by column, as in `agentdb.catalog.prices.COLUMNS`; prices are dollars per token.
        Raises: BadInput naming the model; Conflict when another import makes the same models at this moment.
        Cost: one transaction: two reads, one insert for every 512 new models (on SQLite each), one update for each
            model that differs.
        """
        models = [_listed(place, row) for place, row in enumerate(rows)]
        key, times = Counter(model.key for model in models).most_common(1)[0] if models else ("", 0)
        if times > 1:
            raise BadInput(f"the price list has {key!r} {times} times; leave one")
        return await self.connection.run(lambda: _import(models))


def _listed(place: int, row: Mapping[str, str | None]) -> ListedModel:
    try:
        return listed(row)
    except BadInput as error:
        raise BadInput(f"{error} (row {place} of the call)") from None


def _import(models: Sequence[ListedModel]) -> Script[PriceReport]:
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
