"""``agentdb import``: conversations and prices, from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from agentdb.catalog.records import PriceReport
from agentdb.cli.application import Exit, app, complain, run, say, settings_of, write_json
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.importing.chat import AGENT, ChatReport, import_chat
from agentdb.importing.prices import import_prices

importing: Final = typer.Typer(help="Import conversations and prices from files.", no_args_is_help=True)
app.add_typer(importing, name="import")

File = Annotated[Path, typer.Argument(help="The file; it may be compressed with gzip.")]
Json = Annotated[bool, typer.Option("--json", help="Write what was done as JSON.")]


@importing.command()
def chat(
    context: typer.Context,
    file: File,
    agent: Annotated[str, typer.Option(help="The agent that had these conversations.")] = AGENT,
    json: Json = False,
) -> None:
    """Import runs of agents: JSON Lines with id, user, model and messages in the OpenAI chat form.

    A run that is there already stays as it is. Lines that do not go in are named, and end it with 1; the others do.
    """
    size = file.stat().st_size if file.is_file() else None
    report = run(_chat(settings_of(context), file, size, agent))
    for problem in report.problems:
        complain(f"{file}, line {problem.line}: {problem.reason}")
    if json:
        write_json(report)
    else:
        _show_chat(report)
    if report.problems:
        raise typer.Exit(Exit.LOOK)


@importing.command()
def prices(context: typer.Context, file: File, json: Json = False) -> None:
    """Import a price list: CSV with the models' keys, providers, sizes and prices per token."""
    report = run(_prices(settings_of(context), file))
    if json:
        write_json(report)
    else:
        _show_prices(report)


async def _chat(settings: Settings, file: Path, size: int | None, agent: str) -> ChatReport:
    terminal = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=terminal,
        disable=not terminal.is_terminal,
        transient=True,
    )
    async with Database(settings) as database:
        with bar:
            task = bar.add_task(file.name, total=size)
            return await import_chat(
                database, file, agent=agent, progress=lambda position: bar.update(task, completed=position)
            )


async def _prices(settings: Settings, file: Path) -> PriceReport:
    async with Database(settings) as database:
        return await import_prices(database, file)


def _show_chat(report: ChatReport) -> None:
    say(
        f"{report.runs} runs imported ({report.messages} messages, {report.calls} model calls, ${report.cost:f}), "
        f"{report.present} were there already, {len(report.problems)} lines did not go in"
    )
    if report.unpriced:
        say(f"{report.unpriced} model calls are there at $0: their models have no known price")


def _show_prices(report: PriceReport) -> None:
    say(
        f"{report.added} models added, {report.changed} changed, {report.unchanged} unchanged, "
        f"{report.kept} custom ones kept; {report.providers_added} providers added; "
        f"{report.rounded} prices rounded to nine places"
    )
