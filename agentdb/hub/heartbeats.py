"""Heartbeats: which hosts, sessions and users are alive, told by many hosts at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table, bindparam, case, func, literal, literal_column, select, update

from agentdb.engine.asked import whole_numbers
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, each, every, one
from agentdb.engine.functions import greater_of, one_of, writing_transaction
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.spelling import ListType, TextType
from agentdb.engine.statements import given_arrays, insert_into
from agentdb.errors import BadInput
from agentdb.hub.models.machines import Host, RunSession, UserNotification
from agentdb.supervisor.models import User

_hosts: Final[Table] = Host.__table__  # type: ignore[assignment]
_sessions: Final[Table] = RunSession.__table__  # type: ignore[assignment]
_notifications: Final[Table] = UserNotification.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]

_HOSTS: Final = bindparam("hosts", type_=ListType(WholeType()))
_RUN_SESSIONS: Final = bindparam("run_sessions", type_=ListType(WholeType()))


@dataclass(frozen=True, slots=True)
class Unknown:
    """What a heartbeat told of in vain: hosts nobody knows; and sessions nobody knows, or that such a host told of."""

    hosts: Sequence[int]
    run_sessions: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Alive:
    """A session that a heartbeat told of, and its user."""

    id: int
    user_id: int


@dataclass(frozen=True, slots=True)
class _InVain:
    """An id that a heartbeat told of in vain, and what it would be of."""

    of: str
    id: int


def _moments(table: Table) -> dict[str, Any]:
    """Return the changes that say a row was active now; a clock that is behind moves nothing back."""
    now = of(_sessions.c.last_active, "now")
    return {
        key: greater_of(func.coalesce(table.c[key], now), now)
        for key in ("last_active", "updated_at")
        if key in table.c
    }


def _notice(values: Any) -> Any:
    """Return the upsert of who is active where. It counts as a change for followers when the host is another one."""
    given = insert_into(_notifications).from_select(
        ["user_id", "latest_host_id", "last_active", "created_at", "updated_at"], values, include_defaults=False
    )
    moved = _notifications.c.latest_host_id.is_distinct_from(given.excluded.latest_host_id)
    return given.on_conflict_do_update(
        index_elements=["user_id"],
        set_={
            "latest_host_id": given.excluded.latest_host_id,
            "tx": case((moved, writing_transaction()), else_=_notifications.c.tx),
            **_moments(_notifications),
        },
    )


def _lock_plan() -> Plan[int]:
    """Lock as log entries and costs do: users, so that they stay; sessions by id; hosts by id. Notifications come last.

    Each step waits for the whole of the one before, because it asks how many it found.
    """
    told = bindparam("run_session_id", type_=ListType(WholeType()))
    payers = select(_sessions.c.user_id).where(_sessions.c.id == func.any(told))
    people = (
        select(_users.c.id)
        .where(_users.c.id.in_(payers))
        .order_by(_users.c.id)
        .with_for_update(read=True, key_share=True)
        .cte("people")
    )
    running = (
        select(_sessions.c.id)
        .where(_sessions.c.id == func.any(told), _all_of(people) >= 0)
        .order_by(_sessions.c.id)
        .with_for_update(of=_sessions, key_share=True)
        .cte("running")
    )
    standing = (
        select(_hosts.c.id)
        .where(_hosts.c.id == func.any(_HOSTS), _all_of(running) >= 0)
        .order_by(_hosts.c.id)
        .with_for_update(key_share=True)
        .cte("standing")
    )
    return Plan(select(_all_of(standing)), name="heartbeats.beat: locks")


def _all_of(step: Any) -> Any:
    return select(func.count()).select_from(step).scalar_subquery()


def _chained() -> Plan[_InVain]:
    """Change everything in one statement, and return what was told of in vain."""
    now = of(_sessions.c.last_active, "now")
    given = given_arrays(told_by=WholeType(), run_session_id=WholeType())
    told = select(given.c.told_by, given.c.run_session_id).cte("told")
    seen = (
        update(_hosts)
        .where(_hosts.c.id == func.any(_HOSTS))
        .values(**_moments(_hosts))
        .returning(_hosts.c.id)
        .cte("seen")
    )
    heard = select(told).join_from(told, seen, seen.c.id == told.c.told_by).cte("heard")
    active = (
        update(_sessions)
        .where(_sessions.c.id == heard.c.run_session_id)
        .values(**_moments(_sessions))
        .returning(_sessions.c.id, _sessions.c.user_id, heard.c.told_by)
        .cte("active")
    )
    newest = select(func.max(active.c.id)).group_by(active.c.user_id)
    noticed = _notice(
        select(active.c.user_id, active.c.told_by, now, now, now)
        .where(active.c.id.in_(newest))
        .order_by(active.c.user_id)
    ).cte("noticed")
    host = func.unnest(_HOSTS).column_valued("host_id")
    no_host = select(literal("host", TextType()), host).where(host.not_in(select(seen.c.id)))
    no_session = select(literal("session", TextType()), told.c.run_session_id).where(
        told.c.run_session_id.not_in(select(active.c.id))
    )
    return Plan(no_host.union_all(no_session).add_cte(noticed), name="heartbeats.beat", rows=_InVain)


_LOCK: Final = _lock_plan()
_BEAT: Final = _chained()
_SEEN: Final = Plan[int](
    update(_hosts).where(one_of(_hosts.c.id, _HOSTS)).values(**_moments(_hosts)).returning(_hosts.c.id),
    name="heartbeats.beat: hosts",
)
_ACTIVE: Final = Plan[_Alive](
    update(_sessions)
    .where(one_of(_sessions.c.id, _RUN_SESSIONS))
    .values(**_moments(_sessions))
    .returning(_sessions.c.id, _sessions.c.user_id),
    name="heartbeats.beat: sessions",
    rows=_Alive,
)


def _noticed_plan() -> Plan[None]:
    now = of(_sessions.c.last_active, "now")
    values = select(of(_notifications.c.user_id), of(_notifications.c.latest_host_id), now, now, now)
    return Plan(_notice(values.where(literal_column("true"))), name="heartbeats.beat: users")


_NOTICED: Final = _noticed_plan()


class Heartbeats:
    """Who is alive. A heartbeat moves moments forward, and never back, whoever's clock is behind.

    Args: connection: the database itself, or an open unit.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def beat(self, alive: Mapping[int, Iterable[int]]) -> Unknown:
        """Say which hosts are alive, and which sessions each of them runs; return what nobody knows.

        Hosts, sessions and their users were active now, and each user was last seen on the host that told of the newest
        of the user's sessions. Followers of notifications see a user again when that host is another one.

        Args: alive: the ids of run sessions by the id of the host that tells of them; a session told of by two hosts
            is the last one's.

        Raises: BadInput for what is no object, or not an id.
        Cost: one transaction of two statements, however many hosts and sessions (on SQLite one hop).
        """
        if not isinstance(alive, Mapping):
            raise BadInput(f"a heartbeat is an object of sessions by host, not {type(alive).__name__}")
        hosts = sorted(whole_numbers(alive, "a host's id"))
        told = {
            session: host for host, sessions in alive.items() for session in whole_numbers(sessions, "a session's id")
        }
        if not hosts:
            return Unknown([], [])
        now = self.connection.now()
        beat = _beat_chained if self.connection.chains else _beat
        return await self.connection.run(lambda: beat(hosts, told, now))


