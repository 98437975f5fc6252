"""Trails: in which order the rows of a followed table are read, so that none is missed, and places on the way.

PostgreSQL commits transactions in any order, so that a row may appear behind others which were read already. Rows are
therefore read in the order of the transactions that wrote them, and only so far as every transaction has ended: one
that stays open, whatever it writes to in whichever database of the server, holds back those who follow until it ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Column, Table, bindparam, func, literal, or_, select
from sqlalchemy.sql import ColumnElement

from agentdb.base import Entity
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection
from agentdb.engine.horizon import (
    arrived_after,
    begun_by,
    behind,
    horizon_or,
    last_key_or,
    lifted,
    settled,
    snapshot,
    still_to_come,
)
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.spelling import TextType
from agentdb.errors import BadInput
from agentdb.page import cursor_of, values_of

E = TypeVar("E", bound=Entity)

NOW: Final = "now"  # in place of a cursor: only what is committed from then on

_FURTHEST: Final = 2**63 - 1
# Of a server whose transactions were numbered higher, as one that a dump was taken from: nothing would ever follow.
_ELSEWHERE: Final = Plan[bool](select(still_to_come(bindparam("tx", type_=WholeType()))), name="follow: cursor")

_SNAPSHOT: Final = re.compile(r"\d{1,19}:\d{1,19}:[\d,]*")


@dataclass(frozen=True, slots=True)
class Change(Generic[E]):
    """A row that is new or has changed.

    Attributes:
        row: as it is now; of several changes in the meantime, the last.
        cursor: the place behind it: whoever begins there again gets what follows, and nothing twice.
    """

    row: E
    cursor: str


@dataclass(frozen=True, slots=True)
class Place:
    """How far a follower has read.

    ``seen`` is set while it begins in the middle: the snapshot of what had been committed when it began.
    """

    tx: int
    key: int
    seen: str | None = None


_START: Final = Place(-1, -1)
_PLACE: Final[tuple[Column[Any], ...]] = (
    Column("tx", WholeType()),
    Column("key", WholeType()),
    Column("seen", TextType()),
)


class Trail(Generic[E]):
    """In which order the rows of a table are followed.

    Args:
        model: has ``tx`` and a key of one number.
        parent: a column and its value, to follow the rows of one parent.
        appended: they are followed by their keys alone, which an index of the parent and the key serves: such rows
            never change, and whoever adds one locks the parent before its key is drawn. Otherwise they are followed by
            ``tx`` and the key, which an index of both (behind the parent, where there is one) serves.
        lifted: ``tx`` may be above the number of the transaction that wrote the row, to come behind another row. Who
            begins in the middle may then see such a row though it was committed a moment before.
    """

    def __init__(
        self,
        model: type[E],
        parent: tuple[str, int] | None = None,
        *,
        appended: bool = False,
        lifted: bool = False,
    ) -> None:
        table: Table = model.__table__  # type: ignore[assignment]
        if "tx" not in table.c or len(table.primary_key) != 1:
            raise TypeError(f"{table.name} cannot be followed: it needs tx, and a key of one column")
        self.topic = table.name
        self._model = model
        self._appended = appended
        self._lifted = lifted
        self._key = next(iter(table.primary_key)).key
        self._parent = None if parent is None else parent[0]
        self._given = {} if parent is None else {"parent": parent[1]}
        self._listing = f"follow {table.name}" if parent is None else f"follow {table.name} of {parent[0]} {parent[1]}"

    def place(self, cursor: str | None) -> Place:
        """Return the place a cursor names; None: before everything.

        Raises: BadInput for a cursor of something else.
        """
        if cursor is None:
            return _START
        tx, key, seen = values_of(self._listing, cursor, _PLACE)
        if not (type(tx) is int and type(key) is int and (seen is None or _SNAPSHOT.fullmatch(str(seen)))):
            raise BadInput("not a cursor of this list; begin again without one")
        return Place(tx, key, seen)

    def cursor(self, place: Place) -> str:
        """Return a place as a text that survives JSON and URLs."""
        return cursor_of(self._listing, (place.tx, place.key, place.seen))

    def behind(self, place: Place, row: E) -> Place:
        """Return the place behind a row."""
        tx: int = row.__dict__["tx"]
        seen = place.seen if place.seen is not None and begun_by(place.seen, tx) else None
        return Place(tx, row.__dict__[self._key], seen)

    async def end(self, connection: Connection) -> Place:
        """Return the place behind all that is committed now."""
        place: Place | None = await connection.fetch_one(_end(self._model, self._parent, self._appended), self._given)
        return place or _START

    async def read(self, connection: Connection, place: Place, limit: int) -> list[E]:
        """Return the rows behind a place, as far as nothing can still be committed before them."""
        values: dict[str, Any] = {**self._given, "key": place.key, "limit": limit}
        if self._appended:
            return await connection.fetch_all(_appended(self._model, self._parent), values)
        values["tx"] = place.tx
        if place.seen is None:
            return await connection.fetch_all(_committed(self._model, self._parent), values)
        plan = _committed_since(self._model, self._parent, self._lifted)
        return await connection.fetch_all(plan, {**values, "seen": place.seen})

    async def check(self, connection: Connection, place: Place) -> None:
        """Refuse a place on another server, behind which nothing would come here.

        Raises: BadInput.
        """
        if not self._appended and await connection.fetch_one(_ELSEWHERE, {"tx": place.tx}):
            raise BadInput(
                "the cursor is of another server, which this database was moved from; begin again without one"
            )

    async def changes(self, connection: Connection, *, after: str | None, limit: int) -> list[Change[E]]:
        """Return what is behind a cursor, without waiting: to ask again later, give the last one's.

        Raises: BadInput for a cursor of something else, or of another server.
        """
        place = await self.end(connection) if after == NOW else self.place(after)
        rows = await self.read(connection, place, limit)
        if not rows and after not in {None, NOW}:
            await self.check(connection, place)
        changes = []
        for row in rows:
            place = self.behind(place, row)
            changes.append(Change(row, self.cursor(place)))
        return changes


def _of_parent(table: Table, parent: str | None) -> list[ColumnElement[bool]]:
    return [] if parent is None else [table.c[parent] == of(table.c[parent], "parent")]


def _in_order(model: type[E], parent: str | None, *conditions: ColumnElement[bool]) -> Plan[E]:
    table: Table = model.__table__  # type: ignore[assignment]
    tx, key = table.c.tx, next(iter(table.primary_key))
    place = behind(tx, key, of(tx, "tx"), of(key, "key"))
    statement = select(model).where(*_of_parent(table, parent), settled(tx), place, *conditions)
    ordered = statement.order_by(tx, key).limit(bindparam("limit", type_=WholeType()))
    return Plan(ordered, name=f"{table.name}.follow", rows=model)


@cache
def _committed(model: type[E], parent: str | None) -> Plan[E]:
    """Return the plan that reads in the order of transactions, as far as all have ended."""
    return _in_order(model, parent)


@cache
def _committed_since(model: type[E], parent: str | None, may_be_lifted: bool) -> Plan[E]:
    """Return the same plan without what was committed when it began."""
    tx = model.__table__.c["tx"]
    arrived: ColumnElement[bool] = arrived_after(tx, bindparam("seen", type_=TextType()))
    return _in_order(model, parent, or_(arrived, lifted(tx)) if may_be_lifted else arrived)


@cache
def _appended(model: type[E], parent: str | None) -> Plan[E]:
    """Return the plan that reads in the order of keys, up to the first row whose transaction others may still precede.

    Not merely those that are settled: a later key may be, when its transaction began to write before.
    """
    table: Table = model.__table__  # type: ignore[assignment]
    key = next(iter(table.primary_key))
    following = select(table).where(*_of_parent(table, parent), key > of(key, "key"))
    some = following.order_by(key).limit(bindparam("limit", type_=WholeType())).cte("some")
    first = select(func.min(some.c[key.key])).where(~settled(some.c.tx)).scalar_subquery()
    within = some.c[key.key] < func.coalesce(first, literal(_FURTHEST, WholeType()))
    return Plan(select(*some.c).where(within).order_by(some.c[key.key]), name=f"{table.name}.follow", rows=model)


@cache
def _end(model: type[Entity], parent: str | None, appended: bool) -> Plan[Place]:
    """Return the plan that finds the end: behind what this statement sees, and nothing else."""
    table: Table = model.__table__  # type: ignore[assignment]
    tx, key, within = table.c.tx, next(iter(table.primary_key)), _of_parent(table, parent)
    zero = literal(0, WholeType())
    if appended:
        last = select(func.coalesce(func.max(key), zero)).where(*within).scalar_subquery()
        return Plan(select(zero, last, literal(None, TextType())), name=f"{table.name}.end", rows=Place)
    newest = select(tx, key).where(*within).order_by(tx.desc(), key.desc()).limit(1).subquery()
    places = [func.coalesce(select(column).scalar_subquery(), zero) for column in newest.c]
    statement = select(horizon_or(places[0]), last_key_or(places[1]), snapshot())
    return Plan(statement, name=f"{table.name}.end", rows=Place)
