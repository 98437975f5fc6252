"""Seeding: the rows an installation begins with, from CSV files, one for each table.

A row is known by its id, or by what it is called. A seed adds what is missing and brings the rest up to date, in one
transaction, and says everything that is wrong with its files before it writes anything. Seeding again changes nothing.

- ``null``, ``true``, ``false``, numbers and JSON are read as such, quoted or not; a header such as ``name:text`` leaves
  a column's numbers, flags and JSON text, so that 007 stays 007.
- ``file:prompts/helper.txt`` is the text of a file; it never leads out of the folder.
- ``env:NAME`` is the text of a variable, null where it is not set.
- ``provider`` in the place of ``provider_id`` names a row of another table; a prompt as ``helper@1``, with its version.
- Of a row that is there, only what a seed owns is overwritten (`tables.TABLES`); what the installation has made its own
  is kept: custom models, prompts that agents have, secrets whose variable is not set.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import exists, literal, or_, select

from agentdb.catalog.models import Agent, AIModel, Prompt, Provider, Tool
from agentdb.config import Settings
from agentdb.engine.advisory import turn_taken
from agentdb.engine.connection import Connection, Script, count, one
from agentdb.engine.locking import writers_wait
from agentdb.engine.plan import Plan
from agentdb.keyring import Keyring
from agentdb.seeding.administrator import administrator_made, proof_from
from agentdb.seeding.folder import SeedFolder
from agentdb.seeding.planning import Planner
from agentdb.seeding.problems import BadSeed, Problem, Problems
from agentdb.seeding.reading import Sheet, read
from agentdb.seeding.tables import SeedTable
from agentdb.seeding.writing import TableReport, Writer
from agentdb.supervisor.models import Policy, Role, User

__all__ = ["SHIPPED", "BadSeed", "Problem", "SeedReport", "TableReport", "ensure", "seed"]

SHIPPED: Final = Path(__file__).with_name("files")

# One after another: of two that find a database empty, the second finds what the first has loaded.
_TURN: Final = Plan[None](turn_taken("seed"), name="seed: turn")
_NOT_EMPTY: Final = Plan[int](
    select(literal(1)).where(
        or_(*(exists(select(model.id)) for model in (Role, Policy, User, Provider, AIModel, Prompt, Tool, Agent)))
    ),
    name="seed: empty",
)


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What a seed did, table by table in the order they were written.

    Attributes:
        test_administrator: whether the test administrator was made.
    """

    tables: dict[str, TableReport]
    test_administrator: bool


class _Repositories(Protocol):
    @property
    def connection(self) -> Connection: ...


class Seedable(Protocol):
    """A database, or a unit."""

    @property
    def catalog(self) -> _Repositories:
        """Any aggregate: what it runs on is seeded."""
        ...


async def seed(db: Seedable, directory: Path | None = None) -> SeedReport:
    """Load seed files, all or none, and tell what was done.

    Args:
        db: an open database; or a unit, in whose transaction it is then done.
        directory: a folder of CSV files; None: those that are shipped.

    When AGENTDB_TEST_API_KEY is set, the user ``admin`` is made with it, unless there is one.

    Raises:
        BadInput: there is no such folder; `BadSeed`, with every problem of its files.
        BadSettings: AGENTDB_TEST_API_KEY is not an access key.

    Cost: one transaction of a few statements for each file, and one for each row that changes; who writes to these
        tables meanwhile waits.
    """
    work = await asyncio.to_thread(_prepared, directory, dict(os.environ))
    connection = db.catalog.connection
    report = await connection.run(partial(work.script, connection.keyring, connection.now(), only_if_empty=False))
    return report or SeedReport({}, test_administrator=False)


async def ensure(connection: Connection, settings: Settings) -> None:
    """Load the shipped files into an empty database when AGENTDB_SEED is auto: of many processes, one does.

    Raises: as `seed`.
    Cost: one read when there is nothing to do.
    """
    if settings.seed == "never" or await connection.fetch_one(_NOT_EMPTY, {}) is not None:
        return
    work = await asyncio.to_thread(_prepared, None, dict(os.environ))
    await connection.run(partial(work.script, connection.keyring, connection.now(), only_if_empty=True))


@dataclass(frozen=True, slots=True)
class _Seed:
    sheets: Sequence[Sheet]
    problems: Problems
    proof: Mapping[str, str] | None

    def script(self, keyring: Keyring, now: datetime, *, only_if_empty: bool) -> Script[SeedReport | None]:
        yield from count(_TURN)
        if only_if_empty and (yield from one(_NOT_EMPTY)) is not None:
            return None
        for sheet in self.sheets:
            yield from count(_lock(sheet.table))
        problems = Problems([*self.problems.found])  # a script may run again from its beginning
        planned = yield from Planner(self.sheets, problems, keyring).plan()
        if problems.found:
            raise BadSeed(problems.found)
        writer, tables = Writer(keyring), {}
        for sheet, rows in planned:
            tables[sheet.table.name] = yield from writer.write(sheet, rows)
        yield from writer.finish()
        made = self.proof is not None and (yield from administrator_made(self.proof, now))
        return SeedReport(tables, test_administrator=made)


@cache
def _lock(table: SeedTable) -> Plan[None]:
    return Plan(writers_wait(table.table), name=f"seed: {table.name}")


def _prepared(directory: Path | None, environment: Mapping[str, str]) -> _Seed:
    proof = proof_from(environment)
    sheets, problems = read(SeedFolder(SHIPPED if directory is None else directory), environment)
    return _Seed(sheets, problems, proof)
