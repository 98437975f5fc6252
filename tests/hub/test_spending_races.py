"""What happens between two statements of a reservation: limits are made, costs are folded, time runs out.

A statement that waits for a lock of the test's own stands for whatever delays a process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from sqlalchemy import delete, func, literal, select, text

import agentdb
from agentdb.criteria import table_of
from agentdb.database import Database
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.schema.ddl import retention
from agentdb.errors import AgentDBError, InvalidTransition, Unavailable
from agentdb.hub.ledger import applied, charging, reserving, settling
from agentdb.models import Cost, CostReservation
from agentdb.testing.factories import make_user

GATE = 4711
_WAIT = Plan[Any](select(func.pg_advisory_xact_lock(literal(GATE))), name="test: the gate")
DELAYED = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted"
KEPT_OUT = "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND NOT granted"


def _url(db: Database) -> str:
    return db.settings.target.secret_url()


@asynccontextmanager
async def closed_gate(db: Database) -> AsyncIterator[Any]:
    """Yield a connection that lets nobody through until it unlocks the gate."""
    connection = await asyncpg.connect(**db.settings.target.connect_arguments())
    try:
        await connection.execute(f"SELECT pg_advisory_lock({GATE})")
        yield connection
    finally:
        await connection.close()


async def until(connection: Any, query: str, *arguments: Any, done: asyncio.Task[Any] | None = None) -> None:
    """Wait until the server counts something, or a task is done."""
    async with asyncio.timeout(30):
        while not (done and done.done()) and not await connection.fetchval(query, *arguments):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def delayed(script: Callable[..., Script[Any]], *, before: bool) -> Callable[..., Script[Any]]:
    """Return a script that goes through the gate, before it does something or after."""

    def through_the_gate(*arguments: Any) -> Script[Any]:
        if before:
            yield from one(_WAIT)
        answer = yield from script(*arguments)
        if not before:
            yield from one(_WAIT)
        return answer

    return through_the_gate


async def _money(db: Database, user_id: int, amount: str) -> CostReservation:
    return await db.hub.reservations.reserve(user_id=user_id, amount=Decimal(amount))


async def _settled(db: Database, reservation: CostReservation) -> Any:
    return await db.hub.reservations.settle(reservation.id, source="chat", model="m", cost=Decimal("0.25"))


async def test_a_limit_made_while_somebody_reserves_holds_what_he_reserves(
    agentdb_postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, user = agentdb_postgresql, await make_user(agentdb_postgresql)
    monkeypatch.setattr(reserving, "locked", delayed(applied.locked, before=False))

    async with closed_gate(db) as gate:
        reserving_now = asyncio.create_task(_money(db, user.id, "0.60"))
        await until(gate, DELAYED, GATE)  # he has read that there is no limit
        limiting = asyncio.create_task(db.hub.limits.set(1, user_id=user.id))
        await until(gate, KEPT_OUT, done=limiting)
        await gate.execute(f"SELECT pg_advisory_unlock({GATE})")
        await asyncio.gather(reserving_now, limiting)

    assert (await db.hub.limits.of(user.id)).reserved == Decimal("0.60")


async def test_whoever_reserves_while_a_limit_is_made_is_bound_by_it(agentdb_postgresql: Database) -> None:
    db, user = agentdb_postgresql, await make_user(agentdb_postgresql)
    async with agentdb.connect(_url(db)) as other, closed_gate(db) as gate:
        async with other.write() as unit:
            await unit.hub.limits.set(1, user_id=user.id)
            reserving_now = asyncio.create_task(_money(db, user.id, "1.50"))
            await until(gate, KEPT_OUT, done=reserving_now)

        with pytest.raises(agentdb.BudgetExceeded):
            await reserving_now


@pytest.mark.parametrize("way", ["settle", "release", "expire"])
async def test_a_limit_made_while_a_reservation_ends_keeps_nothing_of_it(
    agentdb_postgresql: Database, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    db, user = agentdb_postgresql, await make_user(agentdb_postgresql)
    reservation = await _money(db, user.id, "0.60")
    monkeypatch.setattr(settling, "charge", delayed(charging.charge, before=True))
    monkeypatch.setattr(settling, "locked", delayed(applied.locked, before=True))
    clock = db.now() + timedelta(hours=1)

    async def end() -> None:
        match way:
            case "settle":
                await _settled(db, reservation)
            case "release":
                await db.hub.reservations.release(reservation.id)
            case _:
                with agentdb.clock.hold(clock):
                    await db.hub.reservations.expire()

    async with closed_gate(db) as gate:
        ending = asyncio.create_task(end())
        await until(gate, DELAYED, GATE)  # what it took of which limits is known
        limiting = asyncio.create_task(db.hub.limits.set(1, user_id=user.id))
        await until(gate, KEPT_OUT, done=limiting)
        await gate.execute(f"SELECT pg_advisory_unlock({GATE})")
        await asyncio.gather(ending, limiting)

    limit = await db.hub.limits.of(user.id)
    assert (limit.reserved, limit.spent) == (Decimal(0), Decimal("0.25") if way == "settle" else Decimal(0))


async def test_a_statement_that_took_too_long_is_told_to_all_who_shared_it_and_nothing_is_stored(
    agentdb_postgresql: Database,
) -> None:
    db, user = agentdb_postgresql, await make_user(agentdb_postgresql)
    limit = await db.hub.limits.set(100, user_id=user.id)
    async with agentdb.connect(_url(db), statement_timeout_seconds=0.5, lock_timeout_seconds=20) as hasty:
        async with db.write() as unit:
            await unit.session.execute(text(f"SELECT 1 FROM spend_limits WHERE id = {limit.id} FOR UPDATE"))
            told = await asyncio.gather(*(_money(hasty, user.id, "0.01") for _ in range(40)), return_exceptions=True)
        await _money(hasty, user.id, "0.01")

    assert {type(error) for error in told} == {Unavailable}
    assert {str(error) for error in told} == {
        "the statement took too long and was ended, nothing of it is stored (AGENTDB_STATEMENT_TIMEOUT_SECONDS) [57014]"
    }
    assert await db.hub.reservations.count() == 1
    assert (await db.hub.limits.of(user.id)).reserved == Decimal("0.01")


async def _fold(db: Database) -> None:
    """Remove the ledger's rows, as retention does."""
    async with db.write() as unit:
        opening, closing = retention(table_of(Cost), (await unit.session.connection()).dialect.name)
        for statement in opening:
            await unit.session.execute(text(statement))
        await unit.session.execute(delete(Cost))
        for statement in closing:
            await unit.session.execute(text(statement))


