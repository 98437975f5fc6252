"""How an entry of the ledger is corrected: by another that holds the difference."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import BigInteger, Table, bindparam, cast, func, select, type_coerce

from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MoneyType
from agentdb.errors import AgentDBError, BadInput, Conflict, NotFound
from agentdb.hub.ledger.charging import Charged, charge
from agentdb.hub.ledger.sums import COUNTED
from agentdb.hub.models.spending import Cost
from agentdb.hub.records import Spending

_costs: Final[Table] = Cost.__table__  # type: ignore[assignment]

# A correction speaks of the same call: what it says of it is what the entry says.
_COPIED: Final = (
    "user_id",
    "run_session_id",
    "host_id",
    "agent_id",
    "model_id",
    "model",
    "message_id",
    "execution_id",
    "source",
)

_BY_REQUEST: Final = Plan[Cost](
    select(Cost).where(Cost.request_id == bindparam("request_id")), name="costs.by_request", rows=Cost, point=True
)
_ORIGINAL: Final = Plan[Cost](
    select(Cost).where(Cost.id == bindparam("cost_id")).with_for_update(key_share=True),
    name="costs.correct: entry",
    rows=Cost,
)


def _corrections_plan() -> Plan[Spending]:
    sums = [cast(func.coalesce(func.sum(_costs.c[key]), 0), BigInteger) for key in COUNTED]
    statement = select(func.count(), *sums[:-1], type_coerce(sums[-1], MoneyType()))
    return Plan(
        statement.where(_costs.c.corrects_id == bindparam("cost_id")), name="costs.correct: before", rows=Spending
    )


_CORRECTIONS: Final = _corrections_plan()


def granted(answer: Charged | AgentDBError) -> Charged:
    """Return what was charged.

    Raises: the error that it is.
    """
    if isinstance(answer, AgentDBError):
        raise answer
    return answer


def correct(cost_id: int, values: Mapping[str, Any], request_id: str | None, now: datetime) -> Script[Cost]:
    """Within a script: append the difference to what an entry and its corrections say."""
    entry = yield from one(_ORIGINAL, cost_id=cost_id)
    if entry is None:
        raise NotFound(f"there is no cost {cost_id}, or retention has folded it")
    if entry.corrects_id is not None:
        raise BadInput(f"cost {cost_id} corrects cost {entry.corrects_id}; correct that one")
    if request_id is not None:
        done = yield from one(_BY_REQUEST, request_id=request_id)
        if done is not None and done.corrects_id == cost_id:
            return done
        if done is not None:
            raise Conflict(
                f"request {request_id!r} was charged another cost; use a new id", constraint="uq_costs__request_id"
            )
    before = yield from one(_CORRECTIONS, cost_id=cost_id)
    differences = {
        key: value - (getattr(entry, key) + (getattr(before, key) if before is not None else 0))
        for key, value in values.items()
    }
    if not any(differences.values()):
        raise BadInput(f"cost {cost_id} says so already: nothing to correct")
    copied = {key: getattr(entry, key) for key in _COPIED}
    correction = {"cost": Decimal(0), **copied, **differences, "corrects_id": cost_id, "request_id": request_id}
    charged = yield from charge([correction], now)
    return granted(charged[0]).cost
