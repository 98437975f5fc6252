"""Seeding: rows are added, brought up to date, or kept; and what a seed does not own stays as it is."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from agentdb import clock, seeding
from agentdb.catalog.agents import identity_of
from agentdb.catalog.models import AgentTool, ModelType
from agentdb.database import Database
from agentdb.models import Role
from agentdb.seeding import SHIPPED, TableReport
from agentdb.seeding.planning import held
from tests.seeding.conftest import WriteSeed

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MODELS = "key,name:text,version_name:text,type,price_input,max_context\n"


async def rows(db: Database, statement: str) -> list[tuple[object, ...]]:
    async with db.read() as unit:
        return [tuple(row) for row in await unit.session.execute(text(statement))]


async def test_seeding_again_changes_nothing(db: Database) -> None:
    with clock.hold(NOON) as hand:
        first = await db.seed()
        hand.forward(timedelta(hours=1))

        again = await db.seed()

    assert sum(done.added for done in first.tables.values()) == sum(done.unchanged for done in again.tables.values())
    assert all(done.added == done.changed == done.kept == 0 for done in again.tables.values())
    assert (await db.catalog.models.get(1)).updated_at == NOON


async def test_values_are_what_the_grammar_says(db: Database, write_seed: WriteSeed) -> None:
    folder = write_seed(
        models=(
            "key,name:text,version_name,type,description,price_input,max_context,capabilities,is_active,created_at\n"
            '"quoted, ""key""",007,v1,llm,file:about.txt,.125,0x10,"{""vision"": true}",false,2026-11-20T12:00:00Z\n'
            "plain,true,v2,embedding,,null,null,{},true,2026-11-20T12:00:00Z\n"
        )
    )
    (folder / "about.txt").write_bytes(b" verbatim\r\n")

    report = await db.seed(folder)

    assert report.tables == {"models": TableReport(added=2)}
    model = await db.catalog.models.by_key('quoted, "key"')
    assert model is not None
    assert (model.name, model.type, model.description) == ("007", ModelType.llm, " verbatim\r\n")
    assert (model.price_input, model.max_context) == (Decimal("0.125"), 16)
    assert (model.capabilities, model.is_active, model.created_at) == ({"vision": True}, False, NOON)
    plain = await db.catalog.models.by_key("plain")
    assert plain is not None
    assert (plain.name, plain.description, plain.price_input) == ("true", "", None)


async def test_only_what_a_seed_owns_is_overwritten(db: Database, write_seed: WriteSeed) -> None:
    await db.seed(
        write_seed(models='key,name,version_name,type,description,default_parameters\na,A,a,llm,seeded,"{""n"": 1}"\n')
    )
    model = await db.catalog.models.by_key("a")
    assert model is not None
    await db.catalog.models.update(model.id, description="ours", max_context=5, is_active=False)

    report = await db.seed(
        write_seed(models="key,name,version_name,type,description,default_parameters\na,B,a,llm,again,{}\n")
    )

    assert report.tables["models"] == TableReport(changed=1)
    changed = await db.catalog.models.get(model.id)
    assert (changed.name, changed.description, changed.max_context) == ("B", "ours", 5)
    assert (changed.is_active, changed.default_parameters) == (False, {"n": 1})


async def test_rows_keep_their_ids_and_those_that_follow_go_on_after_them(db: Database, write_seed: WriteSeed) -> None:
    folder = write_seed(
        roles="id,name\n7,seven\nnull,next\n40,forty\n", **{"role-policies": "id,role_id,policy\n3,7,all\n"}
    )
    (folder / "policies.csv").write_text("id,name,resource,action\n5,all,*,*\n", encoding="utf-8")

    await db.seed(folder)
    later = await db.supervisor.roles.create("later", by=None)

    assert await rows(db, "SELECT id, name FROM roles ORDER BY id") == [
        (7, "seven"),
        (40, "forty"),
        (41, "next"),
        (42, "later"),
    ]
    assert later.id == 42
    assert await rows(db, "SELECT id, role_id, policy_id FROM role_policies") == [(3, 7, 5)]


async def test_ids_never_go_backwards(db: Database, write_seed: WriteSeed) -> None:
    for number in range(10):
        await db.supervisor.roles.remove((await db.supervisor.roles.create(f"gone {number}", by=None)).id)

    await db.seed(write_seed(roles="id,name\n3,three\n"))

    assert (await db.supervisor.roles.create("later", by=None)).id == 11


