"""The models as a whole: what every table, column, index and reference keeps to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Engine,
    ForeignKeyConstraint,
    Index,
    Table,
    UniqueConstraint,
    create_engine,
    create_mock_engine,
    delete,
    event,
    insert,
    inspect,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import RelationshipProperty, configure_mappers

from agentdb import models
from agentdb.base import Entity
from agentdb.engine.functions import merge_patch
from agentdb.engine.schema.ddl import FUNCTIONS, retention
from agentdb.engine.spelling import ChoiceType, JsonType, TextType
from agentdb.models import (
    AuditLog,
    Cost,
    CostSource,
    Execution,
    IntegrationConnection,
    IntegrationEvent,
    Run,
    SpendLimit,
    User,
    Workflow,
    tables,
)
from agentdb.owners import Among, AnyOf, By, FirstOf, Fixed, Owner, Via

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

TABLES = tuple(Entity.metadata.tables.values())


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")

    @event.listens_for(engine, "connect")
    def _keep_references(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA recursive_triggers = ON")

    Entity.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """Yield a connection to empty tables: whatever a test does is undone."""
    with engine.connect() as connection:
        yield connection


def add(connection: Connection, model: type[Entity], /, **values: Any) -> int:
    return int(connection.execute(insert(model).values(**values).returning(text("id"))).scalar_one())


def table_of(name: str) -> Table:
    return Entity.metadata.tables[name]


def leading(table: Table) -> set[str]:
    """Return the columns that begin an index of every row, or of every row that has a value there."""
    keys = [list(table.primary_key.columns)]
    keys += [list(unique.columns) for unique in table.constraints if isinstance(unique, UniqueConstraint)]
    for index in table.indexes:
        columns, where = list(index.columns), index.dialect_options["sqlite"].get("where")
        if columns and (where is None or str(where) == f"{columns[0].name} IS NOT NULL"):
            keys.append(columns)
    return {key[0].name for key in keys if key}


def test_there_are_50_tables_and_the_roll_call_has_each() -> None:
    assert len(tables) == 50
    assert set(tables) == set(Entity.metadata.tables)
    assert set(models.__all__) >= {model.__name__ for model in tables.values()}


def test_the_mappers_agree_with_one_another() -> None:
    configure_mappers()


def test_a_row_says_when_it_came_to_be_behind_its_own_columns() -> None:
    for table in TABLES:
        names = [column.name for column in table.columns]
        assert "created_at" in names, table
        assert names[-1] in {"created_at", "updated_at", "updated"}, table
        assert names.index("id") == 0 if "id" in names else True, table


def test_every_reference_is_indexed_and_says_what_deletion_does() -> None:
    for table in TABLES:
        led = leading(table)
        for key in table.foreign_keys:
            assert key.parent.name in led, key.parent
            assert key.ondelete in {"CASCADE", "SET NULL", "RESTRICT"}, key.parent
            assert key.ondelete != "SET NULL" or key.parent.nullable, key.parent


def test_everything_has_a_name_that_fits_postgresql() -> None:
    for table in TABLES:
        for constraint in table.constraints:
            prefix = {"CheckConstraint": "ck", "ForeignKeyConstraint": "fk", "UniqueConstraint": "uq"}.get(
                type(constraint).__name__, "pk"
            )
            # A primary key has its name as a template until it is rendered.
            name = str(constraint.name) if prefix != "pk" else f"pk_{table.name}"
            assert name.startswith(f"{prefix}_{table.name}")
            assert len(name) <= 63
        for index in table.indexes:
            assert str(index.name).startswith(f"{'uq' if index.unique else 'ix'}_{table.name}__")
            assert len(str(index.name)) <= 63


def test_no_two_indexes_or_unique_constraints_share_a_name() -> None:
    names = Counter(
        thing.name
        for table in Entity.metadata.tables.values()
        for thing in (*table.indexes, *table.constraints)
        if isinstance(thing, Index | UniqueConstraint | ForeignKeyConstraint)
    )

    assert [name for name, count in names.items() if count > 1] == []


def test_every_text_that_is_unique_or_indexed_has_a_length() -> None:
    for table in TABLES:
        keyed: list[Column[Any]] = [*table.primary_key.columns]
        keyed += [column for index in table.indexes for column in index.columns]
        keyed += [
            column for unique in table.constraints if isinstance(unique, UniqueConstraint) for column in unique.columns
        ]
        for column in keyed:
            assert not isinstance(column.type, TextType) or column.type.length is not None, column


def test_every_enumeration_has_its_check() -> None:
    for table in TABLES:
        checked = {str(check.name) for check in table.constraints if isinstance(check, CheckConstraint)}
        for column in table.columns:
            assert not isinstance(column.type, ChoiceType) or f"ck_{table.name}__{column.name}" in checked, column


def test_relationships_never_load_by_themselves() -> None:
    for relationship in relationships():
        assert relationship.lazy == "raise", relationship
        assert relationship.passive_deletes or not relationship.uselist, relationship


def test_relationships_stay_within_their_aggregate() -> None:
    for relationship in relationships():
        here, there = relationship.parent.class_, relationship.mapper.class_
        assert there.__module__.split(".")[1] == here.__module__.split(".")[1], relationship


def relationships() -> list[RelationshipProperty[Any]]:
    found = [relationship for model in tables.values() for relationship in inspect(model).relationships]
    assert found
    return found


def owner_of(model: type[Entity]) -> Owner:
    owner = vars(model)["__owner__"]
    assert isinstance(owner, Owner)
    return owner


def leads_to_a_user(owner: Owner, table: Table) -> bool:
    match owner:
        case Fixed():
            return True
        case By(column):
            target = table.c[column]
            return target is table_of("users").c.id or target.references(table_of("users").c.id)
        case Via(column, name):
            other = table_of(name)
            return table.c[column].references(other.c.id) and leads_to_a_user(owner_of(tables[name]), other)
        case Among(name, column):
            other = table_of(name)
            return other.c[column].references(table.c.id) and leads_to_a_user(owner_of(tables[name]), other)
        case FirstOf(paths) | AnyOf(paths):
            return all(leads_to_a_user(path, table) for path in paths)
        case _:
            return False


def test_every_table_tells_whose_its_rows_are() -> None:
    for name, model in tables.items():
        assert leads_to_a_user(owner_of(model), table_of(name)), name


def test_sqlite_has_every_table_column_reference_and_index(engine: Engine) -> None:
    there = inspect(engine)

    own = {name for name in there.get_table_names() if "_words" not in name}  # those hold what is searched
    assert own - {"sqlite_sequence"} == set(tables)
    for table in Entity.metadata.tables.values():
        assert [column["name"] for column in there.get_columns(table.name)] == list(table.columns.keys())
        assert {key["name"] for key in there.get_foreign_keys(table.name)} == {
            key.name for key in table.foreign_key_constraints
        }
        contents = {
            f"ix_{name}" for name in ("knowledge_base__tags", "memories__tags", "vectors__tags", "vectors__metadata")
        }
        declared = {index.name for index in table.indexes} - contents
        assert {index["name"] for index in there.get_indexes(table.name)} >= declared - {
            index.name for index in table.indexes if len(index.columns) < len(index.expressions)
        }


def test_postgresql_is_told_the_same_tables_references_and_functions() -> None:
    told: list[str] = []
    server: MockConnection = create_mock_engine(
        "postgresql+asyncpg://", lambda statement, *_, **__: told.append(str(statement.compile(dialect=server.dialect)))
    )
    Entity.metadata.create_all(server, checkfirst=False)
    script = "\n".join(told)

    for table in Entity.metadata.tables.values():
        assert f"CREATE TABLE {table.name} (" in script
        for key in table.foreign_key_constraints:
            assert f"CONSTRAINT {key.name} FOREIGN KEY" in script
    for signature in FUNCTIONS:
        assert f"FUNCTION {signature.split('(')[0]}(" in script
    assert told[0].startswith("CREATE OR REPLACE FUNCTION")
    assert script.count("CREATE TRIGGER") == 20


def test_a_username_has_only_letters_digits_underscores_and_hyphens(connection: Connection) -> None:
    add(connection, User, username="Ada-L_1")

    for refused in ("", "ada lovelace", "ada,lin", "ädä"):
        with pytest.raises(IntegrityError, match="username_characters"):
            add(connection, User, username=refused)


def test_the_audit_log_is_never_changed(connection: Connection, subtests: pytest.Subtests) -> None:
    add(connection, AuditLog, actor_name="ada", action="create", entity="users")

    for change in (
        "UPDATE audit_log SET action = 'nothing'",
        "DELETE FROM audit_log",
        "INSERT OR REPLACE INTO audit_log (id, actor_name, action, entity) VALUES (1, 'eve', 'nothing', 'users')",
    ):
        with subtests.test(change=change), pytest.raises(IntegrityError, match="audit_log is append-only"):
            connection.execute(text(change))


def spent(connection: Connection, **values: Any) -> int:
    return add(connection, Cost, model="m", source=CostSource.chat, cost=Decimal("0.25"), **values)


def test_a_cost_is_never_changed(connection: Connection) -> None:
    user = add(connection, User, username="ada")
    spent(connection, user_id=user)
    other = add(connection, User, username="lin")

    changes: list[dict[str, Any]] = [{"cost": Decimal(0)}, {"user_id": other}, {"user_id": None, "model": "n"}]
    for change in changes:
        with pytest.raises(IntegrityError, match="costs is append-only"):
            connection.execute(update(Cost).values(**change))


def test_a_cost_outlives_its_user(connection: Connection) -> None:
    user = add(connection, User, username="ada")
    spent(connection, user_id=user)
    connection.execute(delete(User).where(User.id == user))

    assert connection.execute(select(Cost.user_id, Cost.cost)).all() == [(None, Decimal("0.250000000"))]


def test_only_retention_removes_costs(connection: Connection) -> None:
    spent(connection)
    opening, closing = retention(table_of("costs"), "sqlite")

    with pytest.raises(IntegrityError, match="costs is append-only"):
        connection.execute(delete(Cost))
    for statement in opening:
        connection.execute(text(statement))
    assert connection.execute(delete(Cost)).rowcount == 1
    for statement in closing:
        connection.execute(text(statement))
    spent(connection)
    with pytest.raises(IntegrityError, match="costs is append-only"):
        connection.execute(delete(Cost))


def test_nothing_opens_the_audit_log_to_retention() -> None:
    with pytest.raises(ValueError, match="audit_log"):
        retention(table_of("audit_log"), "postgresql")


def test_a_cost_below_zero_is_a_correction(connection: Connection) -> None:
    first = spent(connection)
    add(connection, Cost, model="m", source=CostSource.chat, cost=Decimal("-0.25"), corrects_id=first)

    with pytest.raises(IntegrityError, match="ck_costs__amounts"):
        add(connection, Cost, model="m", source=CostSource.chat, cost=Decimal("-0.25"))


def test_an_event_goes_with_its_connection_and_is_never_changed(connection: Connection) -> None:
    user = add(connection, User, username="ada")
    account = add(connection, IntegrationConnection, user_id=user, provider="mail")
    add(
        connection,
        IntegrationEvent,
        user_id=user,
        integration_id=account,
        event_type="connected",
        occurred_at=NOON,
    )

    with pytest.raises(IntegrityError, match="integration_events is append-only"):
        connection.execute(update(IntegrationEvent).values(error_code="x"))
    connection.execute(delete(IntegrationConnection))
    assert connection.execute(select(IntegrationEvent.id)).all() == []


def test_only_a_json_column_that_may_be_null_takes_null(connection: Connection) -> None:
    user = add(connection, User, username="ada")
    connection.execute(insert(Workflow).values(user_id=user, name="w", definition={}))

    with pytest.raises(IntegrityError, match="ck_users__config"):
        connection.execute(text("UPDATE users SET config = 'not json'"))
    assert add(connection, Execution, workflow_id=1, user_id=user, available_at=NOON, input=None) == 1


def test_an_installation_has_one_limit(connection: Connection) -> None:
    limit = {"amount": Decimal(5), "period": "day", "window_started_at": NOON}
    add(connection, SpendLimit, **limit)

    with pytest.raises(IntegrityError, match=r"spend_limits\.covers"):
        add(connection, SpendLimit, **limit)
    with pytest.raises(IntegrityError, match="ck_spend_limits__installation"):
        add(connection, SpendLimit, covers="tree", **limit)


def test_a_number_is_never_given_twice(connection: Connection) -> None:
    user = add(connection, User, username="ada")
    first = add(connection, Run, user_id=user)
    connection.execute(delete(Run))

    assert add(connection, Run, user_id=user) > first


MERGED: tuple[tuple[Any, Any, Any], ...] = (
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
)


def test_a_patch_is_merged_as_rfc_7396_says(connection: Connection, subtests: pytest.Subtests) -> None:
    add(connection, User, username="ada")

    for target, patch, merged in MERGED:
        with subtests.test(target=target, patch=patch):
            connection.execute(update(User).values(config=literal(target, JsonType())))
            connection.execute(update(User).values(config=merge_patch(User.config, literal(patch, JsonType()))))
            assert connection.execute(select(User.config)).scalar_one() == merged
