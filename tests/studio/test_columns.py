"""What is shown and what may be edited, of every model."""

from __future__ import annotations

import re

import pytest

from agentdb.base import Entity
from agentdb.criteria import table_of
from agentdb.engine.blobs import SecretType
from agentdb.engine.spelling import DigestType
from agentdb.services import MATRIX
from agentdb.studio.columns import editable, is_ledger, shown
from agentdb.studio.repositories import models, places

MODELS = sorted((mapper.class_ for mapper in Entity.registry.mappers), key=lambda model: model.__tablename__)
NAMED_LIKE_A_SECRET = re.compile(r"secret|digest|password|_hash$|token$|credential$")


def test_no_secret_and_no_digest_of_a_model_is_shown(subtests: pytest.Subtests) -> None:
    for model in MODELS:
        with subtests.test(model=model.__tablename__):
            seen = {column.key for column in shown(table_of(model))}

            hidden = {column.key for column in table_of(model).c if isinstance(column.type, SecretType | DigestType)}
            named = {name for name in table_of(model).c.keys() if NAMED_LIKE_A_SECRET.search(name)}  # noqa: SIM118
            assert not seen & hidden
            assert not seen & named


def test_what_keeps_itself_is_not_edited(subtests: pytest.Subtests) -> None:
    for model in MODELS:
        with subtests.test(model=model.__tablename__):
            table = table_of(model)
            changing = {column.key for column in editable(table)}

            keys = {column.key for column in table.primary_key}
            counted = set().union(*MATRIX[table.name].counts.values()) if table.name in MATRIX else set()
            assert not changing & (keys | counted | {"uuid", "version", "tx", "created_at", "updated_at"})


LEDGERS: list[str] = [
    "audit_log",
    "costs",
    "cost_days",
    "cost_reservations",
    "spend_limits",
    "integration_events",
    "workflow_versions",
    "execution_changes",
    "context_log",
]


def test_nothing_of_a_ledger_is_edited(subtests: pytest.Subtests) -> None:
    for name in LEDGERS:
        with subtests.test(name=name):
            table = Entity.metadata.tables[name]

            assert is_ledger(table)
            assert editable(table) == []


def test_a_sessions_total_and_its_pointers_are_not_edited() -> None:
    changing = {column.key for column in editable(Entity.metadata.tables["run_session"])}

    assert changing == {"host_id", "model_name"}


def test_every_model_has_its_pages() -> None:
    listed = [model for group in models().values() for model in group]

    assert sorted(listed, key=lambda model: model.__tablename__) == MODELS
    assert places()["users"] == ("supervisor", "users")
    assert places()["run_session"] == ("hub", "runs")
