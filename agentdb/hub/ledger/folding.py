"""How old entries of the ledger become sums of their day, and go: what sums read of both stays the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Table,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.sql import ColumnElement, FromClause

from agentdb.catalog.models import Agent
from agentdb.engine.advisory import turn_taken
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, each, every, one
from agentdb.engine.functions import among, utc_day
from agentdb.engine.lists import listed
from agentdb.engine.locking import writing_begins
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MomentType, MoneyType
from agentdb.engine.schema.opening import close_to_retention, open_to_retention
from agentdb.engine.statements import insert_one
from agentdb.hub.ledger.sums import COUNTED
from agentdb.hub.models.spending import Cost, CostDay, CostSource, SpendLimit
from agentdb.supervisor.models import User

_costs: Final[Table] = Cost.__table__  # type: ignore[assignment]
_days: Final[Table] = CostDay.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]
_agents: Final[Table] = Agent.__table__  # type: ignore[assignment]
_limits: Final[Table] = SpendLimit.__table__  # type: ignore[assignment]

_GROUPED: Final = ("user_id", "model", "source", "agent_id")
_SUMMED: Final = ("calls", *COUNTED)


@dataclass(frozen=True, slots=True)
class _Of:
    """An entry, and whose it is."""

    id: int
    user_id: int | None
    agent_id: int | None


@dataclass(frozen=True, slots=True)
class _Sum:
    """What entries of one day, user, model, source and agent add up to."""

    day: date
    user_id: int | None
    model: str
    source: CostSource
    agent_id: int | None
    calls: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    cost: Decimal


def _old(entries: FromClause) -> ColumnElement[bool]:
    return entries.c.created_at < of(_costs.c.created_at, "before")


def _held(entries: FromClause) -> ColumnElement[bool]:
    """Tell whether an entry is of a day that a limit counts a part of: a sum would not know which part."""
    days = listed("days", MomentType())
    same = utc_day(days.c.value) == utc_day(entries.c.created_at)
    return exists(select(literal_column("1")).select_from(days).where(same))


_corrections: Final = _costs.alias("corrections")
# An entry goes after its corrections, which refer to it: they go in an earlier batch, or keep it here.
_CORRECTED: Final = exists().where(_corrections.c.corrects_id == _costs.c.id)
_STILL_CORRECTED: Final = exists().where(
    _corrections.c.corrects_id == _costs.c.id, or_(~_old(_corrections), _held(_corrections))
)

_TURN: Final = Plan[None](turn_taken("fold costs"), name="costs.fold: turn")


def _parts_plan() -> Plan[datetime]:
    """Return the plan that finds the moments within days from which limits count."""
    open_ = or_(_limits.c.window_ends_at.is_(None), _limits.c.window_ends_at > of(_limits.c.window_ends_at, "now"))
    begins = case((open_, _limits.c.window_started_at))
    moments = select(begins.label("at")).union(select(_limits.c.reset_at)).subquery("moments")
    return Plan(
        select(type_coerce(moments.c.at, MomentType())).where(moments.c.at < of(_costs.c.created_at, "before")),
        name="costs.fold: limits",
    )


_PARTS: Final = _parts_plan()
_NEXT: Final = Plan[_Of](
    select(_costs.c.id, _costs.c.user_id, _costs.c.agent_id)
    .where(_old(_costs), ~_held(_costs), ~_CORRECTED)
    .order_by(_costs.c.created_at)
    .limit(bindparam("limit")),
    name="costs.fold: next",
    rows=_Of,
)
_COUNT: Final = Plan[int](
    select(func.count()).select_from(_costs).where(_old(_costs), ~_held(_costs), ~_STILL_CORRECTED),
    name="costs.foldable",
)
# Whoever deletes a user or an agent holds its row, and then waits for these entries: so it is that row first.
_WHOSE: Final = {
    key: Plan[int](
        select(table.c.id)
        .where(among(table.c.id, "ids"))
        .order_by(table.c.id)
        .with_for_update(read=True, key_share=True),
        name=f"costs.fold: {table.name}",
    )
    for key, table in (("user_id", _users), ("agent_id", _agents))
}
_LOCK: Final = Plan[int](
    select(_costs.c.id).where(among(_costs.c.id, "ids")).order_by(_costs.c.id).with_for_update(),
    name="costs.fold: lock",
)
# From here on no limit is set, and no sum is read for one: which parts of days limits count stays as it is read next.
_BEGIN: Final = Plan[None](writing_begins(_costs), name="costs.fold: begin")
# Of those that are locked: from now on nobody corrects them, and somebody may have until now.
_FREE: Final = Plan[int](
    select(_costs.c.id).where(among(_costs.c.id, "ids"), ~_held(_costs), ~_CORRECTED), name="costs.fold: free"
)


def _sum_plan() -> Plan[_Sum]:
    groups: list[ColumnElement[Any]] = [utc_day(_costs.c.created_at), *(_costs.c[key] for key in _GROUPED)]
    sums = [cast(func.sum(_costs.c[key]), BigInteger) for key in COUNTED]
    return Plan(
        select(*groups, func.count(), *sums[:-1], type_coerce(sums[-1], MoneyType()))
        .where(among(_costs.c.id, "ids"))
        .group_by(*groups)
        .order_by(*groups),
        name="costs.fold: sums",
        rows=_Sum,
    )


def _add_plan() -> Plan[int]:
    """Add to a day's row. Nothing makes those of no user, or no agent, unique: the first of them is it."""
    rows = _days.alias("rows")
    same = (rows.c[key].is_not_distinct_from(of(_days.c[key], f"of_{key}")) for key in _GROUPED)
    first = select(func.min(rows.c.id)).where(rows.c.day == of(_days.c.day, "of_day"), *same).scalar_subquery()
    more = {key: _days.c[key] + of(_days.c[key], f"more_{key}") for key in _SUMMED}
    return Plan(
        update(_days)
        .where(_days.c.id == first)
        .values(**more, updated_at=of(_days.c.updated_at, "now"))
        .returning(_days.c.id),
        name="costs.fold: add",
    )


