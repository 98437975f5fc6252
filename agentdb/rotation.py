"""Rotation: every secret under the newest key, while others read and write; and the check that all of them open.

    old key in AGENTDB_ENCRYPTION_KEYS → "new,old" in every process → rotate → "new" in every process

Rotation keeps no notes: it asks the database which secrets are still under another key. So it may be killed at any
point and run again, and two that run at once only share the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Update, bindparam, func, literal_column, select, text, update

from agentdb.database import Database
from agentdb.engine.blobs import SecretType
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, each, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan, Together
from agentdb.engine.statements import given_arrays
from agentdb.errors import BadInput, BadSettings, DecryptionFailed
from agentdb.keyring import ID_LENGTH, VERSION, Keyring
from agentdb.keys import REMEDY
from agentdb.sealing import SecretColumn, secret_columns

BATCH: Final = 100  # rows of one transaction: some ten milliseconds
# A pass that moves nothing is the last. Only a process that goes on sealing with another key makes it more than three.
MOST_PASSES: Final = 10

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A secret that does not open."""

    table: str
    column: str
    row: str
    key: str | None  # the id of the key it says it is sealed with; None: it is no sealed secret
    reason: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did."""

    key: str  # the id of the newest key
    resealed: int
    left: int  # still under another key: unreadable, or sealed meanwhile by a process that puts another key first
    unreadable: list[Unreadable]


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found."""

    checked: int
    keys: dict[str, int]  # how many of them are sealed with each key, by its id
    unreadable: list[Unreadable]


@dataclass(frozen=True, slots=True)
class _Stored:
    """A secret as it is in its row."""

    key: Any
    row: Any
    sealed: bytes


async def rotate(database: Database, *, on_progress: OnProgress | None = None) -> Rotation:
    """Seal every secret with the newest key, in short transactions, and tell what was done.

    A secret that somebody else changes meanwhile stays as they left it. Neither `updated_at` nor a version moves: the
    value is the same. A secret that does not open stays as it is, and is told.

    Args:
        database: an open one, whose settings name the newest key first and the older ones behind it.
        on_progress: is told how many secrets are done, and of how many, after each batch.

    Raises: BadSettings when there is no key.
    Cost: one scan of each table with secrets for each pass, of which there are two when nobody else writes.
    """
    connection = database.supervisor.connection
    if not connection.keyring.ready:
        raise BadSettings(f"secrets cannot be rotated: AGENTDB_ENCRYPTION_KEYS is not set; {REMEDY}")
    rotator = _Rotator(connection, on_progress)
    await rotator.begin()
    for _ in range(MOST_PASSES):
        if not await rotator.pass_over():
            break
    return await rotator.report()


class _Rotator:
    def __init__(self, connection: Connection, on_progress: OnProgress | None) -> None:
        self._connection = connection
        self._keyring = connection.keyring
        self._newest = bytes.fromhex(connection.keyring.ids[0])
        self._on_progress = on_progress
        self._total = 0
        self._resealed = 0
        self._unreadable: list[Unreadable] = []  # of the last pass

    async def begin(self) -> None:
        self._total = await self._left()
        self._tell()

    async def pass_over(self) -> bool:
        """Reseal whatever is under another key; tell whether there was anything that could be."""
        met = False
        self._unreadable = []
        for column in secret_columns():
            async for batch in _pages(self._connection, column, newest=self._newest):
                met |= await self._reseal(column, batch)
                self._tell()
        return met

    async def _reseal(self, column: SecretColumn, batch: Sequence[_Stored]) -> bool:
        calls = []
        for stored in batch:
            try:
                sealed = column.reseal(self._keyring, stored.sealed, stored.row)
            except DecryptionFailed as error:
                self._unreadable.append(_unreadable(column, stored, error))
            else:
                calls.append({"at": stored.key, "old": stored.sealed, "new": sealed})
        if calls:
            changed = await self._connection.run(lambda: _resealed(column, calls))
            self._resealed += sum(1 for key in changed if key is not None)
        return bool(calls)

    async def _left(self) -> int:
        return sum([await _counted(self._connection, column, newest=self._newest) for column in secret_columns()])

    def _tell(self) -> None:
        if self._on_progress is not None:
            done = self._resealed + len(self._unreadable)
            self._on_progress(done, max(done, self._total))

    async def report(self) -> Rotation:
        return Rotation(self._newest.hex(), self._resealed, await self._left(), self._unreadable)


async def check(database: Database, *, sample: int | None = None, on_progress: OnProgress | None = None) -> Check:
    """Open secrets, and tell which do not: keys that are missing, and rows that were altered or copied.

    Args:
        database: an open one.
        sample: of how many of each column, taken at random; None: all.
        on_progress: is told how many secrets were opened, and of how many, after each batch.

    Cost: one scan of each table with secrets.
    """
    if sample is not None and sample < 1:
        raise BadInput(f"a sample is at least one of each column, not {sample}")
    connection = database.supervisor.connection
    counts = [await _counted(connection, column) for column in secret_columns()]
    total = sum(count if sample is None else min(count, sample) for count in counts)
    checked, by_key, unreadable = 0, Counter[str](), list[Unreadable]()
    for column in secret_columns():
        pages = _pages(connection, column) if sample is None else _sample(connection, column, sample)
        async for batch in pages:
            for stored in batch:
                if (key := _key_of(stored.sealed)) is not None:
                    by_key[key] += 1
                try:
                    column.open(connection.keyring, stored.sealed, stored.row)
                except DecryptionFailed as error:
                    unreadable.append(_unreadable(column, stored, error))
            checked += len(batch)
            if on_progress is not None:
                on_progress(checked, max(checked, total))
    return Check(checked, dict(by_key), unreadable)


