"""Runs, costs, limits and reservations on both databases, in lock-step with a model in plain Python."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, invariant, precondition, rule

from agentdb.database import Database
from agentdb.errors import BudgetExceeded, InvalidTransition
from agentdb.hub.models.spending import LimitPeriod
from agentdb.testing.postgresql import PostgreSQLServer
from tests.hub.lockstep import BEGIN, Ids, Lockstep, run
from tests.hub.spending_model import Model, Whose

CENTS = st.integers(0, 120).map(lambda cents: Decimal(cents) / 100)
PICK = st.integers(0, 10_000)


class Spending(Lockstep):
    """Four users, one of whom leads, limits of theirs and of the installation, and money that comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(BEGIN)
        self.users: list[Ids] = []
        self.sessions: list[Ids] = []
        self.reservations: list[Ids] = []

    def whose(self, key: Whose, side: int) -> dict[str, Any]:
        return {"user_id": None if key[0] is None else self.users[key[0]][side], "covers": key[1]}

    @initialize()
    def begin(self) -> None:
        for lead in (None, 0, 1, None):
            self.add_user(lead)
        self.set_a_limit((None, "self"), Decimal(5), LimitPeriod.day, 1, exempts=False)
        self.set_a_limit((0, "tree"), Decimal(3), LimitPeriod.hour, 6, exempts=False)
        self.set_a_limit((2, "self"), Decimal(1), LimitPeriod.hour, 1, exempts=False)

    def add_user(self, lead: int | None) -> None:
        number = len(self.users)
        self.users.append(
            self.ids(
                lambda db, side: db.supervisor.users.create(
                    f"user-{number}", lead_user_id=None if lead is None else self.users[lead][side]
                )
            )
        )
        self.model.leads.append(lead)

    @rule(user=st.integers(0, 3))
    def start_a_run(self, user: int) -> None:
        self.sessions.append(
            self.ids(lambda db, side: db.hub.runs.start(user_id=self.users[user][side], model_name="m"))
        )
        self.model.sessions.append(user)

    @rule(user=st.none() | st.integers(0, 3), session=st.none() | PICK, cost=CENTS)
    def append_a_cost(self, user: int | None, session: int | None, cost: Decimal) -> None:
        place = session % len(self.sessions) if session is not None and self.sessions else None

        self.both(
            lambda db, side: db.hub.costs.append(
                source="chat",
                model="m",
                cost=cost,
                user_id=None if user is None else self.users[user][side],
                run_session_id=None if place is None else self.sessions[place][side],
            )
        )
        self.model.spend(user, place, cost)

    @rule(
        key=st.sampled_from([(None, "self"), (0, "self"), (0, "tree"), (1, "tree"), (2, "self"), (3, "self")]),
        amount=CENTS.map(lambda amount: 4 * amount),
        period=st.sampled_from([LimitPeriod.none, LimitPeriod.hour, LimitPeriod.day]),
        every=st.sampled_from([1, 6]),
        exempts=st.booleans(),
    )
    def set_a_limit(self, key: Whose, amount: Decimal, period: LimitPeriod, every: int, *, exempts: bool) -> None:
        self.both(
            lambda db, side: db.hub.limits.set(
                amount, period=period, every=every, exempts_from_installation=exempts, **self.whose(key, side)
            )
        )
        self.model.set_limit(key, amount, period, every, exempts=exempts)

    @precondition(lambda self: self.model.limits)
    @rule(pick=PICK, remove=st.booleans())
    def remove_or_reset_a_limit(self, pick: int, *, remove: bool) -> None:
        key = list(self.model.limits)[pick % len(self.model.limits)]
        self.wait(1)  # what is charged at the very moment of a reset is on neither side of it

        async def change(db: Database, side: int) -> None:
            limit = await db.hub.limits.of(**self.whose(key, side))
            await (db.hub.limits.remove(limit.id) if remove else db.hub.limits.reset(limit.id))

        self.both(change)
        if remove:
            self.model.remove_limit(key)
        else:
            self.model.reset(key)
        self.wait(1)

    @rule(user=st.integers(0, 3), amount=CENTS, minutes=st.sampled_from([1, 90]))
    def reserve(self, user: int, amount: Decimal, minutes: int) -> None:
        answers = self.both(
            lambda db, side: db.hub.reservations.reserve(
                user_id=self.users[user][side], amount=amount, ttl_seconds=60 * minutes
            )
        )
        granted = self.model.reserve(user, amount, timedelta(minutes=minutes))
        assert granted is not isinstance(answers[0], BudgetExceeded)
        if granted:
            self.reservations.append(tuple(row.id for row in answers))  # type: ignore[union-attr]

    @precondition(lambda self: self.reservations)
    @rule(pick=PICK, cost=CENTS)
    def settle(self, pick: int, cost: Decimal) -> None:
        place = pick % len(self.reservations)
        answers = self.both(
            lambda db, side: db.hub.reservations.settle(
                self.reservations[place][side], source="chat", model="m", cost=cost
            )
        )
        already = self.model.reservations[place].is_settled
        self.model.settle(place, cost)
        limits = [self.model.limits[key] for key in self.model.counting(self.model.reservations[place].user)]
        beyond = 0 if already else sum(limit.spent + limit.reserved > limit.amount for limit in limits)
        assert [len(answer.beyond) for answer in answers] == [beyond, beyond]  # type: ignore[union-attr]

    @precondition(lambda self: self.reservations)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        place = pick % len(self.reservations)
        answers = self.both(lambda db, side: db.hub.reservations.release(self.reservations[place][side]))
        reservation = self.model.reservations[place]
        assert isinstance(answers[0], InvalidTransition) is reservation.is_settled
        self.model.close(reservation)

    @rule(minutes=st.sampled_from([2, 61, 24 * 60]), then=st.sampled_from(["", "expire", "evaluate"]))
    def wait(self, minutes: int, then: str = "") -> None:
        self.model.now = self.hand.forward(timedelta(minutes=minutes))
        if then:
            getattr(self, then)()

    def expire(self) -> None:
        answers = self.both(lambda db, _side: db.hub.reservations.expire())
        assert answers == [self.model.expire()] * 2

    def evaluate(self) -> None:
        answers = self.both(lambda db, _side: db.hub.limits.evaluate())
        changes = self.model.evaluate()
        for side, answer in enumerate(answers):
            numbers = {ids[side]: number for number, ids in enumerate(self.users)}
            told = {((numbers.get(one.user_id), str(one.covers)), one.is_suspended) for one in answer}  # type: ignore[union-attr, arg-type]
            assert told == changes

    @invariant()
    def limits_stand_alike(self) -> None:
        for user in range(len(self.users)):
            answers = self.both(lambda db, side, user=user: db.hub.limits.standing(self.users[user][side]))  # type: ignore[misc]
            wanted = []
            for key in self.model.binding(user):
                limit = self.model.limits[key]
                over = limit.ends is not None and limit.ends <= self.model.now
                wanted.append((str(key[1]), limit.amount, Decimal(0) if over else limit.spent, limit.reserved))
            for answer in answers:
                told = [(str(one.covers), one.amount, one.spent, one.reserved) for one in answer]  # type: ignore[union-attr]
                assert sorted(told) == sorted(wanted)

    @invariant()
    def totals_are_alike(self) -> None:
        spent = sum((cost.cost for cost in self.model.costs), Decimal(0))
        answers = self.both(lambda db, _side: db.hub.costs.total())
        assert [answer.cost for answer in answers] == [spent, spent]  # type: ignore[union-attr]
        for place in range(len(self.sessions)):
            rows = self.both(lambda db, side, place=place: db.hub.runs.get(self.sessions[place][side]))  # type: ignore[misc]
            total = sum((cost.cost for cost in self.model.costs if cost.session == place), Decimal(0))
            assert [row.total_cost for row in rows] == [total, total]  # type: ignore[union-attr]


def test_both_databases_agree_with_the_model(
    agentdb_template: Path, agentdb_postgresql_server: PostgreSQLServer
) -> None:
    run(Spending, agentdb_template, agentdb_postgresql_server, examples=6, steps=30)


@pytest.mark.long
def test_both_databases_agree_with_the_model_for_long(
    agentdb_template: Path, agentdb_postgresql_server: PostgreSQLServer
) -> None:
    run(Spending, agentdb_template, agentdb_postgresql_server, examples=40, steps=80)
