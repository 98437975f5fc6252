"""``agentdb report``: what there is, what it cost, and which tools are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from agentdb.cli.application import app, console, examples, printable, run, settings_of, write_json
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.reports.records import DailySpending, ModelSpending, ToolUse, Totals, UserSpending


@dataclass(frozen=True, slots=True)
class Overview:
    """What the report holds, in the order in which it is shown."""

    totals: Totals
    spending_by_user: list[UserSpending]
    spending_by_model: list[ModelSpending]
    spending_by_day: list[DailySpending]
    tools: list[ToolUse]


@app.command(epilog=examples("agentdb report", "agentdb report --limit 5 --json"))
def report(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Write it as JSON, amounts as text.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many lines each table has, at most.")] = 20,
) -> None:
    """Report what there is, what users, models and days cost, and which tools are used."""
    overview = run(_overview(settings_of(context), limit))
    if json:
        write_json(overview)
    else:
        _show(overview)


async def _overview(settings: Settings, limit: int) -> Overview:
    async with Database(settings) as database, database.read() as unit:
        return Overview(
            totals=await unit.reports.activity.totals(),
            spending_by_user=await unit.reports.spending.by_user(limit=limit),
            spending_by_model=await unit.reports.spending.by_model(limit=limit),
            spending_by_day=await unit.reports.spending.by_day(limit=limit),
            tools=await unit.reports.activity.tools(limit=limit),
        )


def _show(overview: Overview) -> None:
    _table("Totals", Totals, [overview.totals])
    _table("Spending by user", UserSpending, overview.spending_by_user)
    _table("Spending by model", ModelSpending, overview.spending_by_model)
    _table("Spending by day (UTC)", DailySpending, overview.spending_by_day)
    _table("Tools", ToolUse, overview.tools)


def _table(title: str, record: type[Any], rows: Sequence[Any]) -> None:
    """Show records under the names of their fields; numbers to the right."""
    table = Table(title=title, title_justify="left")
    for column in fields(record):
        numeric = column.type in {"int", "Decimal"}
        table.add_column(column.name.replace("_", " "), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in astuple(row)))
    console().print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "(nobody)"
    if isinstance(value, Decimal):
        return f"${value:,.9f}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))
