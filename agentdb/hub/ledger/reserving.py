"""How money is set aside: many wishes under one lock, each granted or refused as if it were alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Table, select

from agentdb.engine.connection import Script, Shared, each, every, one
from agentdb.engine.functions import among
from agentdb.engine.locking import writing_begins
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_once, insert_one
from agentdb.errors import AgentDBError, BudgetExceeded, Conflict
from agentdb.hub.ledger.applied import Applied, Counted, locked
from agentdb.hub.ledger.standing import dollars, whose
from agentdb.hub.models.spending import CostReservation

_reservations: Final[Table] = CostReservation.__table__  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks to set aside."""

    user_id: int
    amount: Decimal
    request_id: str | None
    expires_at: datetime


# Before limits are read: one that is being made is waited for, and seen. Later would be too late for it to hold this.
_BEGINS: Final = Plan[None](writing_begins(_reservations), name="reservations.reserve: begins")
_BY_REQUESTS: Final = Plan[CostReservation](
    select(CostReservation).where(among(_reservations.c.request_id, "requests")),
    name="reservations.by_requests",
    rows=CostReservation,
)


def _reserve(wishes: Sequence[Wish], now: datetime) -> Script[list[CostReservation | AgentDBError]]:
    """Grant each wish that leaves every limit room, in their order."""
    yield from one(_BEGINS)
    counted = yield from locked((wish.user_id for wish in wishes), now)
    known = yield from _known(wishes)
    granted: dict[int, Sequence[Applied]] = {}
    refused: dict[int, BudgetExceeded] = {}
    promised: set[str | None] = {None}
    for place, wish in enumerate(wishes):
        if wish.request_id in known or (wish.request_id is not None and wish.request_id in promised):
            continue
        limits = counted.binding(wish.user_id)
        full = next((limit for limit in limits if limit.room < wish.amount), None)
        if full is not None:
            refused[place] = _no_room(full, wish)
            continue
        counted.reserve(limits, wish.amount)
        granted[place] = limits
        promised.add(wish.request_id)
    made = yield from _store(wishes, granted, counted)
    yield from counted.keep()
    known |= {row.request_id: row for row in made.values() if row.request_id is not None}
    if any(wish.request_id is not None and wish.request_id not in known for wish in wishes):
        known |= yield from _known(wishes)  # somebody else reserved under the same request at this very moment
    answers: list[CostReservation | AgentDBError] = []
    for place, wish in enumerate(wishes):
        own = refused.get(place, made.get(place))
        answers.append(own if own is not None else _there(known.get(wish.request_id), wish))
    return answers


def _known(wishes: Sequence[Wish]) -> Script[dict[str | None, CostReservation]]:
    named = sorted({wish.request_id for wish in wishes if wish.request_id is not None})
    rows = (yield from every(_BY_REQUESTS, requests=named)) if named else []
    return {row.request_id: row for row in rows}


def _store(
    wishes: Sequence[Wish], granted: Mapping[int, Sequence[Applied]], counted: Counted
) -> Script[dict[int, CostReservation]]:
    """Store the reservations that were granted, each with the limits it counts in."""
    made: dict[int, CostReservation] = {}
    for plan, places in (
        (insert_one(CostReservation), [place for place in granted if wishes[place].request_id is None]),
        (
            insert_once(CostReservation, "request_id"),
            [place for place in granted if wishes[place].request_id is not None],
        ),
    ):
        rows = yield from each(plan, [_columns(wishes[place], granted[place]) for place in places])
        for place, row in zip(places, rows, strict=True):
            if row is not None:
                made[place] = row
            else:  # somebody else was first with this request
                counted.reserve(granted[place], -wishes[place].amount)
    return made


def _columns(wish: Wish, limits: Sequence[Applied]) -> dict[str, Any]:
    return {
        "user_id": wish.user_id,
        "amount": wish.amount,
        "request_id": wish.request_id,
        "expires_at": wish.expires_at,
        "limit_ids": [limit.id for limit in limits],
    }


def _there(reservation: CostReservation | None, wish: Wish) -> CostReservation | AgentDBError:
    if reservation is not None and reservation.user_id == wish.user_id and reservation.amount == wish.amount:
        if reservation.settled_at is None or reservation.cost_id is not None:
            return reservation
        return Conflict(
            f"reservation {reservation.id} of request {wish.request_id!r} was given back; use a new id",
            constraint="uq_cost_reservations__request_id",
        )
    return Conflict(
        f"something else was reserved under request {wish.request_id!r}; use a new id",
        constraint="uq_cost_reservations__request_id",
    )


def _no_room(limit: Applied, wish: Wish) -> BudgetExceeded:
    until = f"; its window ends at {limit.window_ends_at:%Y-%m-%d %H:%M} UTC" if limit.window_ends_at else ""
    return BudgetExceeded(
        f"spend limit {limit.id} of {whose(limit)} leaves ${dollars(limit.room)} of ${dollars(limit.amount)},"
        f" not ${dollars(wish.amount)}: ${dollars(limit.spent)} are spent, ${dollars(limit.reserved)} reserved{until}",
        user_id=limit.user_id,
    )


RESERVE: Final = Shared[Wish, CostReservation]("reservations.reserve", _reserve, locks="limits")
