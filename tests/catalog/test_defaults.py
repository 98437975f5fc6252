"""The default model of a type, models by what they can do, and models an installation makes its own."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from agentdb.catalog.models import AIModel, ModelType
from agentdb.database import Database
from agentdb.errors import BadInput, InvalidTransition, NotFound


async def make(db: Database, key: str, **details: Any) -> AIModel:
    return await db.catalog.models.add(**{"key": key, "name": key, "version_name": key, "type": "llm", **details})


async def test_one_model_of_a_type_is_the_default(db: Database) -> None:
    first, second = await make(db, "first"), await make(db, "second")
    embedding = await make(db, "embedding", type="embedding")

    before = await db.catalog.models.default()
    await db.catalog.models.set_default(embedding.id)
    await db.catalog.models.set_default(first.id)
    chosen = await db.catalog.models.set_default(second.id)

    assert before is None
    assert chosen.is_default
    assert not (await db.catalog.models.get(first.id)).is_default
    found = await db.catalog.models.default()
    assert found is not None
    assert found.id == second.id
    assert (await db.catalog.models.get(embedding.id)).is_default


async def test_of_many_that_become_the_default_at_once_exactly_one_is(db: Database) -> None:
    models = [await make(db, f"model-{number}") for number in range(6)]

    answers = await asyncio.gather(*(db.catalog.models.set_default(model.id) for model in models * 4))

    assert all(answer.is_default for answer in answers)
    assert await db.catalog.models.count(is_default=True) == 1


async def test_an_inactive_model_is_no_default(db: Database) -> None:
    first, second = await make(db, "first"), await make(db, "second", is_active=False)
    await db.catalog.models.set_default(first.id)

    with pytest.raises(InvalidTransition):
        await db.catalog.models.set_default(second.id)
    with pytest.raises(NotFound):
        await db.catalog.models.set_default(404)
    assert (await db.catalog.models.get(first.id)).is_default
    await db.catalog.models.update(first.id, is_active=False)
    assert await db.catalog.models.default() is None


async def test_models_are_listed_by_what_they_can_do(db: Database) -> None:
    await make(db, "all", capabilities={"vision": True, "tools": True})
    await make(db, "some", capabilities={"vision": True, "tools": False})
    await make(db, "odd", capabilities={"vision": "true", 'a"b': True})
    await make(db, "none")

    vision = await db.catalog.models.list(capabilities=["vision"])
    both = await db.catalog.models.list(capabilities=["tools", "vision"], type=ModelType.llm)
    quoted = await db.catalog.models.list(capabilities=['a"b'])

    assert [model.key for model in vision.items] == ["all", "some"]
    assert [model.key for model in both.items] == ["all"]
    assert [model.key for model in quoted.items] == ["odd"]
    with pytest.raises(BadInput):
        await db.catalog.models.list(capabilities="vision")


async def test_a_page_of_capable_models_goes_on_where_it_ended(db: Database) -> None:
    for number in range(5):
        await make(db, f"model-{number}", capabilities={"vision": number != 2}, is_active=number != 3)

    first = await db.catalog.models.list(capabilities=["vision"], is_active=True, limit=2)
    rest = await db.catalog.models.list(capabilities=["vision"], is_active=True, limit=2, after=first.next)

    assert [model.key for model in [*first.items, *rest.items]] == ["model-0", "model-1", "model-4"]
    with pytest.raises(BadInput):
        await db.catalog.models.list(capabilities=["tools"], after=first.next)


ODD: list[Any] = [[], "text", 7, True, [{"vision": True}], {"vision": None}]


async def test_malformed_json_of_one_model_breaks_no_list(db: Database, subtests: pytest.Subtests) -> None:
    await make(db, "fine", capabilities={"vision": True})

    for odd in ODD:
        with subtests.test(odd=odd):
            model = await make(db, "odd", capabilities=odd, meta=odd, pricing=odd, default_parameters=odd)

            everything = await db.catalog.models.list()
            capable = await db.catalog.models.list(capabilities=["vision"])

            assert {model.key: model.meta for model in everything.items} == {"fine": {}, "odd": odd}
            assert [model.key for model in capable.items] == ["fine"]
            assert await db.catalog.models.price_of("odd", input_tokens=10) == 0
            await db.catalog.models.remove(model.id)


async def test_what_a_call_costs_is_rounded_once_half_to_even(db: Database) -> None:
    await make(db, "priced", price_input=Decimal("0.0005"), price_output=Decimal("0.001"), pricing={"image": 0.04})

    # 0.0005 dollars a million: three halves of a billionth, and one.
    assert await db.catalog.models.price_of("priced", input_tokens=3) == Decimal("0.000000002")
    assert await db.catalog.models.price_of("priced", input_tokens=1) == Decimal("0E-9")
    assert await db.catalog.models.price_of("priced", input_tokens=1, output_tokens=1) == Decimal("0.000000002")
    assert await db.catalog.models.price_of("priced", units={"image": 3}) == Decimal("0.12")
    for units in ({"video": 1}, {"image": -1}):
        with pytest.raises(BadInput):
            await db.catalog.models.price_of("priced", units=units)
    with pytest.raises(NotFound):
        await db.catalog.models.price_of("unheard-of")


async def test_a_custom_model_is_added_changed_and_removed(db: Database) -> None:
    added = await db.catalog.models.save_custom("own", type="image", price_input=Decimal(3), meta={"size": "1024"})
    changed = await db.catalog.models.save_custom("own", type="llm")
    gone = await db.catalog.models.remove_custom("own")

    assert (added.is_custom, added.is_builtin, added.type) == (True, False, ModelType.image)
    assert (changed.id, changed.type, changed.price_input) == (added.id, ModelType.llm, Decimal(3))
    assert gone is None
    assert await db.catalog.models.by_key("own") is None


async def test_a_built_in_model_becomes_what_it_was_when_it_is_custom_no_more(db: Database) -> None:
    provider = await db.catalog.providers.create("brook")
    built_in = await make(
        db,
        "built-in",
        is_builtin=True,
        provider_id=provider.id,
        price_input=Decimal("1.25"),
        max_context=8192,
        capabilities={"tools": True},
    )
    await db.catalog.models.set_default(built_in.id)

    first = await db.catalog.models.save_custom("built-in", price_input=Decimal(9), name="Ours", max_context=None)
    custom = await db.catalog.models.save_custom("built-in", provider_id=None, capabilities={})
    restored = await db.catalog.models.remove_custom("built-in")

    assert first.is_builtin
    assert (custom.is_custom, custom.name, custom.price_input) == (True, "Ours", Decimal(9))
    assert restored is not None
    assert (restored.is_custom, restored.shipped, restored.id, restored.is_default) == (False, None, built_in.id, True)
    assert (restored.name, restored.price_input, restored.max_context) == ("built-in", Decimal("1.25"), 8192)
    assert (restored.provider_id, restored.capabilities) == (provider.id, {"tools": True})


async def test_a_built_in_model_is_restored_without_a_provider_that_is_gone(db: Database) -> None:
    provider = await db.catalog.providers.create("brook")
    await make(db, "built-in", is_builtin=True, provider_id=provider.id)
    await db.catalog.models.save_custom("built-in", name="Ours")
    await db.catalog.providers.remove(provider.id)

    restored = await db.catalog.models.remove_custom("built-in")

    assert restored is not None
    assert (restored.name, restored.provider_id) == ("built-in", None)


async def test_a_default_that_changes_its_type_is_no_default_of_the_other(db: Database) -> None:
    image = await make(db, "image", type="image")
    llm = await make(db, "llm")
    await db.catalog.models.set_default(image.id)
    await db.catalog.models.set_default(llm.id)

    changed = await db.catalog.models.save_custom("llm", type="image")

    assert not changed.is_default
    assert (await db.catalog.models.get(image.id)).is_default


async def test_many_who_save_one_custom_model_at_once_make_one(db: Database) -> None:
    saved = await asyncio.gather(*(db.catalog.models.save_custom("own", max_output=n) for n in range(1, 11)))

    assert len({model.id for model in saved}) == 1
    assert await db.catalog.models.count() == 1


async def test_what_is_no_content_of_a_model_is_refused(db: Database) -> None:
    await make(db, "plain")

    refused: list[dict[str, Any]] = [{"is_default": True}, {"shipped": {}}, {"meta": []}, {"capabilities": "vision"}]
    for values in refused:
        with pytest.raises(BadInput):
            await db.catalog.models.save_custom("plain", **values)
    with pytest.raises(InvalidTransition):
        await db.catalog.models.remove_custom("plain")
    with pytest.raises(NotFound):
        await db.catalog.models.remove_custom("unheard-of")
