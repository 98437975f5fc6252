"""What may be wrong with a database or the settings, and what to do; nothing is changed, and no secret is shown."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb import migrating
from agentdb.base import Entity
from agentdb.config import Settings
from agentdb.engine import examining
from agentdb.engine.blobs import SecretType
from agentdb.engine.choice import serving
from agentdb.engine.looking import looking
from agentdb.engine.schema.clearing import there_are
from agentdb.engine.schema.direct import telling
from agentdb.errors import AgentDBError, NotFound
from agentdb.keyring import ID_LENGTH, VERSION, Keyring
from agentdb.sealing import SecretColumn, secret_columns

SKEW_SECONDS: Final = 1.0
LONG_SECONDS: Final = 60.0
LOG_BYTES: Final = 256 * 2**20
CONNECTIONS: Final = 0.8  # of those the server allows
BEHIND_SECONDS: Final = 30.0
_OF_TESTS: Final = "AGENTDB_TEST_"  # what is set beside the settings, for tests and for seeding


class Verdict(StrEnum):
    """What a check came to."""

    FINE = "fine"
    LOOK = "look"  # it works, and something should be done
    WRONG = "wrong"  # it does not work
    SKIPPED = "skipped"  # it has no meaning here, or could not be made


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    verdict: Verdict
    told: str
    remedy: str | None = None


def _fine(check: str, told: str) -> Finding:
    return Finding(check, Verdict.FINE, told)


def _look(check: str, told: str, remedy: str) -> Finding:
    return Finding(check, Verdict.LOOK, told, remedy)


def _wrong(check: str, told: str, remedy: str) -> Finding:
    return Finding(check, Verdict.WRONG, told, remedy)


def _skipped(check: str, told: str) -> Finding:
    return Finding(check, Verdict.SKIPPED, told)


async def examine(settings: Settings, *, environment: Mapping[str, str], thorough: bool = False) -> list[Finding]:
    """Return what every check found, in the order in which one would look.

    Args:
        settings: which database, and how it is used.
        environment: of this process: names that look like settings and are none are told.
        thorough: of a file, compare each index with its table; it reads the whole of it several times.
    """
    found = [_of_names(environment), *_of_folders(settings)]
    found += [finding async for finding in _of_servers(settings)]
    try:
        async with serving(settings) as served, looking(served) as connection:
            found.append(_fine("connection", f"{settings.target.display} answers"))
            with telling("examining the database"):
                found += [finding async for finding in _of_database(connection, served, thorough=thorough)]
    except NotFound as error:
        found.append(_look("connection", str(error), "run `agentdb migrate`, or connect once: either makes it"))
        return found
    except AgentDBError as error:
        remedy = "see that it runs, and that AGENTDB_URL names it, its user and its password"
        return [*found, _wrong("connection", str(error), remedy)]
    found += [finding async for finding in _of_schema(settings)]
    return found


def refused(error: AgentDBError) -> Finding:
    """Return what there is to say when the settings themselves are refused: nothing else can be looked at."""
    return _wrong("settings", str(error), "put it right; every setting is described in agentdb.config.Settings")


def _of_names(environment: Mapping[str, str]) -> Finding:
    known = {f"AGENTDB_{name.upper()}" for name in Settings.model_fields}
    ours = [name for name in environment if name.startswith("AGENTDB_") and not name.startswith(_OF_TESTS)]
    strange = sorted({*ours} - known)
    if not strange:
        return _fine("settings", "every variable that begins with AGENTDB_ is a setting")
    near = {name: difflib.get_close_matches(name, known, n=1) for name in strange}
    meant = [f"{name} ({near[name][0]} is meant?)" if near[name] else name for name in strange]
    return _look("settings", f"no setting is called {', '.join(meant)}", "rename it, or unset it: it does nothing")


def _of_folders(settings: Settings) -> Iterator[Finding]:
    """Yield who may enter the folders and read the file: what is in them is everybody's secrets and talk."""
    target = settings.target
    if target.kind == "memory":
        yield _skipped("folders", "a database in memory has none")
        return
    places = {settings.folder.absolute(), *([target.path.parent, target.path] if target.path is not None else ())}
    open_to = [place for place in sorted(places) if place.exists() and _is_open(place)]
    closed = [place for place in sorted(places) if place.exists() and not _is_usable(place)]
    for place in closed:
        yield _wrong(
            "folders", f"this user may not read and write {place}", f"change its owner or mode: chown, chmod {place}"
        )
    for place in open_to:
        mode = "700" if place.is_dir() else "600"
        yield _look("folders", f"other users of this machine may enter or read {place}", f"chmod {mode} {place}")
    if not open_to and not closed:
        yield _fine("folders", f"{settings.folder.absolute()} is this user's alone, or not there yet")


