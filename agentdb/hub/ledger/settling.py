"""How money that was set aside is spent, or given back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Table, bindparam, select, update

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, Shared, each, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan, Together
from agentdb.engine.quantities import MomentType, WholeType
from agentdb.engine.statements import given_arrays
from agentdb.errors import AgentDBError, InvalidTransition, NotFound
from agentdb.hub.ledger.applied import locked
from agentdb.hub.ledger.charging import Charged, charge
from agentdb.hub.ledger.standing import Standing, standing_of
from agentdb.hub.models.spending import Cost, CostReservation

_costs: Final[Table] = Cost.__table__  # type: ignore[assignment]
_reservations: Final[Table] = CostReservation.__table__  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a reservation became: a row of the ledger, and the limits that it has taken beyond their amount."""

    cost: Cost
    beyond: Sequence[Standing]


@dataclass(frozen=True, slots=True)
class Bill:
    """What a call cost that was reserved for."""

    reservation_id: int
    entry: Mapping[str, Any]


_LOCKED: Final = Plan[CostReservation](
    select(CostReservation)
    .where(among(_reservations.c.id, "ids"))
    .order_by(_reservations.c.id)
    .with_for_update(key_share=True),
    name="reservations.locked",
    rows=CostReservation,
)
# Whoever is settling one of these at this moment keeps it: it is passed by.
_OVERDUE: Final = Plan[CostReservation](
    select(CostReservation)
    .where(_reservations.c.settled_at.is_(None), _reservations.c.expires_at <= of(_reservations.c.expires_at, "now"))
    .order_by(_reservations.c.expires_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True, key_share=True),
    name="reservations.overdue",
    rows=CostReservation,
)
_COSTS: Final = Plan[Cost](select(Cost).where(among(_costs.c.id, "ids")), name="reservations.costs", rows=Cost)


def _close_plan() -> Plan[int]:
    """Mark reservations as settled, or given back: locked before, by whoever closes them."""
    now = of(_reservations.c.updated_at, "now")
    single = (
        update(_reservations)
        .where(_reservations.c.id == bindparam("reservation_id", type_=WholeType()))
        .values(settled_at=now, cost_id=of(_reservations.c.cost_id, "new_cost_id"), updated_at=now)
        .returning(_reservations.c.id)
    )
    given = given_arrays(now=MomentType(), new_cost_id=WholeType(), reservation_id=WholeType())
    together = (
        update(_reservations)
        .where(_reservations.c.id == given.c.reservation_id)
        .values(settled_at=given.c.now, cost_id=given.c.new_cost_id, updated_at=given.c.now)
        .returning(_reservations.c.id, given.c.ordinal)
    )
    return Plan(single, name="reservations.close", together=Together(together))


_CLOSE: Final = _close_plan()


def _settle(bills: Sequence[Bill], now: datetime) -> Script[list[Settlement | AgentDBError]]:
    """Charge what calls cost, and give back what was set aside for them."""
    rows = yield from every(_LOCKED, ids=sorted({bill.reservation_id for bill in bills}))
    reservations = {row.id: row for row in rows}
    # Of several bills for one reservation the first is charged.
    due = {bill.reservation_id: bill for bill in reversed(bills) if _is_due(reservations.get(bill.reservation_id))}
    entries = [_entry(reservations[id_], bill) for id_, bill in due.items()]
    charged = yield from charge(entries, now, _returns(reservations[id_] for id_ in due))
    outcome = {id_: _charged(answer) for id_, answer in zip(due, charged, strict=True)}
    yield from _close(((id_, answer.cost.id) for id_, answer in outcome.items()), now)
    return (yield from _settlements(bills, reservations, outcome))


def _is_due(reservation: CostReservation | None) -> bool:
    return reservation is not None and reservation.cost_id is None


def _entry(reservation: CostReservation, bill: Bill) -> Mapping[str, Any]:
    return {"request_id": reservation.request_id, **bill.entry, "user_id": reservation.user_id}


