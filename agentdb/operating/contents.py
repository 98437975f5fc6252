"""What a database holds, at one moment: its schema's version, its tables, the files and the keys that it needs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, column, func, select, table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.engine.blobs import SecretType
from agentdb.engine.looking import schema_of, vector_schema
from agentdb.engine.schema.catalog import describe, render
from agentdb.engine.schema.direct import telling
from agentdb.engine.schema.history import version_of
from agentdb.errors import BadInput
from agentdb.keyring import ID_LENGTH, VERSION
from agentdb.operating.digests import OnProgress, TableDigest, columns_of, digests_of
from agentdb.sealing import secret_columns


@dataclass(frozen=True, slots=True, order=True)
class StoredFile:
    """A file of an attachment."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What a database holds."""

    version: int
    revision: str
    identity: str | None
    schema: str | None  # of a server's database: where the tables are
    vector: str | None  # of a server's database: the schema that pgvector is in
    described: str  # the SHA-256 of what the schema is: tables, constraints, indexes, triggers and functions
    keys: list[str]  # the ids of the encryption keys that its secrets are sealed with
    tables: dict[str, TableDigest]
    files: list[StoredFile]

    @property
    def rows(self) -> int:
        """How many rows there are in all tables."""
        return sum(digest.rows for digest in self.tables.values())


async def contents_of(connection: AsyncConnection, on_progress: OnProgress) -> Contents:
    """Return what a connection in a transaction of one moment sees; a schema older than the models is read as it is.

    Raises: BadInput when there is no schema.
    """
    schema = await schema_of(connection)
    with telling("reading the database"):
        version = await connection.run_sync(version_of, schema)
        if version is None:
            raise BadInput("the database has no schema of agentdb yet; there is nothing in it")
        columns = await columns_of(connection)
        described = render(await connection.run_sync(describe))
        identity: Select[tuple[str]] = select(column("identity")).select_from(table("schema_version"))
        return Contents(
            version.number,
            version.revision,
            await connection.scalar(identity) if "identity" in columns["schema_version"] else None,
            schema,
            await connection.run_sync(vector_schema),
            hashlib.sha256(described.encode()).hexdigest(),
            await _keys(connection, columns),
            await digests_of(connection, on_progress=on_progress),
            await _files(connection) if "attachments" in columns else [],
        )


async def _keys(connection: AsyncConnection, columns: Mapping[str, list[str]]) -> list[str]:
    """Return the ids of the keys that the secrets are sealed with, read off their first bytes."""
    found: set[bytes] = set()
    first, length = text(str(len(VERSION) + 1)), text(str(ID_LENGTH))
    for secret in secret_columns():
        if secret.name in columns.get(secret.table, ()):
            sealed: Any = column(secret.name, SecretType())
            keys = select(func.substr(sealed, first, length, type_=SecretType())).select_from(table(secret.table))
            found.update(await connection.scalars(keys.where(sealed.is_not(None)).distinct()))
    return sorted(key.hex() for key in found)


async def _files(connection: AsyncConnection) -> list[StoredFile]:
    files: Any = select(column("file_hash"), column("file_size")).select_from(table("attachments")).distinct()
    return sorted(StoredFile(row.file_hash, row.file_size) for row in await connection.execute(files))