async def test_a_settlement_told_again_after_its_cost_was_folded_charges_nothing(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)
    reservation = await _money(db, user.id, "0.60")
    cost = (await _settled(db, reservation)).cost
    await _fold(db)

    with pytest.raises(InvalidTransition, match=rf"was settled as cost {cost.id}, which retention has folded since"):
        await _settled(db, reservation)
    with pytest.raises(InvalidTransition, match="was settled"):
        await db.hub.reservations.release(reservation.id)

    assert await db.hub.costs.count() == 0
    limit = await db.hub.limits.of(user.id)
    assert (limit.spent, limit.reserved) == (Decimal("0.25"), Decimal(0))


async def test_of_settlements_at_once_those_that_were_folded_are_told_alone(db: Database) -> None:
    user = await make_user(db)
    reservations = [await _money(db, user.id, "0.60") for _ in range(6)]
    for reservation in reservations[:3]:
        await _settled(db, reservation)
    await _fold(db)

    told = await asyncio.gather(*(_settled(db, one) for one in reservations), return_exceptions=True)

    assert [isinstance(answer, AgentDBError) for answer in told] == [True] * 3 + [False] * 3
    assert await db.hub.costs.count() == 3


_BEHIND_WHAT_IS_ADOPTED = f"""
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NULL; END $$;
CREATE TRIGGER gate AFTER UPDATE ON cost_reservations FOR EACH STATEMENT EXECUTE FUNCTION gate()
"""


@pytest.mark.parametrize("joins", [False, True])
async def test_a_limit_of_a_tree_holds_what_it_adopts_whoever_joins_or_leaves_meanwhile(
    agentdb_postgresql: Database, joins: bool
) -> None:
    db, lead = agentdb_postgresql, await make_user(agentdb_postgresql)
    user = await make_user(db, lead_user_id=None if joins else lead.id)
    reservation = await _money(db, user.id, "0.60")

    async with closed_gate(db) as gate:
        await gate.execute(_BEHIND_WHAT_IS_ADOPTED)
        limiting = asyncio.create_task(db.hub.limits.set(1, user_id=lead.id, covers="tree"))
        await until(gate, DELAYED, GATE)
        await gate.execute("UPDATE users SET lead_user_id = $1 WHERE id = $2", lead.id if joins else None, user.id)
        await gate.execute(f"SELECT pg_advisory_unlock({GATE})")
        limit = await limiting

    assert limit.reserved == (0 if joins else Decimal("0.60"))
    await db.hub.reservations.release(reservation.id)
    assert (await db.hub.limits.of(lead.id, covers="tree")).reserved == 0
