"""The page of spending: a bar for each UTC day, in it a part for each model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Select, Table, bindparam, cast, func, select, type_coerce
from sqlalchemy.sql import ColumnElement

from agentdb.criteria import table_of
from agentdb.database import Database
from agentdb.engine.functions import utc_day
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MomentType, MoneyType
from agentdb.hub.models.spending import Cost, CostDay

PERIODS: Final = (7, 30, 90)
SHOWN: Final = 7  # models with a colour of their own; the rest share the last one
OTHERS: Final = "all others"


@dataclass(frozen=True, slots=True)
class Spent:
    """What one model cost on one UTC day, in US dollars."""

    day: date
    model: str
    calls: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar, from ``bottom`` up, both in shares of the highest bar."""

    model: str
    colour: int
    cost: Decimal
    bottom: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A day."""

    day: date
    cost: Decimal
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A model in the legend."""

    model: str
    colour: int
    calls: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Chart:
    """What the page shows."""

    bars: tuple[Bar, ...]
    legend: tuple[Line, ...]
    highest: Decimal
    cost: Decimal
    calls: int


def _plan() -> Plan[Spent]:
    since, until = bindparam("since", type_=MomentType()), bindparam("until", type_=MomentType())

    def part(table: Table, moment: Column[Any], calls: ColumnElement[Any]) -> Select[Any]:
        day, model = utc_day(moment).label("day"), table.c.model.label("model")
        cost = func.sum(table.c.cost).label("cost")
        return (
            select(day, model, calls.label("calls"), cost).where(moment >= since, moment < until).group_by(day, model)
        )

    # What retention has folded into days is spent all the same.
    costs, days = table_of(Cost), table_of(CostDay)
    both = part(costs, costs.c.created_at, func.count()).union_all(part(days, days.c.day, func.sum(days.c.calls)))
    rows = both.subquery("parts")
    calls, cost = (cast(func.sum(rows.c[key]), BigInteger) for key in ("calls", "cost"))
    statement = select(rows.c.day, rows.c.model, calls, type_coerce(cost, MoneyType())).group_by(
        rows.c.day, rows.c.model
    )
    return Plan(statement.order_by(rows.c.day, rows.c.model), name="studio.spending", rows=Spent)


_SPENT: Final = _plan()


async def spent(db: Database, *, since: datetime, until: datetime) -> list[Spent]:
    """Return what was spent from ``since`` up to before ``until``, by UTC day and model.

    Cost: one read of the window's rows, by the index of created_at.
    """
    rows: list[Spent] = await db.hub.costs.connection.fetch_all(_SPENT, {"since": since, "until": until})
    return rows


async def chart_of(db: Database, days: int) -> Chart:
    """Return the chart of the last days, today included."""
    midnight = db.now().replace(hour=0, minute=0, second=0, microsecond=0)
    since, until = midnight - timedelta(days=days - 1), midnight + timedelta(days=1)
    return drawn(await spent(db, since=since, until=until), since.date(), days)


def drawn(rows: list[Spent], first: date, days: int) -> Chart:
    """Return the chart of what was spent; models beyond the costliest few are one."""
    totals: dict[str, tuple[int, Decimal]] = {}
    for row in rows:
        before, cost = totals.get(row.model, (0, Decimal(0)))
        totals[row.model] = (before + row.calls, cost + row.cost)
    ranked = sorted(totals, key=lambda model: (-totals[model][1], model))
    colours = {model: min(place, SHOWN) for place, model in enumerate(ranked)}
    legend = [Line(model, colours[model], *totals[model]) for model in ranked[:SHOWN]]
    if rest := ranked[SHOWN:]:
        counts, costs = zip(*(totals[model] for model in rest), strict=True)
        legend.append(Line(OTHERS, SHOWN, sum(counts), sum(costs, Decimal(0))))
    by_day: dict[date, dict[int, Decimal]] = {first + timedelta(days=number): {} for number in range(days)}
    for row in rows:
        of_day, colour = by_day[row.day], colours[row.model]
        of_day[colour] = of_day.get(colour, Decimal(0)) + row.cost
    names = {line.colour: line.model for line in legend}
    # A correction may leave a part below nothing: it counts in the sum, and has no height.
    highest = max((_above(of_day) for of_day in by_day.values()), default=Decimal(0))
    bars = tuple(_bar(day, of_day, names, highest) for day, of_day in by_day.items())
    whole, calls = sum((line.cost for line in legend), Decimal(0)), sum(line.calls for line in legend)
    return Chart(bars, tuple(legend), highest, whole, calls)


def _above(of_day: dict[int, Decimal]) -> Decimal:
    return sum((cost for cost in of_day.values() if cost > 0), Decimal(0))


def _bar(day: date, of_day: dict[int, Decimal], names: dict[int, str], highest: Decimal) -> Bar:
    parts, bottom = [], Decimal(0)
    for colour, cost in sorted(of_day.items()):
        if cost > 0:
            parts.append(Part(names[colour], colour, cost, float(bottom / highest), float(cost / highest)))
            bottom += cost
    return Bar(day, sum(of_day.values(), Decimal(0)), tuple(parts))