def _beat_chained(hosts: Sequence[int], told: Mapping[int, int], now: datetime) -> Script[Unknown]:
    given = {"hosts": hosts, "run_session_id": list(told), "told_by": list(told.values())}
    # Not one statement with the next: that would come to each row by way of the version its snapshot has, where
    # another may be queueing for the lock that is held here. PostgreSQL calls this a deadlock.
    yield from one(_LOCK, hosts=hosts, run_session_id=given["run_session_id"])
    rows = yield from every(_BEAT, **given, now=now)
    return Unknown(
        sorted(row.id for row in rows if row.of == "host"), sorted(row.id for row in rows if row.of == "session")
    )


def _beat(hosts: Sequence[int], told: Mapping[int, int], now: datetime) -> Script[Unknown]:
    there = set((yield from every(_SEEN, hosts=hosts, now=now)))
    heard = [session for session, host in told.items() if host in there]
    active = yield from every(_ACTIVE, run_sessions=heard, now=now)
    newest: dict[int, int] = {}
    for session in sorted(active, key=lambda session: session.id):
        newest[session.user_id] = told[session.id]
    yield from each(
        _NOTICED, [{"user_id": user, "latest_host_id": host, "now": now} for user, host in sorted(newest.items())]
    )
    return Unknown(
        [host for host in hosts if host not in there], sorted(set(told) - {session.id for session in active})
    )