def _is_open(place: Path) -> bool:
    return bool(stat.S_IMODE(place.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO))


def _is_usable(place: Path) -> bool:
    return os.access(place, os.R_OK | os.W_OK | (os.X_OK if place.is_dir() else 0))


async def _of_servers(settings: Settings) -> AsyncIterator[Finding]:
    """Yield how the pooler and the replica do, which stand beside the database itself."""
    wait = settings.connect_timeout_seconds
    if settings.pooler == "transaction":
        try:
            await examining.answer(settings.target, wait)
        except AgentDBError as error:
            yield _wrong("pooler", str(error), "see that it runs, and that AGENTDB_URL names it")
        else:
            if settings.direct_url is None:
                told = "it answers; without a way past it nothing is migrated, and followers poll"
                yield _look("pooler", told, "set AGENTDB_DIRECT_URL to the server itself")
            else:
                yield _fine("pooler", "it answers")
    if settings.replica is not None:
        try:
            replica = await examining.replica(settings.replica, wait)
        except AgentDBError as error:
            yield _wrong("replica", str(error), "see that it runs, or unset AGENTDB_REPLICA_URL")
        else:
            yield _of_replica(replica)


def _of_replica(replica: examining.Replica) -> Finding:
    if not replica.follows:
        return _wrong(
            "replica", "it follows nobody: reads find what it was once", "set it up anew, or unset AGENTDB_REPLICA_URL"
        )
    behind = replica.behind_seconds or 0.0
    if behind > BEHIND_SECONDS:
        return _look(
            "replica", f"it is {behind:.0f} s behind", "see what it replays, and whether its network and disk keep up"
        )
    return _fine("replica", f"it answers, {behind:.0f} s behind")


async def _of_database(connection: AsyncConnection, settings: Settings, *, thorough: bool) -> AsyncIterator[Finding]:
    for program in await examining.software(connection):
        told = f"{program.name} {program.version or 'is not there'}"
        if program.fits:
            yield _fine("versions", told)
        else:
            yield _wrong("versions", told, f"install {program.name} {program.oldest} or newer, and create or update it")
    yield _of_clock(await examining.clock_ahead(connection))
    yield await _of_keys(connection, settings)
    for held in (long := await examining.long_transactions(connection, LONG_SECONDS)):
        who = f"process {held.process} ({held.application or held.user}, {held.state})"
        told = f"{who} has had a transaction open for {held.seconds:.0f} s: others wait, and nothing is cleaned up"
        yield _look("transactions", told, f"await no model within a unit; SELECT pg_terminate_backend({held.process})")
    if not long:
        yield _fine("transactions", f"none is known to be open for more than {LONG_SECONDS:.0f} s")
    broken = await examining.invalid_indexes(connection, thorough=thorough)
    for what in broken:
        yield _wrong("indexes", f"{what} is not sound", "REINDEX it, or restore a backup: `agentdb restore`")
    if not broken:
        yield _fine("indexes", "all are sound")
    yield await _of_log(connection, settings)
    yield await _of_sessions(connection, settings)


def _of_clock(ahead: float | None) -> Finding:
    if ahead is None:
        return _skipped("clock", "the database has this machine's")
    if abs(ahead) <= SKEW_SECONDS:
        return _fine("clock", f"the server's is {ahead:+.3f} s off this machine's")
    told = f"the server's is {ahead:+.1f} s off this machine's; agentdb allows for it, other programs do not"
    return _look("clock", told, "let both machines keep time by NTP")


