"""Which columns hold secrets, and what each secret is bound to: read off the models."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Column, Table

from agentdb.engine.blobs import SecretType
from agentdb.engine.spelling import TextType
from agentdb.keyring import Keyring
from agentdb.models import tables


@dataclass(frozen=True, slots=True)
class SecretColumn:
    """A column of secrets, its table's primary key, and the column that names the row a secret is bound to."""

    column: Column[Any]
    key: Column[Any]
    row: Column[Any]

    @property
    def table(self) -> str:
        """The table's name."""
        return str(self.column.table.name)

    @property
    def name(self) -> str:
        """The column's name."""
        return str(self.column.name)

    def reseal(self, keyring: Keyring, sealed: bytes, row: uuid.UUID | str) -> bytes:
        """Return a secret of this column, sealed with the newest key.

        Raises: DecryptionFailed.
        """
        return keyring.reseal(sealed, table=self.table, column=self.name, row=row)

    def open(self, keyring: Keyring, sealed: bytes, row: uuid.UUID | str) -> Any:
        """Return a secret of this column as it was given.

        Raises: DecryptionFailed.
        """
        return keyring.open(sealed, table=self.table, column=self.name, row=row)


@cache
def secret_columns() -> tuple[SecretColumn, ...]:
    """Return every column that holds secrets, in the order of their tables' names."""
    found: list[Table] = [model.metadata.tables[name] for name, model in tables.items()]
    return tuple(
        _bound(table, column) for table in found for column in table.columns if isinstance(column.type, SecretType)
    )


def _bound(table: Table, column: Column[Any]) -> SecretColumn:
    """Return what a secret's row is called by: its uuid, which a transfer keeps, or else a name that is its key."""
    if len(table.primary_key.columns) != 1:
        raise TypeError(f"{column}: a table with secrets has one column for its primary key")
    key = table.primary_key.columns[0]
    row = table.c.get("uuid", key)
    if row is key and not isinstance(key.type, TextType):
        raise TypeError(f"{column}: a secret is bound to its row's uuid, and {table.name} has none; add one")
    return SecretColumn(column, key, row)
