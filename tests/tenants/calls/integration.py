"""Calls of the integration aggregate's repositories."""

from __future__ import annotations

from agentdb.integration.records import Tokens
from tests.tenants.walking import Call


async def fetched(_refresh_token: str) -> Tokens:
    """Give tokens, as a provider does."""
    return Tokens("new access")


CALLS: dict[str, dict[str, Call]] = {
    "connections": {
        "begin": Call(lambda at, p: at.begin(p.id, "a new provider")),
        "connect": Call(lambda at, p: at.connect(p.id, "another provider", Tokens("access"))),
        "disconnect": Call(lambda at, p: at.disconnect(p.connection.id)),
        "expire": Call(lambda at, _: at.expire(), of_nobody=True),
        "fail": Call(lambda at, p: at.fail(p.connection.id, "broken")),
        "get": Call(lambda at, p: at.get(p.connection.id)),
        "of_user": Call(lambda at, p: at.of_user(p.id)),
        "refresh": Call(lambda at, p: at.refresh(p.connection.id, fetched, margin_seconds=86_000), alone=True),
        "remove": Call(lambda at, p: at.remove(p.connection.id)),
        "reveal": Call(lambda at, p: at.reveal(p.connection.id, by=None)),
    },
    "events": {
        "follow": Call(lambda at, _: at.follow(), of_nobody=True, alone=True),
        "latest": Call(lambda at, p: at.latest(user_id=p.id)),
        "record_use": Call(lambda at, p: at.record_use(p.connection.id, "hammer")),
        "tool_counts": Call(lambda at, p: at.tool_counts(user_id=p.id)),
    },
}
