"""How a column is shown and edited: one field for each word of the vocabulary.

What a form sends is compared as text with what it was given, so that saving a form changes only what was typed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Column, Table
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette_admin import RequestAction
from starlette_admin.fields import BaseField, BooleanField, EnumField, IntegerField, StringField, TextAreaField

from agentdb import jsons
from agentdb.engine.quantities import MomentType, MoneyType, WholeType
from agentdb.engine.spelling import KEY, ChoiceType, FlagType, JsonType, TextType, UuidType
from agentdb.errors import BadInput
from agentdb.studio import columns

_SHORT: Final = 255  # characters that fit an input of one line
CUT: Final = 300  # characters of a text that a list shows


if TYPE_CHECKING:
    _Field = BaseField
else:
    _Field = object  # were it a dataclass, its defaults would replace those of the field it is mixed into


class Shown(_Field):
    """A value of a row: ``text`` is what a form holds of it, ``read`` makes the value of that again.

    Mixed in before a field of the framework.
    """

    nullable: bool = True

    async def parse_obj(self, request: Request, obj: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """Return the value."""
        return obj.get(self.name)

    async def serialize_value(self, request: Request, value: Any) -> Any:
        """Return it as the page has it."""
        return self.text(value) if request.state.action.is_form() else self.shown(value)

    async def parse_form_data(self, request: Request, form_data: FormData) -> Any:  # noqa: ARG002
        """Return what was typed, with the ends of lines as they are stored: browsers send their own."""
        return str(form_data.get(self.id) or "").replace("\r\n", "\n")

    def shown(self, value: Any) -> Any:
        """Return what is shown of a value that is not null."""
        return str(value)

    def text(self, value: Any) -> str:
        """Return what a form holds of a value that is not null."""
        return str(value)

    def read(self, text: str) -> Any:
        """Return the value that a text means.

        Raises: ValueError telling what was expected.
        """
        return text

    def before(self, value: Any) -> str:
        """Return what a form sends back of a value that nobody touched."""
        return "" if value is None else self.text(value).replace("\r\n", "\n")

    def after(self, text: str) -> Any:
        """Return the value of what was typed: nothing is null where a column may be null.

        Raises: ValueError telling what was expected.
        """
        return None if text == "" and self.nullable else self.read(text)


@dataclass
class Line(Shown, StringField):
    """A short text."""

    def before(self, value: Any) -> str:
        """Return it as an input of one line sends it: without the ends of lines."""
        return super().before(value).replace("\n", "").replace("\r", "")


@dataclass
class Prose(Shown, TextAreaField):
    """A text of any length; its area grows with it, and a list shows its beginning."""

    rows: int = 1

    async def serialize_value(self, request: Request, value: Any) -> Any:
        """Return it as the page has it."""
        whole = await super().serialize_value(request, value)
        if request.state.action is not RequestAction.LIST or len(whole) <= CUT:
            return whole
        return f"{whole[:CUT]}…"


@dataclass
class Json(Prose):
    """A JSON value."""

    class_: str = "field-textarea form-control font-monospace"
    detail_template: str = "studio/fields/json.html"

    def shown(self, value: Any) -> Any:
        """Return it over several lines."""
        return _spread(value)

    def text(self, value: Any) -> str:
        """Return it over several lines."""
        return _spread(value)

    def read(self, text: str) -> Any:
        """Return the JSON value."""
        try:
            return jsons.decode(text)
        except (BadInput, ValueError):
            raise ValueError("this is not JSON: check its quotes, commas and brackets") from None


@dataclass
class Whole(Shown, IntegerField):
    """A whole number."""

    def read(self, text: str) -> int:
        """Return the number."""
        return whole_of(text)


@dataclass
class Reference(Whole):
    """The key of another row: a link to it."""

    list_template: str = "studio/fields/reference.html"
    detail_template: str = "studio/fields/reference.html"
    target: str = ""


@dataclass
class Dollars(Shown, StringField):
    """An amount of dollars."""

    def shown(self, value: Decimal) -> str:
        """Return it with its sign, to the cent or as fine as it is."""
        whole, _, places = f"{value:f}".partition(".")
        return f"${whole}.{places.rstrip('0'):0<2}"

    def text(self, value: Decimal) -> str:
        """Return all of it."""
        return f"{value:f}"

    def read(self, text: str) -> Decimal:
        """Return the amount."""
        try:
            return Decimal(text)
        except InvalidOperation:
            raise ValueError("an amount of dollars is expected, such as 0.25") from None


@dataclass
class Moment(Shown, StringField):
    """An instant, in UTC."""

    placeholder: str | None = "2026-03-09 12:00:00+00:00"

    def shown(self, value: datetime) -> str:
        """Return it to the second."""
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"

    def text(self, value: datetime) -> str:
        """Return it to the microsecond."""
        return value.isoformat(sep=" ")

    def read(self, text: str) -> datetime:
        """Return the instant; without a time zone it is UTC."""
        return moment_of(text)


@dataclass
class Choice(Shown, EnumField):
    """One of a few words."""


@dataclass
class Flag(Shown, BooleanField):
    """True or false."""

    async def parse_form_data(self, request: Request, form_data: FormData) -> Any:
        """Return whether it was ticked."""
        return await BooleanField.parse_form_data(self, request, form_data)

    def shown(self, value: Any) -> bool:
        """Return it."""
        return bool(value)

    def text(self, value: Any) -> Any:
        """Return it."""
        return bool(value)

    def before(self, value: Any) -> Any:
        """Return it."""
        return bool(value)

    def after(self, text: Any) -> bool:
        """Return it."""
        return bool(text)


def whole_of(text: str) -> int:
    """Return the number that a text means.

    Raises: ValueError telling what was expected.
    """
    try:
        number = int(text)
    except ValueError:
        raise ValueError("a whole number is expected") from None
    if not -(2**63) <= number < 2**63:
        raise ValueError("a whole number of at most 64 bits is expected")
    return number


def moment_of(text: str) -> datetime:
    """Return the instant that a text means; without a time zone it is UTC.

    Raises: ValueError telling what was expected.
    """
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
    except ValueError:
        raise ValueError("a moment is expected, such as 2026-03-09 12:00:00") from None
    return moment if moment.utcoffset() is not None else moment.replace(tzinfo=UTC)


def _spread(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def fields_of(table: Table, *, editing: bool) -> list[Shown]:
    """Return the fields of a table's columns.

    Args: editing: whether those that may be edited are.
    """
    changing = {column.key for column in columns.editable(table)} if editing else set()
    return [_field(column, fixed=column.key not in changing) for column in columns.shown(table)]


def _field(column: Column[Any], *, fixed: bool) -> Shown:
    given: dict[str, Any] = {"label": column.key, "exclude_from_create": True, "exclude_from_edit": fixed}
    field = _of_type(column, given)
    field.nullable = bool(column.nullable)
    return field


def _of_type(column: Column[Any], given: dict[str, Any]) -> Shown:
    name, kind = column.key, column.type
    match kind:
        case WholeType() if column.foreign_keys:
            (key,) = column.foreign_keys
            field: Shown = Reference(name, target=key.target_fullname.partition(".")[0], **given)
        case ChoiceType():
            words = [(str(word), str(word)) for word in kind.enum]
            field = Choice(name, choices=words, required=not column.nullable, **given)
        case TextType() if kind.length is None or kind.length > _SHORT:
            field = Prose(name, **given)
        case TextType():
            field = Line(name, maxlength=kind.length, **given)
        case JsonType():
            field = Json(name, exclude_from_list=True, **given)
        case UuidType():
            field = Line(name, exclude_from_list=True, **given)  # the search finds it
        case _:
            field = _PLAIN.get(type(kind), Line)(name, **given)
    return field


_PLAIN: Final[Mapping[type[Any], type[Any]]] = {
    type(KEY): Whole,
    WholeType: Whole,
    FlagType: Flag,
    MoneyType: Dollars,
    MomentType: Moment,
}
