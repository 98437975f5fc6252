"""Users: the hub's agents and the supervisor's people, who are one table here, matched by their UUIDs.

A user who is here already stays as they are. One whose name somebody else has is given another, and the report says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Table, select, update

from agentdb.criteria import table_of
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, one
from agentdb.engine.folding import folded
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput
from agentdb.importing.chat import username
from agentdb.importing.naisys.marks import turn
from agentdb.importing.naisys.report import NaisysReport
from agentdb.importing.naisys.source import Row
from agentdb.importing.naisys.values import flag, identifier, mapping, maybe, moment, text
from agentdb.importing.naisys.work import Importing
from agentdb.supervisor.hashing import checked_hash
from agentdb.supervisor.models import User, UserKind, UserStatus

ADMIN: Final = "admin"  # not an agent, but whom the hub writes mail as

_users: Final[Table] = table_of(User)
_BY_UUID: Final = Plan[int](select(_users.c.id).where(_users.c.uuid == of(_users.c.uuid)), name="import: user")
_NAMED: Final = Plan[int](select(_users.c.id).where(_users.c.username == of(_users.c.username)), name="import: name")
_KEYED: Final = Plan[int](
    select(_users.c.id).where(_users.c.runtime_key_hash == of(_users.c.runtime_key_hash)), name="import: runtime key"
)
_LEAD: Final = Plan[None](
    update(_users)
    .where(_users.c.id == of(_users.c.id, "user_id"))
    .values(lead_user_id=of(_users.c.lead_user_id, "lead"), updated_at=_users.c.updated_at),
    name="import: lead",
)


@dataclass(slots=True)
class Person:
    """A user of either file, or of both."""

    uuid: UUID
    names: list[str]  # the hub's first
    values: dict[str, Any]
    agent: int | None = None  # the id in the hub
    account: int | None = None  # the id in the supervisor
    lead: int | None = None  # the lead's id in the hub


@dataclass(slots=True)
class _Stored:
    ids: dict[UUID, int] = field(default_factory=dict)
    imported: int = 0
    renamed: list[tuple[str, str]] = field(default_factory=list)
    unkeyed: list[str] = field(default_factory=list)


async def import_people(work: Importing) -> None:
    """Bring the users of both files, in one transaction."""
    agents = await work.hub.all("users")
    accounts = [] if work.supervisor is None else await work.supervisor.all("users")
    people = _people(agents, accounts, work.report)
    stored = await work.write(partial(_store, list(people.values())))
    work.report.stored("users", stored.imported, len(people) - stored.imported)
    for wanted, given in stored.renamed:
        work.report.tell("users", wanted, f"is {given} here: the name is somebody else's, or not one a user can have")
    for name in stored.unkeyed:
        work.report.tell("users", name, "has no runtime key here: it is another user's")
    for person in people.values():
        ours = stored.ids[person.uuid]
        work.by_uuid[str(person.uuid)] = ours
        if person.agent is not None:
            work.users[person.agent] = ours
            work.names[person.agent] = person.names[0]
            work.uuids[person.agent] = person.uuid
        if person.account is not None:
            work.accounts[person.account] = ours
    keyed = sum(1 for account in accounts if account["api_key_hash"] is not None)
    if keyed:
        work.report.note(
            f"{keyed} API keys of the supervisor are not carried: keys have another form here; issue new ones"
        )
    work.progress("users", len(people), len(people))


def _people(agents: Sequence[Row], accounts: Sequence[Row], report: NaisysReport) -> dict[UUID, Person]:
    people: dict[UUID, Person] = {}
    leads = _without_circles(agents, report)
    for row in agents:
        person = _agent(row, report)
        person.lead = leads.get(row["id"])
        people[person.uuid] = person
    for row in accounts:
        account = _account(row, report)
        person = people.setdefault(account.uuid, account)
        person.account = row["id"]
        if person is not account:
            person.values["password_hash"] = account.values["password_hash"]
            if person.names != account.names:
                report.tell("users", account.names[0], f"is {person.names[0]} in the hub, and so here")
    return people


def _agent(row: Row, report: NaisysReport) -> Person:
    name = text(row["username"])
    try:
        config = mapping(row["config"])
    except BadInput as error:
        report.tell("users", name, f"has an empty configuration here: {error}")
        config = {}
    status = UserStatus.active if flag(row["enabled"]) else UserStatus.disabled
    status = UserStatus.archived if flag(row["archived"]) else status
    values = {
        "kind": UserKind.service if name == ADMIN else UserKind.agent,
        "title": text(row["title"]),
        "status": status,
        "config": config,
        "runtime_key_hash": maybe(text, row["api_key_hash"]) if status is UserStatus.active else None,
        "password_hash": None,
        **_moments(row),
    }
    return Person(identifier(row["uuid"], f"hub: {name}"), [name], values, agent=row["id"])


def _account(row: Row, report: NaisysReport) -> Person:
    name = text(row["username"])
    password = maybe(text, row["password_hash"])
    if password is not None:
        try:
            password = checked_hash(password)
        except BadInput as error:
            report.tell("users", name, f"has no password here: {error}")
            password = None
    is_agent = flag(row["is_agent"])  # used where the hub does not know it: it was deleted there
    values = {
        "kind": UserKind.agent if is_agent else UserKind.human,
        "title": "",
        "status": UserStatus.archived if is_agent else UserStatus.active,
        "config": {},
        "runtime_key_hash": None,
        "password_hash": password,
        **_moments(row),
    }
    return Person(identifier(row["uuid"], f"supervisor: {name}"), [name], values, account=row["id"])


def _moments(row: Row) -> dict[str, Any]:
    created = moment(row["created_at"])
    return {"created_at": created, "updated_at": maybe(moment, row["updated_at"]) or created}


def _without_circles(agents: Sequence[Row], report: NaisysReport) -> dict[int, int]:
    """Return who leads whom; where leads run in a circle, the last of its users has none."""
    names = {row["id"]: text(row["username"]) for row in agents}
    leads = {row["id"]: row["lead_user_id"] for row in agents if row["lead_user_id"] in names}
    free: set[int] = set()
    for first in names:
        walked: list[int] = []
        at: int | None = first
        while at is not None and at not in free:
            if at in walked:
                del leads[walked[-1]]
                report.tell("users", names[walked[-1]], "has no lead here: the leads run in a circle")
                break
            walked.append(at)
            at = leads.get(at)
        free.update(walked)
    return leads


def _store(people: Sequence[Person]) -> Script[_Stored]:
    stored = _Stored()
    yield from turn()
    new = set()
    for person in people:
        present = yield from one(_BY_UUID, uuid=person.uuid)
        if present is None:
            present = yield from _add(person, stored)
            new.add(person.uuid)
        stored.ids[person.uuid] = present
    by_agent = {person.agent: stored.ids[person.uuid] for person in people if person.agent is not None}
    for person in people:
        if person.uuid in new and person.lead is not None and by_agent[person.lead] != stored.ids[person.uuid]:
            yield from count(_LEAD, user_id=stored.ids[person.uuid], lead=by_agent[person.lead])
    return stored


def _add(person: Person, stored: _Stored) -> Script[int]:
    wanted = username(person.names[0])
    name, times = wanted, 1
    while (yield from one(_NAMED, username=name)) is not None:
        times += 1
        ending = f"-{times}"
        name = wanted[: 64 - len(ending)] + ending
    if name != person.names[0]:
        stored.renamed.append((person.names[0], name))
    values: Mapping[str, Any] = person.values
    digest = values["runtime_key_hash"]
    if digest is not None and (yield from one(_KEYED, runtime_key_hash=digest)) is not None:
        values = {**values, "runtime_key_hash": None}
        stored.unkeyed.append(name)
    user = yield from one(
        insert_one(User),
        **values,
        uuid=person.uuid,
        username=name,
        username_folded=folded(name),
        title_folded=folded(values["title"]),
    )
    stored.imported += 1
    if user is None:
        raise BadInput(f"the user {name} was not stored; a trigger took it away")
    return int(user.id)
