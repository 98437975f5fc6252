"""The whole import, part after part: what others refer to comes first."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from agentdb.database import Database
from agentdb.errors import BadInput, BadSettings
from agentdb.hub.ledger.windows import zone
from agentdb.importing.naisys.accounts import import_accounts
from agentdb.importing.naisys.catalog import import_models
from agentdb.importing.naisys.closing import import_limits, import_notices
from agentdb.importing.naisys.costs import import_costs
from agentdb.importing.naisys.files import import_attachments
from agentdb.importing.naisys.letters import import_mail
from agentdb.importing.naisys.logs import import_logs
from agentdb.importing.naisys.machines import import_hosts
from agentdb.importing.naisys.marks import Marks, identified
from agentdb.importing.naisys.people import import_people
from agentdb.importing.naisys.report import NaisysReport
from agentdb.importing.naisys.runs import import_runs
from agentdb.importing.naisys.settings import import_revisions, import_variables
from agentdb.importing.naisys.source import HUB, SUPERVISOR, Source, opened
from agentdb.importing.naisys.values import flag, identifier, text
from agentdb.importing.naisys.work import Importing, Progress
from agentdb.keys import REMEDY

# Variables before all texts, which they mask; costs before limits, which count them.
_PARTS: Final = (
    import_people,
    import_hosts,
    import_variables,
    import_models,
    import_accounts,
    import_attachments,
    import_revisions,
    import_runs,
    import_logs,
    import_costs,
    import_mail,
    import_notices,
    import_limits,
)


async def import_naisys(
    database: Database,
    hub: Path,
    supervisor: Path | None = None,
    *,
    attachments: Path | None = None,
    timezone: str = "UTC",
    progress: Progress | None = None,
) -> NaisysReport:
    """Import an installation of NAISYS, and tell what was done and what could not be carried.

    Each batch is one transaction, and goes in whole or not at all. An import that was ended goes on where it was, and
    one that is run again brings what is new; what is here already stays as it is. The files are only read, as they are
    at one moment.

    Args:
        database: an open one.
        hub: the file of the hub.
        supervisor: the file of the supervisor; None: no people, only agents.
        attachments: the folder of the hub's attachments, where it is not beside the file's own.
        timezone: the one the hub ran in, whose midnights its spend limits mean.
        progress: is told the table, how many of its rows are done, and how many there are, after each batch.

    Raises: BadInput for files that are not what they should be; DatabaseCorrupt for damaged ones; BadSettings when
        there are secrets and no key to seal them with; whatever says that the database cannot go on.
    """
    zone(timezone)
    async with AsyncExitStack() as files:
        source = await files.enter_async_context(opened(hub, "a hub of NAISYS", HUB))
        people = None
        if supervisor is not None:
            people = await files.enter_async_context(opened(supervisor, "a supervisor of NAISYS", SUPERVISOR))
        await _check_keys(database, source)
        work = Importing(
            database,
            source,
            people,
            Marks(await _identity(database, source)),
            timezone,
            _folder(hub, attachments),
            NaisysReport(),
            progress or (lambda _table, _done, _total: None),
        )
        for part in _PARTS:
            await part(work)
    return work.report


async def _check_keys(database: Database, hub: Source) -> None:
    if database.hub.connection.keyring.ready:
        return
    sensitive = sum(1 for row in await hub.all("variables") if flag(row["sensitive"]))
    if sensitive:
        raise BadSettings(
            f"{hub.path} has {sensitive} sensitive variables, and AGENTDB_ENCRYPTION_KEYS is not set; {REMEDY}"
        )


async def _identity(database: Database, hub: Source) -> str:
    """Return what the hub is known by: one of its users.

    Raises: BadInput when it has none.
    """
    users = await hub.all("users")
    if not users:
        raise BadInput(f"{hub.path} has no users: there is nothing to import")
    uuids = [str(identifier(row["uuid"], f"hub: {text(row['username'])}")) for row in users]
    return await database.run(lambda unit: unit.hub.connection.run(partial(identified, uuids)))


def _folder(hub: Path, told: Path | None) -> Path | None:
    """Return where attachments lie: below a folder beside that of the database file, unless it is told."""
    folder = told or hub.absolute().parent.parent / "attachments" / "hub"
    if folder.is_dir():
        return folder
    if told is not None:
        raise BadInput(f"there is no folder {told}")
    return None
