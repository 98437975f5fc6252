"""How far a transfer is, as the target itself keeps it: a table that is there only while one is unfinished.

It is written in the transactions that write the rows: what it says is there, is there. While it stands, the target has
no row in schema_version, and nobody can open it for a whole database.
"""

from __future__ import annotations

import uuid
from typing import Final

import msgspec
from sqlalchemy import Column, Integer, MetaData, Table, Text, delete, insert, select, update

from agentdb.engine.moving import Side
from agentdb.engine.schema.catalog import table_exists
from agentdb.errors import Conflict
from agentdb.models import SchemaVersion
from agentdb.operating.digests import TableDigest

_MARKS: Final = Table(
    "agentdb_transfer",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("run", Text, nullable=False),
    Column("state", Text, nullable=False),
)
VERSION: Final[Table] = SchemaVersion.__table__  # type: ignore[assignment]


class State(msgspec.Struct, frozen=True):
    """How far a transfer is."""

    source: str  # the identity of the database that is moved
    revision: str  # of the schema of both
    done: dict[str, TableDigest] = msgspec.field(default_factory=dict)


class Progress:
    """The mark of this run in a target; another run that goes on with it ends this one."""

    def __init__(self, side: Side, state: State) -> None:
        self._side = side
        self.state = state
        self._run = uuid.uuid4().hex

    async def begin(self) -> None:
        """Within a transaction on an empty target: mark it, and shut it for everybody else."""
        await self._side.connection.run_sync(_MARKS.create)
        await self._side.connection.execute(insert(_MARKS).values(id=1, run=self._run, state=_text(self.state)))
        await self._side.connection.execute(delete(VERSION))

    async def take(self) -> None:
        """Within a transaction: go on with what another run has left."""
        await self._side.connection.execute(update(_MARKS).values(run=self._run, state=_text(self.state)))

    async def hold(self) -> None:
        """First within a transaction: see that the target is still ours, until the transaction ends.

        Raises: Conflict.
        """
        held = await self._side.connection.execute(
            update(_MARKS).where(_MARKS.c.run == self._run).values(run=self._run)
        )
        if held.rowcount != 1:
            raise Conflict("another transfer into this database has begun meanwhile; this one ends")

    async def note(self, done: dict[str, TableDigest]) -> None:
        """Within the transaction that wrote them: say which tables are done."""
        self.state = msgspec.structs.replace(self.state, done=self.state.done | done)
        await self._side.connection.execute(update(_MARKS).values(state=_text(self.state)))

    async def end(self) -> None:
        """Within the last transaction: take the mark away."""
        await self._side.connection.run_sync(_MARKS.drop)


async def left(side: Side, schema: str | None) -> State | None:
    """Return how far an unfinished transfer into a target is; None when there is none.

    Args: schema: on a server, where the tables are; None: the first on the search path.
    """
    connection = side.connection
    if not await connection.scalar(select(table_exists(_MARKS.name, schema))):
        return None
    text: str | None = await connection.scalar(select(_MARKS.c.state))
    return None if text is None else msgspec.json.decode(text, type=State)


def _text(state: State) -> str:
    return msgspec.json.encode(state).decode()