async def _of_keys(connection: AsyncConnection, settings: Settings) -> Finding:
    """Tell which keys the stored secrets need, and which of them this process has; nothing is opened."""
    ours = Keyring.from_settings(settings).ids
    there: dict[str, int] = {}
    names = await connection.run_sync(there_are, Entity.metadata)
    for column in secret_columns():
        if column.table in names:
            for sealed, count in (await connection.execute(_by_key(column))).all():
                key = (sealed or b"").hex()
                there[key] = there.get(key, 0) + count
    lost = {key: count for key, count in sorted(there.items()) if key not in ours}
    if lost:
        told = ", ".join(f"{count} secrets are sealed with key {key}" for key, count in lost.items())
        return _wrong("keys", f"{told}, which is not set", "add it behind the others in AGENTDB_ENCRYPTION_KEYS")
    if not ours:
        remedy = "set AGENTDB_ENCRYPTION_KEYS before any secret is stored; `agentdb keys new` makes one"
        return _look("keys", "no encryption key is set", remedy)
    older = sum(count for key, count in there.items() if key != ours[0])
    if older:
        return _look("keys", f"{older} secrets are sealed with an older key", "run `agentdb keys rotate`")
    return _fine("keys", f"{len(ours)} set; {sum(there.values())} secrets, all sealed with the newest")


def _by_key(column: SecretColumn) -> Select[bytes, int]:
    """Return the statement that counts a column's secrets by the key they say they are sealed with."""
    first, length = text(str(len(VERSION) + 1)), text(str(ID_LENGTH))
    key = func.substr(column.column, first, length, type_=SecretType())
    return select(key, func.count()).where(column.column.is_not(None)).group_by(key)


async def _of_log(connection: AsyncConnection, settings: Settings) -> Finding:
    kept = await examining.kept_log(connection)
    if (path := settings.target.path) is not None and path.is_file():
        log = path.with_name(f"{path.name}-wal")
        kept = [examining.Piled(f"the log {log}", log.stat().st_size if log.exists() else 0)]
    large = [piled for piled in kept if piled.bytes > LOG_BYTES]
    if large:
        told = ", ".join(f"{piled.what}: {piled.bytes // 2**20} MiB" for piled in large)
        remedy = "find the reader or slot that holds it up: end the process, or drop the slot"
        return _look("log", f"what is written ahead piles up ({told})", remedy)
    return _fine("log", f"{sum(piled.bytes for piled in kept) // 2**20} MiB are kept for others")


async def _of_sessions(connection: AsyncConnection, settings: Settings) -> Finding:
    found = await examining.sessions(connection)
    if found is None:
        return _skipped("connections", "a file has no limit")
    there, most = found
    told = f"{there} of {most} on the server; each process may have {settings.pool_size}"
    if there > CONNECTIONS * most or settings.pool_size > most:
        return _look("connections", told, "lower AGENTDB_POOL_SIZE, or put a pooler before the server")
    return _fine("connections", told)


async def _of_schema(settings: Settings) -> AsyncIterator[Finding]:
    expected = f"{migrating.head():04}"
    try:
        version = await migrating.current(settings)
        if version is None:
            yield _look("schema", "there is none yet", "run `agentdb migrate`")
            return
        if version.number > int(expected):
            yield _wrong("schema", f"it is at {version}, and this code expects {expected}", "install a newer agentdb")
            return
        if version.revision != expected:
            yield _look("schema", f"it is at {version}, and this code expects {expected}", "run `agentdb migrate`")
            return
        yield _fine("schema", f"it is at {version}, which is what this code expects")
        differences = await migrating.check(settings)
    except AgentDBError as error:
        yield _wrong("schema", str(error), "restore a backup, or run `agentdb stamp` when you are sure")
        return
    if differences:
        named = ", ".join(difference.name for difference in differences[:5])
        told = f"{len(differences)} differences from the models: {named}{', ...' if len(differences) > 5 else ''}"
        yield _look("drift", told, "run `agentdb check` for each of them")
    else:
        yield _fine("drift", "the database and the models agree")
