"""Spending: the ledger and what retention folded out of it, by user, model and day."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from sqlalchemy import BigInteger, Select, Table, bindparam, cast, func, select, type_coerce
from sqlalchemy.sql import ColumnElement, FromClause

from agentdb.engine.connection import Connection
from agentdb.engine.functions import utc_day
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MomentType, MoneyType
from agentdb.hub.models.spending import Cost, CostDay
from agentdb.reports.records import DailySpending, ModelSpending, UserSpending
from agentdb.repository import capped
from agentdb.supervisor.models import User

T = TypeVar("T")

_costs: Final[Table] = Cost.__table__  # type: ignore[assignment]
_days: Final[Table] = CostDay.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]

FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)

_SUMMED: Final = ("calls", "input_tokens", "output_tokens", "cost")


def _spent() -> FromClause:
    """Return the rows of the ledger and of the days folded out of it, within a window, side by side."""
    since, until = bindparam("since", type_=MomentType()), bindparam("until", type_=MomentType())

    def part(table: Table, moment: ColumnElement[Any], calls: ColumnElement[Any]) -> Select[Any]:
        return select(
            table.c.user_id,
            table.c.model,
            utc_day(moment).label("day"),
            calls.label("calls"),
            *(table.c[key] for key in _SUMMED[1:]),
        ).where(moment >= since, moment < until)

    ledger = part(_costs, _costs.c.created_at, cast(1, BigInteger))
    return ledger.union_all(part(_days, _days.c.day, _days.c.calls)).subquery("spent")


def _sums(spent: FromClause) -> list[ColumnElement[Any]]:
    # A database may sum whole numbers to NUMERIC, which would come back as Decimal.
    sums = [cast(func.sum(spent.c[key]), BigInteger).label(key) for key in _SUMMED]
    return [*sums[:-1], type_coerce(sums[-1], MoneyType())]


def _by_user() -> Plan[UserSpending]:
    spent = _spent()
    sums = _sums(spent)
    statement = (
        select(_users.c.username, *sums)
        .select_from(spent.outerjoin(_users, _users.c.id == spent.c.user_id))
        .group_by(_users.c.username)
        .order_by(sums[-1].desc(), _users.c.username.nulls_last())
    )
    return Plan(statement.limit(bindparam("limit")), name="reports.spending by user", rows=UserSpending)


def _by_model() -> Plan[ModelSpending]:
    spent = _spent()
    sums = _sums(spent)
    statement = select(spent.c.model, *sums).group_by(spent.c.model).order_by(sums[-1].desc(), spent.c.model)
    return Plan(statement.limit(bindparam("limit")), name="reports.spending by model", rows=ModelSpending)


def _by_day() -> Plan[DailySpending]:
    spent = _spent()
    statement = select(spent.c.day, *_sums(spent)).group_by(spent.c.day).order_by(spent.c.day.desc())
    return Plan(statement.limit(bindparam("limit")), name="reports.spending by day", rows=DailySpending)


_BY_USER: Final = _by_user()
_BY_MODEL: Final = _by_model()
_BY_DAY: Final = _by_day()


class SpendingReports:
    """What was spent, from ``since`` up to, and without, ``until``.

    What retention has folded counts with the UTC midnight of its day. Tokens are those charged as input and output;
    those of caches are in the cost.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
    """

    def __init__(self, connection: Connection, *, most: int) -> None:
        self.connection = connection
        self.most = most

    async def by_user(self, *, since: datetime = FIRST, until: datetime = LAST, limit: int = 50) -> list[UserSpending]:
        """Return what users spent, the most first; one row without a name is what belongs to nobody.

        Cost: one statement that sums the window.
        """
        return await self._rows(_BY_USER, since, until, limit)

    async def by_model(
        self, *, since: datetime = FIRST, until: datetime = LAST, limit: int = 50
    ) -> list[ModelSpending]:
        """Return what was spent on models, the most first.

        Cost: one statement that sums the window.
        """
        return await self._rows(_BY_MODEL, since, until, limit)

    async def by_day(self, *, since: datetime = FIRST, until: datetime = LAST, limit: int = 31) -> list[DailySpending]:
        """Return what was spent on each UTC day on which anything was, newest first.

        Cost: one statement that sums the window.
        """
        return await self._rows(_BY_DAY, since, until, limit)

    async def _rows(self, plan: Plan[T], since: datetime, until: datetime, limit: int) -> list[T]:
        values = {"since": since, "until": until, "limit": capped(limit, self.most)}
        return await self.connection.fetch_all(plan, values)
