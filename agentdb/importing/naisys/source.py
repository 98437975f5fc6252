"""The two files of an installation: which tables and columns are read, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from agentdb.engine.foreign import ForeignFile

Row: TypeAlias = dict[str, Any]

ROWS: Final = 500  # of a batch

# The columns of a key come first.
HUB: Final[Mapping[str, Sequence[str]]] = {
    table: columns.split()
    for table, columns in {
        "users": "id uuid username title api_key_hash lead_user_id config created_at updated_at enabled archived",
        "user_notifications": "user_id latest_host_id last_active spend_limit_reset_at updated_at",
        "user_hosts": "user_id host_id created_at",
        "hosts": "id name machine_id restricted host_type last_ip last_version environment last_active created_at",
        "run_session": "user_id run_id subagent_id session_id host_id last_active model_name created_at updated_at",
        "context_log": "id user_id run_id subagent_id session_id host_id role source type message"
        " attachment_id created_at",
        "costs": "id user_id run_id subagent_id session_id host_id source model cost input_tokens output_tokens"
        " cache_write_tokens cache_read_tokens created_at",
        "mail_messages": "id from_user_id host_id kind subject body created_at",
        "mail_recipients": "id message_id user_id type read_at archived_at created_at",
        "mail_attachments": "message_id attachment_id created_at",
        "attachments": "id public_id filepath filename file_size file_hash purpose uploaded_by created_at",
        "config_revisions": "id user_id config changed_by_id created_at",
        "variables": "key value export_to_shell sensitive created_by updated_by created_at updated_at",
        "models": "id key type label version_name is_builtin is_custom meta created_at updated_at",
    }.items()
}
SUPERVISOR: Final[Mapping[str, Sequence[str]]] = {
    table: columns.split()
    for table, columns in {
        "users": "id username uuid is_agent password_hash created_at api_key_hash updated_at",
        "sessions": "id user_id",
        "user_permissions": "id user_id permission granted_at granted_by",
        "passkey_credentials": "id user_id credential_id public_key counter transports device_label created_at"
        " last_used_at",
        "registration_tokens": "id user_id token_hash expires_at used_at created_at",
    }.items()
}


class Source:
    """One of the files, read on a thread."""

    def __init__(self, file: ForeignFile) -> None:
        self._file = file

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._file.path

    async def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return await asyncio.to_thread(self._file.count, table)

    async def page(self, table: str, *, after: int, limit: int = ROWS) -> list[Row]:
        """Return the next rows of a table whose key is a number."""
        return await asyncio.to_thread(self._file.page, table, 1, (after,), limit)

    async def pages(self, table: str, keys: int = 1) -> AsyncIterator[list[Row]]:
        """Yield all rows of a table, in batches.

        Args: keys: how many columns its key has.
        """
        columns = self._file.tables[table][:keys]
        rows = await asyncio.to_thread(self._file.page, table, keys, None, ROWS)
        while rows:
            yield rows
            after = [rows[-1][column] for column in columns]
            rows = await asyncio.to_thread(self._file.page, table, keys, after, ROWS)

    async def all(self, table: str, keys: int = 1) -> list[Row]:
        """Return all rows of a table that never has many."""
        return [row async for page in self.pages(table, keys) for row in page]

    async def having(self, table: str, column: str, values: Sequence[Any]) -> list[Row]:
        """Return the rows of a table that have one of some values in a column."""
        return await asyncio.to_thread(self._file.having, table, column, values) if values else []


@asynccontextmanager
async def opened(path: Path, what: str, tables: Mapping[str, Sequence[str]]) -> AsyncIterator[Source]:
    """Yield a file that was found to be what it should be.

    Raises: BadInput, DatabaseCorrupt, Unavailable.
    """
    file = ForeignFile(path, what, tables)
    try:
        await asyncio.to_thread(file.open)
        yield Source(file)
    finally:
        await asyncio.to_thread(file.close)
