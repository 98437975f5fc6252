"""Sums over spending: the ledger and what retention folded out of it, read as one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import BigInteger, Column, Select, Table, and_, bindparam, cast, func, or_, select, type_coerce
from sqlalchemy.sql import ColumnElement, FromClause

from agentdb.engine.asked import moment
from agentdb.engine.columns import of
from agentdb.engine.functions import utc_day
from agentdb.engine.lists import listed
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MomentType, MoneyType, WholeType
from agentdb.errors import BadInput
from agentdb.hub.ledger.windows import zone
from agentdb.hub.models.spending import Cost, CostDay
from agentdb.hub.records import BucketOfUser, Spending, SpendingOf
from agentdb.supervisor.models import User

_costs: Final[Table] = Cost.__table__  # type: ignore[assignment]
_days: Final[Table] = CostDay.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]

FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)
MOST_BUCKETS: Final = 10_000
COUNTED: Final = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens", "cost")

Scope: TypeAlias = Literal["user_id", "led_by", "model", "agent_id", "source"] | None
By: TypeAlias = Literal["user_id", "model", "agent_id", "source", "day"]
BYS: Final = ("user_id", "model", "agent_id", "source", "day")


def led_by(lead: ColumnElement[Any]) -> Select[Any]:
    """Return the ids of a user and of all whom the user leads."""
    led = select(_users.c.id).where(_users.c.id == lead).cte("led", recursive=True)
    # UNION, not UNION ALL: leads that run in a circle end here.
    return select(led.union(select(_users.c.id).join(led, _users.c.lead_user_id == led.c.id)).c.id)


_LED: Final = led_by(bindparam("of", type_=WholeType()))  # one, for both tables of a query


def _in_scope(table: Table, scope: Scope) -> list[ColumnElement[bool]]:
    if scope is None:
        return []
    if scope == "led_by":
        return [table.c.user_id.in_(_LED)]
    return [table.c[scope] == of(_costs.c[scope], "of")]


def _sums(rows: FromClause) -> list[ColumnElement[Any]]:
    # A database may sum whole numbers to NUMERIC, which would come back as Decimal.
    sums = [cast(func.coalesce(func.sum(rows.c[key]), 0), BigInteger) for key in ("calls", *COUNTED)]
    return [*sums[:-1], type_coerce(sums[-1], MoneyType())]


def _parts(scope: Scope, by: By | None) -> FromClause:
    """Return both tables' sums within a window, grouped, side by side."""
    since, until = bindparam("since", type_=MomentType()), bindparam("until", type_=MomentType())

    def part(table: Table, moment: Column[Any], calls: ColumnElement[Any]) -> Select[Any]:
        sums = [func.sum(table.c[key]).label(key) for key in COUNTED]
        statement = select(calls.label("calls"), *sums).where(*_in_scope(table, scope), moment >= since, moment < until)
        if by is None:
            return statement
        group = utc_day(moment) if by == "day" else table.c[by]
        return statement.add_columns(group.label("value")).group_by(group)

    return (
        part(_costs, _costs.c.created_at, func.count())
        .union_all(part(_days, _days.c.day, func.sum(_days.c.calls)))
        .subquery("parts")
    )


@cache
def total_plan(scope: Scope) -> Plan[Spending]:
    """Return the plan that adds everything up, within a window."""
    parts = _parts(scope, None)
    return Plan(select(*_sums(parts)), name=f"costs.total of {scope or 'all'}", rows=Spending)


@cache
def sums_plan(by: By, scope: Scope) -> Plan[SpendingOf]:
    """Return the plan that adds up by a column, within a window."""
    parts = _parts(scope, by)
    sums = _sums(parts)
    order = [parts.c.value] if by == "day" else [sums[-1].desc(), parts.c.value]
    statement = select(parts.c.value, *sums).group_by(parts.c.value).order_by(*order)
    return Plan(statement.limit(bindparam("limit")), name=f"costs.sums by {by} of {scope or 'all'}", rows=SpendingOf)


@cache
def histogram_plan(scope: Scope) -> Plan[BucketOfUser]:
    """Return the plan that adds up by bucket and user: ``edges`` are where buckets begin, ``until`` ends the last."""
    edges = listed("edges", MomentType())
    until = bindparam("until", type_=MomentType())
    after = func.lead(edges.c.value).over(order_by=edges.c.place)
    buckets = select(edges.c.place, edges.c.value.label("begins"), type_coerce(after, MomentType()).label("ends"))
    bucket = buckets.cte("buckets")

    def part(table: Table, moment: Column[Any], calls: ColumnElement[Any]) -> Select[Any]:
        # The last bucket has no next one: it takes what happens at the very end, too.
        within = or_(moment < bucket.c.ends, and_(bucket.c.ends.is_(None), moment <= until))
        return (
            select(bucket.c.place, table.c.user_id, calls.label("calls"), func.sum(table.c.cost).label("cost"))
            .join_from(bucket, table, and_(moment >= bucket.c.begins, moment <= until, within))
            .where(*_in_scope(table, scope))
            .group_by(bucket.c.place, table.c.user_id)
        )

    parts = part(_costs, _costs.c.created_at, func.count()).union_all(part(_days, _days.c.day, func.sum(_days.c.calls)))
    rows = parts.subquery("parts")
    calls, cost = (cast(func.sum(rows.c[key]), BigInteger) for key in ("calls", "cost"))
    statement = select(rows.c.place, rows.c.user_id, calls, type_coerce(cost, MoneyType()))
    grouped = statement.group_by(rows.c.place, rows.c.user_id).order_by(rows.c.place, rows.c.user_id)
    return Plan(grouped, name=f"costs.histogram of {scope or 'all'}", rows=BucketOfUser)


def edges_of(since: datetime, until: datetime, every: timedelta, timezone: str) -> list[datetime]:
    """Return where buckets begin, and where the last one ends.

    Raises: BadInput for an empty range, more buckets than 10,000, or some that end after the calendar does.
    """
    local = zone(timezone)
    if moment(since, "since") >= moment(until, "until"):
        raise BadInput(f"a histogram begins before it ends, not at {since} and {until}")
    if not isinstance(every, timedelta):
        raise BadInput(f"every is a timedelta, not {type(every).__name__}")
    if every <= timedelta(0) or (until - since) / every > MOST_BUCKETS:
        raise BadInput(f"a histogram has at most {MOST_BUCKETS} buckets; {every} is too short for this range")
    # Aware arithmetic within one zone is of the wall clock: a day later is the same time of day.
    days = every % timedelta(days=1) == timedelta(0)
    try:
        first = since.astimezone(local if days else UTC)
        edges = [since.astimezone(UTC)]
        while (edge := (first + len(edges) * every).astimezone(UTC)) < until:
            edges.append(edge)
    except OverflowError:
        raise BadInput(f"a histogram from {since} to {until} has buckets beyond the calendar") from None
    return [*edges, until.astimezone(UTC)]
