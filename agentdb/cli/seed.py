"""``agentdb seed``: the rows an installation begins with, from CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentdb.cli.application import Exit, app, complain, examples, run, say, settings_of, write_json
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.seeding import BadSeed, SeedReport


@app.command(epilog=examples("agentdb seed", "agentdb seed my/seeds --json"))
def seed(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Argument(help="A folder of CSV files, one for each table; without it, those that are shipped."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write what was done as JSON.")] = False,
) -> None:
    """Add what is missing of the seed files, and bring what they own up to date; again, it changes nothing.

    It is one transaction. What is wrong with the files is named, each with its place, and nothing is loaded. When
    AGENTDB_TEST_API_KEY is set, the user admin is made with it, unless there is one.
    """
    report = run(_seed(settings_of(context), directory))
    if isinstance(report, BadSeed):
        for problem in report.problems:
            complain(problem)
        complain(f"error: {len(report.problems)} to put right in the seed files; nothing was loaded")
        raise typer.Exit(Exit.FAILED)
    if json:
        write_json(report)
    else:
        _show(report)


async def _seed(settings: Settings, directory: Path | None) -> SeedReport | BadSeed:
    # Of this folder alone: AGENTDB_SEED would load what is shipped before it.
    async with Database(settings.model_copy(update={"seed": "never"})) as database:
        try:
            return await database.seed(directory)
        except BadSeed as error:
            return error


def _show(report: SeedReport) -> None:
    for name, done in report.tables.items():
        say(f"{name}: {done.added} added, {done.changed} changed, {done.unchanged} unchanged, {done.kept} kept")
    if report.test_administrator:
        say("the test administrator was made")
