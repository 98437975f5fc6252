"""Services: each table has its owner, and who is not one of its writers is refused, here and by the server."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import pkgutil
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import UnsupportedCompilationError
from sqlalchemy.orm import aliased

import agentdb
from agentdb import urls
from agentdb.cli.grants import granted_to
from agentdb.database import Database
from agentdb.engine.connection import count, every, one
from agentdb.engine.dialects import POSTGRESQL, SQLITE
from agentdb.engine.plan import Plan
from agentdb.engine.touching import touched
from agentdb.errors import AgentDBError, BadInput, BadSettings, ReadOnly, SchemaMismatch
from agentdb.models import Conversation, Cost, Host, Message, SpendLimit, User, Workflow, tables
from agentdb.services import KNOWN, MATRIX, SERVICES
from agentdb.supervisor.key_records import new_key
from agentdb.testing.factories import make_conversation, make_user
from agentdb.unit import Unit

As = Callable[..., Awaitable[Database]]
_numbers = itertools.count(1)


@pytest.fixture
def url(migrated_url: str) -> str:
    """Return the URL of a database that is migrated."""
    return migrated_url


@pytest_asyncio.fixture
async def owner(url: str) -> AsyncIterator[Database]:
    """Yield the database as the owner of its tables has it."""
    async with agentdb.connect(url) as db:
        yield db


@pytest_asyncio.fixture
async def gateway(url: str) -> AsyncIterator[Database]:
    """Yield the same database as the gateway has it."""
    async with agentdb.connect(url, service="gateway") as db:
        yield db


# The matrix


def test_every_table_has_its_place_and_every_place_its_table() -> None:
    assert set(MATRIX) == set(tables)


def test_a_table_is_written_by_known_services_each_named_once() -> None:
    for table, model in tables.items():
        access = MATRIX[table]
        named = [*access.writes, *access.reads, *access.locks, *access.counts]
        assert set(named) <= set(KNOWN), table
        assert len(named) == len(set(named)), table
        assert access.writes or table == "schema_version"
        for columns in access.counts.values():
            assert columns, table
            assert columns <= set(model.__table__.columns.keys()), table


@pytest.mark.parametrize(
    ("names", "owner", "reader"),
    [
        ("users roles", "server", "gateway"),
        ("policies role_policies", "seed", "server"),
        ("providers models", "seed", "gateway"),
        ("costs", "gateway", "server"),
        ("prompts tools", "cms", "cms"),
        ("agents conversations messages resources vectors", "cms", "server"),
        ("user_agents user_tools agent_tools", "cms", "cms"),
    ],
)
def test_the_tables_of_the_platform_belong_to_whom_it_says(names: str, owner: str, reader: str) -> None:
    for name in names.split():
        assert MATRIX[name].writes[0] == owner
        assert name in SERVICES[reader].reads
    assert MATRIX["prompts"].writes == MATRIX["tools"].writes == ("cms", "seed")


def test_an_unknown_service_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(BadSettings, match=r"no service 'gatway', only server, gateway, cms, .*; gateway is meant"):
        agentdb.connect("sqlite://", service="gatway")


def test_the_environment_says_which_service_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTDB_SERVICE", "cms")

    assert agentdb.connect("sqlite://").settings.service == "cms"


# What is refused, in the library


async def test_a_write_to_what_a_service_does_not_own_is_refused(gateway: Database, owner: Database) -> None:
    with pytest.raises(ReadOnly, match=r"writes to users, which the service gateway does not own; its owner server \("):
        await gateway.supervisor.users.create("mallory")
    with pytest.raises(ReadOnly, match=r"hosts.*its owner hub"):
        await gateway.hub.hosts.add(name="box")
    with pytest.raises(ReadOnly, match="hosts"):
        await gateway.hub.hosts.add_many([{"name": "box"}])

    assert await owner.supervisor.users.count() == 0
    assert await owner.hub.hosts.count() == 0


async def test_a_read_of_what_a_service_does_not_read_is_refused_wherever_it_stands(
    gateway: Database, owner: Database, subtests: pytest.Subtests
) -> None:
    conversation = await make_conversation(owner)

    with pytest.raises(BadSettings, match="conversations, which the service gateway does not; cms, server, worker may"):
        await gateway.conversation.conversations.get(conversation.id)
    with pytest.raises(BadSettings, match="messages"):
        [row async for row in gateway.conversation.messages.stream()]
    assert (await gateway.supervisor.users.get(conversation.user_id)).id == conversation.user_id
    other = aliased(Message)
    talkers = select(Conversation.user_id).cte("talkers")
    sly: dict[str, Any] = {
        "a condition": select(User.id).where(User.id.in_(select(Conversation.user_id))),
        "a join": select(User.id).join(Conversation, Conversation.user_id == User.id),
        "a with clause": select(User.id).join(talkers, talkers.c.user_id == User.id),
        "a column": select(User.id, select(func.count(other.id)).scalar_subquery()),
        "a union": select(User.id).union(select(Conversation.id)),
    }
    for within, statement in sly.items():
        with subtests.test(within=within), pytest.raises(BadSettings, match=r"reads (conversations|messages)"):
            await gateway.catalog.connection.fetch_all(Plan(statement, name="sly"), {})
    with pytest.raises(BadSettings, match="following context_log reads context_log"):
        async with gateway.catalog.connection.watch("context_log"):
            pass


async def test_nothing_of_a_script_stays_when_one_of_its_statements_is_refused(
    gateway: Database, owner: Database
) -> None:
    user = await make_user(owner)
    cost = insert(Cost).values(user_id=user.id, model="m", source="chat", cost=Decimal(1))
    charged, hired = Plan[None](cost, name="charged"), Plan[None](insert(Host).values(name="box"), name="hired")

    def script() -> Any:
        yield from count(charged)
        yield from count(hired)

    with pytest.raises(ReadOnly, match="hired writes to hosts"):
        await gateway.catalog.connection.run(script)
    async with agentdb.connect(owner.settings.url, service="worker") as worker:
        shared = [worker.hub.costs.append(model="m", source="chat", cost=Decimal(1)) for _ in range(9)]
        refused = await asyncio.gather(*shared, return_exceptions=True)
        assert {type(error) for error in refused} == {ReadOnly}

    assert await owner.hub.costs.count() == 0


async def test_a_script_that_is_allowed_gets_its_answers(gateway: Database, owner: Database) -> None:
    user = await make_user(owner)
    names = Plan[str](select(User.username).order_by(User.id), name="names")

    def script() -> Any:
        first = yield from one(names)
        return first, (yield from every(names))

    assert await gateway.catalog.connection.run(script) == (user.username, [user.username])


async def _change_limits(db: Database, **values: Decimal) -> None:
    await db.catalog.connection.execute(Plan[None](update(SpendLimit).values(**values), name="changed"), {})


def _plans() -> list[Plan[Any]]:
    """Return every plan that a module of the library has made when it was imported."""
    found: dict[int, Plan[Any]] = {}
    for module in pkgutil.walk_packages(agentdb.__path__, "agentdb."):
        if "testing" not in module.name and "__main__" not in module.name:
            for value in vars(importlib.import_module(module.name)).values():
                for plan in value if isinstance(value, tuple) else (value,):
                    if isinstance(plan, Plan):
                        found[id(plan)] = plan
    return list(found.values())


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL], ids=lambda dialect: str(dialect.name))
def test_what_a_plan_touches_is_what_its_text_names(dialect: Dialect) -> None:
    plans = _plans()
    assert len(plans) > 100

    for plan in plans:
        with suppress(UnsupportedCompilationError):  # made for the other database only
            text = re.sub(r"'[^']*'", "", plan.on(dialect).text)
            named = set(re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE)\s+(\w+)", text)) & set(tables)
            found = touched(plan, dialect)
            assert named <= found.reads | found.writes | found.locks, plan.name
            if "FOR UPDATE" in text or "FOR NO KEY" in text or "FOR SHARE" in text or "FOR KEY" in text:
                assert found.locks, plan.name


async def test_what_is_locked_counts_as_written_to(gateway: Database, owner: Database) -> None:
    await make_user(owner)
    locking = Plan[User](select(User).with_for_update(), name="locking", rows=User)

    with pytest.raises(ReadOnly, match="locking writes to users"):
        await gateway.catalog.connection.fetch_all(locking, {})
    async with agentdb.connect(owner.settings.url, service="hub") as hub:
        assert len(await hub.catalog.connection.fetch_all(locking, {})) == 1


async def test_counters_are_counted_and_the_rest_of_the_row_is_not_changed(gateway: Database, owner: Database) -> None:
    user = await make_user(owner)
    limit = await owner.hub.limits.set(1, user_id=user.id)

    await _change_limits(gateway, spent=Decimal("0.5"))

    with pytest.raises(ReadOnly, match="spend_limits"):
        await _change_limits(gateway, amount=Decimal(100))
    with pytest.raises(ReadOnly, match="spend_limits"):
        await gateway.hub.limits.remove(limit.id)
    kept = await owner.hub.limits.get(limit.id)
    assert (kept.spent, kept.amount) == (Decimal("0.5"), Decimal(1))
    async with gateway.write() as unit:
        row = await unit.session.get(SpendLimit, limit.id)
        assert row is not None
        row.spent = Decimal("0.25")
    assert (await owner.hub.limits.get(limit.id)).spent == Decimal("0.25")


async def test_a_unit_goes_on_after_a_call_or_a_savepoint_that_was_refused(gateway: Database, owner: Database) -> None:
    user = await make_user(owner)

    async with gateway.write() as unit:
        await unit.hub.costs.append(user_id=user.id, model="m", source="chat", cost=Decimal(1))
        with pytest.raises(ReadOnly):
            await unit.hub.hosts.add(name="box")
    assert await owner.hub.costs.count() == 1

    async with gateway.write() as unit:
        await unit.hub.costs.append(user_id=user.id, model="m", source="chat", cost=Decimal(1))
        with pytest.raises(ReadOnly):
            async with unit.savepoint():
                await unit.session.execute(insert(Host).values(name="box"))
    assert await owner.hub.costs.count() == 2


async def test_a_flush_of_the_units_session_is_refused_and_undone(gateway: Database, owner: Database) -> None:
    user = await make_user(owner)

    async def flush_both(unit: Unit) -> None:
        unit.session.add(Cost(user_id=user.id, model="m", source="chat", cost=Decimal(1)))
        unit.session.add(Host(name="box"))
        with pytest.raises(ReadOnly, match="the session writes to hosts"):
            await unit.session.flush()

    with pytest.raises(BadInput, match="rolled back"):
        await gateway.run(flush_both)

    assert await owner.hub.costs.count() == 0
    assert await owner.hub.hosts.count() == 0


async def test_statements_of_sessions_are_refused(gateway: Database, owner: Database) -> None:
    user = await make_user(owner)

    async with gateway.sessions() as session:
        found = await session.get(User, user.id)
        assert found is not None
        with pytest.raises(BadSettings, match="conversations"):
            await session.scalars(select(Conversation))
        with pytest.raises(ReadOnly, match="users"):
            await session.execute(update(User).values(title="owned"))
        found.title = "owned"
        with pytest.raises(ReadOnly, match="users"):
            await session.commit()
    async with gateway.write() as unit:
        limits = await unit.session.scalars(select(SpendLimit))
        assert list(limits) == []

    assert (await owner.supervisor.users.get(user.id)).title == ""


async def test_without_a_service_nothing_stands_between(owner: Database) -> None:
    assert type(owner._there()).__module__.startswith(("agentdb.engine.sqlite", "agentdb.engine.postgresql"))
    assert (await make_conversation(owner, messages=2)).last_position == 2


async def test_a_service_checks_the_schema_and_never_makes_it(database_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="no schema yet; run `agentdb migrate`"):
        async with agentdb.connect(database_url, service="cms", migrate="auto", seed="auto"):
            pass

    async with agentdb.connect(database_url) as db:
        assert await db.supervisor.roles.count() == 0


# What a server of PostgreSQL refuses by itself


class _Roles:
    """Roles of a database, each a service by what `agentdb grants` says."""

    def __init__(self, url: str) -> None:
        self._target = urls.parse(url, source="the test", environment={})
        self._roles: list[str] = []

    async def be(self, service: str) -> str:
        """Make a role that is a service, and return the URL of who connects as it."""
        role = f'a "{service}" {os.getpid()}-{next(_numbers)}'
        statements = granted_to(SERVICES[service], role=role, schema="public").statements
        quoted = '"{}"'.format(role.replace('"', '""'))
        await self.do(f"CREATE ROLE {quoted} LOGIN PASSWORD 'secret'")
        self._roles.append(quoted)
        for _ in range(2):  # again is the same
            await self.do(*statements)
        return replace(self._target, user=role, password=SecretStr("secret")).secret_url()

    async def do(self, *statements: str) -> None:
        connection = await asyncpg.connect(**self._target.connect_arguments())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def end(self) -> None:
        for role in self._roles:
            await self.do(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest_asyncio.fixture
async def roles(migrated_postgresql_url: str) -> AsyncIterator[_Roles]:
    """Yield what makes roles of a migrated database."""
    made = _Roles(migrated_postgresql_url)
    yield made
    await made.end()


@pytest_asyncio.fixture
async def tables_owner(migrated_postgresql_url: str, roles: _Roles) -> AsyncIterator[Database]:
    """Yield the database as the owner of its tables has it, with the roles' work to be done."""
    async with agentdb.connect(migrated_postgresql_url) as db:
        yield db


