"""The chart of spending."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from agentdb import clock
from agentdb.database import Database
from agentdb.studio.spending import OTHERS, SHOWN, Spent, chart_of, drawn
from agentdb.testing.factories import make_user
from tests.studio.conftest import Browser

NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)


async def _spend(db: Database, *costs: tuple[int, str, str]) -> None:
    ada = await make_user(db)
    for days, model, cost in costs:
        with clock.hold(NOON - timedelta(days=days)):
            await db.hub.costs.append(source="console", model=model, cost=Decimal(cost), user_id=ada.id)


async def test_the_chart_agrees_with_the_ledger_even_where_it_was_folded(db: Database) -> None:
    await _spend(
        db, (0, "a", "0.25"), (0, "b", "1"), (1, "a", "0.10"), (6, "b", "2"), (7, "a", "40"), (6, "a", "0.000000001")
    )
    with clock.hold(NOON):
        before = await chart_of(db, 7)
        folded = await db.hub.costs.fold(before=NOON - timedelta(days=3))
        chart = await chart_of(db, 7)

    since = datetime(2026, 3, 3, tzinfo=UTC)
    assert folded == 3
    assert chart == before
    days = {row.value: row.cost for row in await db.hub.costs.sums("day", since=since)}
    models = {row.value: row.cost for row in await db.hub.costs.sums("model", since=since)}
    assert {bar.day: bar.cost for bar in chart.bars if bar.cost} == days
    assert {line.model: line.cost for line in chart.legend} == models
    assert (chart.cost, chart.calls) == (Decimal("3.350000001"), 5)
    assert [bar.day for bar in chart.bars] == [date(2026, 3, 3) + timedelta(days=day) for day in range(7)]


def test_the_parts_of_a_bar_stand_on_each_other() -> None:
    day = date(2026, 3, 9)
    chart = drawn(
        [Spent(day, "a", 1, Decimal(3)), Spent(day, "b", 1, Decimal(1)), Spent(day, "c", 1, Decimal(-1))], day, 1
    )

    (bar,) = chart.bars
    assert bar.cost == Decimal(3)
    assert [(part.model, part.bottom, part.height) for part in bar.parts] == [("a", 0.0, 0.75), ("b", 0.75, 0.25)]


def test_models_beyond_the_costliest_are_one() -> None:
    day = date(2026, 3, 9)
    rows = [Spent(day, f"model {number:02}", 1, Decimal(number)) for number in range(1, 12)]

    chart = drawn(rows, day, 1)
    assert [line.model for line in chart.legend[:2]] == ["model 11", "model 10"]
    assert chart.legend[-1].model == OTHERS
    assert (chart.legend[-1].calls, chart.legend[-1].cost) == (11 - SHOWN, Decimal(sum(range(1, 12 - SHOWN))))
    assert chart.cost == sum(range(1, 12))
    assert max(Counter(part.colour for bar in chart.bars for part in bar.parts).values()) == 1


async def test_the_page_of_spending_shows_bars_and_sums(db: Database, reading: Browser) -> None:
    with clock.hold(NOON):
        empty = await reading.text("/spending")
        await _spend(db, (0, "claude", "1234.5"), (2, "gpt", "1"))
        page = await reading.text("/spending", days=7)

        assert (await reading.open("/spending", days="365")).status_code == 400
    assert "Nothing was spent" in empty
    assert page.count("<rect") == 2
    assert "2026-03-09 · claude · $1,234.50" in page
    assert "$1,235.50" in page
