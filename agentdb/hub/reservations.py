"""Reservations: money set aside before it is spent, so that no limit is passed, whoever spends at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, NoReturn

from agentdb.engine.asked import is_number, request, whole_number
from agentdb.engine.quantities import billionths
from agentdb.errors import BadInput, BudgetExceeded, brief
from agentdb.hub.ledger.charging import checked
from agentdb.hub.ledger.reserving import RESERVE, Wish
from agentdb.hub.ledger.settling import SETTLE, Bill, Settlement, expire, release
from agentdb.hub.models.spending import CostReservation
from agentdb.repository import Repository, capped

LONGEST_SECONDS: Final = 86_400
EXPIRED_AT_ONCE: Final = 500


class Reservations(Repository[CostReservation]):
    """Money set aside for calls whose cost is not known yet: reserve, call, settle; or let it expire.

    No reservation is granted unless ``spent + reserved + amount <= limit`` at that instant, for every limit that binds
    the user: the user's own, those of all who lead the user for their trees, and the installation's.
    """

    model = CostReservation

    async def reserve(
        self, *, user_id: int, amount: Decimal | int, ttl_seconds: float = 600, request_id: str | None = None
    ) -> CostReservation:
        """Set an amount aside in every limit that binds the user, in all or in none.

        Args:
            user_id: who is going to spend.
            amount: US dollars, to nine places: the most that the call may cost.
            ttl_seconds: after which it is given back unless it was settled, up to a day.
            request_id: the caller's own: what was reserved under it already is returned.

        Raises: BudgetExceeded naming the first limit that leaves no room; BadInput; MissingReference for an unknown
            user; Conflict when something else was reserved under the request.
        Cost: one transaction, shared by all that reserve meanwhile; when there is no room, overdue reservations are
            given back first.
        """
        whole_number(user_id, "user_id")
        if billionths(amount) < 0:
            raise BadInput(f"an amount to reserve is in dollars from 0, not {amount!r}")
        if not is_number(ttl_seconds) or not 0 < ttl_seconds <= LONGEST_SECONDS:
            raise BadInput(f"a reservation lives for up to {LONGEST_SECONDS} seconds, not {brief(ttl_seconds)}")
        expires_at = self.connection.now() + timedelta(seconds=ttl_seconds)
        wish = Wish(user_id, Decimal(amount), request(request_id), expires_at)
        try:
            return await self.connection.share(RESERVE, wish)
        except BudgetExceeded:
            given_back = await self.expire()
            if not given_back:
                raise
            while given_back == min(EXPIRED_AT_ONCE, self.most):  # there may be more
                given_back = await self.expire()
        return await self.connection.share(RESERVE, wish)

    async def settle(self, reservation_id: int, **entry: Any) -> Settlement:
        """Charge what the call really cost, and give back what was set aside for it.

        The money is spent, so it is charged even beyond the reservation, or after it has expired. A reservation that
        was settled already returns the same settlement.

        Args: entry: as `Costs.append`, but for ``user_id``; ``request_id`` is the reservation's unless given.
        Raises: NotFound; BadInput; MissingReference; Conflict when the request was charged another cost;
            InvalidTransition when it was settled so long ago that retention has folded its cost: nothing is charged.
        Cost: one transaction, shared by all that settle meanwhile.
        """
        return await self.connection.share(SETTLE, Bill(_id(reservation_id), checked(entry)))

    async def release(self, reservation_id: int) -> None:
        """Give back what was set aside for a call that cost nothing.

        Raises: NotFound; InvalidTransition when it was settled.
        Cost: one transaction; nothing happens to one that was given back already.
        """
        now = self.connection.now()
        await self.connection.run(lambda: release(_id(reservation_id), now))

    async def expire(self, *, limit: int = EXPIRED_AT_ONCE) -> int:
        """Give back what was never settled in its time, and return how many reservations that were.

        Args: limit: how many at most, so that the transaction stays short.
        Cost: one transaction, by the index of open reservations; none waits for another.
        """
        now, most = self.connection.now(), capped(limit, self.most)
        return await self.connection.run(lambda: expire(most, now))

    # The generic ways in would leave limits behind.

    async def add(self, **_values: Any) -> NoReturn:
        """Refuse: money is set aside by `reserve`."""
        raise BadInput(_INSTEAD)

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> NoReturn:  # noqa: ARG002
        """Refuse, likewise."""
        raise BadInput(_INSTEAD)

    async def update(self, *_key: Any, **_changes: Any) -> NoReturn:
        """Refuse: a reservation is settled, released, or expires."""
        raise BadInput(_INSTEAD)

    async def upsert(self, **_values: Any) -> NoReturn:
        """Refuse, likewise."""
        raise BadInput(_INSTEAD)

    async def remove(self, *_key: Any) -> NoReturn:
        """Refuse: it would not be given back."""
        raise BadInput(_INSTEAD)


_INSTEAD: Final = (
    "a reservation is made by reserve(), and ends by settle(), release() or expire(): they keep the limits"
)


def _id(reservation_id: int) -> int:
    return whole_number(reservation_id, "a reservation's id")
