"""Transfer: a whole database moved into another, of the same kind or the other, and compared there row by row.

Tables go group by group, each group in one transaction of the target, which also notes that it is done. The source is
read as it is at one moment, and never written. The target takes the source's identity: the folder of attachments knows
its database by that.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, Table, column, func, insert, inspect, literal, select, table

from agentdb import migrating
from agentdb.base import Entity
from agentdb.config import Settings
from agentdb.engine.choice import serving
from agentdb.engine.moving import Orphans, Side
from agentdb.engine.saving import in_thread
from agentdb.engine.schema.direct import telling
from agentdb.engine.schema.history import newer, version_of
from agentdb.engine.sides import are_one, source_side, target_side
from agentdb.errors import BadInput, BadSettings, Conflict, DatabaseCorrupt, SchemaMismatch
from agentdb.operating import files
from agentdb.operating.contents import StoredFile
from agentdb.operating.digests import OnProgress, TableDigest, nobody
from agentdb.operating.transferring import copying
from agentdb.operating.transferring.groups import groups
from agentdb.operating.transferring.progress import VERSION, Progress, State, left
from agentdb.operating.transferring.unindexed import Unindexed, unindexed

_MANY = 5000  # rows of a table whose indexes are better made anew


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a transfer did."""

    tables: dict[str, TableDigest]  # as they are in both
    copied: int  # rows, by this run
    resumed: int  # tables that an earlier run had done
    began_over: bool  # as the source had changed since an earlier run
    left_out: dict[str, int]  # rows by table that refer to rows which are not there
    nulled: dict[str, int]  # such references by table.column, where a row is kept without
    files: int  # of attachments, which were not there already
    missing: list[StoredFile]  # which the source lacks
    unindexed: list[Unindexed]  # collections whose indexes are not carried
    seconds: float  # of copying rows

    @property
    def rows(self) -> int:
        """How many rows there are in all tables."""
        return sum(digest.rows for digest in self.tables.values())


async def transfer(
    source: Settings, target: Settings, *, force: bool = False, on_progress: OnProgress | None = None
) -> Transferred:
    """Move a whole database into an empty one: rows with their ids, and the files of attachments where folders differ.

    It may be killed at any moment, and run again: it goes on behind the last group of tables that was done, or begins
    over when the source has changed since. Until it has ended well, nobody can open the target. Who runs it stops the
    services that write the source: what is written after its beginning is not moved.

    Args:
        source: a database that is up to date.
        target: one that is empty, or holds an unfinished transfer of the same source; brought up to date.
        force: clear away what the target holds.
        on_progress: is told how far it is.

    Raises:
        BadInput: both are one database.
        BadSettings: one of them is in memory, or the target's folder of attachments is another database's.
        Conflict: the target is not empty; or another transfer into it has begun.
        DatabaseCorrupt: what was written is not what was read.
        NotFound: there is no source.
        SchemaMismatch: the source is not up to date.
    """
    for settings in (source, target):
        if settings.target.kind == "memory":
            raise BadSettings("a database in memory goes with its process; name a file, or a server")
    async with serving(source) as read, serving(target) as written:
        if await are_one(read, written, secrets.randbits(62)):
            raise BadInput("the source and the target are one database; name another target")
        return await _Transfer(read, written, on_progress or nobody, force=force).run()


