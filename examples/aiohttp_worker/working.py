"""The worker: it goes through the nodes of each execution's workflow, and asks where an agent is to answer."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import uuid5

from agentdb import Database, Unit
from agentdb.execution.definitions import Node
from agentdb.execution.records import Claim
from agentdb.models import Conversation, CostSource, MessageRole

MODEL: Final = "example/looks-it-up"
PRICE: Final = Decimal("0.000001")  # of a word
LEASE_SECONDS: Final = 6.0  # who wants to cancel is heard at the next heartbeat, after a third of it
DRAIN_SECONDS: Final = 5.0


async def work(db: Database) -> None:
    """Run executions as they come, until cancelled."""
    await db.execution.executions.run(partial(execute, db), lease_seconds=LEASE_SECONDS, drain_seconds=DRAIN_SECONDS)


async def execute(db: Database, claim: Claim) -> Any:
    """Go through a workflow's nodes, and return what the last one said.

    A node that an earlier attempt has finished is not done again.
    """
    graph = await db.execution.workflows.graph_of(claim.execution)
    said, done = claim.execution.input, set[str]()
    while ready := graph.ready(done):
        for node_id in ready:
            act = partial(_act, db, claim, graph.nodes[node_id], said)
            said = await db.execution.node_logs.step(claim, node_id, act, name=graph.nodes[node_id].name, input=said)
            done.add(node_id)
    return said


async def _act(db: Database, claim: Claim, node: Node, said: Any) -> Any:
    if node.type == "WAIT":  # for a model that takes its time: seconds that are no transaction's
        await asyncio.sleep(min(float((node.config or {}).get("seconds", 1)), 60))
    if node.type != "AGENT":
        return said
    question = str(said.get("question", "")) if isinstance(said, dict) else str(said)
    return await _ask(db, claim, node, question)


async def _ask(db: Database, claim: Claim, node: Node, question: str) -> dict[str, Any]:
    """Answer from what the user has told before: in the place of a model, which would be awaited here."""
    execution = claim.execution
    mine = db.as_user(execution.user_id)
    hits = await mine.knowledge.hybrid.search(execution.user_id, question, limit=1) if question.strip() else []
    answer = str(hits[0].row.content) if hits else "I do not know."
    # An act that was done but not stored is done again: under the same key, which is there by then.
    key = str(uuid5(execution.uuid, node.id))

    async def keep(unit: Unit) -> Conversation:
        conversation, is_new = await unit.conversation.conversations.get_or_create(
            key, user_id=execution.user_id, agent_id=execution.agent_id, title=question[:100]
        )
        if is_new:
            await _remember(unit, claim, conversation, question, answer)
        return conversation

    conversation = await mine.run(keep)
    return {"answer": answer, "conversation": conversation.id}


async def _remember(unit: Unit, claim: Claim, conversation: Conversation, question: str, answer: str) -> None:
    """Keep what was said, what it cost, and that it was asked: all, or nothing."""
    execution = claim.execution
    messages = [
        {"role": MessageRole.user, "content": question},
        {"role": MessageRole.assistant, "content": answer},
    ]
    _, reply = await unit.conversation.messages.append_many(conversation.id, messages)
    words = len(question.split()), len(answer.split())
    await unit.hub.costs.append(
        source=CostSource.chat,
        model=MODEL,
        cost=sum(words) * PRICE,
        user_id=execution.user_id,
        agent_id=execution.agent_id,
        message_id=reply.id,
        execution_id=execution.id,
        request_id=conversation.key,
        input_tokens=words[0],
        output_tokens=words[1],
    )
    if execution.agent_id is not None:
        await unit.knowledge.memories.remember(
            execution.agent_id, f"was asked: {question}", user_id=execution.user_id, kind="question", ttl="P30D"
        )
