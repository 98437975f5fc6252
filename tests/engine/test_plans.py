"""Plans: defaults, on-update values, the clock, and rows that are whole."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Table, event, inspect
from sqlalchemy.exc import InvalidRequestError

from agentdb import clock, models
from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.blobs import BytesType, VectorType
from agentdb.engine.columns import column_default, generated
from agentdb.engine.quantities import MomentType, MoneyType, WholeType
from agentdb.engine.spelling import ChoiceType, DigestType, FlagType, JsonType, TextType, UuidType
from agentdb.errors import BadInput
from agentdb.repository import Repository

MOMENT = datetime(2026, 11, 21, 3, 4, 5, 678_901, tzinfo=UTC)


def rows(db: Database, of: type[Entity]) -> Repository[Any]:
    class Rows(Repository[Any]):
        model = of

    return Rows(db._over)


def _value(column: Any, number: int) -> Any:  # noqa: C901, PLR0911 (one return for each word)
    match column.type:
        case DigestType():
            return f"{number:064x}"
        case TextType():
            return f"v{number}"[: column.type.length]
        case MomentType():
            return MOMENT + timedelta(seconds=number)
        case MoneyType():
            return Decimal(number)
        case JsonType():
            return {"n": [number]}
        case UuidType():
            return uuid.uuid4()
        case ChoiceType():
            return next(iter(column.type.enum))
        case FlagType():
            return True
        case BytesType():
            return b"bytes"
        case VectorType():
            return np.ones(column.type.length or 3, dtype=np.float32)
        case WholeType():
            return number
    raise AssertionError(column)


# What a CHECK wants beyond the type of a single column.
_SPECIAL: Mapping[str, Mapping[str, Any]] = {
    "api_keys": {"kind": "access", "digest": "d" * 64},
    "schema_version": {"id": 1},
}


async def _row(db: Database, name: str, number: int, made: dict[str, Any]) -> Any:
    """Make a row of a table, and before it the rows that it must refer to."""
    model = models.tables[name]
    table: Table = model.__table__  # type: ignore[assignment]
    values: dict[str, Any] = dict(_SPECIAL.get(name, {}))
    for column in table.columns:
        required = not generated(column) and column_default(column, inserting=True) is None
        if column.key in values or not required:
            continue
        target = next(iter(column.foreign_keys), None)
        if target is None:
            values[column.key] = _value(column, number)
            continue
        referred = target.column.table.name
        if referred not in made:
            made[referred] = await _row(db, referred, number, made)
        values[column.key] = getattr(made[referred], target.column.key)
    made[name] = await rows(db, model).add(**values)
    return made[name]


def _equal(one: Any, other: Any) -> bool:
    return (
        np.array_equal(one, other) if isinstance(one, np.ndarray) else bool(one == other and type(one) is type(other))
    )


async def test_an_inserted_row_equals_what_a_read_gives_for_every_table(db: Database) -> None:
    made: dict[str, Any] = {}
    for number, name in enumerate(models.tables, 1):
        if name == "schema_version":
            continue  # migrating keeps its one row
        if name not in made:
            await _row(db, name, number, made)
        row = made[name]
        key = [getattr(row, attribute.key) for attribute in inspect(type(row)).primary_key]
        read = await rows(db, type(row)).get(*key)
        for attribute in inspect(type(row)).column_attrs:
            assert _equal(getattr(row, attribute.key), getattr(read, attribute.key)), f"{name}.{attribute.key}"
        assert inspect(row).detached
        assert not inspect(row).unloaded & {attribute.key for attribute in inspect(type(row)).column_attrs}


async def test_relationships_of_a_returned_row_raise(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")

    with pytest.raises(InvalidRequestError):
        _ = user.role


async def test_defaults_are_applied_by_the_held_clock(db: Database) -> None:
    with clock.hold(MOMENT) as hand:
        user = await db.supervisor.users.add(username="bob")
        hand.forward(timedelta(minutes=1))
        changed = await db.supervisor.users.update(user.id, title="t")

    assert user.created_at == user.updated_at == changed.created_at == MOMENT
    assert changed.updated_at == MOMENT + timedelta(minutes=1)
    assert (user.status, user.config, user.version, changed.version) == ("active", {}, 1, 2)
    assert user.uuid.version == 7


async def test_unknown_and_missing_parameters_are_refused(db: Database) -> None:
    with pytest.raises(BadInput, match=r"users\.add knows no nope"):
        await rows(db, models.User).add(username="bob", nope=1)
    with pytest.raises(BadInput, match=r"users\.username is required"):
        await rows(db, models.User).add()
    with pytest.raises(BadInput, match="no column 'nope'"):
        await rows(db, models.User).update(1, nope=1)


async def test_a_returned_row_added_to_a_session_and_changed_is_one_update(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    statements: list[str] = []

    async with db.sessions() as session:
        connection = await session.connection()
        event.listen(connection.sync_connection, "before_cursor_execute", lambda *args: statements.append(args[2]))
        session.add(user)
        user.title = "changed"
        await session.commit()

    assert len(statements) == 1
    assert statements[0].startswith("UPDATE users SET title=")
    assert (await db.supervisor.users.get(user.id)).title == "changed"
