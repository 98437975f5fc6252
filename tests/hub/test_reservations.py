"""Reservations: never beyond a limit, whoever reserves at the same time; nothing stays reserved."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, BudgetExceeded, Conflict, InvalidTransition, MissingReference, NotFound
from agentdb.hub.models.spending import CostReservation
from agentdb.testing.factories import make_run_session, make_user

CENT = Decimal("0.01")
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


async def reserve(db: Database, user_id: int, amount: str, **more: object) -> CostReservation:
    return await db.hub.reservations.reserve(user_id=user_id, amount=Decimal(amount), **more)  # type: ignore[arg-type]


async def settle(db: Database, reservation: CostReservation, cost: str, **more: object) -> None:
    await db.hub.reservations.settle(reservation.id, source="chat", model="m", cost=Decimal(cost), **more)


async def test_what_is_reserved_is_not_granted_again(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)

    await reserve(db, user.id, "0.60")

    with pytest.raises(BudgetExceeded, match=r"leaves \$0.4 of \$1, not \$0.5: \$0 are spent, \$0.6 reserved"):
        await reserve(db, user.id, "0.50")
    await reserve(db, user.id, "0.40")


async def test_a_settlement_charges_what_the_call_cost_and_gives_back_the_rest(db: Database) -> None:
    session = await make_run_session(db)
    await db.hub.limits.set(1, user_id=session.user_id)
    reservation = await reserve(db, session.user_id, "0.60", request_id="call-1")

    settlement = await db.hub.reservations.settle(
        reservation.id, source="chat", model="m", cost=Decimal("0.25"), run_session_id=session.id, output_tokens=7
    )

    limit = await db.hub.limits.of(session.user_id)
    assert (limit.spent, limit.reserved) == (Decimal("0.25"), Decimal(0))
    assert (settlement.cost.request_id, settlement.cost.user_id) == ("call-1", session.user_id)
    assert settlement.beyond == []
    assert (await db.hub.runs.get(session.id)).total_cost == Decimal("0.25")
    assert (await db.hub.reservations.get(reservation.id)).cost_id == settlement.cost.id


async def test_a_settlement_larger_than_its_reservation_is_reported(db: Database) -> None:
    user = await make_user(db)
    limit = await db.hub.limits.set(1, user_id=user.id)
    reservation = await reserve(db, user.id, "0.90")

    settlement = await db.hub.reservations.settle(reservation.id, source="chat", model="m", cost=Decimal("1.10"))

    assert [(standing.limit_id, standing.spent) for standing in settlement.beyond] == [(limit.id, Decimal("1.10"))]


async def test_a_settlement_told_twice_is_charged_once(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)
    reservation = await reserve(db, user.id, "0.60")

    settlements = await asyncio.gather(
        *(db.hub.reservations.settle(reservation.id, source="chat", model="m", cost=Decimal("0.25")) for _ in range(20))
    )

    assert len({settlement.cost.id for settlement in settlements}) == 1
    limit = await db.hub.limits.of(user.id)
    assert (limit.spent, limit.reserved) == (Decimal("0.25"), Decimal(0))


async def test_a_request_that_is_reserved_twice_is_one_reservation(db: Database) -> None:
    user = await make_user(db)
    unlimited = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)

    for somebody in (user, unlimited):
        made = await asyncio.gather(
            *(reserve(db, somebody.id, "0.60", request_id=f"call of {somebody.id}") for _ in range(20))
        )
        assert len({reservation.id for reservation in made}) == 1

    assert (await db.hub.limits.of(user.id)).reserved == Decimal("0.60")
    with pytest.raises(Conflict):
        await reserve(db, user.id, "0.10", request_id=f"call of {user.id}")
    assert (await db.hub.limits.of(user.id)).reserved == Decimal("0.60")


async def test_a_reservation_is_taken_from_all_limits_or_none(db: Database) -> None:
    lead = await make_user(db)
    user = await make_user(db, lead_user_id=lead.id)
    own = await db.hub.limits.set(5, user_id=user.id)
    tree = await db.hub.limits.set(3, user_id=lead.id, covers="tree")
    everybody = await db.hub.limits.set(1)

    with pytest.raises(BudgetExceeded, match="the installation"):
        await reserve(db, user.id, "2")
    assert [(await db.hub.limits.get(limit.id)).reserved for limit in (own, tree, everybody)] == [0, 0, 0]
    reservation = await reserve(db, user.id, "1")

    assert [(await db.hub.limits.get(limit.id)).reserved for limit in (own, tree, everybody)] == [1, 1, 1]
    await settle(db, reservation, "0.75")
    assert [(await db.hub.limits.get(limit.id)).spent for limit in (own, tree, everybody)] == [Decimal("0.75")] * 3


async def test_a_hundred_at_once_are_granted_exactly_what_there_is(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)

    outcomes = await asyncio.gather(*(reserve(db, user.id, "0.03") for _ in range(100)), return_exceptions=True)

    granted = [outcome for outcome in outcomes if isinstance(outcome, CostReservation)]
    assert len(granted) == 33
    assert all(isinstance(outcome, CostReservation | BudgetExceeded) for outcome in outcomes)
    assert (await db.hub.limits.of(user.id)).reserved == Decimal("0.99")


async def test_fifty_charges_at_once_add_up(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)

    await asyncio.gather(
        *(db.hub.costs.append(source="chat", model="m", cost=CENT, user_id=user.id) for _ in range(50))
    )

    (standing,) = await db.hub.limits.standing(user.id)
    assert standing.remaining == Decimal("0.50")


async def test_a_charge_beyond_the_limit_leaves_nothing_and_never_less(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(Decimal("0.10"), user_id=user.id)

    await db.hub.costs.append(source="chat", model="m", cost=Decimal("0.50"), user_id=user.id)

    (standing,) = await db.hub.limits.standing(user.id)
    assert standing.remaining == 0


async def test_what_is_never_settled_expires(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)
    with clock.hold(NOON) as hand:
        lost = await reserve(db, user.id, "0.60", ttl_seconds=60)
        kept = await reserve(db, user.id, "0.30", ttl_seconds=600)
        assert await db.hub.reservations.expire() == 0
        hand.forward(timedelta(seconds=60))

        assert await db.hub.reservations.expire() == 1

        assert (await db.hub.limits.of(user.id)).reserved == Decimal("0.30")
        assert (await db.hub.reservations.get(lost.id)).settled_at == NOON + timedelta(seconds=60)
        assert (await db.hub.reservations.get(kept.id)).settled_at is None
        assert await db.hub.reservations.expire() == 0


async def test_an_overdue_reservation_makes_room_by_itself(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)
    with clock.hold(NOON) as hand:
        await reserve(db, user.id, "0.90", ttl_seconds=60)
        with pytest.raises(BudgetExceeded):
            await reserve(db, user.id, "0.50")
        hand.forward(timedelta(minutes=2))

        await reserve(db, user.id, "0.50")

        assert (await db.hub.limits.of(user.id)).reserved == Decimal("0.50")


async def test_a_settlement_after_expiry_is_charged_all_the_same(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)
    with clock.hold(NOON) as hand:
        reservation = await reserve(db, user.id, "0.90", ttl_seconds=60)
        hand.forward(timedelta(minutes=2))
        await db.hub.reservations.expire()

        await settle(db, reservation, "0.40")

        limit = await db.hub.limits.of(user.id)
        assert (limit.spent, limit.reserved) == (Decimal("0.40"), Decimal(0))


async def test_a_released_reservation_gives_everything_back_once(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)
    reservation, settled = await reserve(db, user.id, "0.60"), await reserve(db, user.id, "0.20")
    await settle(db, settled, "0.20")

    await asyncio.gather(*(db.hub.reservations.release(reservation.id) for _ in range(5)))

    limit = await db.hub.limits.of(user.id)
    assert (limit.spent, limit.reserved) == (Decimal("0.20"), Decimal(0))
    with pytest.raises(InvalidTransition, match="was settled"):
        await db.hub.reservations.release(settled.id)
    with pytest.raises(NotFound):
        await db.hub.reservations.release(987_654)


async def test_what_is_reserved_survives_a_new_window_and_is_charged_to_it(db: Database) -> None:
    user = await make_user(db)
    with clock.hold(NOON) as hand:
        await db.hub.limits.set(1, user_id=user.id, period="day", timezone="America/New_York")
        await settle(db, await reserve(db, user.id, "0.80"), "0.80")
        reservation = await reserve(db, user.id, "0.20", ttl_seconds=86_400)
        hand.forward(timedelta(hours=17))  # midnight in New York was at 04:00 UTC
        await reserve(db, user.id, "0.80")

        with pytest.raises(BudgetExceeded):
            await reserve(db, user.id, "0.01")
        await settle(db, reservation, "0.15")

        limit = await db.hub.limits.of(user.id)
        assert (limit.spent, limit.reserved) == (Decimal("0.15"), Decimal("0.80"))
        assert limit.window_started_at == datetime(2026, 3, 11, 4, tzinfo=UTC)


async def test_a_limit_that_is_removed_is_owed_nothing(db: Database) -> None:
    user = await make_user(db)
    limit = await db.hub.limits.set(1, user_id=user.id)
    everybody = await db.hub.limits.set(9)
    reservation = await reserve(db, user.id, "0.60")
    await db.hub.limits.remove(limit.id)

    await settle(db, reservation, "0.50")

    limit = await db.hub.limits.get(everybody.id)
    assert (limit.spent, limit.reserved) == (Decimal("0.50"), Decimal(0))


async def test_a_bad_bill_among_good_ones_is_that_callers_alone(db: Database) -> None:
    users = [await make_user(db) for _ in range(4)]
    await db.hub.limits.set(10)
    reservations = [await reserve(db, user.id, "1") for user in users]

    outcomes = await asyncio.gather(
        *(
            db.hub.reservations.settle(
                reservation.id, source="chat", model="m", cost=CENT, agent_id=987_654 if number == 2 else None
            )
            for number, reservation in enumerate(reservations)
        ),
        return_exceptions=True,
    )

    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Settlement",
        "Settlement",
        "MissingReference",
        "Settlement",
    ]
    limit = await db.hub.limits.of()
    assert (limit.spent, limit.reserved) == (3 * CENT, Decimal(1))


async def test_a_reservation_tells_what_is_wrong_with_it(db: Database) -> None:
    user = await make_user(db)

    with pytest.raises(BadInput, match="from 0"):
        await reserve(db, user.id, "-1")
    with pytest.raises(BadInput, match="Decimal"):
        await db.hub.reservations.reserve(user_id=user.id, amount=0.5)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="seconds"):
        await reserve(db, user.id, "1", ttl_seconds=0)
    with pytest.raises(MissingReference):
        await reserve(db, 987_654, "1")
    with pytest.raises(NotFound):
        await db.hub.reservations.settle(987_654, source="chat", model="m", cost=CENT)


async def test_a_reservation_is_part_of_its_unit(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)

    with pytest.raises(ZeroDivisionError):  # noqa: PT012 (an error leaves the unit)
        async with db.write() as unit:
            await unit.hub.reservations.reserve(user_id=user.id, amount=1)
            with pytest.raises(BudgetExceeded):
                await unit.hub.reservations.reserve(user_id=user.id, amount=CENT)
            raise ZeroDivisionError

    assert (await db.hub.limits.of(user.id)).reserved == 0


async def test_what_a_removed_user_had_reserved_is_settled_or_given_back(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(10)
    settled, lost = await reserve(db, user.id, "4"), await reserve(db, user.id, "2", ttl_seconds=0.001)

    await db.supervisor.users.remove(user.id)

    await settle(db, settled, "3")
    with clock.hold(db.now() + timedelta(hours=1)):
        assert await db.hub.reservations.expire() == 1
    limit = await db.hub.limits.of()
    assert (limit.spent, limit.reserved) == (Decimal(3), Decimal(0))
    assert (await db.hub.reservations.get(lost.id)).user_id is None


async def test_a_request_that_was_given_back_is_not_granted_by_asking_again(db: Database) -> None:
    user = await make_user(db)
    reservation = await reserve(db, user.id, "1", request_id="call")
    await db.hub.reservations.release(reservation.id)

    with pytest.raises(Conflict, match="was given back; use a new id"):
        await reserve(db, user.id, "1", request_id="call")
    with pytest.raises(BadInput, match="1 to 255"):
        await reserve(db, user.id, "1", request_id="")


async def test_a_new_limit_holds_what_is_reserved_already(db: Database) -> None:
    lead = await make_user(db)
    user = await make_user(db, lead_user_id=lead.id)
    reservation = await reserve(db, user.id, "6")

    limits = [
        await db.hub.limits.set(10, user_id=user.id),
        await db.hub.limits.set(10, user_id=lead.id, covers="tree"),
        await db.hub.limits.set(10),
    ]

    assert [limit.reserved for limit in limits] == [6, 6, 6]
    with pytest.raises(BudgetExceeded):
        await reserve(db, user.id, "5")
    await settle(db, reservation, "6")
    assert [(await db.hub.limits.get(limit.id)).reserved for limit in limits] == [0, 0, 0]


async def test_a_wrong_type_is_told_to_the_one_who_passed_it(db: Database) -> None:
    users = [await make_user(db) for _ in range(3)]

    outcomes = await asyncio.gather(
        *(
            db.hub.reservations.reserve(user_id=user_id, amount=1)  # type: ignore[arg-type]
            for user_id in (users[0].id, users[1].id, "x", users[2].id)
        ),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [CostReservation, CostReservation, BadInput, CostReservation]


async def test_a_reservation_is_written_by_its_own_methods_alone(db: Database) -> None:
    user = await make_user(db)
    reservation = await reserve(db, user.id, "1")

    with pytest.raises(BadInput, match="settle"):
        await db.hub.reservations.remove(reservation.id)
    with pytest.raises(BadInput, match="settle"):
        await db.hub.reservations.update(reservation.id, amount=2)
