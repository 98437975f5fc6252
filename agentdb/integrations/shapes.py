"""What an interface shows of rows and lists: pydantic models, made from the tables and never with a secret.

class UserShown(Shown, of=User, shows=("id", "username", "email", "created_at")):
    \"\"\"A person.\"\"\"

UserShown.model_validate(await db.supervisor.users.get(7))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Generic, Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from sqlalchemy import Column, inspect
from sqlalchemy.orm import ColumnProperty

from agentdb.base import Entity
from agentdb.engine.blobs import SecretType
from agentdb.engine.spelling import ChoiceType, DigestType, TextType
from agentdb.page import Page

R = TypeVar("R")
T = TypeVar("T")

_PLAIN: Final = frozenset({bool, datetime, float, int, str, UUID})

# Written without an exponent: str(Decimal("0.000000250")) is "2.50E-7".
Dollars = Annotated[
    Decimal,
    Field(ge=0, max_digits=18, decimal_places=9, examples=["0.0125"]),
    PlainSerializer(lambda dollars: f"{dollars:f}", return_type=str, when_used="json"),
]
"""US dollars, to nine places: text in JSON, since a float would round them."""

Signed = Annotated[
    Decimal,
    PlainSerializer(lambda dollars: f"{dollars:f}", return_type=str, when_used="json"),
]
"""US dollars that may be less than nothing, as a sum with corrections in it is."""


class Shown(BaseModel):
    """Something made from a row or a record, which `model_validate` reads by its attributes.

    Args:
        of: the table whose columns it shows; their types are its fields'.
        shows: which columns, by name. What is not named is not shown, a column of tomorrow neither.

    Raises: TypeError when the class is made, for a column that is not there, or that holds a secret or its digest.
    """

    model_config = ConfigDict(from_attributes=True)

    def __init_subclass__(cls, *, of: type[Entity] | None = None, shows: Iterable[str] = (), **options: Any) -> None:
        super().__init_subclass__(**options)
        if of is not None:
            # Before pydantic collects the fields: it reads the annotations once the class is there.
            own = dict(cls.__annotations__)
            cls.__annotations__ = {name: _field(of, name) for name in shows if name not in own} | own


def _field(model: type[Entity], name: str) -> Any:
    """Return the type of the field that shows a column."""
    found = {attribute.columns[0].name: attribute for attribute in inspect(model).column_attrs}
    if name not in found:
        raise TypeError(f"{model.__name__} has no column {name}; expected one of {', '.join(found)}")
    column = _shown(model, found[name])
    kind = _python(column)
    if column.nullable:
        kind |= None
    key = found[name].key
    return kind if key == name else Annotated[kind, Field(validation_alias=key)]


def _shown(model: type[Entity], attribute: ColumnProperty[Any]) -> Column[Any]:
    column = attribute.columns[0]
    if not isinstance(column, Column) or isinstance(column.type, SecretType | DigestType) or "hash" in column.name:
        raise TypeError(f"{model.__name__}.{attribute.key} holds a secret or its digest; it is not shown")
    return column


def _python(column: Column[Any]) -> Any:
    if isinstance(column.type, ChoiceType):
        return column.type.enum
    if isinstance(column.type, TextType):
        return str
    try:
        kind = column.type.python_type
    except NotImplementedError:
        return Any
    if kind is Decimal:
        return Signed
    return kind if kind in _PLAIN else Any


class PageShown(BaseModel, Generic[T]):
    """Some of a list."""

    items: list[T]
    next: str | None = Field(description="Pass it as `after` for the items that follow; null: there are none.")
    next_url: str | None = Field(
        description="Where the items that follow are, from this server's root; null: there are none.",
        examples=["/things?limit=20&after=WzEsMl0"],
    )

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """Return what an OpenAPI document calls a page of something: ``UserShownPage``."""
        return f"{params[0].__name__}Page"

    @classmethod
    def made(cls, page: Page[R], show: Callable[[R], T], url: str) -> Self:
        """Return a page as it is shown.

        Args:
            page: of rows or records.
            show: makes an item of one, as the ``model_validate`` of its shape does.
            url: the address that was asked, with its query.
        """
        return cls(items=[show(item) for item in page.items], next=page.next, next_url=next_url(page, url))


def next_url(page: Page[Any], url: str) -> str | None:
    """Return where the next page is: the path and query that were asked, with its cursor; None: there is none."""
    if page.next is None:
        return None
    asked = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(asked.query, keep_blank_values=True) if name != "after"]
    return f"{asked.path}?{urlencode([*query, ('after', page.next)])}"
