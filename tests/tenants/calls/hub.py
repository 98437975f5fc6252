"""Calls of the hub's repositories: its machines and variables are the installation's, and a user sees none of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from agentdb.errors import BadInput, MissingReference, NotFound, ReadOnly
from tests.tenants.walking import Call
from tests.tenants.worlds import Person

NOW = datetime.now(UTC)
ENTRY = {"role": "llm", "message": "x"}

Made = Callable[[Any, Person], Any]


def unseen(make: Made, *own: type[Exception]) -> Call:
    """Return the call of what only the installation sees or changes."""
    return Call(make, may=(NotFound, ReadOnly, *own), of_nobody=True)  # type: ignore[arg-type]


def spent(p: Person, **more: Any) -> dict[str, Any]:
    """Return a cost of a person's."""
    return {"source": "chat", "model": "m", "cost": Decimal(1), "user_id": p.id, **more}


CALLS: dict[str, dict[str, Call]] = {
    "attachments": {
        "collect": unseen(lambda at, _: at.collect(), BadInput),
        "describe": Call(lambda at, p: at.describe(p.letter_file.public_id, p.id)),
        "open": Call(lambda at, p: at.open(p.letter_file.public_id, p.id)),
        "store": Call(lambda at, p: at.store(b"new", filename="new", purpose="mail", uploaded_by=p.id)),
        "uploads": Call(lambda at, p: at.uploads(p.id)),
        "usage": Call(lambda at, _: at.usage(), of_nobody=True),
    },
    "configs": {
        "restore": Call(lambda at, p: at.restore(p.id, p.revision.id)),
        "revisions": Call(lambda at, p: at.revisions(p.id)),
        "update": Call(lambda at, p: at.update(p.id, {"x": 1})),
    },
    "costs": {
        "append": Call(lambda at, p: at.append(**spent(p, run_session_id=p.session.id))),
        "append_many": Call(lambda at, p: at.append_many([spent(p)])),
        "correct": Call(lambda at, p: at.correct(p.cost.id, cost=Decimal("0.1"))),
        "fold": unseen(lambda at, _: at.fold(before=NOW + timedelta(days=2)), BadInput),
        "foldable": Call(lambda at, _: at.foldable(before=NOW + timedelta(days=2)), of_nobody=True),
        "histogram": Call(
            lambda at, p: at.histogram(since=NOW - timedelta(days=3), until=NOW, user_id=p.id),
            nothing=lambda buckets: not any(bucket.cost for bucket in buckets),
        ),
        "sums": Call(lambda at, p: at.sums("model", user_id=p.id)),
        "total": Call(lambda at, p: at.total(user_id=p.id)),
    },
    "heartbeats": {"beat": unseen(lambda at, p: at.beat({p.host.id: [p.session.id]}))},
    "hosts": {
        "assign": Call(lambda at, p: at.assign(p.id, p.host.id), may=(NotFound, MissingReference)),
        "assigned": unseen(lambda at, p: at.assigned(p.host.id)),
        "by_name": unseen(lambda at, p: at.by_name(p.host.name)),
        "create": unseen(lambda at, _: at.create("new")),
        "eligible": Call(lambda at, p: at.eligible(p.id), may=(NotFound,)),
        "hosts_of": Call(lambda at, p: at.hosts_of(p.id)),
        "list": unseen(lambda at, _: at.list()),
        "register": unseen(lambda at, _: at.register(name="new", machine_id="new")),
        "rename": unseen(lambda at, p: at.rename(p.host.id, "new")),
        "restrict": unseen(lambda at, p: at.restrict(p.host.id)),
        "unassign": Call(lambda at, p: at.unassign(p.id, p.host.id)),
    },
    "limits": {
        "evaluate": Call(lambda at, _: at.evaluate(), of_nobody=True),
        "of": Call(lambda at, p: at.of(p.id)),
        "reset": Call(lambda at, p: at.reset(p.limit.id)),
        "set": Call(lambda at, p: at.set(5, user_id=p.id)),
        "standing": Call(lambda at, p: at.standing(p.id)),
        "suspension": Call(lambda at, p: at.suspension(p.id)),
    },
    "logs": {
        "after": Call(lambda at, p: at.after(p.session.id, 0)),
        "append": Call(lambda at, p: at.append(p.session.id, [{**ENTRY, "attachment_id": p.log_file.id}])),
        "before": Call(lambda at, p: at.before(p.session.id, 10**6)),
        "end": Call(lambda at, _: at.end(), of_nobody=True),
        "follow": Call(lambda at, p: at.follow(p.session.id), alone=True),
        "latest": Call(lambda at, p: at.latest(p.session.id)),
    },
    "mail": {
        "archive": Call(lambda at, p: at.archive(p.id, [p.got.id])),
        "archive_all": Call(lambda at, p: at.archive_all(p.id, "mail")),
        "both": Call(lambda at, p: at.both(p.id)),
        "conversations": Call(lambda at, p: at.conversations(p.id)),
        "mark_read": Call(lambda at, p: at.mark_read(p.id, [p.got.id])),
        "message": Call(lambda at, p: at.message(p.id, p.got.id)),
        "messages": Call(lambda at, p: at.messages(p.id, with_users=[p.carla])),
        "read_by": Call(lambda at, p: at.read_by(p.id, p.letter.id)),
        "received": Call(lambda at, p: at.received(p.id)),
        "search": Call(lambda at, p: at.search(p.id, p.name)),
        "send": Call(lambda at, p: at.send(p.id, to=[p.carla], body="x", attachment_ids=[p.letter_file.id])),
        "sent": Call(lambda at, p: at.sent(p.id)),
        "to_wake": Call(lambda at, _: at.to_wake(), of_nobody=True),
        "unarchive": Call(lambda at, p: at.unarchive(p.id, [p.got.id])),
        "unread": Call(lambda at, p: at.unread(p.id)),
        "unread_counts": Call(lambda at, p: at.unread_counts(p.id)),
        "with_users": Call(lambda at, p: at.with_users(p.id, [p.carla])),
    },
    "notifications": {
        "changed": Call(lambda at, _: at.changed(), of_nobody=True),
        "end": Call(lambda at, _: at.end(), of_nobody=True),
        "follow": Call(lambda at, _: at.follow(), of_nobody=True, alone=True),
        "of": Call(lambda at, p: at.of([p.id])),
        "touch": Call(lambda at, p: at.touch(p.id)),
    },
    "redaction": {
        "changed": Call(lambda at, _: at.changed(), of_nobody=True),
        "current": Call(lambda at, _: at.current(), of_nobody=True),
        "forget": Call(lambda at, p: at.forget(p.id)),
        "redact": Call(lambda at, _: at.redact(["x"]), of_nobody=True),
        "register": Call(lambda at, p: at.register(p.id, f"a runtime key of {p.name}")),
    },
    "reservations": {
        "expire": Call(lambda at, _: at.expire(), of_nobody=True),
        "release": Call(lambda at, p: at.release(p.reservation.id)),
        "reserve": Call(lambda at, p: at.reserve(user_id=p.id, amount=1)),
        "settle": Call(lambda at, p: at.settle(p.reservation.id, source="chat", model="m", cost=Decimal("0.5"))),
    },
    "runs": {
        "by_numbers": Call(
            lambda at, p: at.by_numbers(user_id=p.id, run_id=p.session.run_id, session_id=p.session.session_id)
        ),
        "latest": Call(lambda at, p: at.latest(p.id)),
        "list": Call(lambda at, p: at.list(user_id=p.id)),
        "newest": Call(lambda at, p: at.newest(user_id=p.id)),
        "next_session": Call(lambda at, p: at.next_session(run_id=p.session.run_id, model_name="m")),
        "sessions": Call(lambda at, p: at.sessions(p.session.run_id)),
        "start": Call(lambda at, p: at.start(user_id=p.id, model_name="m")),
        "start_subagent": Call(lambda at, p: at.start_subagent(p.session.id, subagent_id=-3, model_name="m")),
    },
    "variables": {
        "ensure": unseen(lambda at, _: at.ensure("new")),
        "exported": unseen(lambda at, _: at.exported()),
        "get": unseen(lambda at, _: at.get("new")),
        "list": unseen(lambda at, _: at.list()),
        "remove": unseen(lambda at, _: at.remove("new")),
        "resolve": unseen(lambda at, _: at.resolve(["new"])),
        "save": unseen(lambda at, _: at.save("new", "x")),
        "seal_all": unseen(lambda at, _: at.seal_all()),
        "value": unseen(lambda at, _: at.value("new")),
    },
}
