"""Models within a transaction: the default of a type, and models an installation has made its own."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from sqlalchemy import Table, and_, or_, select, true, update

from agentdb.catalog.models import AIModel, ModelType, Provider
from agentdb.criteria import delete_plan, update_plan
from agentdb.engine.advisory import turn_taken
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, every, one
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MoneyType
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import BadInput, InvalidTransition, NotFound

_models: Final[Table] = AIModel.__table__  # type: ignore[assignment]
_providers: Final[Table] = Provider.__table__  # type: ignore[assignment]

# What a model is, apart from what it is to this installation.
CONTENT: Final = (
    "provider_id",
    "name",
    "version_name",
    "type",
    "description",
    "max_context",
    "max_output",
    "max_reasoning",
    "price_input",
    "price_output",
    "price_cache_read",
    "price_cache_write",
    "pricing",
    "capabilities",
    "default_parameters",
    "meta",
    "rate_limit_per_minute",
    "rate_limit_per_hour",
    "rate_limit_per_day",
)
_OBJECTS: Final = ("pricing", "capabilities", "default_parameters", "meta")

# One after another: of two that make defaults, the second sees what the first has made.
_TURN: Final = Plan[None](turn_taken("the default model of a type"), name="models.set_default: turn")
_TYPE: Final = Plan[ModelType](
    select(_models.c.type).where(_models.c.id == of(_models.c.id, "model_id")), name="models.set_default: type"
)
# The model and the default it takes the place of: locked by rising ids, as an import changes them.
_LOCKED: Final = Plan[AIModel](
    select(AIModel)
    .where(
        or_(
            _models.c.id == of(_models.c.id, "model_id"),
            and_(_models.c.is_default == true(), _models.c.type == of(_models.c.type)),
        )
    )
    .order_by(AIModel.id)
    .with_for_update(),
    name="models.set_default: locked",
    rows=AIModel,
)
_MARK: Final = Plan[AIModel](
    update(_models)
    .where(_models.c.id == of(_models.c.id, "model_id"))
    .values(is_default=of(_models.c.is_default, "default"))
    .returning(_models),
    name="models.set_default",
    rows=AIModel,
)
_BY_KEY: Final = Plan[AIModel](
    select(AIModel).where(AIModel.key == of(_models.c.key)).with_for_update(),
    name="models.custom: locked",
    rows=AIModel,
)
_PROVIDER: Final = Plan[int](
    select(_providers.c.id).where(_providers.c.id == of(_providers.c.id, "provider_id")).with_for_update(read=True),
    name="models.remove_custom: provider",
)


def defaulted(model_id: int) -> Script[AIModel]:
    """Within a script: make a model the default of its type, in place of the one that is."""
    yield from count(_TURN)
    model: AIModel | None = None
    while model is None:
        kind = yield from one(_TYPE, model_id=model_id)
        if kind is None:
            raise NotFound(f"models has no row {model_id}")
        rows = {row.id: row for row in (yield from every(_LOCKED, model_id=model_id, type=kind))}
        # Its type may have changed before it was locked: then the default of the other type is looked for.
        model = rows[model_id] if model_id in rows and rows[model_id].type is kind else None
    if not model.is_active:
        raise InvalidTransition(f"model {model.key} is not active, and no default; activate it first")
    for row in rows.values():
        if row.id != model_id:
            yield from count(_MARK, model_id=row.id, default=False)
    stored = model if model.is_default else (yield from one(_MARK, model_id=model_id, default=True))
    return _there(stored)


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a custom model is to be.

    Raises: BadInput for a column that is not its content, and for JSON that is no object.
    """
    for name, value in values.items():
        if name not in CONTENT:
            raise BadInput(f"{name} is not what a custom model is saved with; there are {', '.join(CONTENT)}")
        if name in _OBJECTS and not isinstance(value, Mapping):
            raise BadInput(f"models.{name} is an object, not {type(value).__name__}")
    return dict(values)


def saved(key: str, values: Mapping[str, Any]) -> Script[AIModel]:
    """Within a script: make a model custom with these values, or add it."""
    if "type" in values:
        yield from count(_TURN)
    stored: AIModel | None = None
    while stored is None:
        row: AIModel | None = yield from one(_BY_KEY, key=key)
        if row is None:
            # Another call may add it at this very moment: then nothing is inserted, and it is changed.
            new = {"name": key, "version_name": key, "type": ModelType.llm, **values, "key": key, "is_custom": True}
            stored = yield from one(insert_unless_there(AIModel, ("key",)), **new)
            continue
        changes = {**values, "is_custom": True}
        if row.is_builtin and not row.is_custom:
            changes["shipped"] = content_of(row)
        if values.get("type", row.type) != row.type:
            changes["is_default"] = False  # it was the other type's
        stored = yield from one(update_plan(AIModel, frozenset(changes), versioned=False), **changes, key_id=row.id)
    return stored


def removed(key: str) -> Script[AIModel | None]:
    """Within a script: remove a custom model, or make it what it was shipped as."""
    row: AIModel | None = yield from one(_BY_KEY, key=key)
    if row is None:
        raise NotFound(f"there is no model {key!r}")
    if not row.is_builtin:
        if not row.is_custom:
            raise InvalidTransition(f"model {key} is not custom; remove() removes it")
        yield from count(delete_plan(AIModel), id=row.id)
        return None
    changes = {**restored(row.shipped), "is_custom": False, "shipped": None}
    if changes.get("provider_id") is not None:
        changes["provider_id"] = yield from one(_PROVIDER, provider_id=changes["provider_id"])
    if changes.get("type", row.type) != row.type:
        changes["is_default"] = False
    stored = yield from one(update_plan(AIModel, frozenset(changes), versioned=False), **changes, key_id=row.id)
    return _there(stored)


def content_of(model: AIModel) -> dict[str, Any]:
    """Return what a model is as JSON; `restored` reads it back."""
    return plain({name: getattr(model, name) for name in CONTENT})


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns of a model as JSON values: amounts of money as text."""
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in values.items()}


def restored(shipped: Any) -> dict[str, Any]:
    """Return the columns that were kept as JSON; what is none of them, or no amount, is left out."""
    values: dict[str, Any] = {}
    for name, value in shipped.items() if isinstance(shipped, Mapping) else ():
        if name not in CONTENT:
            continue
        if isinstance(_models.c[name].type, MoneyType) and value is not None:
            try:
                values[name] = Decimal(value)
            except (InvalidOperation, TypeError, ValueError):
                continue
        else:
            values[name] = value
    return values


def _there(model: AIModel | None) -> AIModel:
    if model is None:
        raise NotFound("models: the row was not stored; a trigger or a rule took it away")
    return model