_SUM: Final = _sum_plan()
_ADD: Final = _add_plan()
_OPEN: Final = Plan[None](open_to_retention(_costs), name="costs.fold: open")
_CLOSE: Final = Plan[None](close_to_retention(_costs), name="costs.fold: close")
_DELETE: Final = Plan[None](delete(_costs).where(among(_costs.c.id, "ids")), name="costs.fold: delete")


def foldable(before: datetime, now: datetime) -> Script[int]:
    """Within a script: return how many entries would be folded, however many batches that takes."""
    days = yield from _kept_days(before, now)
    return (yield from one(_COUNT, before=before, days=days)) or 0


def fold(before: datetime, limit: int, now: datetime) -> Script[int]:
    """Within a script: add entries from before a moment to their days, remove them, and return how many."""
    yield from one(_TURN)
    days = yield from _kept_days(before, now)
    entries = yield from every(_NEXT, before=before, days=days, limit=limit)
    if not entries:
        return 0
    for key, plan in _WHOSE.items():
        whose = {getattr(entry, key) for entry in entries} - {None}
        yield from every(plan, ids=sorted(whose))
    locked = yield from every(_LOCK, ids=sorted(entry.id for entry in entries))
    yield from one(_BEGIN)
    days = yield from _kept_days(before, now)
    ids = yield from every(_FREE, ids=locked, days=days)
    yield from _add((yield from every(_SUM, ids=ids)), now)
    yield from one(_OPEN)
    removed = yield from count(_DELETE, ids=ids)
    yield from one(_CLOSE)
    return removed


def _kept_days(before: datetime, now: datetime) -> Script[list[datetime]]:
    moments = yield from every(_PARTS, before=before, now=now)
    return [moment for moment in moments if moment.astimezone(UTC).time() != time()]


def _add(sums: Sequence[_Sum], now: datetime) -> Script[None]:
    rows = [
        {
            "day": datetime.combine(sum_.day, time(), UTC),
            **{key: getattr(sum_, key) for key in (*_GROUPED, *_SUMMED)},
        }
        for sum_ in sums
    ]
    known = yield from each(
        _ADD,
        [
            {
                **{f"of_{key}": row[key] for key in ("day", *_GROUPED)},
                **{f"more_{key}": row[key] for key in _SUMMED},
                "now": now,
            }
            for row in rows
        ],
    )
    fresh = [row for row, id_ in zip(rows, known, strict=True) if id_ is None]
    if fresh:
        yield from each(insert_one(CostDay), fresh)
