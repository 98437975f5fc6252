"""Models: found by key and by what they can do, the default of each type, and what their tokens cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, bindparam, select, true

from agentdb.catalog import customs
from agentdb.catalog.models import AIModel, ModelType
from agentdb.catalog.price_lists import imported
from agentdb.catalog.prices import ListedModel, cost_of, listed
from agentdb.catalog.records import PriceReport
from agentdb.criteria import beyond
from agentdb.engine.asked import several, texts
from agentdb.engine.columns import of
from agentdb.engine.flags import all_true
from agentdb.engine.plan import Plan
from agentdb.errors import BadInput, NotFound, brief
from agentdb.page import Page, values_of
from agentdb.repository import Repository, capped, page_of

_models: Final[Table] = AIModel.__table__  # type: ignore[assignment]

_BY_KEY: Final = Plan[AIModel](
    select(AIModel).where(AIModel.key == bindparam("key")), name="models.by_key", rows=AIModel, point=True
)
_DEFAULT: Final = Plan[AIModel](
    # The flag alone, in the words of the partial index.
    select(AIModel).where(AIModel.type == of(_models.c.type), AIModel.is_default, AIModel.is_active == true()),
    name="models.default",
    rows=AIModel,
)
_FILTERS: Final = ("type", "provider_id", "is_active", "is_custom")


@cache
def _list_plan(filters: frozenset[str], *, capable: bool, after: bool) -> Plan[AIModel]:
    statement = select(AIModel).where(*(_models.c[name] == of(_models.c[name]) for name in sorted(filters)))
    if capable:
        statement = statement.where(all_true(_models.c.capabilities, "capabilities"))
    if after:
        statement = statement.where(beyond([_models.c.key], newest_first=False))
    return Plan(statement.order_by(_models.c.key).limit(bindparam("limit")), name="models.list", rows=AIModel)


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
        is_active: bool | None = None,
        is_custom: bool | None = None,
        capabilities: Iterable[str] = (),
        limit: int = 50,
        after: str | None = None,
    ) -> Page[AIModel]:
        """Return models by key: all, or those of one type or provider, those that are active, or that can do something.

        What stands in a model's JSON is the installation's own, and never in the way of a list.

        Args:
            type: of this type only.
            provider_id: of this provider only.
            is_active: those only that are, or are not.
            is_custom: likewise.
            capabilities: names that are all true in a model's ``capabilities``.
            limit: how many.
            after: the ``next`` of the page before.

        Cost: one read by uq_models__key, which passes over the others.
        """
        limit, wanted = capped(limit, self.most), _words(capabilities)
        asked = (type, provider_id, is_active, is_custom)
        criteria = {name: value for name, value in zip(_FILTERS, asked, strict=True) if value is not None}
        listing = f"models.list:{sorted((name, brief(value)) for name, value in criteria.items())}:{wanted}"
        values: dict[str, Any] = {**criteria, "limit": limit + 1}
        if wanted:
            values["capabilities"] = wanted
        if after is not None:
            (values["after_0"],) = values_of(listing, after, [_models.c.key])
        plan = _list_plan(frozenset(criteria), capable=bool(wanted), after=after is not None)
        return page_of(await self.connection.fetch_all(plan, values), limit, listing, ["key"])

    async def default(self, type: ModelType | str = ModelType.llm) -> AIModel | None:  # noqa: A002
        """Return the default model of a type, or None while there is none that is active.

        Cost: one read by uq_models__type.
        """
        return await self.connection.fetch_one(_DEFAULT, {"type": type})

    async def set_default(self, model_id: int) -> AIModel:
        """Make a model the default of its type, in place of the one that is, and return it; of many at once, one is.

        Raises: NotFound; InvalidTransition for one that is not active.
        Cost: one transaction of up to five statements.
        """
        return await self.connection.run(lambda: customs.defaulted(model_id))

    async def price_of(
        self,
        key: str,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        units: Mapping[str, int | Decimal] | None = None,
    ) -> Decimal:
        """Return what a call of a model costs, in US dollars: rounded once, half to even, to nine places.

        Args: as of `agentdb.catalog.prices.cost_of`, which is for whoever has the model already.
        Raises: NotFound; BadInput.
        Cost: one read by uq_models__key.
        """
        model = await self.by_key(key)
        if model is None:
            raise NotFound(f"there is no model {key!r}")
        return cost_of(model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, units)

    async def save_custom(self, key: str, **values: Any) -> AIModel:
        """Make a model the installation's own: change the one with this key, or add it; return it.

        No seed and no price list changes it from then on. A built-in one stays built in, and `remove_custom` makes it
        what it was again.

        Args: values: columns of `agentdb.catalog.customs.CONTENT`; those that are not given stay as they are.
        Raises: BadInput for any other column, or JSON that is no object; MissingReference for an unknown provider.
        Cost: one transaction of two or three statements.
        """
        given = customs.checked(values)
        return await self.connection.run(lambda: customs.saved(key, given))

    async def remove_custom(self, key: str) -> AIModel | None:
        """Remove a custom model; a built-in one becomes what it was shipped as, and is returned.

        Agents that had the model that is gone have none.

        Raises: NotFound; InvalidTransition for one that is neither custom nor built in.
        Cost: one transaction of two or three statements.
        """
        return await self.connection.run(lambda: customs.removed(key))

    async def import_prices(self, rows: Iterable[Mapping[str, str | None]]) -> PriceReport:
        """Make models and their providers from a price list, and bring those that are there up to date: all or none.

        Importing the same list again changes nothing. Custom models stay as they are; so does of every model what a
        list does not say, such as whether it is active, built in or the default.

        Args: rows: text by column, as in `agentdb.catalog.prices.COLUMNS`; prices are dollars per token.
        Raises: BadInput naming the model; Conflict when another import makes the same models at this moment.
        Cost: one transaction: two reads, one insert for every 512 new models (on SQLite each), one update for each
            model that differs.
        """
        models = [_listed(place, row) for place, row in enumerate(several(rows, "rows"))]
        key, times = Counter(model.key for model in models).most_common(1)[0] if models else ("", 0)
        if times > 1:
            raise BadInput(f"the price list has {key!r} {times} times; leave one")
        return await self.connection.run(lambda: imported(models))


def _words(names: Iterable[str]) -> Sequence[str]:
    return sorted(set(texts(names, "capabilities")))


def _listed(place: int, row: Mapping[str, str | None]) -> ListedModel:
    try:
        return listed(row)
    except BadInput as error:
        raise BadInput(f"{error} (row {place} of the call)") from None
