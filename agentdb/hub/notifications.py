"""What is newest for each user, for those who ask again and again what has changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Final

from sqlalchemy import Table, select

from agentdb.engine.asked import whole_number, whole_numbers
from agentdb.engine.columns import of
from agentdb.engine.functions import among, writing_transaction
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_into
from agentdb.following import Change, Trail, follow
from agentdb.hub.models.machines import UserNotification
from agentdb.repository import Repository, capped

_notifications: Final[Table] = UserNotification.__table__  # type: ignore[assignment]

_OF: Final = Plan[UserNotification](
    select(UserNotification)
    .where(among(_notifications.c.user_id, "user_ids"))
    .order_by(_notifications.c.user_id)
    .limit(of(_notifications.c.user_id, "limit")),
    name="notifications.of",
    rows=UserNotification,
)


def _touch_plan() -> Plan[None]:
    now = of(_notifications.c.updated_at, "now")
    given = insert_into(_notifications).values(
        user_id=of(_notifications.c.user_id),
        latest_log_id=0,
        latest_mail_id=0,
        latest_chat_id=0,
        created_at=now,
        updated_at=now,
    )
    changes = {"updated_at": given.excluded.updated_at, "tx": writing_transaction()}
    return Plan(given.on_conflict_do_update(index_elements=["user_id"], set_=changes), name="notifications.touch")


_TOUCH: Final = _touch_plan()
_TRAIL: Final = Trail(UserNotification)


class Notifications(Repository[UserNotification]):
    """What is newest for each user.

    A change is a pointer that moved (log, mail, chat), another host, or a `touch`. A heartbeat of the same host is
    none: ``last_active`` is as fresh as the heartbeats whenever it is read, and followers are left in peace. Nor is a
    host's removal. Pointers only move forward, whoever commits last.
    """

    model = UserNotification

    async def of(self, user_ids: Iterable[int]) -> list[UserNotification]:
        """Return what is newest for these users, by user; who has nothing yet is left out."""
        return await self.connection.fetch_all(
            _OF, {"user_ids": whole_numbers(user_ids, "user_ids"), "limit": self.most}
        )

    async def changed(self, *, after: str | None = None, limit: int = 100) -> list[Change[UserNotification]]:
        """Return the users for whom something has changed, in the order of the changes, each once and as it is now.

        For those who poll: to ask again, pass the last one's ``cursor``, or the same as before when there is none. No
        change is missed, and none comes twice; several changes of one user in the meantime are one.

        Args: after: a cursor; None: everybody, to begin with; `agentdb.following.NOW`, or what `end` gave.
        Raises: BadInput for a cursor of something else.
        Cost: one read by (tx, user_id).
        """
        return await _TRAIL.changes(self.connection, after=after, limit=capped(limit, self.most))

    def follow(
        self, *, after: str | None = None, poll_seconds: float = 1.0
    ) -> AsyncGenerator[Change[UserNotification], None]:
        """Yield the users for whom something changes, as it is committed; else as `changed`.

        Raises: BadInput in a unit, or for a cursor of something else; Unavailable when the database is closed.
        """
        return follow(self.connection, _TRAIL, after=after, poll_seconds=poll_seconds)

    async def end(self) -> str:
        """Return the cursor behind all changes there are now."""
        return _TRAIL.cursor(await _TRAIL.end(self.connection))

    async def touch(self, user_id: int) -> None:
        """Tell those who follow that something else about a user has changed, such as being enabled or archived.

        In the unit that changes it, so that whoever is told finds it changed.

        Raises: MissingReference when there is no such user.
        """
        await self.connection.execute(
            _TOUCH, {"user_id": whole_number(user_id, "user_id"), "now": self.connection.now()}
        )
