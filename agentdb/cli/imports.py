"""``agentdb import``: conversations, prices and installations of NAISYS, from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, TransferSpeedColumn

from agentdb.catalog.records import PriceReport
from agentdb.cli.application import Exit, app, complain, examples, run, say, settings_of, write_json
from agentdb.cli.progress import bar, staged
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.importing.chat import AGENT, ChatReport, import_chat
from agentdb.importing.naisys import NaisysReport, import_naisys
from agentdb.importing.prices import import_prices

importing: Final = typer.Typer(
    help="Import conversations, prices and installations of NAISYS from files.", no_args_is_help=True
)
app.add_typer(importing, name="import")

File = Annotated[Path, typer.Argument(help="The file; it may be compressed with gzip.")]
Json = Annotated[bool, typer.Option("--json", help="Write what was done as JSON.")]


@importing.command(
    epilog=examples("agentdb import chat runs.jsonl.gz", "agentdb import chat runs.jsonl --agent researcher --json")
)
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


@importing.command(epilog=examples("agentdb import prices prices.csv"))
def prices(context: typer.Context, file: File, json: Json = False) -> None:
    """Import a price list: CSV with the models' keys, providers, sizes and prices per token."""
    report = run(_prices(settings_of(context), file))
    if json:
        write_json(report)
    else:
        _show_prices(report)


@importing.command(epilog=examples("agentdb import naisys --hub naisys_hub.db --supervisor supervisor.db"))
def naisys(
    context: typer.Context,
    hub: Annotated[Path, typer.Option(help="The hub's file, naisys_hub.db; it is only read.")],
    supervisor: Annotated[Path | None, typer.Option(help="The supervisor's file, supervisor.db.")] = None,
    attachments: Annotated[
        Path | None, typer.Option(help="The hub's folder of attachments, where it was moved.")
    ] = None,
    timezone: Annotated[str, typer.Option(help="The time zone the hub ran in: its spend limits mean it.")] = "UTC",
    json: Json = False,
) -> None:
    """Import an installation of NAISYS: users, hosts, runs, logs, costs, mail, variables and all that belongs to them.

    What is there already stays as it is: run it again for what is new, or after it was ended. What could not be carried
    is named, and ends it with 1.
    """
    report = run(_naisys(settings_of(context), hub, supervisor, attachments, timezone))
    for problem in report.problems:
        complain(f"{problem.table} {problem.row}: {problem.reason}")
    if json:
        write_json(report)
    else:
        _show_naisys(report)
    if report.problems:
        raise typer.Exit(Exit.LOOK)


async def _naisys(
    settings: Settings, hub: Path, supervisor: Path | None, attachments: Path | None, timezone: str
) -> NaisysReport:
    async with Database(settings) as database:
        with staged() as tell:
            return await import_naisys(
                database, hub, supervisor, attachments=attachments, timezone=timezone, progress=tell
            )


async def _chat(settings: Settings, file: Path, size: int | None, agent: str) -> ChatReport:
    async with Database(settings) as database:
        with bar(BarColumn(), TransferSpeedColumn()) as shown:
            task = shown.add_task(file.name, total=size)
            return await import_chat(
                database, file, agent=agent, progress=lambda position: shown.update(task, completed=position)
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


def _show_naisys(report: NaisysReport) -> None:
    for table, counted in report.tables.items():
        say(f"{table}: {counted.imported} imported, {counted.present} were there already, {counted.left} left behind")
    say(f"${report.cost:f} came into the ledger")
    for note in report.notes:
        say(f"note: {note}")
    if report.problems_untold:
        say(f"{report.problems_untold} more problems are not named")
