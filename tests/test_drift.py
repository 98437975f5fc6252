"""Whatever goes missing from a live database, or is changed in it, is noticed and named."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from agentdb import migrating
from agentdb.config import Settings
from agentdb.engine.schema.catalog import Difference, compare, describe, parse, render
from agentdb.engine.schema.direct import connected

# What is done to a database, and what must be named for it.
POSTGRESQL: Final = {
    "ALTER TABLE users DROP COLUMN title": "column users.title",
    "ALTER TABLE users ALTER first_name SET NOT NULL": "column users.first_name",
    "ALTER TABLE users ALTER kind DROP DEFAULT": "column users.kind",
    "ALTER TABLE users ALTER version TYPE bigint": "column users.version",
    'ALTER TABLE roles ALTER name TYPE varchar(255) COLLATE "default"': "column roles.name",
    "ALTER TABLE runs ALTER id DROP IDENTITY": "column runs.id",
    "ALTER TABLE users DROP CONSTRAINT ck_users__status": "constraint users.ck_users__status",
    "ALTER TABLE users DROP CONSTRAINT uq_users__email": "constraint users.uq_users__email",
    "ALTER TABLE sessions DROP CONSTRAINT fk_sessions__user_id": "constraint sessions.fk_sessions__user_id",
    "ALTER TABLE user_hosts DROP CONSTRAINT pk_user_hosts": "constraint user_hosts.pk_user_hosts",
    "DROP INDEX ix_users__role_id": "index users.ix_users__role_id",
    "DROP INDEX uq_models__type; CREATE UNIQUE INDEX uq_models__type ON models (type)": "index models.uq_models__type",
    "DROP TRIGGER tr_audit_log__update ON audit_log": "trigger audit_log.tr_audit_log__update",
    "ALTER TABLE costs DISABLE TRIGGER tr_costs__delete": "trigger costs.tr_costs__delete",
    "DROP FUNCTION agentdb_merge_patch": "function agentdb_merge_patch(target jsonb, patch jsonb)",
    "ALTER TABLE variables SET UNLOGGED": "table variables",
    "CREATE INDEX ix_users__stray ON users (last_name)": "index users.ix_users__stray",
    "CREATE FUNCTION agentdb_stray() RETURNS int LANGUAGE sql AS 'SELECT 1'": "function agentdb_stray()",
}


def _without(table: str, words: str, instead: str = "") -> str:
    words, instead = words.replace("'", "''"), instead.replace("'", "''")
    return f"UPDATE sqlite_master SET sql = replace(sql, '{words}', '{instead}') WHERE name = '{table}'"


SQLITE: Final = {
    "ALTER TABLE users DROP COLUMN title": "column users.title",
    _without("users", "first_name TEXT", "first_name TEXT NOT NULL"): "column users.first_name",
    _without("users", "status TEXT DEFAULT 'active'", "status TEXT"): "column users.status",
    _without("runs", " AUTOINCREMENT"): "column runs.id",
    _without("roles", ") STRICT", ")"): "table roles",
    _without(
        "hosts", "CONSTRAINT ck_hosts__host_type CHECK (host_type = 'runner' OR host_type = 'supervisor')", "CHECK (1)"
    ): "constraint hosts.ck_hosts__host_type",
    _without("sessions", " ON DELETE CASCADE", " ON DELETE RESTRICT"): "constraint sessions.fk_sessions__user_id",
    "DROP INDEX ix_users__role_id": "index users.ix_users__role_id",
    "DROP INDEX uq_models__type; CREATE UNIQUE INDEX uq_models__type ON models (type)": "index models.uq_models__type",
    "DROP TRIGGER tr_audit_log__update": "trigger audit_log.tr_audit_log__update",
    "CREATE INDEX ix_users__stray ON users (last_name)": "index users.ix_users__stray",
}
SQLITE_UNNAMED: Final = "constraint hosts.CHECK (1)"


def _do(connection: Connection, statements: list[str]) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for statement in statements:
        for part in statement.split("; "):
            connection.exec_driver_sql(part)
    connection.commit()


async def test_each_kind_of_object_is_missed(migrated_url: str) -> None:
    settings = Settings.load(migrated_url)
    async with connected(settings) as connection:
        drift = SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL
        await connection.run_sync(_do, list(drift))
    differences = await migrating.check(settings)

    assert {difference.name for difference in differences} - {SQLITE_UNNAMED} == set(drift.values())
    assert {difference.within for difference in differences} == {"the database"}


async def test_a_missing_table_and_extension_are_named(migrated_postgresql_url: str) -> None:
    settings = Settings.load(migrated_postgresql_url)
    async with connected(settings) as connection:
        await connection.run_sync(_do, ["DROP TABLE prompts CASCADE", "DROP EXTENSION vector CASCADE"])
        live = await connection.run_sync(describe)
    expected = parse((migrating.HISTORY / "schema" / "postgresql.sql").read_text())

    named = {difference.name for difference in compare(live, expected, within="the database")}
    assert {"table prompts", "extension vector", "column memories.embedding"} <= named


async def test_a_database_without_schema_and_one_that_is_behind_are_told(database_url: str) -> None:
    settings = Settings.load(database_url)
    version = Difference("version", "the database", None, f"{migrating.head():04}")
    empty = await migrating.check(settings)
    await migrating.upgrade(settings, "0006")
    behind = await migrating.check(settings)

    assert empty == [version]
    assert behind[0] == replace(version, found="0006")
    assert "table integration_events" in {difference.name for difference in behind}


async def test_tables_of_others_do_not_count(migrated_url: str) -> None:
    settings = Settings.load(migrated_url)
    async with connected(settings) as connection:
        await connection.run_sync(_do, ["CREATE TABLE others (id integer PRIMARY KEY, note text CHECK (note <> ''))"])

    assert await migrating.check(settings) == []


async def test_a_change_of_the_models_alone_is_noticed(migrated_url: str) -> None:
    settings = Settings.load(migrated_url)
    async with connected(settings) as connection:
        models = await connection.run_sync(migrating.describe_models)
        live = await connection.run_sync(describe)
    assert models is not None
    fewer = {name: definition for name, definition in live.items() if name != "constraint users.ck_users__kind"}
    (difference,) = compare(models, fewer, within="the models")

    assert str(difference).startswith("constraint users.ck_users__kind is in the models, and nothing expects it: CHECK")


def test_a_description_is_read_as_it_was_written() -> None:
    description = {
        "column users.id": "bigint NOT NULL",
        "function agentdb_f()": "BEGIN\n\n-- a comment\nEND",
        "table users": "CREATE TABLE users",
    }

    assert parse("-- heading\n-- of the file\n" + render(description)) == description


def test_a_difference_reads_as_a_sentence() -> None:
    one = Difference("index users.ix", "the database", "CREATE INDEX a", "CREATE INDEX b")

    assert str(one) == "index users.ix differs in the database: found CREATE INDEX a; expected CREATE INDEX b"
    assert str(replace(one, found=None)) == "index users.ix is missing from the database; expected CREATE INDEX b"
    assert (
        str(replace(one, expected=None)) == "index users.ix is in the database, and nothing expects it: CREATE INDEX a"
    )