async def test_the_grants_of_the_gateway_are_enough_to_look_up_and_to_charge(
    roles: _Roles, tables_owner: Database
) -> None:
    user = await make_user(tables_owner)
    await tables_owner.hub.limits.set(5, user_id=user.id)
    await tables_owner.catalog.models.add(key="m", name="M", version_name="1", type="llm", price_input=Decimal(1))

    async with agentdb.connect(await roles.be("gateway"), service="gateway") as db:
        assert await db.catalog.models.by_key("m") is not None
        held = [await db.hub.reservations.reserve(user_id=user.id, amount=Decimal(1)) for _ in range(3)]
        await asyncio.gather(
            *(db.hub.reservations.settle(row.id, source="chat", model="m", cost=Decimal("0.5")) for row in held[:2])
        )
        await db.hub.reservations.release(held[2].id)
        cost = await db.hub.costs.append(user_id=user.id, model="m", source="chat", cost=Decimal(1), request_id="r")
        await db.hub.costs.correct(cost.id, cost=Decimal("0.5"))
        assert await db.hub.reservations.expire() == 0
        assert (await db.hub.costs.total(user_id=user.id)).cost == Decimal("1.5")

    (standing,) = await tables_owner.hub.limits.standing(user.id)
    assert standing.spent == Decimal("1.5")