async def test_a_row_is_known_by_its_id_before_its_name(db: Database, write_seed: WriteSeed) -> None:
    await db.seed(write_seed(tools="id,name,description\n3,browse,opens\n"))

    report = await db.seed(write_seed(tools="id,name,description\n3,wander,opens\n"))

    assert report.tables["tools"] == TableReport(changed=1)
    assert (await db.catalog.tools.get(3)).name == "wander"
    assert [tool.name for tool in (await db.catalog.tools.search("WANDER")).items] == ["wander"]
    assert not (await db.catalog.tools.search("browse")).items


async def test_references_are_named_or_numbered_and_may_lead_forward(db: Database, write_seed: WriteSeed) -> None:
    folder = write_seed(
        roles="name\nreader\n",
        users="username,role,agent\nrunner,reader,helper\n",
        providers="name\nbrook\n",
        models=MODELS.replace("key", "key,provider") + "m,brook,M,m,llm,1,null\n",
        prompts="name,version,content\nhelp,1,one\nhelp,2,two\n",
        tools="name\nbrowse\n",
        agents="name,prompt,model\nhelper,help@2,m\n",
    )
    (folder / "agent-tools.csv").write_text("agent,tool\nhelper,browse\n", encoding="utf-8")
    (folder / "user-agents.csv").write_text("user,agent,role\nrunner,helper,owner\n", encoding="utf-8")
    with clock.hold(NOON) as hand:
        first = await db.seed(folder)
        hand.forward(timedelta(hours=1))
        again = await db.seed(folder)

    agent = await db.catalog.agents.by_uuid(identity_of("helper"))
    user = await db.supervisor.users.by_username("runner")
    prompt = await db.catalog.prompts.version("help", 2)
    assert (user.agent_id, agent.prompt_id) == (agent.id, prompt.id)
    assert user.updated_at == NOON
    assert [tool.name for tool in await db.catalog.agents.tools_of(agent.id)] == ["browse"]
    assert [entry.role for entry in (await db.catalog.user_agents.list(user.id)).items] == ["owner"]
    assert list(first.tables)[:3] == ["roles", "users", "providers"]
    assert all(done.added == done.changed == 0 for done in again.tables.values())


async def test_a_forward_reference_does_not_move_when_a_row_changed(db: Database, write_seed: WriteSeed) -> None:
    with clock.hold(NOON) as hand:
        await db.supervisor.users.create("runner")
        later = hand.forward(timedelta(hours=1))

        report = await db.seed(write_seed(users="username,agent\nrunner,helper\n", agents="name\nhelper\n"))

        user = await db.supervisor.users.by_username("runner")
        assert user.agent_id == (await db.catalog.agents.by_uuid(identity_of("helper"))).id
        assert (user.updated_at, later) == (NOON, NOON + timedelta(hours=1))
        assert report.tables["agents"] == TableReport(added=1)


