"""Spend limits: what may be spent in a window, and who is suspended because it has been."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn

from agentdb.engine.asked import whole_number
from agentdb.engine.quantities import billionths
from agentdb.errors import BadInput, NotFound, brief
from agentdb.hub.ledger.applied import Counted
from agentdb.hub.ledger.limiting import OF, RESET, STANDING, Suspension, evaluate, set_limit
from agentdb.hub.ledger.standing import Standing, standing_of
from agentdb.hub.ledger.windows import window
from agentdb.hub.models.spending import LimitCovers, LimitPeriod, SpendLimit
from agentdb.repository import Repository


class Limits(Repository[SpendLimit]):
    """What may be spent in a window: by a user, by a user and all whom the user leads, by the whole installation.

    No limit means no bound; a limit of 0 means that nothing may be spent. Every cost counts in its user's limit, in
    those of all who lead the user for their trees, and in the installation's. A user whose own limit exempts from the
    installation's is not bound by that one, though what the user spends counts in it.

    A new limit holds what those it covers have reserved before. Who comes under a lead later, or is exempt no more, is
    counted from the next reservation on.
    """

    model = SpendLimit

    async def set(
        self,
        amount: Decimal | int,
        *,
        user_id: int | None = None,
        covers: LimitCovers | str = LimitCovers.self,
        period: LimitPeriod | str = LimitPeriod.none,
        every: int = 1,
        timezone: str = "UTC",
        exempts_from_installation: bool = False,
    ) -> SpendLimit:
        """Set a limit, or change the one there is; what was spent in its present window is counted anew.

        What is reserved stays reserved. A limit set below what is spent and reserved is beyond its amount until its
        window ends; one that is raised, or whose window changes, lifts its suspension.

        Args:
            amount: US dollars, from 0, to nine places.
            user_id: whom it binds; None: the whole installation.
            covers: ``self``, or ``tree`` for the user and all whom the user leads.
            period: with ``every``, the length of its windows: ``hour`` and 6 are six hours.
            every: see `windows.window`.
            timezone: whose midnights and months are meant, an IANA name.
            exempts_from_installation: whether the installation's limit does not bind this user.

        Raises: BadInput; MissingReference for an unknown user.
        Cost: one transaction, which waits for those that are writing costs or reserving, and they for it.
        """
        if billionths(amount) < 0:
            raise BadInput(f"a limit is from $0, not {amount}; remove it for no limit")
        now = self.connection.now()
        whose, words = _whose(user_id, covers)
        unit = _period(period)
        values = {
            "amount": Decimal(amount),
            "period": unit,
            "every": every,
            "timezone": timezone,
            "exempts_from_installation": exempts_from_installation,
        }
        window(unit, every, timezone, now)  # refused before anything is locked
        return await self.connection.run(lambda: set_limit(whose, words, values, now))

    async def of(self, user_id: int | None = None, covers: LimitCovers | str = LimitCovers.self) -> SpendLimit:
        """Return the limit of a user, or the installation's.

        Raises: NotFound.
        """
        whose, words = _whose(user_id, covers)
        limit: SpendLimit | None = await self.connection.fetch_one(OF[whose], words)
        if limit is None:
            raise NotFound(f"{'the installation' if user_id is None else f'user {user_id}'} has no spend limit")
        return limit

    async def reset(self, limit_id: int) -> SpendLimit:
        """Let spending in this limit's window begin at nothing again; the ledger keeps its rows.

        Raises: NotFound.
        Cost: one statement.
        """
        now = self.connection.now()
        limit: SpendLimit | None = await self.connection.fetch_one(RESET, {"limit_id": limit_id, "now": now})
        if limit is None:
            raise NotFound(f"there is no spend limit {limit_id}")
        return limit

    async def standing(self, user_id: int) -> list[Standing]:
        """Return how each limit stands that binds a user, at this moment; none when the user may spend what they will.

        The user's own come first, then those of leads, then the installation's.

        Cost: one read.
        """
        now = self.connection.now()
        rows = await self.connection.fetch_all(STANDING, {"users": [whole_number(user_id, "user_id")], "limits": []})
        limits = Counted(rows, now).binding(user_id)
        limits.sort(key=lambda limit: (limit.user_id is None, limit.user_id != user_id, limit.id))
        return [standing_of(limit) for limit in limits]

    async def suspension(self, user_id: int) -> str | None:
        """Return why a user is suspended, by the limit nearest to them; None when they are not.

        Cost: one read.
        """
        return next((limit.suspended_reason for limit in await self.standing(user_id) if limit.suspended_reason), None)

    async def evaluate(self) -> list[Suspension]:
        """Suspend where a limit is reached, lift where it is not any more, and return what has changed.

        Cost: one query over all limits, which locks only those that change, and one write for each of them.
        """
        now = self.connection.now()
        return await self.connection.run(lambda: evaluate(now))

    # The generic ways in know nothing of windows, nor of what was spent.

    async def add(self, **_values: Any) -> NoReturn:
        """Refuse: limits are set."""
        raise BadInput(_INSTEAD)

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> NoReturn:  # noqa: ARG002
        """Refuse, likewise."""
        raise BadInput(_INSTEAD)

    async def update(self, *_key: Any, **_changes: Any) -> NoReturn:
        """Refuse, likewise."""
        raise BadInput(_INSTEAD)

    async def upsert(self, **_values: Any) -> NoReturn:
        """Refuse, likewise."""
        raise BadInput(_INSTEAD)


_INSTEAD: Final = (
    "a limit is set by set(), which counts what was spent and reserved; reset() begins anew, remove() ends it"
)


def _whose(user_id: int | None, covers: LimitCovers | str) -> tuple[str, dict[str, Any]]:
    if covers not in tuple(LimitCovers):
        raise BadInput(f"a limit covers self or tree, not {brief(covers)}")
    if user_id is None:
        if covers != LimitCovers.self:
            raise BadInput("the installation's limit covers everybody: there is no other")
        return "installation", {"covers": covers}
    return "user", {"user_id": user_id, "covers": covers}


def _period(period: LimitPeriod | str) -> LimitPeriod:
    try:
        return LimitPeriod(period)
    except ValueError:
        raise BadInput(f"a limit's period is one of {', '.join(LimitPeriod)}, not {brief(period)}") from None
