"""The ledger of spending: appended, never changed, summed in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Select, Table, bindparam, cast, func, select, type_coerce, update
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import bound_columns, of
from agentdb.engine.connection import Script, count, one
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MomentType, MoneyType
from agentdb.engine.statements import insert_into, insert_unless_there, with_defaults
from agentdb.errors import BadInput
from agentdb.hub.models.machines import RunSession
from agentdb.hub.models.spending import Cost, CostDay, CostSource
from agentdb.hub.records import Spending
from agentdb.repository import Repository

_costs: Final[Table] = Cost.__table__  # type: ignore[assignment]
_days: Final[Table] = CostDay.__table__  # type: ignore[assignment]
_sessions: Final[Table] = RunSession.__table__  # type: ignore[assignment]

FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)


def _append_plan() -> Plan[Cost]:
    """Store a cost unless its request was charged before, and add it to its session's total, in one statement."""
    columns = bound_columns(_costs)
    stored = (
        insert_into(_costs)
        .from_select(
            [column.key for column in columns],
            select(*(bindparam(column.key, type_=column.type) for column in columns)),
            include_defaults=False,
        )
        .on_conflict_do_nothing(index_elements=["request_id"])
        .returning(_costs)
        .cte("stored")
    )
    added = (
        update(_sessions)
        .where(_sessions.c.id == stored.c.run_session_id)
        .values(total_cost=_sessions.c.total_cost + stored.c.cost, updated_at=stored.c.created_at)
        .returning(_sessions.c.id)
        .cte("added")
    )
    statement = select(*(stored.c[column.key] for column in _costs.columns)).add_cte(added)
    return Plan(statement, name="costs.append", rows=Cost)


_APPEND: Final = _append_plan()
_ADD_TO_SESSION: Final = Plan[None](
    update(_sessions)
    .where(_sessions.c.id == bindparam("run_session_id"))
    .values(
        total_cost=_sessions.c.total_cost + bindparam("amount", type_=MoneyType()),
        updated_at=bindparam("now", type_=MomentType()),
    ),
    name="costs.append: session",
)
_BY_REQUEST: Final = Plan[Cost](
    select(Cost).where(Cost.request_id == bindparam("request_id")), name="costs.by_request", rows=Cost, point=True
)
_COUNTED: Final = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens", "cost")


def _sum_plan(by: str | None) -> Plan[Spending]:
    """Add up the ledger and what retention has folded out of it, within a window."""
    since, until = bindparam("since", type_=MomentType()), bindparam("until", type_=MomentType())

    def part(table: Table, moment: Column[Any], calls: ColumnElement[Any]) -> Select[Any]:
        sums = [func.sum(table.c[key]).label(key) for key in _COUNTED]
        whose = [] if by is None else [table.c[by] == of(_costs.c[by], "value")]
        return select(calls.label("calls"), *sums).where(*whose, moment >= since, moment < until)

    ledger = part(_costs, _costs.c.created_at, func.count())
    folded = part(_days, _days.c.day, func.sum(_days.c.calls))
    rows = ledger.union_all(folded).subquery("parts")
    sums = [cast(func.coalesce(func.sum(rows.c[key]), 0), BigInteger) for key in ("calls", *_COUNTED)]
    return Plan(
        select(*sums[:-1], type_coerce(sums[-1], MoneyType())), name=f"costs.total by {by or 'all'}", rows=Spending
    )


_SUMS: Final = {by: _sum_plan(by) for by in (None, "user_id", "model", "agent_id", "source")}


class Costs(Repository[Cost]):
    """The one ledger of spending, whoever charged. Its rows never change; a correction is another row."""

    model = Cost

    async def append(
        self,
        *,
        source: CostSource | str,
        model: str,
        cost: Decimal | int,
        user_id: int | None = None,
        run_session_id: int | None = None,
        request_id: str | None = None,
        **details: Any,
    ) -> Cost:
        """Append a cost, and add it to its session's total.

        Args:
            source: what it was spent on.
            model: the model's key.
            cost: US dollars, to nine places.
            user_id: who is charged.
            run_session_id: the session whose total it adds to.
            request_id: the caller's own: a cost that was appended under it already is returned, and nothing is charged.
            details: token counts and what else a cost has, by column.

        Raises: BadInput; MissingReference.
        Cost: one statement (on SQLite one hop and one transaction); one more to find a request charged before.
        """
        values = {
            **details,
            "source": source,
            "model": model,
            "cost": cost,
            "user_id": user_id,
            "run_session_id": run_session_id,
            "request_id": request_id,
        }
        stored = await self._append(values)
        if stored is not None:
            return stored
        charged: Cost | None = await self.connection.fetch_one(_BY_REQUEST, {"request_id": request_id})
        return self._there(charged)

    async def _append(self, values: Mapping[str, Any]) -> Cost | None:
        now = self.connection.now()
        if not self.connection.chains:
            return await self.connection.run(lambda: _append_steps(values, now))
        complete = with_defaults(Cost, values, now)
        return await self.connection.fetch_one(_APPEND, complete)

    async def total(
        self,
        *,
        user_id: int | None = None,
        model: str | None = None,
        agent_id: int | None = None,
        source: CostSource | str | None = None,
        since: datetime = FIRST,
        until: datetime = LAST,
    ) -> Spending:
        """Return what was spent by all, or by one user, model, agent or source, from ``since`` up to before ``until``.

        What retention has folded counts with the UTC midnight of its day.

        Raises: BadInput when more than one of them is asked for.
        Cost: one read by the index that begins with what is asked for.
        """
        asked = {"user_id": user_id, "model": model, "agent_id": agent_id, "source": source}
        given = [(by, value) for by, value in asked.items() if value is not None]
        if len(given) > 1:
            raise BadInput(f"a total is by one of {', '.join(asked)}, not by {' and '.join(by for by, _ in given)}")
        values: dict[str, Any] = {"since": since, "until": until}
        by = None
        if given:
            by, values["value"] = given[0]
        total = await self.connection.fetch_one(_SUMS[by], values)
        return total or Spending(0, 0, 0, 0, 0, Decimal(0))


def _append_steps(values: Mapping[str, Any], now: datetime) -> Script[Cost | None]:
    stored = yield from one(insert_unless_there(Cost, ("request_id",)), **values)
    if stored is not None and stored.run_session_id is not None:
        yield from count(_ADD_TO_SESSION, run_session_id=stored.run_session_id, amount=stored.cost, now=now)
    return stored
