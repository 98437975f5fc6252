"""How a limit is set, and how it is found out whom limits suspend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Table, and_, bindparam, case, literal, or_, select, update
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every, one
from agentdb.engine.growing import appended
from agentdb.engine.locking import lockers_wait, writers_wait
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MoneyType, WholeType
from agentdb.engine.scoping.beyond import beyond_tenant
from agentdb.engine.statements import insert_one
from agentdb.errors import NotFound
from agentdb.hub.ledger.applied import COLUMNS, Applied, counted_plan
from agentdb.hub.ledger.standing import resumed, suspended
from agentdb.hub.ledger.sums import LAST, Scope, led_by, total_plan
from agentdb.hub.ledger.windows import window
from agentdb.hub.models.spending import Cost, CostReservation, LimitCovers, SpendLimit

_limits: Final[Table] = SpendLimit.__table__  # type: ignore[assignment]
_costs: Final[Table] = Cost.__table__  # type: ignore[assignment]
_reservations: Final[Table] = CostReservation.__table__  # type: ignore[assignment]

_WHOLE: Final = "a limit just set counts what retention has folded, and all whom its user leads"


@dataclass(frozen=True, slots=True)
class Suspension:
    """A limit whose users have been suspended, or may spend again, and why."""

    limit_id: int
    user_id: int | None  # None: the installation's
    covers: LimitCovers
    is_suspended: bool
    reason: str


def _adopt_plan(scope: Scope) -> Plan[Decimal]:
    """Let a new limit count what those it covers have reserved already, and return the amounts."""
    of_whom = bindparam("of", type_=WholeType())
    condition: list[ColumnElement[bool]] = [_reservations.c.settled_at.is_(None)]
    if scope == "user_id":
        condition.append(_reservations.c.user_id == of_whom)
    elif scope == "led_by":
        condition.append(_reservations.c.user_id.in_(led_by(of_whom)))
    adopt = (
        update(_reservations)
        .where(*condition)
        .values(limit_ids=appended(_reservations.c.limit_ids, of(_limits.c.id, "limit_id")))
        .returning(_reservations.c.amount)
    )
    return beyond_tenant(Plan[Decimal](adopt, name="limits.set: adopt"), _WHOLE, own=("of",))


# In the order in which all lock. Whoever reserves or gives back has read which limits there are; whoever charges, which
# windows. None of them may be half-way when a limit is counted.
_RESERVED: Final = Plan[None](lockers_wait(_reservations), name="limits.set: reservations")
_SETTLED: Final = Plan[None](writers_wait(_costs), name="limits.set: costs")
_SAME: Final = {
    whose: Plan[SpendLimit](
        select(SpendLimit).where(condition, _limits.c.covers == of(_limits.c.covers)).with_for_update(key_share=True),
        name="limits.set: limit",
        rows=SpendLimit,
    )
    for whose, condition in (
        ("user", _limits.c.user_id == of(_limits.c.user_id)),
        ("installation", _limits.c.user_id.is_(None)),
    )
}
OF: Final = {
    whose: Plan[SpendLimit](
        select(SpendLimit).where(condition, _limits.c.covers == of(_limits.c.covers)),
        name="limits.of",
        rows=SpendLimit,
        point=True,
    )
    for whose, condition in (
        ("user", _limits.c.user_id == of(_limits.c.user_id)),
        ("installation", _limits.c.user_id.is_(None)),
    )
}
_BECOMES: Final = (
    "amount",
    "period",
    "every",
    "timezone",
    "window_started_at",
    "window_ends_at",
    "spent",
    "suspended_reason",
    "exempts_from_installation",
)
_CHANGE: Final = Plan[SpendLimit](
    update(_limits)
    .where(_limits.c.id == of(_limits.c.id, "limit_id"))
    .values(**{key: of(_limits.c[key], f"new_{key}") for key in _BECOMES}, updated_at=of(_limits.c.updated_at, "now"))
    .returning(_limits),
    name="limits.set",
    rows=SpendLimit,
)
RESET: Final = Plan[SpendLimit](
    update(_limits)
    .where(_limits.c.id == of(_limits.c.id, "limit_id"))
    .values(
        spent=literal(Decimal(0), MoneyType()),
        suspended_reason=None,
        reset_at=of(_limits.c.reset_at, "now"),
        updated_at=of(_limits.c.updated_at, "now"),
    )
    .returning(_limits),
    name="limits.reset",
    rows=SpendLimit,
)
_SPENT: Final = {scope: beyond_tenant(total_plan(scope), _WHOLE, own=("of",)) for scope in (None, "user_id", "led_by")}
_ADOPT: Final = {scope: _adopt_plan(scope) for scope in (None, "user_id", "led_by")}
_HOLD: Final = Plan[SpendLimit](
    update(_limits)
    .where(_limits.c.id == of(_limits.c.id, "limit_id"))
    .values(reserved=of(_limits.c.reserved, "held"))
    .returning(_limits),
    name="limits.set: reserved",
    rows=SpendLimit,
)
STANDING: Final = counted_plan("limits.standing", locking=False)


def _changed_plan() -> Plan[Applied]:
    """Return the plan that finds, and locks, the limits whose suspension is not what their spending says."""
    over = _limits.c.window_ends_at <= of(_limits.c.window_ends_at, "now")
    spent = case((over, literal(Decimal(0), MoneyType())), else_=_limits.c.spent)
    reached, told = spent >= _limits.c.amount, _limits.c.suspended_reason.is_not(None)
    statement = (
        select(literal(0), *COLUMNS)
        .where(or_(and_(reached, ~told), and_(spent < _limits.c.amount, told)))
        .order_by(_limits.c.id)
        .with_for_update(key_share=True)
    )
    return Plan(statement, name="limits.evaluate", rows=Applied)


_CHANGED: Final = _changed_plan()


def set_limit(whose: str, words: dict[str, Any], values: dict[str, Any], now: datetime) -> Script[SpendLimit]:
    """Within a script: make a limit, or change the one there is."""
    yield from one(_RESERVED)
    yield from one(_SETTLED)
    before = yield from one(_SAME[whose], **words)
    started, ends = window(values["period"], values["every"], values["timezone"], now)
    since = started if before is None or before.reset_at is None else max(started, before.reset_at)
    scope = None if whose == "installation" else ("led_by" if words["covers"] == LimitCovers.tree else "user_id")
    asked = {"of": words["user_id"]} if scope else {}
    spent = yield from one(_SPENT[scope], since=since, until=LAST, **asked)
    becomes = {
        **values,
        "window_started_at": started,
        "window_ends_at": ends,
        "spent": spent.cost if spent is not None else Decimal(0),
        "suspended_reason": None,
    }
    stored: SpendLimit | None
    if before is None:
        stored = yield from one(insert_one(SpendLimit), **words, **becomes)
        if stored is not None:
            # Who is led by whom may change between two statements: one alone decides what the limit holds.
            amounts = yield from every(_ADOPT[scope], limit_id=stored.id, **asked)
            stored = yield from one(_HOLD, limit_id=stored.id, held=sum(amounts, Decimal(0)))
    else:
        changes = {f"new_{key}": value for key, value in becomes.items()}
        stored = yield from one(_CHANGE, limit_id=before.id, now=now, **changes)
    if stored is None:
        raise NotFound("the limit was not stored")
    return stored


def evaluate(now: datetime) -> Script[list[Suspension]]:
    """Within a script: suspend where a limit is reached, and lift where it is not any more."""
    limits = yield from every(_CHANGED, now=now)
    changes = []
    for limit in limits:
        limit.roll(now)
        reached = limit.spent >= limit.amount
        text = suspended(limit) if reached else resumed(limit)
        changes.append(Suspension(limit.id, limit.user_id, limit.covers, reached, text))
    yield from each(
        _CHANGE,
        [
            {
                "limit_id": limit.id,
                "now": now,
                **{f"new_{key}": getattr(limit, key) for key in _BECOMES if key != "suspended_reason"},
                "new_suspended_reason": change.reason if change.is_suspended else None,
            }
            for limit, change in zip(limits, changes, strict=True)
        ],
    )
    return changes
