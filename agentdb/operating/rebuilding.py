"""A schema made anew: from the migrations (`reset`), or straight from the models (`push`)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from agentdb import migrating
from agentdb.base import Entity
from agentdb.config import Settings
from agentdb.engine.choice import serving
from agentdb.engine.saving import keep_copy
from agentdb.engine.schema.catalog import Difference, compare, describe
from agentdb.engine.schema.clearing import drop_all, there_are
from agentdb.engine.schema.direct import alone, create_all, prepare, telling
from agentdb.engine.schema.history import HISTORY, run
from agentdb.errors import BadSettings


@dataclass(frozen=True, slots=True)
class Reset:
    """What a reset did."""

    dropped: tuple[str, ...]
    revision: str | None  # which the database is at now; None: it was left empty


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    dropped: tuple[str, ...]
    created: tuple[str, ...]
    differences: tuple[Difference, ...]  # of tables that were there already, and were left as they are


async def reset(settings: Settings, *, empty: bool = False) -> Reset:
    """Drop all our tables with their rows, and make them anew by the migrations; all in one transaction.

    Tables of others and the files of attachments stay.

    Args: empty: leave it without tables.
    Raises: BadSettings or Unavailable, and the database is as it was.
    """
    async with serving(settings) as served:
        await _keep(served)
        async with alone(served) as connection:
            with telling("resetting failed, and the database is as it was"):
                done = await connection.run_sync(partial(_reset, schema=served.direct.schema, empty=empty))
                await connection.commit()
                return done


async def push(settings: Settings, *, anew: bool = False, remote: bool = False) -> Pushed:
    """Make the tables that the models have and the database lacks, past all migrations; for development.

    Tables that are there stay as they are, and what they differ in is returned: with `anew` they are dropped before,
    with their rows. Either way it is one transaction, and the database is said to be at the last revision.

    Args: remote: also where the server is another machine.
    Raises: BadSettings for a service, and for a server that is another machine.
    """
    _refuse_production(settings, remote=remote)
    async with serving(settings) as served:
        if anew:
            await _keep(served)
        async with alone(served) as connection:
            with telling("pushing failed, and the database is as it was"):
                dropped, created = await connection.run_sync(partial(_push, schema=served.direct.schema, anew=anew))
                await connection.commit()
                return Pushed(dropped, created, await connection.run_sync(_differences))


async def _keep(settings: Settings) -> None:
    """Copy a database that is a file before what is in it goes, where the settings say so."""
    if settings.backup_before_migrate and (before := await migrating.current(settings)) is not None:
        await keep_copy(settings, before.revision)


def _refuse_production(settings: Settings, *, remote: bool) -> None:
    if settings.service is not None:
        raise BadSettings("a service does not push its models; unset AGENTDB_SERVICE, or run `agentdb migrate`")
    if not remote and not _is_here(settings.direct.host):
        raise BadSettings(
            f"push is for development, and {settings.direct.host} is another machine; run `agentdb migrate`, or pass"
            " --remote when it is for development too"
        )


def _is_here(host: str) -> bool:
    """Tell whether a host is this machine: a file has none, and a socket is a folder."""
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reset(connection: Connection, *, schema: str | None, empty: bool) -> Reset:
    # First, so that where the tables are to be is there to look in; and so that Alembic joins this transaction.
    prepare(connection, schema, ())
    dropped = drop_all(connection, Entity.metadata)
    if empty:
        return Reset(tuple(dropped), None)
    report = run(connection, "upgrade", "head", schema=schema, metadata=Entity.metadata, history=HISTORY)
    return Reset(tuple(dropped), report.after)


def _push(connection: Connection, *, schema: str | None, anew: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tables were dropped, and which were made."""
    prepare(connection, schema, ())
    dropped = drop_all(connection, Entity.metadata) if anew else []
    there = set(there_are(connection, Entity.metadata))
    missing = [table for table in Entity.metadata.tables.values() if table.name not in there]
    create_all(Entity.metadata, connection, missing)
    run(connection, "stamp", "head", schema=schema, metadata=Entity.metadata, history=HISTORY)
    return tuple(dropped), tuple(sorted(str(table.name) for table in missing))


def _differences(connection: Connection) -> tuple[Difference, ...]:
    live, models = describe(connection), migrating.describe_models(connection)
    return () if models is None else tuple(compare(live, models, within="the database"))
