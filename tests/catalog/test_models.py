"""Models: made and kept up to date from a price list, and not touched without need."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from agentdb import clock
from agentdb.catalog.models import AIModel, ModelType
from agentdb.catalog.records import PriceReport
from agentdb.database import Database
from agentdb.errors import BadInput

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def row(key: str, provider: str = "brook", price: str = "0.000001", mode: str = "chat") -> dict[str, str | None]:
    return {"key": key, "provider": provider, "mode": mode, "input_cost_per_token": price, "max_input_tokens": "8192"}


async def by_key(db: Database, key: str) -> AIModel:
    model = await db.catalog.models.by_key(key)
    assert model is not None
    return model


async def test_a_list_makes_models_and_their_providers(db: Database) -> None:
    report = await db.catalog.models.import_prices(
        [row("chat"), row("embed", mode="embedding"), row("other", provider="cinder"), row("nobody's", provider="")]
    )

    chat, embed, nobodys = [await by_key(db, key) for key in ("chat", "embed", "nobody's")]
    assert report == PriceReport(added=4, changed=0, unchanged=0, kept=0, providers_added=2, rounded=0)
    assert (chat.price_input, chat.max_context, chat.type) == (Decimal(1), 8192, ModelType.llm)
    assert embed.type is ModelType.embedding
    assert chat.provider_id == embed.provider_id
    assert nobodys.provider_id is None
    assert await db.catalog.models.by_key("unheard-of") is None


async def test_the_same_list_again_changes_nothing(db: Database) -> None:
    rows = [row("chat", price="0.0000000333333333333"), row("embed")]
    with clock.hold(NOON) as hand:
        await db.catalog.models.import_prices(rows)
        hand.forward(timedelta(hours=1))

        report = await db.catalog.models.import_prices(rows)

    assert report == PriceReport(added=0, changed=0, unchanged=2, kept=0, providers_added=0, rounded=1)
    assert (await by_key(db, "chat")).updated_at == NOON


async def test_only_what_differs_is_written(db: Database) -> None:
    with clock.hold(NOON) as hand:
        await db.catalog.models.import_prices([row("chat"), row("embed")])
        later = hand.forward(timedelta(hours=1))

        report = await db.catalog.models.import_prices([row("chat", price="0.000002"), row("embed")])

    chat, embed = await by_key(db, "chat"), await by_key(db, "embed")
    assert report == PriceReport(added=0, changed=1, unchanged=1, kept=0, providers_added=0, rounded=0)
    assert (chat.price_input, chat.created_at, chat.updated_at) == (Decimal(2), NOON, later)
    assert embed.updated_at == NOON


async def test_what_the_installation_decided_survives_an_import(db: Database) -> None:
    await db.catalog.models.import_prices([row("chat"), row("own")])
    chat, own = await by_key(db, "chat"), await by_key(db, "own")
    await db.catalog.models.update(chat.id, is_default=True, is_builtin=True, description="the one we use")
    await db.catalog.models.update(own.id, is_custom=True)

    report = await db.catalog.models.import_prices([row("chat", price="0.000002"), row("own", price="0.000002")])

    chat, own = await by_key(db, "chat"), await by_key(db, "own")
    assert (report.changed, report.kept) == (1, 1)
    assert (chat.is_default, chat.is_builtin, chat.description, chat.price_input) == (
        True,
        True,
        "the one we use",
        Decimal(2),
    )
    assert own.price_input == Decimal(1)


async def test_a_bad_row_lets_nothing_in(db: Database) -> None:
    with pytest.raises(BadInput, match="input_cost_per_token"):
        await db.catalog.models.import_prices([row("chat"), row("embed", price="dear")])
    with pytest.raises(BadInput, match="'chat' 2 times"):
        await db.catalog.models.import_prices([row("chat"), row("embed"), row("chat")])
    with pytest.raises(BadInput, match="text of 256 characters"):
        await db.catalog.models.import_prices([row("chat"), row("k" * 256)])

    assert await db.catalog.models.count() == 0


async def test_an_import_is_part_of_its_unit(db: Database) -> None:
    async def change_my_mind() -> None:
        async with db.write() as unit:
            await unit.catalog.models.import_prices([row("chat")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await change_my_mind()

    assert await db.catalog.models.count() == 0


async def test_thousands_of_models_go_in_at_once(db: Database) -> None:
    rows = [row(f"model-{number}", provider=f"provider-{number % 7}") for number in range(2_000)]

    report = await db.catalog.models.import_prices(rows)

    assert (report.added, report.providers_added) == (2_000, 7)
    assert (await db.catalog.models.import_prices(rows)).unchanged == 2_000


async def test_models_are_listed_by_key(db: Database) -> None:
    await db.catalog.models.import_prices([row("b"), row("a"), row("c", mode="embedding")])

    first = await db.catalog.models.list(limit=2)
    second = await db.catalog.models.list(limit=2, after=first.next)

    assert [model.key for model in (*first.items, *second.items)] == ["a", "b", "c"]
    assert [model.key for model in (await db.catalog.models.list(type="embedding")).items] == ["c"]