@dataclass(slots=True)
class _Transfer:
    read: Settings
    written: Settings
    tell: OnProgress
    force: bool
    done: int = 0
    total: int = 0
    counted: dict[str, int] = field(default_factory=dict)

    async def run(self) -> Transferred:
        with telling("the transfer ended, and may be run again"):
            async with source_side(self.read) as source:
                row = await self._identified(source)
                self._refuse_files_of_another(row["identity"])
                await self._prepare(row)
                async with target_side(self.written) as target:
                    return await self._move(source, target, row)

    async def _identified(self, source: Side) -> dict[str, Any]:
        """Return the source's row of schema_version."""
        version = await source.connection.run_sync(version_of, self.read.direct.schema)
        expected = migrating.head()
        if version is not None and version.number > expected:
            raise newer(version.number, expected)
        if version is None or version.number < expected:
            raise SchemaMismatch("the source is not up to date; run `agentdb migrate` on it first")
        return dict((await source.connection.execute(select(VERSION))).mappings().one())

    def _refuse_files_of_another(self, identity: str) -> None:
        folder = self.written.attachments
        if folder is not None and files.owners(folder) - {identity} and not self.force:
            raise BadSettings(
                f"the folder {folder} keeps the files of another database; give the target a folder of its own, or"
                " make it this one's with --force"
            )

    async def _prepare(self, row: dict[str, Any]) -> None:
        """See that the target is empty, or goes on, and that its schema is the source's.

        Raises: Conflict.
        """
        file, where = self.written.target.path, self.written.target.display
        if file is None or file.exists():
            async with target_side(self.written) as side:
                state = await left(side, self.written.direct.schema)
                there = await side.connection.run_sync(_there)
                holds = None if state is not None else await _occupied(side, there)
                await side.connection.rollback()
            goes_on = state is not None and (state.source, state.revision) == (row["identity"], row["revision"])
            if goes_on and not self.force:
                return
            if state is not None and not self.force:
                raise Conflict(f"{where} holds an unfinished transfer of another database; clear it with --force")
            if holds is not None and not self.force:
                raise Conflict(f"the table {holds} of {where} has rows; clear it with --force, or name another target")
            if state is not None:
                await migrating.stamp(self.written, state.revision)  # a migration begins where the schema says it is
                async with target_side(self.written) as side, side.transaction():
                    await side.clear([one for one in _tables() if one.name in there - {VERSION.name}])
                    await Progress(side, state).end()
        self.tell("migrating", 0, 0)
        await migrating.upgrade(self.written)

    async def _move(self, source: Side, target: Side, row: dict[str, Any]) -> Transferred:
        self.tell("looking for rows that refer to nothing", 0, 0)
        tables = [one for one in _tables() if one.name != VERSION.name]
        orphans = await source.orphans(tables)
        self.counted = {one.name: await _count(source, one) for one in tables}
        self.total = sum(self.counted.values())
        progress, began_over = await self._begun(source, target, orphans, row)
        resumed = len(progress.state.done)
        copied = sum(self.counted[name] for name in self.counted.keys() - progress.state.done.keys())
        began_at = time.monotonic()
        for group in groups(tables):
            if any(one.name not in progress.state.done for one in group):
                await self._copy(source, target, group, orphans, progress)
        seconds = time.monotonic() - began_at
        await self._verify(target, tables, progress.state.done)
        placed, missing = await self._carry_files(source, row["identity"])
        async with target.transaction():
            await progress.hold()
            await target.connection.execute(insert(VERSION).values(row))
            await progress.end()
        self.tell("finished", 1, 1)
        return Transferred(
            progress.state.done,
            copied,
            resumed,
            began_over,
            {name: len(rowids) for name, rowids in sorted(orphans.left_out.items())},
            {".".join(place): len(rowids) for place, rowids in sorted(orphans.nulled.items())},
            placed,
            missing,
            await unindexed(source, self.written),
            seconds,
        )

    async def _begun(self, source: Side, target: Side, orphans: Orphans, row: dict[str, Any]) -> tuple[Progress, bool]:
        """Mark the target as ours; what an earlier run has done counts where the source is still as it was."""
        state = await left(target, self.written.direct.schema)
        await target.connection.rollback()
        fresh = State(row["identity"], row["revision"])
        progress = Progress(target, state or fresh)
        if state is None:
            async with target.transaction():
                await target.clear([one for one in _tables() if one.name != VERSION.name])
                await progress.begin()
            return progress, False
        changed = False
        self.done = 0
        for name, stood in state.done.items():
            tell = partial(self._told, "comparing rows of the earlier run")
            changed = changed or await copying.digest(source, Entity.metadata.tables[name], orphans, tell) != stood
        async with target.transaction():
            if changed:
                progress.state = fresh
                await target.clear([one for one in _tables() if one.name != VERSION.name])
            await progress.take()
        self.done = 0 if changed else sum(stood.rows for stood in state.done.values())
        return progress, changed

    async def _copy(self, source: Side, target: Side, group: list[Table], orphans: Orphans, progress: Progress) -> None:
        found: dict[str, TableDigest] = {}
        async with target.transaction():
            await progress.hold()
            for one in group:
                found[one.name] = await copying.copy(
                    source,
                    target,
                    one,
                    orphans,
                    bulk=self.counted[one.name] >= _MANY,
                    tell=partial(self._told, "copying rows"),
                )
            for one in group:
                await target.close(one, await source.last_id(one))
            await progress.note(found)

    async def _verify(self, target: Side, tables: list[Table], expected: dict[str, TableDigest]) -> None:
        """Compare what is in the target with what was read.

        Raises: DatabaseCorrupt naming the tables.
        """
        self.done = 0
        wrong = []
        async with source_side(self.written) as side:
            for one in tables:
                found = await copying.digest(side, one, Orphans(), partial(self._told, "verifying rows"))
                if found != expected[one.name]:
                    wrong.append(f"{one.name} ({found.rows} rows, {expected[one.name].rows} expected)")
        if wrong:
            raise DatabaseCorrupt(f"what was written is not what was read: {', '.join(wrong)}; run it with --force")
        if not await target.verify():
            raise DatabaseCorrupt("what was written has references that lead nowhere; run it with --force")
        await target.connection.rollback()

    async def _carry_files(self, source: Side, identity: str) -> tuple[int, list[StoredFile]]:
        """Put the files of attachments where the target looks for them, and return how many, and those missing."""
        start, end = self.read.attachments, self.written.attachments
        stored = await _files(source)
        if start is None or end is None:
            return 0, stored

        def carry(pace: Any) -> tuple[int, list[StoredFile]]:
            missing = files.damaged(stored, start, pace("looking at files", self.tell))
            if start.resolve() == end.resolve():
                return 0, missing
            gone = set(missing)
            sound = [file for file in stored if file not in gone]
            if not sound and not files.owners(end):
                return 0, missing
            placed = files.put_back(sound, start, end, pace("copying files", self.tell))
            files.give(end, identity)
            return placed, missing

        return await in_thread(carry)

    def _told(self, what: str, rows: int) -> None:
        self.done += rows
        self.tell(what, self.done, self.total)


def _tables() -> list[Table]:
    return list(Entity.metadata.tables.values())


def _there(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def _occupied(side: Side, there: set[str]) -> str | None:
    """Return the name of a table of ours that has rows."""
    for one in _tables():
        is_ours = one.name in there and one.name != VERSION.name
        if is_ours and await side.connection.scalar(select(literal(1)).select_from(table(one.name)).limit(1)):
            return one.name
    return None


async def _count(side: Side, one: Table) -> int:
    return await side.connection.scalar(select(func.count()).select_from(one)) or 0


async def _files(source: Side) -> list[StoredFile]:
    rows: Any = select(column("file_hash"), column("file_size")).select_from(table("attachments")).distinct()
    return sorted(StoredFile(row.file_hash, row.file_size) for row in await source.connection.execute(rows))
