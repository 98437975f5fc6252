"""Spend limits: what may be spent in a window, and who is suspended because it has been."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Table, and_, case, literal, or_, select, update

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every, one
from agentdb.engine.locking import writers_wait
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MoneyType, billionths
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, NotFound
from agentdb.hub.ledger.applied import COLUMNS, Applied, Counted, counted_plan
from agentdb.hub.ledger.standing import Standing, resumed, standing_of, suspended
from agentdb.hub.ledger.sums import LAST, total_plan
from agentdb.hub.ledger.windows import window
from agentdb.hub.models.spending import Cost, LimitCovers, LimitPeriod, SpendLimit
from agentdb.repository import Repository

_limits: Final[Table] = SpendLimit.__table__  # type: ignore[assignment]
_costs: Final[Table] = Cost.__table__  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Suspension:
    """A limit whose users have been suspended, or may spend again, and why."""

    limit_id: int
    user_id: int | None  # None: the installation's
    covers: LimitCovers
    is_suspended: bool
    reason: str


_SETTLED: Final = Plan[None](writers_wait(_costs), name="limits.set: costs")
_SAME: Final = {
    whose: Plan[SpendLimit](
        select(SpendLimit).where(condition, _limits.c.covers == of(_limits.c.covers)).with_for_update(key_share=True),
        name="limits.set: limit",
        rows=SpendLimit,
    )
    for whose, condition in (
        ("user", _limits.c.user_id == of(_limits.c.user_id)),
        ("installation", _limits.c.user_id.is_(None)),
    )
}
_OF: Final = {
    whose: Plan[SpendLimit](
        select(SpendLimit).where(condition, _limits.c.covers == of(_limits.c.covers)),
        name="limits.of",
        rows=SpendLimit,
        point=True,
    )
    for whose, condition in (
        ("user", _limits.c.user_id == of(_limits.c.user_id)),
        ("installation", _limits.c.user_id.is_(None)),
    )
}
_BECOMES: Final = (
    "amount",
    "period",
    "every",
    "timezone",
    "window_started_at",
    "window_ends_at",
    "spent",
    "suspended_reason",
    "exempts_from_installation",
)
_CHANGE: Final = Plan[SpendLimit](
    update(_limits)
    .where(_limits.c.id == of(_limits.c.id, "limit_id"))
    .values(**{key: of(_limits.c[key], f"new_{key}") for key in _BECOMES}, updated_at=of(_limits.c.updated_at, "now"))
    .returning(_limits),
    name="limits.set",
    rows=SpendLimit,
)
_RESET: Final = Plan[SpendLimit](
    update(_limits)
    .where(_limits.c.id == of(_limits.c.id, "limit_id"))
    .values(
        spent=literal(Decimal(0), MoneyType()),
        suspended_reason=None,
        reset_at=of(_limits.c.reset_at, "now"),
        updated_at=of(_limits.c.updated_at, "now"),
    )
    .returning(_limits),
    name="limits.reset",
    rows=SpendLimit,
)
_STANDING: Final = counted_plan("limits.standing", locking=False)


def _changed_plan() -> Plan[Applied]:
    """Return the plan that finds, and locks, the limits whose suspension is not what their spending says."""
    over = _limits.c.window_ends_at <= of(_limits.c.window_ends_at, "now")
    spent = case((over, literal(Decimal(0), MoneyType())), else_=_limits.c.spent)
    reached, told = spent >= _limits.c.amount, _limits.c.suspended_reason.is_not(None)
    statement = (
        select(literal(0), *COLUMNS)
        .where(or_(and_(reached, ~told), and_(spent < _limits.c.amount, told)))
        .order_by(_limits.c.id)
        .with_for_update(key_share=True)
    )
    return Plan(statement, name="limits.evaluate", rows=Applied)


_CHANGED: Final = _changed_plan()


class Limits(Repository[SpendLimit]):
    """What may be spent in a window: by a user, by a user and all whom the user leads, by the whole installation.

    No limit means no bound; a limit of 0 means that nothing may be spent. Every cost counts in its user's limit, in
    those of all who lead the user for their trees, and in the installation's. A user whose own limit exempts from the
    installation's is not bound by that one, though what the user spends counts in it.
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
        Cost: one transaction, which waits for those that are writing costs.
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
        return await self.connection.run(lambda: _set(whose, words, values, now))

    async def of(self, user_id: int | None = None, covers: LimitCovers | str = LimitCovers.self) -> SpendLimit:
        """Return the limit of a user, or the installation's.

        Raises: NotFound.
        """
        whose, words = _whose(user_id, covers)
        limit: SpendLimit | None = await self.connection.fetch_one(_OF[whose], words)
        if limit is None:
            raise NotFound(f"{'the installation' if user_id is None else f'user {user_id}'} has no spend limit")
        return limit

    async def reset(self, limit_id: int) -> SpendLimit:
        """Let spending in this limit's window begin at nothing again; the ledger keeps its rows.

        Raises: NotFound.
        Cost: one statement.
        """
        now = self.connection.now()
        limit: SpendLimit | None = await self.connection.fetch_one(_RESET, {"limit_id": limit_id, "now": now})
        if limit is None:
            raise NotFound(f"there is no spend limit {limit_id}")
        return limit

    async def standing(self, user_id: int) -> list[Standing]:
        """Return how each limit stands that binds a user, at this moment; none when the user may spend what they will.

        The user's own come first, then those of leads, then the installation's.

        Cost: one read.
        """
        now = self.connection.now()
        rows = await self.connection.fetch_all(_STANDING, {"users": [user_id], "limits": []})
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
        return await self.connection.run(lambda: _evaluate(now))


