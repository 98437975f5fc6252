"""What cannot be said is refused in our own words, whatever it is, and alike on both databases."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference
from agentdb.hub.redaction import Redactor
from agentdb.hub.templates import references
from agentdb.testing.factories import make_run_session, make_user

LONG = 10**5_000  # Python spells no number of so many digits
ENTRY: dict[Any, Any] = {"role": "llm", "message": "x"}
COST: dict[str, Any] = {"source": "chat", "model": "m", "cost": 1}

Calls = dict[str, Callable[[], Awaitable[Any]]]


async def _refused(calls: Calls, subtests: pytest.Subtests) -> None:
    for what, call in calls.items():
        with subtests.test(what), pytest.raises(BadInput):
            await call()


async def test_machines_and_their_runs(db: Database, subtests: pytest.Subtests) -> None:
    session = await make_run_session(db)
    hosts, runs, logs, bad = db.hub.hosts, db.hub.runs, db.hub.logs, _any

    calls: Calls = {
        "a list as a type": lambda: hosts.register(name="n", host_type=bad([])),
        "a type too long to tell": lambda: hosts.register(name="n", host_type=bad(LONG)),
        "a name too long to tell": lambda: hosts.create(bad(LONG)),
        "no machine's id": lambda: hosts.register(name="n", machine_id=bad(0)),
        "an environment": lambda: hosts.register(name="n", environment=bad([])),
        "a list of hosts alive": lambda: db.hub.heartbeats.beat(bad([1])),
        "a text of users": lambda: db.hub.notifications.of(bad("")),
        "nobody to notice": lambda: db.hub.notifications.touch(bad(None)),
        "a text as a subagent": lambda: runs.next_session(run_id=1, model_name="m", subagent_id=bad("x")),
        "no subagent": lambda: runs.start_subagent(1, model_name="m", subagent_id=bad(None)),
        "the newest of nobody": lambda: runs.newest(user_id=bad(None)),
        "no entries": lambda: logs.append(session, bad(None)),
        "an entry alone": lambda: logs.append(session, bad(ENTRY)),
        "an entry that is none": lambda: logs.append(session, [bad(1)]),
        "no session": lambda: logs.append(bad(None), [ENTRY]),
        "a field without a name": lambda: logs.append(session, [{**ENTRY, "": 1}]),
        "a field that is a number": lambda: logs.append(session, [{**ENTRY, bad(LONG): 1}]),
        "a file's id that is text": lambda: logs.append(session, [ENTRY, {**ENTRY, "attachment_id": "x"}]),
        "a file's id that is a list": lambda: logs.append(session, [ENTRY, {**ENTRY, "attachment_id": []}]),
        "no pause": lambda: anext(logs.follow(poll_seconds=bad(None))),
        "a pause too long to tell": lambda: anext(logs.follow(poll_seconds=10**400)),
    }

    await _refused(calls, subtests)
    assert [await hosts.count(), await runs.count(), await logs.count()] == [1, 1, 0]


async def test_spending(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)
    costs, limits, reservations, bad = db.hub.costs, db.hub.limits, db.hub.reservations, _any
    cost = await costs.append(**COST, input_tokens=5)

    calls: Calls = {
        "no costs": lambda: costs.append_many(bad(None)),
        "a cost alone": lambda: costs.append_many(bad(COST)),
        "a cost that is none": lambda: costs.append_many([bad(1)]),
        "a field without a name": lambda: costs.append_many([{**COST, "": 1}]),
        "a field that is a number": lambda: costs.append_many([{**COST, bad(2): 1}]),
        "sums by a list": lambda: costs.sums(bad([])),
        "sums by what is too long to tell": lambda: costs.sums(bad(LONG)),
        "tokens below 0": lambda: costs.correct(cost.id, input_tokens=-1),
        "a cost below 0": lambda: costs.correct(cost.id, cost=Decimal("-0.1")),
        "a list as a user": lambda: limits.standing(bad([])),
        "a text as a user": lambda: limits.suspension(bad("x")),
        "every so many": lambda: limits.set(1, every=bad(LONG)),
        "a period": lambda: limits.set(1, period=bad(LONG)),
        "a zone": lambda: limits.set(1, timezone=bad(LONG)),
        "whom a limit covers": lambda: limits.of(user.id, bad(LONG)),
        "a time to live": lambda: reservations.reserve(user_id=user.id, amount=1, ttl_seconds=bad("1")),
        "no time to live": lambda: reservations.reserve(user_id=user.id, amount=1, ttl_seconds=bad(None)),
        "a time too long to tell": lambda: reservations.reserve(user_id=user.id, amount=1, ttl_seconds=LONG),
    }

    await _refused(calls, subtests)
    assert [await costs.count(), await limits.count(), await reservations.count()] == [1, 0, 0]


async def test_mail_and_its_files(db: Database, subtests: pytest.Subtests) -> None:
    user, other = (await make_user(db)).id, (await make_user(db)).id
    mail, files, bad = db.hub.mail, db.hub.attachments, _any

    def store(**told: Any) -> Awaitable[Any]:
        return files.store(b"x", **{"filename": "f", "uploaded_by": user, "purpose": "mail", **told})

    calls: Calls = {
        "nobody who sends": lambda: mail.send(bad(None), to=[other], body="x"),
        "no list of recipients": lambda: mail.send(user, to=bad(None), body="x"),
        "a copy to a number": lambda: mail.send(user, to=[other], cc=bad(5), body="x"),
        "a blind copy to a text": lambda: mail.send(user, to=[other], bcc=bad("5"), body="x"),
        "a file alone": lambda: mail.send(user, to=[other], attachment_ids=bad(5), body="x"),
        "no body": lambda: mail.send(user, to=[other], body=bad(None)),
        "a kind too long to tell": lambda: mail.send(user, to=[other], body="x", kind=bad(LONG)),
        "what was put away": lambda: mail.received(user, archived=bad([])),
        "a word for a flag": lambda: mail.both(user, archived=bad("false")),
        "with no list": lambda: mail.with_users(user, bad(None)),
        "with texts": lambda: mail.with_users(user, bad(["1"])),
        "with nobody's own": lambda: mail.with_users(bad(None), [other]),
        "in subjects": lambda: mail.search(user, "x", subject_only=bad([])),
        "in what was put away": lambda: mail.search(user, "x", include_archived=bad("no")),
        "a conversation too long to tell": lambda: mail.messages(user, participants=bad(LONG)),
        "to mark no list": lambda: mail.mark_read(user, bad(None)),
        "to mark a text": lambda: mail.mark_read(user, bad("")),
        "to put away a number": lambda: mail.archive(user, bad(1)),
        "to take out no ids": lambda: mail.unarchive(user, bad([None])),
        "to put away no kind": lambda: mail.archive_all(user, bad(None)),
        "no rows": lambda: mail.add_many(bad(None)),
        "a row that is none": lambda: mail.add_many([bad(1)]),
        "a column that is a number": lambda: mail.add_many([{bad(1): 1}]),
        "a media type": lambda: store(media_type=5),
        "a hash": lambda: store(file_hash=5),
        "a size": lambda: store(file_size="1"),
        "a flag as a size": lambda: store(file_size=True),
        "no bound": lambda: store(most_bytes=math.nan),
        "no uploader": lambda: store(uploaded_by=None),
        "a purpose too long to tell": lambda: store(purpose=LONG),
        "a text as a period": lambda: files.collect(grace_seconds=bad("1")),
        "a period too long to tell": lambda: files.collect(grace_seconds=LONG),
    }

    await _refused(calls, subtests)
    assert [await mail.count(), await files.count()] == [0, 0]


async def test_settings_and_secrets(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)
    configs, variables, redaction, bad = db.hub.configs, db.hub.variables, db.hub.redaction, _any
    await configs.update(user.id, {"a": 1})
    first = (await configs.revisions(user.id)).items[0]
    await variables.save("K", "a secret", sensitive=True)

    calls: Calls = {
        "who is no changer": lambda: configs.update(user.id, {"a": 2}, changed_by_id=bad("")),
        "a changer of the same": lambda: configs.update(user.id, {"a": 1}, changed_by_id=bad([])),
        "who is no restorer": lambda: configs.restore(user.id, first.id, changed_by_id=bad(False)),
        "a list as a key": lambda: variables.save(bad(["K"]), "x"),
        "a word for a flag": lambda: variables.get("K", reveal=bad("false")),
        "a number for a flag": lambda: variables.list(reveal=bad(1)),
        "a flag for names": lambda: variables.resolve(["K"], reveal=bad("no")),
        "a name alone": lambda: variables.resolve("K"),
        "no names": lambda: variables.resolve(bad(None)),
        "a text alone": lambda: redaction.redact("a secret"),
        "no texts": lambda: redaction.redact(bad(None)),
        "what is no text": lambda: redaction.redact([bad(b"")]),
    }

    await _refused(calls, subtests)
    assert [variable.key for variable in (await variables.list()).items] == ["K"]
    assert len((await configs.revisions(user.id)).items) == 1


async def test_nobody_changes_a_configuration_as_somebody_else(db: Database) -> None:
    user = await make_user(db)

    with pytest.raises(MissingReference, match="changed_by_id"):
        await db.hub.configs.update(user.id, {"a": 1}, changed_by_id=0)
    assert (await db.hub.configs.revisions(user.id)).items == []


@pytest.mark.parametrize(("user", "key"), [(None, "a runtime key"), ([], "a runtime key"), (1, None), (1, b"key")])
async def test_what_is_no_key_does_not_keep_others_from_being_masked(db: Database, user: Any, key: Any) -> None:
    session = await make_run_session(db)
    db.hub.redaction.register(session.user_id, "a runtime key")

    with pytest.raises(BadInput):
        db.hub.redaction.register(user, key)
    with pytest.raises(BadInput):
        (await db.hub.redaction.current()).register(user, key)
    (log,) = await db.hub.logs.append(session, [{"role": "llm", "message": "it is a runtime key"}])
    assert log.message == f"it is [REDACTED:NAISYS_API_KEY:{session.user_id}]"


@pytest.mark.parametrize("tokens", [-1, 10**12 + 1, 2**63 - 1, 1.5, True, "1", None])
async def test_tokens_are_counted_so_that_their_sum_can_be_told(db: Database, tokens: Any) -> None:
    user, most = await make_user(db), 10**12
    cost = await db.hub.costs.append(**COST, user_id=user.id, input_tokens=most)
    held = await db.hub.reservations.reserve(user_id=user.id, amount=1)

    with pytest.raises(BadInput, match=r"costs\.input_tokens"):
        await db.hub.costs.append(**COST, input_tokens=tokens)
    with pytest.raises(BadInput, match=r"costs\.input_tokens"):
        await db.hub.costs.append_many([{**COST, "input_tokens": tokens}])
    with pytest.raises(BadInput, match=r"costs\.input_tokens"):
        await db.hub.costs.correct(cost.id, input_tokens=tokens)
    with pytest.raises(BadInput, match=r"costs\.input_tokens"):
        await db.hub.reservations.settle(held.id, **COST, input_tokens=tokens)
    await db.hub.costs.append(**COST, input_tokens=most)
    assert (await db.hub.costs.total()).input_tokens == 2 * most


async def test_a_sum_that_cannot_be_told_is_told_alike(db: Database) -> None:
    for _ in range(2):
        await db.hub.costs.append(source="chat", model="m", cost=9 * 10**9)

    with pytest.raises(BadInput):
        await db.hub.costs.total()
    with pytest.raises(BadInput):
        await db.hub.costs.sums("model")


@pytest.mark.parametrize("given", [5, b"", ["${env.X}"]])
def test_only_texts_are_masked_and_looked_through(given: Any) -> None:
    with pytest.raises(BadInput):
        Redactor({}).redact(given)
    with pytest.raises(BadInput):
        references("${env.X}", given)


def _any(value: Any) -> Any:
    """Return a value that no type checker knows."""
    return value
