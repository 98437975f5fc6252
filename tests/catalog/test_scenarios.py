"""What the platforms that agentdb takes over from do with their catalogs and their seeds, step by step."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import agentdb
from agentdb.database import Database
from agentdb.engine.statements import insert_one
from agentdb.errors import AgentDBError, BadInput, Conflict, NotFound
from agentdb.keyring import open_platform_form
from agentdb.models import AgentTool, Prompt, RolePolicy, UserAgent, UserTool
from agentdb.testing.factories import make_user
from tests.test_keyring import PLATFORM_PASSPHRASE, PLATFORM_TEXT

TABLES = ("roles", "policies", "role_policies", "providers", "models", "prompts", "tools", "agents", "agent_tools")


def _write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name.replace('_', '-')}.csv").write_text(content, encoding="utf-8", newline="")
    return folder


async def _rows(db: Database, statement: str) -> list[tuple[Any, ...]]:
    async with db.read() as unit:
        return [tuple(row) for row in await unit.session.execute(text(statement))]


async def _all(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    return {name: await _rows(db, f"SELECT id, created_at FROM {name} ORDER BY id") for name in TABLES}


# Seeding


async def test_seeding_twice_gives_the_same_rows_with_the_same_ids_and_restores_what_a_seed_owns(
    db: Database, tmp_path: Path
) -> None:
    await db.seed()
    first = await _all(db)
    assert all(first.values())
    role = await db.supervisor.roles.by_name("user")
    await db.supervisor.roles.rename(role.id, "visitor", by=None)
    assistant = (await db.catalog.agents.list()).items[0]
    model = (await db.catalog.models.list(type="llm")).items[0]
    await db.catalog.agents.update(assistant.id, model_id=model.id, description="ours")
    folder = _write(tmp_path, roles=f"id,name\n{role.id},user\n")

    await db.seed(folder)
    await db.seed()

    assert await _all(db) == first
    assert (await db.supervisor.roles.get(role.id)).name == "user"
    kept = await db.catalog.agents.get(assistant.id)
    assert (kept.model_id, kept.description) == (model.id, "ours")


async def test_after_a_seed_the_next_ids_follow_the_greatest_and_the_first_user_is_the_first(
    db: Database, tmp_path: Path
) -> None:
    await db.seed(_write(tmp_path, models="id,key,name,version_name,type\n7,a,A,a,llm\n99,b,B,b,llm\n"))

    assert (await db.catalog.models.save_custom("c", name="C", version_name="c", type="llm")).id == 100
    assert (await make_user(db)).id == 1


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
async def test_the_platforms_own_seed_is_read_as_it_is_written(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "123")
    monkeypatch.delenv("NOT_SET", raising=False)
    files = {
        "roles": "id,name,display_order\n1,admin,0\n2,super user,01\n3,user,2\n,,\n\n",
        "policies": 'id,name,resource,action\n1,all,*,*\n2,"read, and ""more""",agents,read\n',
        "role_policies": "id,role_id,policy_id\n1,1,1\n2,3,2\n",
        "providers": (
            'id,name,api_key\n1,bedrock,null\n2,google,env:GEMINI_API_KEY\n3,mock,"{""k"": ""env:NOT_SET""}"\n'
        ),
        "models": (
            "id,key,provider_id,name,version_name,type,price_input,price_output,max_context\n"
            "1,google/pro,2,Pro,pro-2.5,llm,1.25,1e1,0x100000\n"
            "2,mock/mock,3,Mock,mock,llm,null,null,null\n"
        ),
        "prompts": "id,name,version,content\n1,ada,1,file:prompts/ada.txt\n",
        "agents": "id,name,prompt_id,model_id\n1,Ada,1,1\n",
        "tools": 'id,name,description,type\n1,search,"Searches\nthe web",builtin\n',
        "agent_tools": "id,agent_id,tool_id\n1,1,1\n",
    }
    _write(tmp_path, **{name: content.replace("\n", ends) for name, content in files.items()})
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ada.txt").write_bytes(b"You are Ada.\r\n\n")

    await db.seed(tmp_path)

    assert [role.name for role in (await db.supervisor.roles.list()).items] == ["admin", "super user", "user"]
    policies = (await db.supervisor.policies.list()).items
    assert sorted(policy.name for policy in policies) == ["all", 'read, and "more"']
    providers = db.catalog.providers
    assert [await providers.reveal(id_) for id_ in (1, 2, 3)] == [None, "123", {"k": None}]
    pro = await db.catalog.models.get(1)
    assert (pro.price_input, pro.price_output, pro.max_context) == (Decimal("1.25"), Decimal(10), 2**20)
    assert (await db.catalog.prompts.get(1)).content == "You are Ada.\r\n\n"
    assert (await db.catalog.tools.get(1)).description == f"Searches{ends}the web"
    assert [tool.name for tool in await db.catalog.agents.tools_of(1)] == ["search"]
    admin = await db.supervisor.users.create("root")
    await db.supervisor.roles.assign(admin.id, "admin", by=None)
    assert await db.supervisor.permissions.can(admin.id, "write", "anything")


async def test_a_service_that_is_told_not_to_neither_migrates_nor_seeds(database_url: str) -> None:
    with pytest.raises(AgentDBError):
        await agentdb.connect(database_url, migrate="never", seed="auto").open()
    async with agentdb.connect(database_url) as db:
        assert await db.supervisor.roles.count() == 0
    async with agentdb.connect(database_url, migrate="never") as db:
        assert await db.supervisor.roles.count() == 0
    async with agentdb.connect(database_url, service="gateway", seed="auto") as db:
        assert await db.catalog.providers.count() == 0


