"""Which limits a user's spending counts in, locked while it is decided what they leave room for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import Table, bindparam, literal, or_, select, update
from sqlalchemy.sql import ColumnElement, FromClause

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan, Together
from agentdb.engine.quantities import WholeType
from agentdb.engine.scoping.beyond import beyond_tenant
from agentdb.engine.statements import given_arrays
from agentdb.hub.ledger.windows import window
from agentdb.hub.models.spending import LimitCovers, LimitPeriod, SpendLimit
from agentdb.supervisor.models import User

_limits: Final[Table] = SpendLimit.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]

_STATE: Final = ("window_started_at", "window_ends_at", "spent", "reserved")


@dataclass(slots=True)
class Applied:
    """A limit, and one user whose spending counts in it, as read under its lock."""

    payer: int
    id: int
    user_id: int | None
    covers: LimitCovers
    amount: Decimal
    period: LimitPeriod
    every: int
    timezone: str
    window_started_at: datetime
    window_ends_at: datetime | None
    spent: Decimal
    reserved: Decimal
    suspended_reason: str | None
    exempts_from_installation: bool

    def roll(self, now: datetime) -> None:
        """Begin the window that now is in, when the last one is over; what is reserved stays so."""
        if self.window_ends_at is not None and self.window_ends_at <= now:
            self.window_started_at, self.window_ends_at = window(self.period, self.every, self.timezone, now)
            self.spent = Decimal(0)

    @property
    def room(self) -> Decimal:
        """What may still be reserved; a correction of what an earlier window spent makes no room in this one."""
        return self.amount - max(self.spent, Decimal(0)) - self.reserved


def payers(users: ColumnElement[bool]) -> FromClause:
    """Return some users, each with those whose limits count what they spend: themselves, and all who lead them."""
    chain = select(_users.c.id.label("payer"), _users.c.id.label("member")).where(users).cte("chain", recursive=True)
    # UNION, not UNION ALL: leads that run in a circle end here.
    return chain.union(
        select(chain.c.payer, _users.c.lead_user_id)
        .join(_users, _users.c.id == chain.c.member)
        .where(_users.c.lead_user_id.is_not(None))
    )


def counted(chain: FromClause) -> FromClause:
    """Return pairs of a payer and a limit that counts what the payer spends; the installation's for payer 0, nobody."""
    own = (
        select(chain.c.payer, _limits.c.id.label("limit_id"))
        .join(_limits, _limits.c.user_id == chain.c.member)
        .where(or_(_limits.c.covers == LimitCovers.tree, chain.c.payer == chain.c.member))
    )
    all_of_us = select(literal(0, WholeType()).label("payer"), _limits.c.id).where(_limits.c.user_id.is_(None))
    return own.union_all(all_of_us).subquery("pairs")


COLUMNS: Final = tuple(_limits.c[key] for key in Applied.__dataclass_fields__ if key != "payer")


def counted_plan(name: str, *, locking: bool) -> Plan[Applied]:
    """Return the plan that finds the limits which count what ``users`` spend, and those in ``limits`` for payer 0."""
    pairs = counted(payers(among(_users.c.id, "users")))
    more = select(literal(0, WholeType()).label("payer"), _limits.c.id.label("limit_id")).where(
        among(_limits.c.id, "limits")
    )
    both = select(pairs.c.payer, pairs.c.limit_id).union(more).subquery("both")
    statement = (
        select(both.c.payer, *COLUMNS).join_from(both, _limits, _limits.c.id == both.c.limit_id).order_by(_limits.c.id)
    )
    if locking:
        # Locked in the order of their ids, everywhere: two calls that need the same limits never wait for each other.
        statement = statement.with_for_update(of=_limits, key_share=True)
    return Plan(statement, name=name, rows=Applied)


def _keep_plan() -> Plan[int]:
    """Write what limits have become: they are locked, so what was read under the lock is still so."""
    now = of(_limits.c.updated_at, "now")
    single = (
        update(_limits)
        .where(_limits.c.id == bindparam("limit_id", type_=WholeType()))
        .values(**{key: of(_limits.c[key], f"new_{key}") for key in _STATE}, updated_at=now)
        .returning(_limits.c.id)
    )
    given = given_arrays(
        limit_id=_limits.c.id.type,
        **{f"new_{key}": _limits.c[key].type for key in _STATE},
        now=_limits.c.updated_at.type,
    )
    joined = (
        update(_limits)
        .where(_limits.c.id == given.c.limit_id)
        .values(**{key: given.c[f"new_{key}"] for key in _STATE}, updated_at=given.c.now)
        .returning(_limits.c.id, given.c.ordinal)
    )
    return beyond_tenant(
        Plan(single, name="limits.keep", together=Together(joined)),
        "what is charged counts in the limits of leads and of the installation; those found by limits.applied",
    )


_APPLIED: Final = beyond_tenant(
    counted_plan("limits.applied", locking=True),
    "limits of leads and of the installation bind whoever spends",
    own=("users",),
)
_KEEP: Final = _keep_plan()


class Counted:
    """The limits that count what some users spend: locked, and in windows that now is in."""

    def __init__(self, rows: Iterable[Applied], now: datetime) -> None:
        self.limits: dict[int, Applied] = {}
        self._of: defaultdict[int, list[Applied]] = defaultdict(list)
        self._now = now
        self._touched: set[int] = set()
        for row in rows:
            limit = self.limits.setdefault(row.id, row)
            limit.roll(now)
            if row.payer or row.user_id is None:
                self._of[row.payer].append(limit)

    def counting(self, user_id: int | None) -> Sequence[Applied]:
        """Return the limits in which a user's spending counts; what nobody spent counts in the installation's."""
        everybody = self._of[0]
        return everybody if user_id is None else [*self._of[user_id], *everybody]

    def binding(self, user_id: int) -> list[Applied]:
        """Return the limits that can refuse a user: not the installation's where a limit of the user's own exempts."""
        exempt = any(limit.exempts_from_installation and limit.user_id == user_id for limit in self._of[user_id])
        return [limit for limit in self.counting(user_id) if not (exempt and limit.user_id is None)]

    def spend(self, user_id: int | None, cost: Decimal) -> list[Applied]:
        """Count a cost, and return the limits in which it counts."""
        limits = list(self.counting(user_id))
        for limit in limits:
            limit.spent += cost
            self._touched.add(limit.id)
        return limits

    def reserve(self, limits: Iterable[Applied], amount: Decimal) -> None:
        """Set an amount aside in each of these limits; below zero, give it back."""
        for limit in limits:
            limit.reserved += amount
            self._touched.add(limit.id)

    def keep(self) -> Script[None]:
        """Write what has changed."""
        yield from each(
            _KEEP,
            [
                {"limit_id": id_, "now": self._now, **{f"new_{key}": getattr(self.limits[id_], key) for key in _STATE}}
                for id_ in sorted(self._touched)
            ],
        )


def locked(users: Iterable[int | None], now: datetime, limits: Iterable[int] = ()) -> Script[Counted]:
    """Within a script: lock and return the limits that count what these users spend, and others by their ids."""
    given = sorted({user for user in users if user is not None})
    rows = yield from every(_APPLIED, users=given, limits=sorted(set(limits)))
    return Counted(rows, now)
