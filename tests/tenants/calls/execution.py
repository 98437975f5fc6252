"""Calls of the execution aggregate's repositories."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from agentdb.errors import InvalidTransition
from tests.execution.queues import LINE
from tests.tenants.walking import A_MOMENT, Call


async def nothing_to_do(*_: Any) -> None:
    """Do nothing."""


async def for_a_moment(endless: Awaitable[Any]) -> None:
    """Await what does not end by itself."""
    with suppress(TimeoutError):
        await asyncio.wait_for(endless, A_MOMENT)


CALLS: dict[str, dict[str, Call]] = {
    "agent_sessions": {
        "adopt": Call(lambda at, _: at.adopt(), of_nobody=True, alone=True),
        "adoptable": Call(lambda at, _: at.adoptable(), of_nobody=True),
        "checkpoint": Call(lambda at, p: at.checkpoint(p.agent_session.id, {"x": 1})),
        "complete": Call(lambda at, p: at.complete(p.agent_session.id)),
        "expire": Call(lambda at, _: at.expire(86_400), of_nobody=True),
        "expire_all": Call(lambda at, _: at.expire_all(86_400), of_nobody=True, alone=True),
        "fail": Call(lambda at, p: at.fail(p.agent_session.id, "broken")),
        "link": Call(lambda at, p: at.link(p.agent_session.id, p.talk.id)),
        "live": Call(lambda at, _: at.live(), of_nobody=True),
        "of_agent": Call(lambda at, p: at.of_agent(p.agent.id)),
        "of_conversation": Call(lambda at, p: at.of_conversation(p.talk.id)),
        "of_user": Call(lambda at, p: at.of_user(p.id)),
        "patch": Call(lambda at, p: at.patch(p.agent_session.id, context={"x": 1})),
        "pause": Call(lambda at, p: at.pause(p.agent_session.id)),
        "record": Call(lambda at, p: at.record(p.agent_session.id, messages=1, tools=["hammer"])),
        "resume": Call(lambda at, p: at.resume(p.agent_session.id), own=InvalidTransition),
        "start": Call(lambda at, p: at.start(user_id=p.id, agent_id=p.agent.id)),
        "touch": Call(lambda at, p: at.touch(p.agent_session.id)),
    },
    "executions": {
        "cancel": Call(lambda at, p: at.cancel(p.waiting.id)),
        "claim": Call(lambda at, p: at.claim("w", queue=p.name)),
        "complete": Call(lambda at, p: at.complete(p.claim, {"x": 1})),
        "complete_and_claim": Call(
            lambda at, p: at.complete_and_claim([(p.claim, None)], "w", queue=p.name),
            nothing=lambda turn: not turn.claims,
        ),
        "dead_letters": Call(lambda at, p: at.dead_letters(p.name)),
        "enqueue": Call(lambda at, p: at.enqueue(p.workflow.id, p.id)),
        "enqueue_many": Call(lambda at, p: at.enqueue_many([{"workflow_id": p.workflow.id, "user_id": p.id}])),
        "fail": Call(lambda at, p: at.fail(p.claim, "broken")),
        "follow": Call(lambda at, p: at.follow(p.waiting.id), alone=True),
        "heartbeat": Call(lambda at, p: at.heartbeat([p.claim]), nothing=lambda beat: len(beat.lost) == 1),
        "prune": Call(lambda at, _: at.prune(at.connection.now()), of_nobody=True),
        "release": Call(lambda at, p: at.release(p.claim)),
        "release_many": Call(lambda at, p: at.release_many([p.claim])),
        "rescue": Call(lambda at, _: at.rescue(), of_nobody=True),
        "retry": Call(lambda at, p: at.retry(p.waiting.id), own=InvalidTransition),
        "run": Call(lambda at, _: for_a_moment(at.run(nothing_to_do, queue="nobody's")), of_nobody=True, alone=True),
        "stop": Call(lambda at, p: at.stop(p.claim), own=InvalidTransition),
        "work": Call(lambda at, _: at.work(queue="nobody's"), of_nobody=True, alone=True),
    },
    "node_logs": {
        "append_many": Call(lambda at, p: at.append_many(p.claim, [{"node_id": "end", "status": "completed"}])),
        "complete": Call(lambda at, p: at.complete(p.claim, "begin")),
        "fail": Call(lambda at, p: at.fail(p.claim, "begin", "broken")),
        "finished": Call(lambda at, p: at.finished(p.running.id)),
        "follow": Call(lambda at, p: at.follow(p.running.id), alone=True),
        "of": Call(lambda at, p: at.of(p.running.id)),
        "skip": Call(lambda at, p: at.skip(p.claim, "end")),
        "start": Call(lambda at, p: at.start(p.claim, "end")),
        "step": Call(lambda at, p: at.step(p.claim, "end", nothing_to_do), alone=True),
    },
    "workflows": {
        "activate": Call(lambda at, p: at.activate(p.workflow.id), own=InvalidTransition),
        "archive": Call(lambda at, p: at.archive(p.workflow.id)),
        "create": Call(lambda at, p: at.create(p.id, "new", LINE, activate=True)),
        "deactivate": Call(lambda at, p: at.deactivate(p.workflow.id)),
        "graph": Call(lambda at, p: at.graph(p.workflow.id, 1)),
        "graph_of": Call(lambda at, p: at.graph_of(p.waiting)),
        "page_by_user": Call(lambda at, p: at.page_by_user(p.id)),
        "validate": Call(lambda at, _: at.validate(LINE), of_nobody=True),
    },
}
