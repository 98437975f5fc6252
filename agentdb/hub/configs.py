"""Users' configurations: changed with a trace of what they were, and brought back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Table, bindparam, select, update

from agentdb import jsons
from agentdb.criteria import beyond
from agentdb.engine.asked import whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, count, one
from agentdb.engine.folding import folded
from agentdb.engine.functions import writing_transaction
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_into, insert_one
from agentdb.errors import BadInput, NotFound, StaleVersion
from agentdb.hub.models.machines import UserNotification
from agentdb.hub.models.settings import ConfigRevision
from agentdb.hub.settings import Revision
from agentdb.page import Page, cursor_of, values_of
from agentdb.repository import capped
from agentdb.supervisor.models import User

_users: Final[Table] = User.__table__  # type: ignore[assignment]
_revisions: Final[Table] = ConfigRevision.__table__  # type: ignore[assignment]
_notifications: Final[Table] = UserNotification.__table__  # type: ignore[assignment]

# Locked until the end of the transaction: of two editors, the second compares with what the first has written.
_LOCKED: Final = Plan[User](
    select(User).where(User.id == bindparam("user_id")).with_for_update(), name="configs.update: user", rows=User
)
_CHANGE: Final = Plan[User](
    update(_users)
    .where(_users.c.id == bindparam("user_id"))
    .values(
        config=of(_users.c.config, "new_config"),
        title=of(_users.c.title, "new_title"),
        title_folded=of(_users.c.title_folded, "new_title_folded"),
        version=_users.c.version + 1,
        updated_at=of(_users.c.updated_at, "now"),
    )
    .returning(_users),
    name="configs.update",
    rows=User,
)
_REVISION: Final = Plan[ConfigRevision](
    select(ConfigRevision).where(
        ConfigRevision.id == bindparam("revision_id"), ConfigRevision.user_id == bindparam("user_id")
    ),
    name="configs.restore: revision",
    rows=ConfigRevision,
)


def _notice_plan() -> Plan[None]:
    """Tell those who follow the users that this one changed."""
    now = of(_notifications.c.updated_at, "now")
    given = insert_into(_notifications).values(
        user_id=of(_notifications.c.user_id), latest_log_id=0, latest_mail_id=0, latest_chat_id=0, created_at=now
    )
    given = given.values(updated_at=now)
    return Plan(
        given.on_conflict_do_update(index_elements=["user_id"], set_={"updated_at": now, "tx": writing_transaction()}),
        name="configs.update: notice",
    )


def _list_plan(*, after: bool) -> Plan[Revision]:
    changer = _users.alias("changer")
    rows = _revisions.c
    statement = (
        select(rows.id, rows.user_id, rows.config, rows.changed_by_id, changer.c.username, rows.created_at)
        .join_from(_revisions, changer, changer.c.id == rows.changed_by_id, isouter=True)
        .where(rows.user_id == bindparam("user_id"))
    )
    if after:
        statement = statement.where(beyond([rows.id], newest_first=True))
    return Plan(statement.order_by(rows.id.desc()).limit(bindparam("limit")), name="configs.revisions", rows=Revision)


_NOTICE: Final = _notice_plan()
_FIRST: Final = _list_plan(after=False)
_NEXT: Final = _list_plan(after=True)


class Configs:
    """The configurations of users, each with its revisions.

    A user's configuration is a column of the user. Its rules are the caller's; what it says of ``title`` and
    ``username`` is in step with the user's own columns.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
    """

    def __init__(self, connection: Connection, *, most: int) -> None:
        self.connection = connection
        self.most = most

    async def update(
        self,
        user_id: int,
        config: Mapping[str, Any],
        *,
        changed_by_id: int | None = None,
        expected_version: int | None = None,
    ) -> User:
        """Give a user another configuration, keep the one before as a revision, and return the user.

        A configuration of the same value, in whatever order its keys are, changes nothing and leaves no revision. A
        ``title`` in it becomes the user's; a ``username`` in it, or in the one before, is the user's own, whatever an
        import says.

        Args:
            user_id: whose.
            config: the whole of it.
            changed_by_id: who changes it; None: the user.
            expected_version: of the user, as the editor read it; None: whatever it is now.

        Raises: NotFound; StaleVersion when the user is not at that version; BadInput for what is not a JSON object;
            MissingReference for a changer who is not there.
        Cost: one transaction of one statement, and three more when something changes.
        """
        given = _object(config)
        now, changer = self.connection.now(), _changer(user_id, changed_by_id)
        return await self.connection.run(partial(_update, user_id, given, changer, expected_version, now))

    async def revisions(self, user_id: int, *, limit: int = 50, after: str | None = None) -> Page[Revision]:
        """Return what a user's configuration was before each change, newest first.

        Cost: one read by ix_config_revisions__user_id_id.
        """
        limit = capped(limit, self.most)
        listing = f"config_revisions:{user_id}"
        values: dict[str, Any] = {"user_id": user_id, "limit": limit + 1}
        if after is not None:
            (values["after_0"],) = values_of(listing, after, [_revisions.c.id])
        rows = await self.connection.fetch_all(_FIRST if after is None else _NEXT, values)
        items = rows[:limit]
        return Page(items, cursor_of(listing, [items[-1].id]) if len(rows) > limit else None)

    async def restore(
        self, user_id: int, revision_id: int, *, changed_by_id: int | None = None, expected_version: int | None = None
    ) -> User:
        """Give a user the configuration of a revision again, and return the user; as `update`, with a revision.

        Raises: as `update`; NotFound also for a revision of another user.
        """
        now, changer = self.connection.now(), _changer(user_id, changed_by_id)
        return await self.connection.run(partial(_restore, user_id, revision_id, changer, expected_version, now))


def _changer(user_id: int, changed_by_id: int | None) -> int:
    return whole_number(user_id if changed_by_id is None else changed_by_id, "changed_by_id")


def _restore(user_id: int, revision_id: int, changer: int, expected_version: int | None, now: datetime) -> Script[User]:
    revision = yield from one(_REVISION, user_id=user_id, revision_id=revision_id)
    if revision is None:
        raise NotFound(f"user {user_id} has no config revision {revision_id}")
    return (yield from _update(user_id, _object(revision.config), changer, expected_version, now))


def _update(
    user_id: int, config: dict[str, Any], changer: int, expected_version: int | None, now: datetime
) -> Script[User]:
    user = yield from one(_LOCKED, user_id=user_id)
    if user is None:
        raise NotFound(f"users has no row {user_id}")
    if expected_version is not None and user.version != expected_version:
        raise StaleVersion(f"users {user_id} is at version {user.version}, not {expected_version}; read it again")
    before = user.config
    named = "username" in config or (isinstance(before, dict) and "username" in before)
    wanted = {**config, "username": user.username} if named else config
    if same(before, wanted):
        return user
    yield from one(insert_one(ConfigRevision), user_id=user_id, config=before, changed_by_id=changer)
    told = wanted.get("title")
    title = told if isinstance(told, str) else user.title
    changed = yield from one(
        _CHANGE,
        user_id=user_id,
        new_config=wanted,
        new_title=title,
        new_title_folded=folded(title),
        now=now,
    )
    yield from count(_NOTICE, user_id=user_id, now=now)
    return changed or user


def _object(config: Any) -> dict[str, Any]:
    """Return a configuration as a database gives it back: tuples are lists, keys are text."""
    value = jsons.decode(jsons.encode(dict(config) if isinstance(config, Mapping) else config))
    if not isinstance(value, dict):
        raise BadInput(f"a config is a JSON object, not {type(value).__name__}")
    return value


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal: numbers by their value, objects in any order, true is not 1."""
    pairs = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            pairs += [(value, right[key]) for key, value in left.items()]
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pairs += zip(left, right, strict=True)
        elif left != right or isinstance(left, bool) is not isinstance(right, bool):
            return False
    return True