def _charged(answer: Charged | AgentDBError) -> Charged:
    # One that cannot be charged gives nothing back either: raised, it undoes the batch, and each is settled alone.
    if isinstance(answer, AgentDBError):
        raise answer
    return answer


def _settlements(
    bills: Sequence[Bill], reservations: Mapping[int, CostReservation], outcome: Mapping[int, Charged]
) -> Script[list[Settlement | AgentDBError]]:
    before = {bill.reservation_id for bill in bills if bill.reservation_id not in outcome}
    settled = (reservations[id_].cost_id for id_ in before if id_ in reservations)
    ids = sorted(cost_id for cost_id in settled if cost_id is not None)
    costs = {cost.id: cost for cost in ((yield from every(_COSTS, ids=ids)) if ids else [])}
    answers: list[Settlement | AgentDBError] = []
    for bill in bills:
        charged = outcome.get(bill.reservation_id)
        if charged is not None:
            beyond = [standing_of(limit) for limit in charged.limits if limit.room < 0]
            answers.append(Settlement(charged.cost, beyond))
            continue
        reservation = reservations.get(bill.reservation_id)
        answers.append(_known(reservation, costs) if reservation is not None else _unknown(bill.reservation_id))
    return answers


def _known(reservation: CostReservation, costs: Mapping[int, Cost]) -> Settlement | AgentDBError:
    """Return what a reservation became that was settled before."""
    cost = costs.get(reservation.cost_id or 0)
    if cost is not None:
        return Settlement(cost, ())
    return InvalidTransition(
        f"reservation {reservation.id} was settled as cost {reservation.cost_id}, which retention has folded since;"
        " nothing was charged again"
    )


def _unknown(reservation_id: int) -> NotFound:
    return NotFound(f"there is no reservation {reservation_id}")


def _returns(reservations: Iterable[CostReservation]) -> dict[int, Decimal]:
    """Return what locked reservations give back to limits, by the limit's id; nothing where that was done before."""
    returns: defaultdict[int, Decimal] = defaultdict(Decimal)
    for reservation in reservations:
        if reservation.settled_at is None:
            for limit_id in reservation.limit_ids:
                returns[limit_id] += reservation.amount
    return returns


def _close(outcome: Iterable[tuple[int, int | None]], now: datetime) -> Script[None]:
    calls = [{"reservation_id": id_, "new_cost_id": cost_id, "now": now} for id_, cost_id in sorted(outcome)]
    yield from each(_CLOSE, calls)


def _give_back(reservations: Sequence[CostReservation], now: datetime) -> Script[None]:
    """Give back what locked reservations took, and close them."""
    returns = _returns(reservations)
    counted = yield from locked((), now, returns)
    for limit_id, amount in returns.items():
        if limit_id in counted.limits:
            counted.reserve([counted.limits[limit_id]], -amount)
    yield from counted.keep()
    yield from _close(((reservation.id, None) for reservation in reservations), now)


def release(reservation_id: int, now: datetime) -> Script[None]:
    """Within a script: give back what a call that cost nothing had set aside."""
    rows = yield from every(_LOCKED, ids=[reservation_id])
    if not rows:
        raise _unknown(reservation_id)
    if rows[0].cost_id is not None:
        raise InvalidTransition(f"reservation {reservation_id} was settled; correct its cost {rows[0].cost_id}")
    if rows[0].settled_at is None:
        yield from _give_back(rows, now)


def expire(limit: int, now: datetime) -> Script[int]:
    """Within a script: give back what is overdue, and return how many reservations that were."""
    rows = yield from every(_OVERDUE, now=now, limit=limit)
    if rows:
        yield from _give_back(rows, now)
    return len(rows)


SETTLE: Final = Shared[Bill, Settlement]("reservations.settle", _settle, locks="limits")
