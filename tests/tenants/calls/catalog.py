"""Calls of the catalog's repositories: everybody reads it, and nobody's scope changes what is everybody's."""

from __future__ import annotations

from agentdb.errors import InvalidTransition, ReadOnly
from tests.tenants.walking import Call


def read(make: object) -> Call:
    """Return the call of what answers everybody the same."""
    return Call(make, of_nobody=True)  # type: ignore[arg-type]


def refused(make: object) -> Call:
    """Return the call of what changes the catalog."""
    return Call(make, own=ReadOnly, theirs=(ReadOnly,))  # type: ignore[arg-type]


CALLS: dict[str, dict[str, Call]] = {
    "agents": {
        "by_uuid": Call(lambda at, p: at.by_uuid(p.agent.uuid)),
        "clone": Call(lambda at, p: at.clone(p.agent.id, user_id=p.id, name="clone")),
        "create": Call(lambda at, p: at.create("new", user_id=p.id, tools=["hammer"])),
        "get_or_create": Call(lambda at, p: at.get_or_create("newer", user_id=p.id)),
        "list": Call(lambda at, p: at.list(user_id=p.id)),
        "set_tools": Call(lambda at, p: at.set_tools(p.agent.id, ["saw"])),
        "tools_of": Call(lambda at, p: at.tools_of(p.agent.id)),
        "visible_to": Call(
            lambda at, p: at.visible_to(p.id), nothing=lambda page: all(one.user_id is None for one in page.items)
        ),
    },
    "models": {
        "by_key": read(lambda at, _: at.by_key("gpt")),
        "default": read(lambda at, _: at.default()),
        "import_prices": refused(lambda at, _: at.import_prices([{"key": "gpt", "price_input": "1"}])),
        "list": read(lambda at, _: at.list()),
        "price_of": read(lambda at, _: at.price_of("gpt")),
        "remove_custom": Call(lambda at, _: at.remove_custom("gpt"), own=InvalidTransition, of_nobody=True),
        "save_custom": refused(lambda at, _: at.save_custom("mine", name="mine")),
        "set_default": refused(lambda at, p: at.set_default(p.model.id)),
    },
    "prompts": {
        "find": read(lambda at, p: at.find(p.prompt.id)),
        "get": read(lambda at, p: at.get(p.prompt.id)),
        "latest": read(lambda at, _: at.latest("greeting")),
        "list": read(lambda at, _: at.list()),
        "publish": refused(lambda at, _: at.publish("greeting", "good day")),
        "remove": refused(lambda at, p: at.remove(p.prompt.id)),
        "update": refused(lambda at, p: at.update(p.prompt.id, content="good day")),
        "version": read(lambda at, _: at.version("greeting", 1)),
        "versions": read(lambda at, _: at.versions("greeting")),
    },
    "providers": {
        "by_name": read(lambda at, _: at.by_name("openai")),
        "count": read(lambda at, _: at.count()),
        "create": refused(lambda at, _: at.create("mine")),
        "get": read(lambda at, p: at.get(p.provider.id)),
        "list": read(lambda at, _: at.list()),
        "remove": refused(lambda at, p: at.remove(p.provider.id)),
        "reveal": read(lambda at, p: at.reveal(p.provider.id)),
        "update": refused(lambda at, p: at.update(p.provider.id, endpoint="https://example.org")),
    },
    "tools": {
        "by_name": read(lambda at, _: at.by_name("hammer")),
        "create": refused(lambda at, _: at.create("mine")),
        "list": Call(lambda at, p: at.list(user_id=p.id)),
        "search": Call(lambda at, p: at.search("ham", user_id=p.id)),
    },
    "user_agents": {
        "find": Call(lambda at, p: at.find(p.id, p.agent.id)),
        "give": Call(lambda at, p: at.give(p.id, p.agent_of_all.id)),
        "list": Call(lambda at, p: at.list(p.id)),
        "take": Call(lambda at, p: at.take(p.id, p.agent.id)),
    },
    "user_tools": {
        "give": Call(lambda at, p: at.give(p.id, p.other_tool.id)),
        "list": Call(lambda at, p: at.list(p.id)),
        "reveal": Call(lambda at, p: at.reveal(p.id, p.tool.id)),
        "set_credential": Call(lambda at, p: at.set_credential(p.id, p.tool.id, "new")),
        "take": Call(lambda at, p: at.take(p.id, p.tool.id)),
    },
}
