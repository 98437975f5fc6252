"""How often access keys are used: counted in memory, and written together from time to time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Table, case, or_, select, update
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, each, every
from agentdb.engine.functions import among, greater_of
from agentdb.engine.plan import Plan, Together
from agentdb.engine.quantities import MomentType, WholeType
from agentdb.engine.statements import given_arrays
from agentdb.errors import AgentDBError
from agentdb.supervisor.models import ApiKey

_keys: Final[Table] = ApiKey.__table__  # type: ignore[assignment]

SECONDS_BETWEEN_WRITES: Final = 5.0
USES_BETWEEN_WRITES: Final = 1_000

# In one order: two processes that write the same keys' uses wait for each other, and never both.
_LOCK: Final = Plan[int](
    select(_keys.c.id).where(among(_keys.c.id, "ids")).order_by(_keys.c.id).with_for_update(key_share=True),
    name="api_keys.uses: lock",
)


def _write_plan() -> Plan[int]:
    def later(at: ColumnElement[Any]) -> ColumnElement[Any]:
        before = _keys.c.last_used_at
        return case((or_(before.is_(None), before < at), at), else_=before)

    def changed(uses: ColumnElement[Any], at: ColumnElement[Any]) -> dict[str, Any]:
        return {
            "usage_count": _keys.c.usage_count + uses,
            "last_used_at": later(at),
            "updated_at": greater_of(_keys.c.updated_at, at),
        }

    single = (
        update(_keys)
        .where(_keys.c.id == of(_keys.c.id, "key_id"))
        .values(changed(of(_keys.c.usage_count, "uses"), of(_keys.c.last_used_at, "at")))
        .returning(_keys.c.id)
    )
    given = given_arrays(uses=WholeType(), at=MomentType(), key_id=WholeType())
    together = (
        update(_keys)
        .where(_keys.c.id == given.c.key_id)
        .values(changed(given.c.uses, given.c.at))
        .returning(_keys.c.id, given.c.ordinal)
    )
    return Plan(single, name="api_keys.uses", together=Together(together))


_WRITE: Final = _write_plan()


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one write is about: how often each key was used, when last, and how often in all."""

    uses: Mapping[int, int]
    last: Mapping[int, datetime]
    counted: int


class KeyUses:
    """The uses of access keys that are not written yet.

    A request does not write: its use is counted here, and all of them go to the database in one transaction every five
    seconds, after a thousand uses, and when the database is closed. A process that is killed loses those of its last
    seconds; when a write is not answered, its uses may be counted twice.
    """

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._uses: Counter[int] = Counter()
        self._last: dict[int, datetime] = {}
        self._counted = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def open(self, connection: Connection) -> None:
        """Write to a database from now on.

        Args: connection: the database itself, never a unit: a use stays a use when the unit is rolled back.
        """
        self._connection = connection

    def count(self, key_id: int, at: datetime) -> None:
        """Count a use; after `close`, it is passed over."""
        if self._connection is None:
            return
        self._uses[key_id] += 1
        self._last[key_id] = max(at, self._last.get(key_id, at))
        self._counted += 1
        if self._writing is not None:
            return  # whose end looks for what came meanwhile
        if self._counted >= USES_BETWEEN_WRITES:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS_BETWEEN_WRITES, self._begin)

    async def flush(self) -> bool:
        """Write what has been counted until now, and tell whether it is stored; otherwise it is tried again later."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
        if not self._counted or self._connection is None:
            return not self._counted
        writing = self._begin()
        await asyncio.wait([writing])  # which goes on when this is cancelled
        return not writing.cancelled() and writing.exception() is None

    def _begin(self) -> asyncio.Task[None]:
        self._still()
        taken = _Taken(self._uses, self._last, self._counted)
        self._uses, self._last, self._counted = Counter(), {}, 0
        self._writing = asyncio.get_running_loop().create_task(self._write(taken))
        # Not in the task itself: one that is cancelled before it begins runs none of its code.
        self._writing.add_done_callback(partial(self._ended, taken))
        return self._writing

    async def _write(self, taken: _Taken) -> None:
        if self._connection is not None:
            await self._connection.run(partial(_written, taken.uses, taken.last))

    def _ended(self, taken: _Taken, writing: asyncio.Task[None]) -> None:
        self._writing = None
        error = None if writing.cancelled() else writing.exception()
        if writing.cancelled() or error is not None:
            self._uses.update(taken.uses)
            for key_id, at in taken.last.items():
                self._last[key_id] = max(at, self._last.get(key_id, at))
            self._counted += taken.counted
        if error is not None and not isinstance(error, AgentDBError):
            told = {"message": "the uses of access keys could not be written", "exception": error, "task": writing}
            writing.get_loop().call_exception_handler(told)
        if self._counted and self._timer is None and self._connection is not None:
            self._timer = writing.get_loop().call_later(SECONDS_BETWEEN_WRITES, self._begin)

    def _still(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """Write what has been counted, and leave neither a timer nor a task behind; what cannot be written is lost."""
        try:
            await self.flush()
        finally:
            self._connection = None
            self._still()
            while self._writing is not None:
                await asyncio.wait([self._writing])
            self._uses, self._last, self._counted = Counter(), {}, 0


def _written(uses: Mapping[int, int], last: Mapping[int, datetime]) -> Script[None]:
    ids = sorted(uses)
    yield from every(_LOCK, ids=ids)
    yield from each(_WRITE, [{"key_id": id_, "uses": uses[id_], "at": last[id_]} for id_ in ids])