async def test_the_grants_of_the_server_and_the_cms_are_enough_for_their_calls(
    roles: _Roles, tables_owner: Database
) -> None:
    async with agentdb.connect(await roles.be("server"), service="server") as server:
        role = await server.supervisor.roles.create("reader", by=None)
        user = await server.supervisor.users.create("alice", role_id=role.id)
        await server.hub.limits.set(3, user_id=user.id)
        await server.supervisor.users.by_username("alice")
    async with agentdb.connect(await roles.be("cms"), service="cms") as cms:
        agent = await cms.catalog.agents.add(user_id=user.id, name="ada")
        talk = await cms.conversation.conversations.create(user_id=user.id, agent_id=agent.id)
        await cms.conversation.messages.append(talk.id, "user", "hello")
        assert await cms.conversation.messages.count(conversation_id=talk.id) == 1
        async with cms.write() as unit:
            unit.session.add(Message(conversation_id=talk.id, position=2, role="user", content="by hand"))
        await cms.conversation.conversations.remove(talk.id)

    assert await tables_owner.conversation.messages.count() == 0


async def test_who_removes_an_agent_or_a_user_needs_no_right_to_note_what_becomes_of_executions(
    roles: _Roles, tables_owner: Database
) -> None:
    owner, user = await make_user(tables_owner), await make_user(tables_owner)
    agents = [await tables_owner.catalog.agents.add(user_id=whose.id, name="ada") for whose in (owner, user)]
    async with tables_owner.write() as unit:
        workflow = Workflow(user_id=owner.id, name="w", status="active", definition={})
        unit.session.add(workflow)
        await unit.session.flush()
        executions = [
            await unit.execution.executions.enqueue(workflow.id, owner.id, agent_id=agent.id) for agent in agents
        ]

    async with agentdb.connect(await roles.be("seed"), service="seed") as seed:
        assert await seed.catalog.agents.remove(agents[0].id)
    async with agentdb.connect(await roles.be("server"), service="server") as server:
        assert await server.supervisor.users.remove(user.id)

    assert await tables_owner.execution.executions.count(agent_id=None) == len(executions)


