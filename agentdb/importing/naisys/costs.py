"""Costs: the ledger keeps every dollar, of whatever session; a row is known by its user and its number there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Table, bindparam, update

from agentdb.criteria import table_of
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MoneyType
from agentdb.engine.statements import insert_once
from agentdb.errors import BadInput
from agentdb.hub.models.machines import RunSession
from agentdb.hub.models.spending import Cost, CostSource
from agentdb.importing.naisys.marks import SOURCE
from agentdb.importing.naisys.runs import place, sessions_of
from agentdb.importing.naisys.source import Row
from agentdb.importing.naisys.values import dollars, moment, name, whole, word
from agentdb.importing.naisys.work import Importing

_TOKENS: Final = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")

_sessions: Final[Table] = table_of(RunSession)
_COUNT: Final = Plan[int](
    update(_sessions)
    .where(_sessions.c.id == of(_sessions.c.id, "session"))
    .values(total_cost=_sessions.c.total_cost + bindparam("cost", type_=MoneyType()), updated_at=_sessions.c.updated_at)
    .returning(_sessions.c.id),
    name="import: count costs",
)


async def import_costs(work: Importing) -> None:
    """Bring the ledger."""

    async def batch(rows: list[Row]) -> list[dict[str, Any]]:
        sessions = await sessions_of(work, rows)

        def convert(row: Row) -> dict[str, Any]:
            if row["user_id"] not in work.users:
                raise BadInput("its user is not there")
            session = sessions.get(place(row))
            return {
                "user_id": work.users[row["user_id"]],
                "run_session_id": session and session.id,
                "host_id": work.hosts.get(row["host_id"]),
                "model_id": work.models.get(row["model"]),
                "model": name(row["model"]),
                "source": _source(work, row),
                "request_id": f"{SOURCE}:{work.uuids[row['user_id']]}:{row['id']}",
                "cost": dollars(row["cost"]),
                "created_at": moment(row["created_at"]),
                **{tokens: whole(row[tokens]) for tokens in _TOKENS},
            }

        return work.carried("costs", rows, convert)

    for imported, present, cost in await work.follow("costs", batch, _store):
        work.report.stored("costs", imported, present)
        work.report.cost += cost


def _source(work: Importing, row: Row) -> CostSource:
    try:
        return word(CostSource, row["source"])
    except BadInput as error:
        work.report.tell("costs", row["id"], f"is of the source other here: {error}")
        return CostSource.other


def _store(rows: Sequence[dict[str, Any]]) -> Script[tuple[int, int, Decimal]]:
    stored = yield from each(insert_once(Cost, "request_id"), rows)
    sums: defaultdict[int, Decimal] = defaultdict(Decimal)
    new = [row for row, cost in zip(rows, stored, strict=True) if cost is not None]
    for row in new:
        if row["run_session_id"] is not None:
            sums[row["run_session_id"]] += row["cost"]
    yield from each(_COUNT, [{"session": key, "cost": cost} for key, cost in sorted(sums.items())])
    return len(new), len(rows) - len(new), sum((row["cost"] for row in new), Decimal(0))
