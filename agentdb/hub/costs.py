"""The ledger of spending: appended, never changed, summed in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, NoReturn

from sqlalchemy import Table

from agentdb.engine.asked import moment, request, several
from agentdb.engine.connection import Script
from agentdb.engine.quantities import billionths
from agentdb.errors import BadInput, ReadOnly, brief
from agentdb.hub.ledger.charging import CHARGE, Charged, charge, checked, tokens
from agentdb.hub.ledger.correcting import correct, granted
from agentdb.hub.ledger.folding import fold, foldable
from agentdb.hub.ledger.sums import (
    BYS,
    COUNTED,
    FIRST,
    LAST,
    By,
    Scope,
    edges_of,
    histogram_plan,
    sums_plan,
    total_plan,
)
from agentdb.hub.models.spending import Cost, CostSource
from agentdb.hub.records import Bucket, Spending, SpendingOf
from agentdb.repository import Repository, capped

_costs: Final[Table] = Cost.__table__  # type: ignore[assignment]


class Costs(Repository[Cost]):
    """The one ledger of spending, whoever charged. Its rows never change; a correction is another row.

    Every cost counts at once in its session's total, and in each spend limit of its user, of all who lead the user, and
    of the installation.
    """

    model = Cost

    async def append(
        self,
        *,
        source: CostSource | str,
        model: str,
        cost: Decimal | int,
        user_id: int | None = None,
        run_session_id: int | None = None,
        request_id: str | None = None,
        **details: Any,
    ) -> Cost:
        """Append a cost, and add it to its session's total and to the limits it counts in.

        A cost is never refused: the money is spent already. What must not be spent is reserved before
        (`Reservations.reserve`).

        Args:
            source: what it was spent on.
            model: the model's key.
            cost: US dollars, to nine places.
            user_id: who is charged; a subagent's costs are its user's.
            run_session_id: the session whose total it adds to.
            request_id: the caller's own: a cost that was appended under it already is returned, and nothing is charged.
            details: token counts and what else a cost has, by column.

        Raises: BadInput; MissingReference; Conflict when the request was charged another cost.
        Cost: one transaction, shared by all that charge meanwhile.
        """
        entry = {
            **details,
            "source": source,
            "model": model,
            "cost": cost,
            "user_id": user_id,
            "run_session_id": run_session_id,
            "request_id": request_id,
        }
        charged: Charged = await self.connection.share(CHARGE, checked(entry))
        return charged.cost

    async def append_many(self, entries: Iterable[Mapping[str, Any]]) -> list[Cost]:
        """Append costs, all or none, and return them in their order.

        Args: entries: each with what `append` takes.
        Raises: as `append`.
        Cost: one transaction of a few statements, however many entries.
        """
        given = [checked(entry) for entry in several(entries, "entries")]
        if not given:
            raise BadInput("no cost to append")
        now = self.connection.now()
        return await self.connection.run(lambda: _append_all(given, now))

    async def correct(self, cost_id: int, *, request_id: str | None = None, **values: Any) -> Cost:
        """Correct an entry by another that holds the difference, and return that one.

        The difference counts today: in the session's total, and in the present window of each limit.

        Args:
            cost_id: the entry, which is no correction itself; corrections made before are taken into account.
            request_id: the caller's own: a correction that was made under it already is returned.
            values: what the entry should have said: any of ``cost`` and the token counts.

        Raises: NotFound; BadInput when nothing would change.
        Cost: one transaction.
        """
        unknown = ", ".join(sorted(set(values) - set(COUNTED)))
        if unknown or not values:
            raise BadInput(
                f"a correction says what {', '.join(COUNTED)} should have been" + f", not {unknown}" * bool(unknown)
            )
        for key, value in values.items():
            if key == "cost":
                if billionths(value) < 0:
                    raise BadInput(f"a cost is from $0, not {value}; say what it should have been")
            else:
                tokens(value, key)
        request(request_id)
        now = self.connection.now()
        return await self.connection.run(lambda: correct(cost_id, values, request_id, now))

    async def total(
        self,
        *,
        user_id: int | None = None,
        led_by: int | None = None,
        model: str | None = None,
        agent_id: int | None = None,
        source: CostSource | str | None = None,
        since: datetime = FIRST,
        until: datetime = LAST,
    ) -> Spending:
        """Return what was spent within a window: by all, or by one user, lead, model, agent or source.

        What retention has folded counts with the UTC midnight of its day.

        Args:
            user_id: what this user spent.
            led_by: what this user and all whom the user leads spent.
            model: what this model cost, by its key.
            agent_id: what this agent cost.
            source: what was spent on this.
            since: from then on.
            until: up to before then.

        Raises: BadInput when more than one of them is asked for.
        Cost: one read by the index that begins with what is asked for.
        """
        scope, value = _scope(user_id=user_id, led_by=led_by, model=model, agent_id=agent_id, source=source)
        values = {"since": since, "until": until, **value}
        total: Spending | None = await self.connection.fetch_one(total_plan(scope), values)
        return total or Spending(0, 0, 0, 0, 0, Decimal(0))

    async def sums(
        self,
        by: By,
        *,
        user_id: int | None = None,
        led_by: int | None = None,
        since: datetime = FIRST,
        until: datetime = LAST,
        limit: int = 100,
    ) -> list[SpendingOf]:
        """Return what was spent by each user, model, agent, source or UTC day, the costliest first; days in order.

        Args:
            by: what to sum by.
            user_id: only what this user spent.
            led_by: only what this user and all whom the user leads spent.
            since: from then on.
            until: up to before then.
            limit: how many at most.

        Raises: BadInput when more than one of them is asked for, or to sum by anything else.
        Cost: one read of the window's rows.
        """
        if by not in BYS:
            raise BadInput(f"spending is summed by one of {', '.join(BYS)}, not by {brief(by)}")
        scope, value = _scope(user_id=user_id, led_by=led_by)
        values = {"since": since, "until": until, "limit": capped(limit, self.most), **value}
        return await self.connection.fetch_all(sums_plan(by, scope), values)

    async def histogram(
        self,
        *,
        since: datetime,
        until: datetime,
        every: timedelta = timedelta(days=1),
        timezone: str = "UTC",
        user_id: int | None = None,
        led_by: int | None = None,
    ) -> list[Bucket]:
        """Return spending in buckets of time: each row of the range falls into exactly one.

        Args:
            since: where the first bucket begins.
            until: where the last one ends, this moment included; it may be shorter than the others.
            every: their length. Whole days are days of ``timezone``, whatever its clocks do; others elapse.
            timezone: an IANA name.
            user_id: only what this user spent.
            led_by: only what this user and all whom the user leads spent.

        Raises: BadInput for an empty range, or more than 10,000 buckets.
        Cost: one read of the range's rows.
        """
        scope, value = _scope(user_id=user_id, led_by=led_by)
        edges = edges_of(since, until, every, timezone)
        rows = await self.connection.fetch_all(
            histogram_plan(scope), {"edges": edges[:-1], "until": edges[-1], **value}
        )
        buckets = [Bucket(*ends, 0, Decimal(0), {}) for ends in pairwise(edges)]
        for row in rows:
            buckets[row.place - 1] = buckets[row.place - 1].with_user(row.user_id, row.calls, row.cost)
        return buckets

    async def fold(self, *, before: datetime, limit: int = 1_000) -> int:
        """Add old entries up by UTC day, user, model, source and agent, remove them, and return how many.

        Repeat until it is none. No sum over whole UTC days changes, nor what limits have counted. What goes is the
        moment within the day, and which session, host, message, execution and request an entry was of: a request that
        is told again is charged again. An entry stays as long as a correction of it does, or while a limit counts from
        within its day.

        Args:
            before: the UTC day of this moment, and all later ones, stay.
            limit: how many at most, so that the transaction stays short.

        Cost: one transaction, by the index of created_at; one after another.
        """
        whole, now, most = _midnight(before), self.connection.now(), capped(limit, self.most)
        return await self.connection.run(lambda: fold(whole, most, now))

    async def foldable(self, *, before: datetime) -> int:
        """Return how many entries `fold` would remove, repeated until it is none.

        Cost: one read of them.
        """
        whole, now = _midnight(before), self.connection.now()
        return await self.connection.run(lambda: foldable(whole, now))

    # The generic ways in would leave sessions' totals and limits behind.

    async def add(self, **_values: Any) -> NoReturn:
        """Refuse: costs are appended."""
        raise BadInput("a cost is charged by append(), which counts it in its session's total and in limits")

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> NoReturn:  # noqa: ARG002
        """Refuse: costs are appended."""
        raise BadInput("costs are charged by append_many(), which counts them in their sessions' totals and in limits")

    async def upsert(self, **_values: Any) -> NoReturn:
        """Refuse: costs are appended."""
        raise BadInput("a cost is charged by append(), once for each request_id")

    async def update(self, *key: Any, expected_version: int | None = None, **_changes: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: an entry never changes."""
        raise ReadOnly(f"cost {key[0] if key else ''} never changes; correct() adds what should have been said")

    async def remove(self, *key: Any) -> NoReturn:
        """Refuse: entries go by retention alone."""
        raise ReadOnly(f"cost {key[0] if key else ''} stays; correct() takes back what it says, retention removes it")


def _scope(**asked: Any) -> tuple[Scope, dict[str, Any]]:
    given = [(scope, value) for scope, value in asked.items() if value is not None]
    if len(given) > 1:
        raise BadInput(f"spending is of one of {', '.join(asked)}, not of {' and '.join(scope for scope, _ in given)}")
    return (given[0][0], {"of": given[0][1]}) if given else (None, {})  # type: ignore[return-value]


def _midnight(before: datetime) -> datetime:
    return moment(before, "before").replace(hour=0, minute=0, second=0, microsecond=0)


def _append_all(entries: Sequence[Mapping[str, Any]], now: datetime) -> Script[list[Cost]]:
    charged = yield from charge(entries, now)
    return [granted(answer).cost for answer in charged]