async def test_the_grants_of_the_hub_and_the_worker_are_enough_for_their_calls(
    roles: _Roles, tables_owner: Database
) -> None:
    user, other = await make_user(tables_owner), await make_user(tables_owner)
    await tables_owner.hub.limits.set(3, user_id=user.id)
    async with tables_owner.write() as unit:
        workflow = Workflow(user_id=user.id, name="w", status="active", definition={})
        unit.session.add(workflow)

    async with agentdb.connect(await roles.be("hub"), service="hub") as hub:
        host = await hub.hub.hosts.register(name="box", machine_id="m")
        session = await hub.hub.runs.start(user_id=user.id, host_id=host.id, model_name="m")
        await hub.hub.logs.append(session, [{"role": "llm", "message": "hello"}])
        await hub.hub.costs.append(
            user_id=user.id, run_session_id=session.id, model="m", source="console", cost=Decimal(1)
        )
        await hub.hub.mail.send(from_user_id=user.id, to=[other.id], subject="s", body="b")
    async with agentdb.connect(await roles.be("worker"), service="worker") as worker:
        execution = await worker.execution.executions.enqueue(workflow.id, user.id)
        (claim,) = await worker.execution.executions.claim("w1")
        await worker.execution.executions.heartbeat([claim])
        await worker.execution.executions.complete(claim, {"done": True})

    assert (await tables_owner.execution.executions.get(execution.id)).output == {"done": True}


