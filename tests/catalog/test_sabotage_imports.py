"""Imports of prices beside somebody who decides otherwise at the same moment."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from agentdb.database import Database


def _row(price: str) -> dict[str, str | None]:
    return {"key": "own", "mode": "chat", "input_cost_per_token": price}


async def test_a_model_that_becomes_custom_during_an_import_is_kept(db: Database) -> None:
    await db.catalog.models.import_prices([_row("0.000001")])
    own = await db.catalog.models.by_key("own")
    assert own is not None

    async with db.write() as unit:
        await unit.catalog.models.update(own.id, is_custom=True)
        importing = asyncio.create_task(db.catalog.models.import_prices([_row("0.000002")]))
        await asyncio.sleep(0.2)  # on PostgreSQL it has read that the model is not custom, and waits for this row
    report = await importing

    assert (report.changed, report.kept) == (0, 1)
    assert (await db.catalog.models.get(own.id)).price_input == Decimal(1)