async def _counted(connection: Connection, column: SecretColumn, *, newest: bytes | None = None) -> int:
    """Return how many secrets a column has: all, or those that are not under the newest key."""
    plan = _count(column, behind=newest is not None)
    found: int | None = await connection.fetch_one(plan, {} if newest is None else {"newest": newest})
    return found or 0


def _unreadable(column: SecretColumn, stored: _Stored, error: DecryptionFailed) -> Unreadable:
    return Unreadable(column.table, column.name, str(stored.row), _key_of(stored.sealed), str(error))


def _key_of(sealed: bytes) -> str | None:
    try:
        return Keyring.key_of(sealed)
    except BadInput:
        return None


async def _pages(
    connection: Connection, column: SecretColumn, *, newest: bytes | None = None
) -> AsyncIterator[list[_Stored]]:
    """Yield a column's secrets by rising primary key: all, or those that are not under the newest key."""
    given = {} if newest is None else {"newest": newest}
    behind = newest is not None
    batch = await connection.fetch_all(_page(column, behind=behind, first=True), given)
    while batch:
        yield batch
        batch = await connection.fetch_all(_page(column, behind=behind, first=False), {**given, "after": batch[-1].key})


async def _sample(connection: Connection, column: SecretColumn, most: int) -> AsyncIterator[list[_Stored]]:
    batch = await connection.fetch_all(_random(column), {"most": most})
    if batch:
        yield batch


# The statements, made once for each column.


def _under_another_key(column: SecretColumn) -> ColumnElement[bool]:
    """Return the condition that a secret is not sealed with the newest key: read off its first bytes."""
    first, length = len(VERSION) + 1, ID_LENGTH
    key = func.substr(column.column, text(str(first)), text(str(length)), type_=SecretType())
    # An empty one has no such bytes, and one of the databases calls that null: it is under no key, so it is met too.
    return key.is_distinct_from(bindparam("newest", type_=SecretType()))


def _stored(column: SecretColumn, *, behind: bool) -> Any:
    rows = select(column.key, column.row.label("row"), column.column).where(column.column.is_not(None))
    return rows.where(_under_another_key(column)) if behind else rows


@cache
def _page(column: SecretColumn, *, behind: bool, first: bool) -> Plan[_Stored]:
    rows = _stored(column, behind=behind).order_by(column.key).limit(literal_column(str(BATCH)))
    if not first:
        rows = rows.where(column.key > of(column.key, "after"))
    return Plan(rows, name=f"{column.column}.secrets", rows=_Stored)


@cache
def _random(column: SecretColumn) -> Plan[_Stored]:
    rows = _stored(column, behind=False).order_by(func.random()).limit(bindparam("most"))
    return Plan(rows, name=f"{column.column}.sample", rows=_Stored)


@cache
def _count(column: SecretColumn, *, behind: bool) -> Plan[int]:
    rows = select(func.count(column.column))
    return Plan(rows.where(_under_another_key(column)) if behind else rows, name=f"{column.column}.count")


def _resealed(column: SecretColumn, calls: Sequence[dict[str, Any]]) -> Script[list[Any]]:
    """Within a script: store secrets anew, and return the key of each row that was still as it was read."""
    # In one order: two rotations that meet wait for each other, and never both.
    yield from every(_lock(column), keys=[call["at"] for call in calls])
    return (yield from each(_replace(column), calls))


@cache
def _lock(column: SecretColumn) -> Plan[Any]:
    rows = select(column.key).where(among(column.key, "keys")).order_by(column.key)
    return Plan(rows.with_for_update(key_share=True), name=f"{column.column}.reseal: lock")


@cache
def _replace(column: SecretColumn) -> Plan[Any]:
    """Return the plan that stores a secret anew, if it is still what was read; it gives the row's key when it was."""
    table: Any = column.column.table
    same = {own.name: own for own in table.columns if own.onupdate is not None}

    def replaced(at: ColumnElement[Any], old: ColumnElement[Any], new: ColumnElement[Any]) -> Update:
        return (
            update(table)
            .where(column.key == at, column.column == old)
            .values({column.column.name: new, **same})
            .returning(column.key)
        )

    single = replaced(of(column.key, "at"), of(column.column, "old"), of(column.column, "new"))
    given = given_arrays(at=column.key.type, old=column.column.type, new=column.column.type)
    together = replaced(given.c.at, given.c.old, given.c.new).returning(given.c.ordinal)
    return Plan(single, name=f"{column.column}.reseal", together=Together(together))
