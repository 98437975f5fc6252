"""How a cost is charged: its row, its session's total, and every limit it counts in, in one transaction.

Whoever charges locks in one order: reservations, sessions, limits, each by id. So no two ever wait for each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Table, bindparam, select, update

from agentdb.engine.asked import fields, request, whole_number
from agentdb.engine.columns import bound_columns, of
from agentdb.engine.connection import Script, Shared, each, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan, Together
from agentdb.engine.quantities import MomentType, MoneyType, WholeType
from agentdb.engine.statements import given_arrays, insert_once, insert_one
from agentdb.errors import AgentDBError, BadInput, Conflict, brief
from agentdb.hub.ledger.applied import Applied, locked
from agentdb.hub.ledger.sums import COUNTED
from agentdb.hub.models.machines import RunSession
from agentdb.hub.models.spending import Cost

_costs: Final[Table] = Cost.__table__  # type: ignore[assignment]
_sessions: Final[Table] = RunSession.__table__  # type: ignore[assignment]

Entry = Mapping[str, Any]
_FIELDS: Final = frozenset(column.key for column in bound_columns(_costs)) - {"created_at", "corrects_id"}
_TOKENS: Final = tuple(key for key in COUNTED if key != "cost")
_MOST: Final = 10**12  # millions of such entries have a sum of 64 bits


@dataclass(frozen=True, slots=True)
class Charged:
    """A cost in the ledger, and the limits it counts in; none when its request had been charged before."""

    cost: Cost
    limits: Sequence[Applied]


def _add_plan() -> Plan[int]:
    """Add what was charged to the totals of sessions."""
    amount, now = of(_sessions.c.total_cost, "amount"), of(_sessions.c.updated_at, "now")
    id_ = bindparam("run_session_id", type_=WholeType())
    single = (
        update(_sessions)
        .where(_sessions.c.id == id_)
        .values(total_cost=_sessions.c.total_cost + amount, updated_at=now)
        .returning(_sessions.c.id)
    )
    given = given_arrays(run_session_id=WholeType(), amount=MoneyType(), now=MomentType())
    rows = select(given.c.run_session_id, given.c.amount, given.c.now, given.c.ordinal).cte("given_rows")
    taken = (
        select(_sessions.c.id)
        .where(_sessions.c.id.in_(select(rows.c.run_session_id)))
        .order_by(_sessions.c.id)
        .with_for_update(key_share=True)
        .cte("taken")
    )
    together = (
        update(_sessions)
        .where(_sessions.c.id == rows.c.run_session_id, taken.c.id == _sessions.c.id)
        .values(total_cost=_sessions.c.total_cost + rows.c.amount, updated_at=rows.c.now)
        .returning(_sessions.c.id, rows.c.ordinal)
    )
    return Plan(single, name="costs.append: sessions", together=Together(together))


_ADD: Final = _add_plan()
_BY_REQUESTS: Final = Plan[Cost](
    select(Cost).where(among(_costs.c.request_id, "requests")), name="costs.by_requests", rows=Cost
)


def checked(entry: Entry) -> Entry:
    """Return an entry that has what a cost needs.

    Raises: BadInput naming what it lacks, or what no cost has.
    """
    fields(entry, _FIELDS, "a cost")
    for required in ("source", "model", "cost"):
        if entry.get(required) is None:
            raise BadInput(f"a cost needs its {required}")
    request(entry.get("request_id"))
    if entry.get("user_id") is not None:
        whole_number(entry["user_id"], "user_id")
    for key in _TOKENS:
        if key in entry:
            tokens(entry[key], key)
    return entry


def tokens(value: Any, key: str) -> int:
    """Return a count of tokens: one so large that sums cannot be told any more would stay in the ledger for good.

    Raises: BadInput for anything else.
    """
    if type(value) is not int or not 0 <= value <= _MOST:
        raise BadInput(f"costs.{key} is a whole number from 0 to {_MOST:,}, not {brief(value)}")
    return value


def charge(
    entries: Sequence[Entry], now: datetime, returns: Mapping[int, Decimal] | None = None
) -> Script[list[Charged | AgentDBError]]:
    """Within a script: append costs, each unless its request was charged before, and count them everywhere.

    Args:
        entries: the costs, by column.
        now: the present moment, which is theirs.
        returns: what reservations give back to limits, by the limit's id.

    Returns: for each entry what became of it; Conflict for a request that was charged another cost.
    """
    stored = yield from _store([{**entry, "created_at": now} for entry in entries])
    fresh = [cost for cost, is_new in stored if is_new and cost is not None]
    yield from _add_to_sessions(fresh, now)
    counted = yield from locked((cost.user_id for cost in fresh), now, returns or ())
    for limit_id, amount in (returns or {}).items():
        if limit_id in counted.limits:  # a limit that was removed meanwhile is owed nothing
            counted.reserve([counted.limits[limit_id]], -amount)
    answers: list[Charged | AgentDBError] = []
    for entry, (cost, is_new) in zip(entries, stored, strict=True):
        if cost is None or not (is_new or _same(cost, entry)):
            answers.append(
                Conflict(
                    f"request {entry['request_id']!r} was charged another cost; correct that one, or use a new id",
                    constraint="uq_costs__request_id",
                )
            )
        else:
            answers.append(Charged(cost, counted.spend(cost.user_id, cost.cost) if is_new else ()))
    yield from counted.keep()
    return answers


def _store(entries: Sequence[Entry]) -> Script[list[tuple[Cost | None, bool]]]:
    """Store costs; return for each its row, and whether it is new."""
    plain = [entry for entry in entries if entry.get("request_id") is None]
    named = [entry for entry in entries if entry.get("request_id") is not None]
    made = iter((yield from each(insert_one(Cost), plain)) if plain else [])
    named_made = iter((yield from each(insert_once(Cost, "request_id"), named)) if named else [])
    stored = [next(made if entry.get("request_id") is None else named_made) for entry in entries]
    missing = {
        entry["request_id"]
        for entry, cost in zip(entries, stored, strict=True)
        if cost is None and "request_id" in entry
    }
    known: dict[str | None, Cost] = {}
    if missing:
        there = yield from every(_BY_REQUESTS, requests=sorted(missing))
        known = {cost.request_id: cost for cost in there}
    return [
        (cost, True) if cost is not None else (known.get(entry["request_id"]), False)
        for entry, cost in zip(entries, stored, strict=True)
    ]


def _same(cost: Cost, entry: Entry) -> bool:
    """Tell whether a request that is told again tells the same."""
    payer = entry.get("user_id")
    return cost.cost == entry["cost"] and cost.user_id in (None, payer) and cost.model == entry["model"]


def _add_to_sessions(costs: Iterable[Cost], now: datetime) -> Script[None]:
    totals: defaultdict[int, Decimal] = defaultdict(Decimal)
    for cost in costs:
        if cost.run_session_id is not None:
            totals[cost.run_session_id] += cost.cost
    yield from each(
        _ADD, [{"run_session_id": session, "amount": totals[session], "now": now} for session in sorted(totals)]
    )


CHARGE: Final = Shared[Entry, Charged]("costs.append", charge, locks="limits")