async def test_the_grants_of_the_seed_are_enough_to_seed(
    roles: _Roles, tables_owner: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTDB_TEST_API_KEY", new_key())
    async with agentdb.connect(await roles.be("seed"), service="seed") as db:
        assert (await db.seed()).test_administrator

    assert await tables_owner.supervisor.roles.count() > 0
    await tables_owner.supervisor.roles.create("the next id is free", by=None)


async def test_the_server_itself_refuses_the_rest(roles: _Roles, tables_owner: Database) -> None:
    user = await make_user(tables_owner)
    await tables_owner.hub.limits.set(5, user_id=user.id)

    # No service is set: nothing is refused in the library.
    async with agentdb.connect(await roles.be("gateway"), migrate="never") as db:
        for refused in (
            lambda: db.supervisor.users.update(user.id, title="owned"),
            db.conversation.conversations.count,
            lambda: _change_limits(db, amount=Decimal(100)),
            lambda: db.supervisor.users.remove(user.id),
        ):
            with pytest.raises(AgentDBError, match="42501"):
                await refused()
        async with db.sessions() as session:
            for statement in (
                "DELETE FROM costs",
                "UPDATE spend_limits SET amount = 100",
                "SELECT 1 FROM users FOR UPDATE",
                "TRUNCATE costs",
                "CREATE TABLE mine (id int)",
                "SELECT setval('costs_id_seq', 1)",
            ):
                with pytest.raises(Exception, match="permission denied"):
                    await session.execute(text(statement))
                await session.rollback()


async def test_a_grant_that_is_no_longer_in_the_matrix_is_taken_away(roles: _Roles, tables_owner: Database) -> None:
    url = await roles.be("gateway")
    (role,) = roles._roles
    await roles.do(f"GRANT ALL ON users, roles, hosts TO {role}", f"GRANT UPDATE (amount) ON spend_limits TO {role}")

    await roles.do(*granted_to(SERVICES["gateway"], role=role[1:-1].replace('""', '"'), schema="public").statements)

    await tables_owner.hub.limits.set(1)
    async with agentdb.connect(url, migrate="never") as db:
        with pytest.raises(BadSettings):
            await db.hub.hosts.count()
        with pytest.raises(BadSettings):
            await _change_limits(db, amount=Decimal(100))