async def test_a_secret_is_sealed_and_one_whose_variable_is_unset_stays(
    db: Database, write_seed: WriteSeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_seed(
        providers="name,api_key,endpoint\nbrook,env:BROOK_KEY,https://one\n",
        tools="name\ncrm\n",
        users="username\nada\n",
    )
    (folder / "user-tools.csv").write_text(
        'user,tool,credential\nada,crm,"{""token"": ""env:CRM_TOKEN""}"\n', encoding="utf-8"
    )
    monkeypatch.setenv("BROOK_KEY", "sk-brook-1")
    monkeypatch.setenv("CRM_TOKEN", "t-1")
    await db.seed(folder)
    same = await db.seed(folder)
    monkeypatch.setenv("BROOK_KEY", "sk-brook-2")
    changed = await db.seed(folder)
    monkeypatch.delenv("BROOK_KEY")
    unset = await db.seed(folder)

    provider = await db.catalog.providers.by_name("brook")
    assert await db.catalog.providers.reveal(provider.id) == "sk-brook-2"
    done = [report.tables["providers"] for report in (same, changed, unset)]
    assert done == [TableReport(unchanged=1), TableReport(changed=1), TableReport(unchanged=1)]
    assert same.tables["user_tools"] == TableReport(unchanged=1)
    user, tool = await db.supervisor.users.by_username("ada"), await db.catalog.tools.by_name("crm")
    assert await db.catalog.user_tools.reveal(user.id, tool.id) == {"token": "t-1"}


async def test_a_custom_model_is_untouched_and_becomes_what_the_newest_seed_says(
    db: Database, write_seed: WriteSeed
) -> None:
    header = "key,name,version_name,type,price_input,is_builtin\n"
    await db.seed(write_seed(models=header + "m,One,m,llm,1,true\n"))
    await db.catalog.models.save_custom("m", name="Ours", price_input=Decimal(9))

    report = await db.seed(write_seed(models=header + "m,Two,m,llm,2,true\n"))

    assert report.tables["models"] == TableReport(kept=1)
    custom = await db.catalog.models.by_key("m")
    assert custom is not None
    assert (custom.name, custom.price_input, custom.is_custom) == ("Ours", Decimal(9), True)
    restored = await db.catalog.models.remove_custom("m")
    assert restored is not None
    assert (restored.name, restored.price_input, restored.is_custom) == ("Two", Decimal(2), False)


async def test_a_prompt_that_an_agent_has_is_kept(db: Database, write_seed: WriteSeed) -> None:
    header = "name,version,content\n"
    await db.seed(write_seed(prompts=header + "help,1,one\nhelp,2,two\n", agents="name,prompt\nhelper,help@1\n"))

    report = await db.seed(write_seed(prompts=header + "help,1,changed\nhelp,2,changed\n"))

    assert report.tables["prompts"] == TableReport(changed=1, kept=1)
    assert (await db.catalog.prompts.version("help", 1)).content == "one"
    assert (await db.catalog.prompts.version("help", 2)).content == "changed"


async def test_the_installations_own_default_model_stays_the_default(db: Database, write_seed: WriteSeed) -> None:
    header = "key,name,version_name,type,is_default\n"
    await db.seed(write_seed(models=header + "a,A,a,llm,true\nb,B,b,llm,true\n"))
    first = await db.catalog.models.default()

    await db.seed(write_seed(models=header + "c,C,c,llm,true\nd,D,d,image,true\n"))

    assert first is not None
    assert first.key == "a"
    assert [model.key for model in (await db.catalog.models.page(is_default=True)).items] == ["a", "d"]


async def test_two_who_seed_at_once_load_once(db: Database, write_seed: WriteSeed) -> None:
    folder = write_seed(tools="name\n" + "".join(f"tool-{n}\n" for n in range(50)), agents="name\nhelper\n")
    (folder / "agent-tools.csv").write_text("agent,tool\nhelper,tool-7\n", encoding="utf-8")

    reports = await asyncio.gather(*(db.seed(folder) for _ in range(4)))

    assert sorted(report.tables["tools"].added for report in reports) == [0, 0, 0, 50]
    async with db.read() as unit:
        assert len((await unit.session.execute(AgentTool.__table__.select())).all()) == 1


async def test_a_seed_within_a_unit_goes_with_it(db: Database, write_seed: WriteSeed) -> None:
    folder = write_seed(roles="name\nreader\n")

    async def seeded_and_undone() -> None:
        async with db.write() as unit:
            await seeding.seed(unit, folder)
            assert await unit.supervisor.roles.count() == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await seeded_and_undone()
    assert await db.supervisor.roles.count() == 0


@pytest.mark.long
async def test_thousands_of_rows_are_seeded_in_seconds(db: Database, write_seed: WriteSeed) -> None:
    many = "".join(f"model-{n},Model {n},v,llm,{n}.5,{n}\n" for n in range(4500))
    folder = write_seed(models=MODELS + many)
    began = time.perf_counter()

    report = await db.seed(folder)
    added = time.perf_counter() - began
    again = await db.seed(folder)

    assert report.tables["models"] == TableReport(added=4500)
    assert again.tables["models"] == TableReport(unchanged=4500)
    assert added < 30


def test_a_rows_attribute_is_found_by_its_column() -> None:
    assert held(Role(name="reader"), "name") == "reader"


async def test_what_is_shipped_is_complete(db: Database) -> None:
    report = await db.seed()

    assert {name: done.added for name, done in report.tables.items()} == {
        "roles": 3,
        "policies": 6,
        "role_policies": 8,
        "providers": 9,
        "models": 41,
        "prompts": 3,
        "tools": 6,
        "agents": 3,
        "agent_tools": 11,
    }
    agents = (await db.catalog.agents.list()).items
    assert [agent.name for agent in agents] == ["Assistant", "Engineer", "Researcher"]
    models = (await db.catalog.models.list(limit=1000)).items
    assert all(model.is_builtin and model.provider_id and not model.is_custom for model in models)
    assert {model.type for model in models} >= {"llm", "embedding", "image", "rerank", "moderation", "audio"}
    assert all(agent.prompt_id for agent in agents)


def test_what_is_shipped_names_no_machine() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".csv", ".txt"}
    assert all("env:" not in path.read_text(encoding="utf-8") for path in files)
