"""The filters of a list: each parses what was typed for its column, and makes a condition of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from sqlalchemy import Table, Text, and_, cast, not_, or_
from sqlalchemy.sql import ColumnElement
from starlette_admin.fields import BaseField
from starlette_admin.filters import FilterGroup, FilterRegistry, FilterRule
from starlette_admin.filters.base import BaseFilter, FilterApplyContext, FilterDataType, FilterValidationError

from agentdb.studio.columns import seen
from agentdb.studio.fields import Choice, Dollars, Flag, Json, Line, Moment, Prose, Reference, Shown, Whole

Condition = Callable[[ColumnElement[Any], Any], ColumnElement[bool]]


def text_of(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return a column as text to search in."""
    return cast(column, Text())


class Filter(BaseFilter):
    """A condition on one column."""

    field: ClassVar[type[Shown]]
    condition: ClassVar[Condition]

    def parse_value(self, raw: Any) -> Any:
        """Return the value that was meant.

        Raises: FilterValidationError telling what was expected.
        """
        if isinstance(raw, list):
            return [self.parse_value(item) for item in raw]
        try:
            return self.field.read(self.field.__new__(self.field), str(raw))
        except ValueError as error:
            raise FilterValidationError(str(error)) from None

    def apply(self, ctx: FilterApplyContext) -> ColumnElement[bool]:
        """Return the condition; the column stands where others have a query."""
        return type(self).condition(ctx.query, ctx.value)


def _filter(
    name: str, label: str, field: type[Shown], data_type: FilterDataType, condition: Condition
) -> type[BaseFilter]:
    members = {
        "name": name,
        "label": label,
        "field": field,
        "data_type": data_type,
        "condition": staticmethod(condition),
    }
    return type(f"{field.__name__}_{name}", (Filter,), members)


_NULLS: Final[dict[str, tuple[str, Condition]]] = {
    "null": ("Is null", lambda column, _: column.is_(None)),
    "not_null": ("Is not null", lambda column, _: column.is_not(None)),
}
_EQUALS: Final[dict[str, tuple[str, Condition]]] = {
    "eq": ("Is", lambda column, value: column == value),
    "neq": ("Is not", lambda column, value: column.is_distinct_from(value)),
}
_ORDERED: Final[dict[str, tuple[str, Condition]]] = {
    "ge": ("At least", lambda column, value: column >= value),
    "lt": ("Less than", lambda column, value: column < value),
}
_TEXTS: Final[dict[str, tuple[str, Condition]]] = {
    "contains": ("Contains", lambda column, value: text_of(column).icontains(value, autoescape=True)),
    "lacks": ("Does not contain", lambda column, value: not_(text_of(column).icontains(value, autoescape=True))),
    "begins": ("Begins with", lambda column, value: text_of(column).istartswith(value, autoescape=True)),
}
_MOMENTS: Final[dict[str, tuple[str, Condition]]] = {
    "ge": ("From", lambda column, value: column >= value),
    "lt": ("Before", lambda column, value: column < value),
}
_FLAGS: Final[dict[str, tuple[str, Condition]]] = {
    "true": ("Is true", lambda column, _: column == True),  # noqa: E712 (SQLAlchemy's)
    "false": ("Is false", lambda column, _: column == False),  # noqa: E712 (SQLAlchemy's)
}


def _of(
    field: type[Shown], data_type: FilterDataType, *kinds: dict[str, tuple[str, Condition]]
) -> list[type[BaseFilter]]:
    asking = [
        _filter(name, label, field, data_type, condition) for kind in kinds for name, (label, condition) in kind.items()
    ]
    return asking + [
        _filter(name, label, field, FilterDataType.NONE, condition) for name, (label, condition) in _NULLS.items()
    ]


_FILTERS: Final[Mapping[type[Any], list[type[BaseFilter]]]] = {
    Line: _of(Line, FilterDataType.STRING, _TEXTS, _EQUALS),
    Prose: _of(Prose, FilterDataType.STRING, _TEXTS),
    Json: _of(Json, FilterDataType.NONE),
    Choice: _of(Choice, FilterDataType.ENUM, _EQUALS),
    Whole: _of(Whole, FilterDataType.NUMBER, _EQUALS, _ORDERED),
    Reference: _of(Reference, FilterDataType.NUMBER, _EQUALS),
    Dollars: _of(Dollars, FilterDataType.NUMBER, _EQUALS, _ORDERED),
    Moment: _of(Moment, FilterDataType.DATETIME, _MOMENTS),
    Flag: _of(Flag, FilterDataType.NONE, _FLAGS),
}


class Filters(FilterRegistry):
    """Which filters a field has."""

    def filters_for(self, field: BaseField) -> list[type[BaseFilter]]:
        """Return the filters of a field's kind."""
        return _FILTERS[type(field)]


def condition_of(group: FilterGroup, table: Table, fields: Mapping[str, BaseField]) -> ColumnElement[bool] | None:
    """Return the condition that a tree of filters makes, or None when it is empty."""
    registry = Filters()

    def condition(rule: FilterGroup | FilterRule) -> ColumnElement[bool] | None:
        if isinstance(rule, FilterGroup):
            parts = [part for part in map(condition, rule.rules) if part is not None]
            return (or_ if rule.logic == "or" else and_)(*parts) if parts else None
        found = registry.get_filter(fields[rule.field], rule.filter)
        if found is None:
            return None
        column = seen(table.c[rule.field])
        made: ColumnElement[bool] = found().apply(FilterApplyContext(column, rule.field, rule.value))
        return made

    return condition(group)