async def test_a_test_user_who_is_seeded_twice_is_one(db: Database, tmp_path: Path) -> None:
    folder = _write(
        tmp_path,
        users="username,email\ntest,test@cortex-os.dev\n",
        agents='name,config\nTest Agent,"{}"\n',
    )

    for _ in range(2):
        await db.seed(folder)

    assert await db.supervisor.users.count() == 1
    assert [agent.name for agent in (await db.catalog.agents.list()).items] == ["Test Agent"]


# What is there once


async def test_what_may_be_there_once_is_refused_twice_by_its_constraint(db: Database) -> None:
    user = await make_user(db)
    role = await db.supervisor.roles.create("reader", by=None)
    policy = await db.supervisor.policies.create("all", "*", "*", by=None)
    tool, agent = await db.catalog.tools.create("search"), await db.catalog.agents.create("helper")
    twice: dict[str, tuple[Any, dict[str, Any]]] = {
        "uq_prompts__name_version": (Prompt, {"name": "help", "version": 1, "content": "c"}),
        "uq_role_policies__role_id_policy_id": (RolePolicy, {"role_id": role.id, "policy_id": policy.id}),
        "uq_user_agents__user_id_agent_id": (UserAgent, {"user_id": user.id, "agent_id": agent.id}),
        "uq_user_tools__user_id_tool_id": (UserTool, {"user_id": user.id, "tool_id": tool.id}),
        "uq_agent_tools__agent_id_tool_id": (AgentTool, {"agent_id": agent.id, "tool_id": tool.id}),
    }
    connection = db.catalog.connection

    for constraint, (model, values) in twice.items():
        await connection.fetch_one(insert_one(model), values)
        with pytest.raises(Conflict) as refused:
            await connection.fetch_one(insert_one(model), values)
        assert refused.value.constraint == constraint
        with pytest.raises(Conflict):
            await _add(db, model(**values))


async def _add(db: Database, row: Any) -> None:
    async with db.write() as unit:
        unit.session.add(row)


async def test_an_agent_is_not_made_under_a_name_that_is_no_text(db: Database) -> None:
    for call in (db.catalog.agents.get_or_create, db.catalog.agents.create):
        with pytest.raises(BadInput, match="lone surrogate"):
            await call("helper \udcff")

    assert await db.catalog.agents.count() == 0


# Models


async def test_a_model_that_is_removed_leaves_agents_without_one_and_what_was_charged_as_it_was(db: Database) -> None:
    model = await db.catalog.models.save_custom("m", name="M", version_name="m", type="llm", price_input=Decimal(2))
    agent = await db.catalog.agents.create("helper", model_id=model.id)
    cost = await db.hub.costs.append(source="chat", model="m", cost=Decimal("0.5"))

    await db.catalog.models.remove_custom("m")

    assert await db.catalog.models.by_key("m") is None
    assert (await db.catalog.agents.get(agent.id)).model_id is None
    charged = await db.hub.costs.get(cost.id)
    assert (charged.model, charged.cost) == ("m", Decimal("0.5"))


async def test_a_call_costs_by_the_million_what_it_cost_by_the_thousand(db: Database) -> None:
    await db.catalog.models.save_custom(
        "m", name="M", version_name="m", type="llm", price_input=Decimal(1000), price_output=Decimal(500)
    )
    await db.catalog.models.save_custom("free", name="F", version_name="f", type="llm", price_input=Decimal(1000))

    assert await db.catalog.models.price_of("m", input_tokens=1000, output_tokens=500) == Decimal("1.25")
    assert await db.catalog.models.price_of("free", input_tokens=1000, output_tokens=500) == Decimal(1)
    with pytest.raises(NotFound):
        await db.catalog.models.price_of("unknown", input_tokens=1)


async def test_of_many_who_set_a_default_while_models_go_one_is_left(db: Database) -> None:
    made = [await db.catalog.models.save_custom(f"m{n}", name="M", version_name="m", type="llm") for n in range(6)]

    outcomes = await asyncio.gather(
        *(db.catalog.models.set_default(model.id) for model in made),
        db.catalog.models.remove_custom("m0"),
        return_exceptions=True,
    )

    assert all(not isinstance(outcome, BaseException) or isinstance(outcome, NotFound) for outcome in outcomes)
    defaults = (await db.catalog.models.page(is_default=True)).items
    assert len(defaults) <= 1  # none, when the one that goes was the last to become it
    assert sum(isinstance(outcome, NotFound) for outcome in outcomes) <= 1


# Keys


async def test_a_key_as_the_platform_encrypted_it_moves_in(db: Database) -> None:
    user, provider = await make_user(db), await db.catalog.providers.create("openai")
    plaintext = open_platform_form(PLATFORM_TEXT, PLATFORM_PASSPHRASE)

    keys = db.supervisor.api_keys
    entry = await keys.store_provider_key(user.id, provider.id, "main", plaintext, by=None)

    assert await keys.reveal(entry.id, by=user.id) == "sk-test-ABCDEFGHIJKLMNOP"
    assert (await keys.get(entry.id)).usage_count == 1
    (stored,) = await _rows(db, "SELECT secret FROM api_keys")
    assert b"sk-test" not in bytes(stored[0])
