"""People who own a row of every table that anybody owns rows of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from agentdb import clock
from agentdb.database import Database
from agentdb.integration.records import Tokens
from agentdb.testing.factories import make_conversation, make_host, make_user
from tests.execution.queues import LINE

ENCRYPTION_KEY = "8f2d61b0c49e7a35d1906b7c3ef85a24697fe0d2b8431c5ae5a1372f4cd80b96"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass
class Person:
    """A user, and what is theirs: rows by what they are called; every text of theirs has their name in it."""

    name: str
    rows: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.rows[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def id(self) -> int:
        number: int = self.rows["user"].id
        return number


@dataclass
class World:
    """Two people who have nothing to do with each other, and a third who gets letters from both."""

    adam: Person
    bertha: Person
    carla: int
    shared: dict[str, Any]


async def make_world(db: Database) -> World:
    """Make it: adam and bertha own the same."""
    carla = await make_user(db, username="carla")
    provider = await db.catalog.providers.create("openai", api_key="sk-of-the-installation")
    shared = {
        "carla": carla.id,
        "host": await make_host(db),
        "provider": provider,
        "tool": await db.catalog.tools.create("hammer"),
        "other_tool": await db.catalog.tools.create("saw"),
        "model": await db.catalog.models.add(key="gpt", name="gpt", version_name="1", type="llm"),
        "prompt": await db.catalog.prompts.publish("greeting", "hello"),
        "agent_of_all": await db.catalog.agents.create("everybody's agent"),
        "role": await db.supervisor.roles.create("tenants' role", by=None),
        "policy": await db.supervisor.policies.create("read all", "things", "read", by=None),
    }
    await db.hub.limits.set(1000)
    adam, bertha = await make_person(db, "adam", shared), await make_person(db, "bertha", shared)
    return World(adam, bertha, carla.id, shared)


async def make_person(db: Database, name: str, shared: dict[str, Any]) -> Person:
    """Make a user with a row of everything."""
    person = Person(name, dict(shared))
    user = await make_user(db, username=name, email=f"{name}@example.org", first_name=name)
    person.rows["user"] = user
    for part in (_standing, _machines, _spending, _mail, _talking, _knowing, _working):
        person.rows |= await part(db, name, user.id, person.rows)
    return person


async def _standing(db: Database, name: str, user_id: int, shared: dict[str, Any]) -> dict[str, Any]:
    who = db.supervisor
    await who.passwords.set(user_id, f"correct horse of {name}")
    return {
        "permission": await who.permissions.grant(user_id, "users:read", by=None),
        "login": await who.logins.start(user_id, user_agent=name),
        "passkey": await who.passkeys.enroll(user_id, credential_id=f"passkey of {name}", public_key=name),
        "registration": await who.registrations.issue(user_id),
        "key": await who.api_keys.issue(user_id, f"key of {name}", by=None),
        "provider_key": await who.api_keys.store_provider_key(
            user_id, shared["provider"].id, f"provider key of {name}", f"sk-{name}-secret", by=None
        ),
        "runtime_key": await who.runtime_keys.issue(user_id),
    }


async def _machines(db: Database, name: str, user_id: int, shared: dict[str, Any]) -> dict[str, Any]:
    hub = db.hub
    await hub.hosts.assign(user_id, shared["host"].id)
    session = await hub.runs.start(user_id=user_id, model_name=f"model of {name}", host_id=shared["host"].id)
    (log,) = await hub.logs.append(session, [{"role": "llm", "message": f"said by {name}"}])
    await hub.configs.update(user_id, {"of": name})
    async with db.read() as unit:
        revisions = await unit.hub.configs.revisions(user_id)
    return {"session": session, "log": log, "revision": revisions.items[0] if revisions.items else None}


async def _spending(db: Database, name: str, user_id: int, shared: dict[str, Any]) -> dict[str, Any]:
    hub = db.hub
    limit = await hub.limits.set(100, user_id=user_id)
    cost = await hub.costs.append(
        source="chat",
        model=f"model of {name}",
        cost=Decimal("0.5"),
        user_id=user_id,
        run_session_id=shared["session"].id,
    )
    reservation = await hub.reservations.reserve(user_id=user_id, amount=1, request_id=f"request of {name}")
    return {"limit": limit, "cost": cost, "reservation": reservation}


async def _mail(db: Database, name: str, user_id: int, shared: dict[str, Any]) -> dict[str, Any]:
    hub = db.hub
    letter_file = await hub.attachments.store(name.encode(), filename=name, purpose="mail", uploaded_by=user_id)
    log_file = await hub.attachments.store(name.encode(), filename=name, purpose="context", uploaded_by=user_id)
    carla = shared["carla"]
    letter = await hub.mail.send(
        user_id, to=[carla], subject=f"of {name}", body=f"by {name}", attachment_ids=[letter_file.id]
    )
    got = await hub.mail.send(carla, to=[user_id], subject=f"to {name}", body=f"for {name}")
    chat = await hub.mail.send(carla, to=[user_id], body=f"chat with {name}", kind="chat")
    return {"letter": letter, "got": got, "chat": chat, "letter_file": letter_file, "log_file": log_file}


async def _talking(db: Database, name: str, user_id: int, shared: dict[str, Any]) -> dict[str, Any]:
    agent = await db.catalog.agents.create(f"agent of {name}", user_id=user_id, tools=["hammer"])
    await db.catalog.user_agents.give(user_id, agent.id, role=name)
    await db.catalog.user_tools.give(user_id, shared["tool"].id, credential=f"credential of {name}")
    talk = await make_conversation(db, user_id=user_id, agent_id=agent.id, title=f"talk of {name}", key=f"key {name}")
    said = await db.conversation.messages.append(talk.id, "user", f"message of {name}")
    deleted = await make_conversation(db, user_id=user_id, title=f"deleted by {name}")
    await db.conversation.conversations.delete(deleted.id)
    resource = await db.conversation.resources.attach(f"resource of {name}", content=name, user_id=user_id)
    in_talk = await db.conversation.resources.attach(f"part of {name}", content=name, conversation_id=talk.id)
    return {
        "agent": agent,
        "talk": talk,
        "said": said,
        "deleted": deleted,
        "resource": resource,
        "in_talk": in_talk,
    }


async def _knowing(db: Database, name: str, user_id: int, shared: dict[str, Any]) -> dict[str, Any]:
    knowledge = db.knowledge
    collection = await knowledge.collections.create(user_id, f"collection of {name}", 2)
    return {
        "collection": collection,
        "vector": await knowledge.vectors.put(user_id, collection.id, f"vector of {name}", [1, 0], content=name),
        "memory": await knowledge.memories.remember(shared["agent"].id, f"memory of {name}", user_id=user_id),
        "agents_memory": await knowledge.memories.remember(shared["agent"].id, f"memory of the agent of {name}"),
        "document": await knowledge.documents.create(user_id, f"title of {name}", f"content of {name}", tags=[name]),
    }


async def _working(db: Database, name: str, user_id: int, shared: dict[str, Any]) -> dict[str, Any]:
    execution = db.execution
    flow = await execution.workflows.create(user_id, f"workflow of {name}", LINE, activate=True)
    waiting = await execution.executions.enqueue(flow.id, user_id, {"of": name}, queue=name)
    running = await execution.executions.enqueue(flow.id, user_id, {"of": name}, queue=f"running of {name}")
    (claim,) = await execution.executions.claim("worker", queue=f"running of {name}", lease_seconds=3600)
    node = await execution.node_logs.start(claim, "begin", input={"of": name})
    session = await execution.agent_sessions.start(
        user_id=user_id, agent_id=shared["agent"].id, conversation_id=shared["talk"].id, context={"of": name}
    )
    tokens = Tokens(f"access of {name}", f"refresh of {name}", clock.now() + timedelta(hours=1), ["read"])
    connection = await db.integration.connections.connect(user_id, f"provider of {name}", tokens)
    event = await db.integration.events.record_use(connection.id, f"tool of {name}")
    return {
        "workflow": flow,
        "waiting": waiting,
        "running": running,
        "claim": claim,
        "node": node,
        "agent_session": session,
        "connection": connection,
        "event": event,
    }
