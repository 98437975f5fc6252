"""What no catalog has is refused in our own words, whatever it is, and alike on both databases."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from agentdb.catalog.agents import identity_of
from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.testing.factories import make_user

LONG = 10**5_000  # Python spells no number of so many digits


async def test_whatever_a_caller_passes_is_refused_in_our_words(db: Database, subtests: pytest.Subtests) -> None:
    user = (await make_user(db)).id
    models, tools, agents = db.catalog.models, db.catalog.tools, db.catalog.agents
    providers = db.catalog.providers
    await models.add(key="gpt", name="gpt", version_name="1", type="llm", price_input=Decimal(1), pricing={"image": 1})
    provider, tool = await providers.create("openai"), await tools.create("hammer")
    agent = await agents.create("helper", tools=["hammer"])
    none: Any = None
    some: Any = 5
    long: Any = LONG
    listed: Any = {"key": "gpt"}
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "a provider too long to tell": lambda: providers.create(long),
        "a provider's other name": lambda: providers.update(provider.id, name=[LONG]),
        "a type too long to tell": lambda: models.list(type=long),
        "a flag too long to tell": lambda: models.list(is_active=long),
        "capabilities of several kinds": lambda: models.list(capabilities=["x", 1]),  # type: ignore[list-item]
        "no capabilities": lambda: models.list(capabilities=none),
        "a custom type too long to tell": lambda: models.save_custom("gpt", type=LONG),
        "tokens that are none": lambda: models.price_of("gpt", input_tokens=none),
        "tokens no number has": lambda: models.price_of("gpt", input_tokens=math.nan),  # type: ignore[arg-type]
        "tokens too long to tell": lambda: models.price_of("gpt", output_tokens=LONG),
        "units in a list": lambda: models.price_of("gpt", units=["image"]),  # type: ignore[arg-type]
        "units too long to tell": lambda: models.price_of("gpt", units={"image": LONG}),
        "units that are no number": lambda: models.price_of("gpt", units={"image": "x"}),  # type: ignore[dict-item]
        "units that are a flag": lambda: models.price_of("gpt", units={"image": True}),
        "no price list": lambda: models.import_prices(none),
        "a model alone": lambda: models.import_prices(listed),
        "models that are none": lambda: models.import_prices([some]),
        "a key that is no text": lambda: models.import_prices([{"key": some}]),
        "a price that is no text": lambda: models.import_prices([{**listed, "input_cost_per_token": 0}]),  # type: ignore[dict-item]
        "a price in bytes": lambda: models.import_prices([{**listed, "input_cost_per_token": b"1"}]),  # type: ignore[dict-item]
        "a tool too long to tell": lambda: tools.create(long),
        "tools in a text": lambda: tools.add_many("hammer"),  # type: ignore[arg-type]
        "tools that are none": lambda: tools.add_many([some]),
        "no tools to add": lambda: tools.add_many(none),
        "a description too long to tell": lambda: tools.update(tool.id, description=LONG),
        "a search too long to tell": lambda: tools.search(long),
        "a category too long to tell": lambda: tools.list(category=long),
        "a flag of tools too long to tell": lambda: tools.list(is_builtin=long),
        "a user of tools too long to tell": lambda: tools.search("x", user_id=LONG),
        "no tools of an agent": lambda: agents.create("x", tools=none),
        "tools of several kinds": lambda: agents.set_tools(agent.id, ["hammer", 1]),  # type: ignore[list-item]
        "an agent too long to tell": lambda: agents.get_or_create(long),
        "an agent that is a number": lambda: agents.get_or_create(some),
        "an agent without a name": lambda: agents.get_or_create(" "),
        "an owner too long to tell": lambda: agents.get_or_create("x", user_id=LONG),
        "a reader too long to tell": lambda: agents.visible_to(LONG),
        "a user of agents too long to tell": lambda: db.catalog.user_agents.list(LONG),
        "a user who is a list": lambda: db.catalog.user_tools.list([user]),  # type: ignore[arg-type]
        "keys of several kinds": lambda: tools.count(id__in=[tool.id, "x"]),
    }

    for what, call in calls.items():
        with subtests.test(what), pytest.raises(BadInput):
            await call()
    assert (await models.count(), await tools.count(), await agents.count()) == (1, 1, 1)
    assert [held.name for held in await agents.tools_of(agent.id)] == ["hammer"]


async def test_nobody_in_particular_is_not_everybody(db: Database) -> None:
    await db.catalog.agents.get_or_create("helper")

    with pytest.raises(BadInput, match="user_id"):
        await db.catalog.agents.get_or_create("helper", user_id="")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [5, 10**400, None, b"x", ["x"]])
def test_only_a_text_names_an_agent(name: Any) -> None:
    with pytest.raises(BadInput, match="name"):
        identity_of(name)