def _whose(user_id: int | None, covers: LimitCovers | str) -> tuple[str, dict[str, Any]]:
    if covers not in tuple(LimitCovers):
        raise BadInput(f"a limit covers self or tree, not {covers!r}")
    if user_id is None:
        if covers != LimitCovers.self:
            raise BadInput("the installation's limit covers everybody: there is no other")
        return "installation", {"covers": covers}
    return "user", {"user_id": user_id, "covers": covers}


def _period(period: LimitPeriod | str) -> LimitPeriod:
    try:
        return LimitPeriod(period)
    except ValueError:
        raise BadInput(f"a limit's period is one of {', '.join(LimitPeriod)}, not {period!r}") from None


def _set(whose: str, words: dict[str, Any], values: dict[str, Any], now: datetime) -> Script[SpendLimit]:
    yield from one(_SETTLED)
    before = yield from one(_SAME[whose], **words)
    started, ends = window(values["period"], values["every"], values["timezone"], now)
    since = started if before is None or before.reset_at is None else max(started, before.reset_at)
    scope = None if whose == "installation" else ("led_by" if words["covers"] == LimitCovers.tree else "user_id")
    asked = {"of": words["user_id"]} if scope else {}
    spent = yield from one(total_plan(scope), since=since, until=LAST, **asked)
    becomes = {
        **values,
        "window_started_at": started,
        "window_ends_at": ends,
        "spent": spent.cost if spent is not None else Decimal(0),
        "suspended_reason": None,
    }
    stored: SpendLimit | None
    if before is None:
        stored = yield from one(insert_one(SpendLimit), **words, **becomes)
    else:
        changes = {f"new_{key}": value for key, value in becomes.items()}
        stored = yield from one(_CHANGE, limit_id=before.id, now=now, **changes)
    if stored is None:
        raise NotFound("the limit was not stored")
    return stored


def _evaluate(now: datetime) -> Script[list[Suspension]]:
    limits = yield from every(_CHANGED, now=now)
    changes = []
    for limit in limits:
        limit.roll(now)
        reached = limit.spent >= limit.amount
        text = suspended(limit) if reached else resumed(limit)
        changes.append(Suspension(limit.id, limit.user_id, limit.covers, reached, text))
    yield from each(
        _CHANGE,
        [
            {
                "limit_id": limit.id,
                "now": now,
                **{f"new_{key}": getattr(limit, key) for key in _BECOMES if key != "suspended_reason"},
                "new_suspended_reason": change.reason if change.is_suspended else None,
            }
            for limit, change in zip(limits, changes, strict=True)
        ],
    )
    return changes
