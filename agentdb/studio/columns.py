"""What the studio shows of a table, and what it never lets be edited, told from the models."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Column, Table, case, false
from sqlalchemy.sql import ColumnElement

from agentdb.engine.blobs import SecretType, VectorType
from agentdb.engine.spelling import DigestType
from agentdb.services import MATRIX

# Digests of passwords are texts, as each tells its own algorithm; what a login carries may be half of another login.
_CONFIDENTIAL: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"users": frozenset({"password_hash"}), "sessions": frozenset({"data"})}
)

# What other calls keep in step: edited alone it would say what is not so.
_COUNTED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "conversations": frozenset({"last_position", "last_message_at", "summary_message_id"}),
        "hosts": frozenset({"last_active", "last_ip", "last_version"}),
        "run_session": frozenset(
            {
                "user_id",
                "run_id",
                "subagent_id",
                "session_id",
                "last_active",
                "latest_log_id",
                "latest_tx",
                "total_lines",
                "total_cost",
            }
        ),
        "user_notifications": frozenset(
            {"latest_host_id", "latest_log_id", "latest_mail_id", "latest_chat_id", "last_active"}
        ),
        "models": frozenset({"shipped"}),
    }
)

_OWN: Final = frozenset({"uuid", "version", "tx", "created_at", "updated_at", "updated"})
_LEDGERS: Final = frozenset({"cost_days", "cost_reservations", "spend_limits", "context_log"})


def shown(table: Table) -> list[Column[Any]]:
    """Return the columns that are shown, and selected at all: no secret, no digest, no vector."""
    hidden = _CONFIDENTIAL.get(table.name, frozenset())
    return [
        column
        for column in table.columns
        if not isinstance(column.type, SecretType | DigestType | VectorType)
        and column.key not in hidden
        and not column.key.endswith("_folded")  # what searching compares with, of a column that is shown
    ]


def seen(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column as it is selected, searched and filtered: a sensitive variable's value is null.

    It is stored as it is where there was no key to seal it with.
    """
    if column.table.name == "variables" and column.key == "value":
        return case((column.table.c.sensitive == false(), column), else_=None)
    return column


def editable(table: Table) -> list[Column[Any]]:
    """Return the columns that may be edited: none of a ledger, no key, no counter, nothing the library fills in."""
    if is_ledger(table):
        return []
    fixed = _OWN | _COUNTED.get(table.name, frozenset()) | _counted_by_services(table)
    return [column for column in shown(table) if not column.primary_key and column.key not in fixed]


def is_ledger(table: Table) -> bool:
    """Tell whether rows of a table are only ever appended, or are money: what they say is what happened."""
    return "deletes" in table.info or table.name in _LEDGERS


def _counted_by_services(table: Table) -> frozenset[str]:
    access = MATRIX.get(table.name)
    return frozenset() if access is None else frozenset().union(*access.counts.values())
