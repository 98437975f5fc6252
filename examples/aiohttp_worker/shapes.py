"""What runners send, checked as it is decoded."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct, structs

from agentdb.errors import BadInput
from agentdb.models import CostSource, LogRole, LogSource, LogType

T = TypeVar("T", bound=Struct)

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Tokens = Annotated[int, Meta(ge=0, le=10**12)]


class Registration(Struct, forbid_unknown_fields=True):
    """A runner that introduces its machine."""

    name: Name
    machine_id: Name | None = None
    version: Name | None = None


class Beginning(Struct, forbid_unknown_fields=True):
    """A run that begins."""

    username: Name
    model: Name
    host_id: int


class Address(Struct, forbid_unknown_fields=True):
    """Where a user is written to."""

    email: Name


class Line(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a run said or saw."""

    role: LogRole
    message: str
    source: LogSource | None = None
    type: LogType | None = None


class Charge(Struct, forbid_unknown_fields=True):
    """What a call of a model cost, in US dollars; told twice under one request id, it is charged once."""

    model: Name
    cost: Decimal
    source: CostSource = CostSource.console
    request_id: Name | None = None
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    agent_id: int | None = None


class Progress(Struct, forbid_unknown_fields=True):
    """What happened in a run since it was last told: all of it is kept, or nothing."""

    lines: list[Line] = []
    charges: list[Charge] = []


async def told(request: web.Request, shape: type[T]) -> T:
    """Return what the request tells.

    Raises: BadInput naming the field.
    """
    try:
        return msgspec.json.decode(await request.read(), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"the request is not a {shape.__name__}: {error}") from None


def number(request: web.Request, name: str) -> int:
    """Return a number of the request's path."""
    return int(request.match_info[name])


def columns(told: Struct) -> dict[str, Any]:
    """Return the fields that were told, as columns."""
    return {name: value for name, value in structs.asdict(told).items() if value is not None}


def dollars(amount: Decimal) -> str:
    """Return an amount as JSON carries it: no float, and no exponent, as str() would write for small ones."""
    return f"{amount:f}"


def answer(shown: Any, status: int = 200) -> web.Response:
    """Return rows, records and what is made of them as JSON."""
    return web.Response(body=msgspec.json.encode(shown), status=status, content_type="application/json")
