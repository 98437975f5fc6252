"""Variables, of which the sensitive ones are sealed, and what users' configurations were."""

from __future__ import annotations

from typing import Any

from agentdb.engine.connection import Script, each
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput
from agentdb.hub.models.settings import ConfigRevision, Variable
from agentdb.hub.variables import RESERVED
from agentdb.importing.naisys.source import Row
from agentdb.importing.naisys.values import flag, identifier, mapping, maybe, moment, text
from agentdb.importing.naisys.work import Importing


async def import_variables(work: Importing) -> None:
    """Bring the variables that are not set here."""
    keyring = work.connection.keyring

    def author(told: Any) -> int | None:
        return work.by_uuid.get(str(identifier(told, ""))) if told else None

    def convert(row: Row) -> dict[str, Any]:
        key, sensitive = text(row["key"]), flag(row["sensitive"])
        if key in RESERVED:
            raise BadInput("is the runner's own, different for each agent")
        if not 0 < len(key) <= 255:
            raise BadInput("a key has 1 to 255 characters")
        value, created = text(row["value"]), moment(row["created_at"])
        return {
            "key": key,
            "value": None if sensitive else value,
            "secret": keyring.seal(value, table="variables", column="secret", row=key) if sensitive else None,
            "export_to_shell": flag(row["export_to_shell"]),
            "sensitive": sensitive,
            "created_by": author(row["created_by"]),
            "updated_by": author(row["updated_by"]),
            "created_at": created,
            "updated_at": maybe(moment, row["updated_at"]) or created,
        }

    rows = await work.hub.all("variables")
    try:
        await work.add_unless_there("variables", Variable, ("key",), work.carried("variables", rows, convert, "key"))
    finally:
        work.database.hub.redaction.changed()
    work.progress("variables", len(rows), len(rows))


async def import_revisions(work: Importing) -> None:
    """Bring what users' configurations were.

    Who changed one is written there as an id of the supervisor's, unless the agent itself did.
    """

    def convert(row: Row) -> dict[str, Any]:
        if row["user_id"] not in work.users:
            raise BadInput("its user is not there")
        user_id, by = work.users[row["user_id"]], row["changed_by_id"]
        return {
            "user_id": user_id,
            "config": mapping(row["config"]),
            "changed_by_id": user_id if by == row["user_id"] else work.accounts.get(by),
            "created_at": moment(row["created_at"]),
        }

    async def batch(rows: list[Row]) -> list[dict[str, Any]]:
        return work.carried("config_revisions", rows, convert)

    counts = await work.follow("config_revisions", batch, _store)
    work.report.stored("config_revisions", sum(counts))


def _store(rows: list[dict[str, Any]]) -> Script[int]:
    yield from each(insert_one(ConfigRevision), rows)
    return len(rows)
