"""Calls of the conversation aggregate's repositories."""

from __future__ import annotations

from tests.tenants.walking import Call
from tests.tenants.worlds import LONG_AGO

CALLS: dict[str, dict[str, Call]] = {
    "conversations": {
        "by_key": Call(lambda at, p: at.by_key(p.talk.key)),
        "create": Call(lambda at, p: at.create(user_id=p.id, agent_id=p.agent.id)),
        "delete": Call(lambda at, p: at.delete(p.talk.id)),
        "delete_with_agent": Call(lambda at, p: at.delete_with_agent(p.agent.id, user_id=p.id)),
        "deleted": Call(lambda at, p: at.deleted(user_id=p.id)),
        "get_or_create": Call(lambda at, p: at.get_or_create("a new key", user_id=p.id)),
        "newest": Call(lambda at, p: at.newest(user_id=p.id)),
        "purge": Call(lambda at, p: at.purge(p.deleted.id)),
        "purge_deleted": Call(lambda at, _: at.purge_deleted(before=LONG_AGO), of_nobody=True),
        "recent": Call(lambda at, p: at.recent(user_id=p.id)),
        "rename": Call(lambda at, p: at.rename(p.talk.id, "renamed")),
        "restore": Call(lambda at, p: at.restore(p.deleted.id)),
        "set_summary": Call(lambda at, p: at.set_summary(p.talk.id, p.said.id)),
    },
    "messages": {
        "after": Call(lambda at, p: at.after(p.talk.id, 0)),
        "append": Call(lambda at, p: at.append(p.talk.id, "user", "x", parent_id=p.said.id)),
        "append_many": Call(lambda at, p: at.append_many(p.talk.id, [{"role": "user", "content": "x"}])),
        "before": Call(lambda at, p: at.before(p.talk.id, 5)),
        "branches": Call(lambda at, p: at.branches(p.talk.id)),
        "children": Call(lambda at, p: at.children(p.said.id)),
        "context": Call(lambda at, p: at.context(p.talk.id)),
        "edit": Call(lambda at, p: at.edit(p.said.id, "edited")),
        "latest": Call(lambda at, p: at.latest(p.talk.id)),
        "path": Call(lambda at, p: at.path(p.said.id)),
        "roles": Call(lambda at, p: at.roles(p.talk.id)),
        "search": Call(lambda at, p: at.search(p.id, p.name)),
        "tokens": Call(lambda at, p: at.tokens(p.talk.id)),
    },
    "resources": {
        "attach": Call(lambda at, p: at.attach("x", user_id=p.id, conversation_id=p.talk.id)),
        "attach_text": Call(lambda at, p: at.attach_text("x", "some text", conversation_id=p.talk.id)),
        "of_conversation": Call(lambda at, p: at.of_conversation(p.talk.id)),
        "of_user": Call(lambda at, p: at.of_user(p.id)),
    },
}
