"""``agentdb retention`` and ``agentdb cleanup-deprecated``: what is old goes, and it is told what went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.progress import SpinnerColumn
from rich.table import Table

from agentdb.cli.application import Exit, app, complain, console, examples, failed, run, say, settings_of, write_json
from agentdb.cli.progress import bar
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.errors import AgentDBError, BadInput
from agentdb.operating.deprecated import Dropped, drop_deprecated
from agentdb.operating.retaining.policies import DEFAULTS, NEVER, Keep, keep
from agentdb.operating.retaining.removing import Kept
from agentdb.operating.retaining.rules import RULES
from agentdb.operating.retention import BUDGET_SECONDS, OnRemoved, Removed, RetentionReport, apply

Json = Annotated[bool, typer.Option("--json", help="Write what was done as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count, and remove nothing.")]


@dataclass(frozen=True, slots=True)
class _Declared:
    """What is declared of a table, for `--list`."""

    table: str
    keeps: str
    by: str


@app.command()
def retention(
    context: typer.Context,
    older_than: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE=AGE", help="Remove what is older: costs=400d, sessions=0d, context_log=36h."),
    ] = None,
    newest: Annotated[
        list[str] | None, typer.Option(metavar="TABLE=NUMBER", help="Keep the newest so many: context_log=1000000.")
    ] = None,
    never: Annotated[
        list[str] | None, typer.Option(metavar="TABLE", help="Remove nothing of a table that has a default.")
    ] = None,
    budget: Annotated[float, typer.Option(help="Seconds after which no batch begins.")] = BUDGET_SECONDS,
    dry_run: DryRun = False,
    listing: Annotated[bool, typer.Option("--list", help="Tell of each table whether it may go, and by what.")] = False,
    json: Json = False,
) -> None:
    """Remove old rows in short transactions, while others read and write; costs are folded into days.

    Without options only what is over by itself goes: sessions, memories that have ended, attachments that nothing
    refers to. It may be interrupted and run again. When something old is left, it ends with 1.

    Example: agentdb retention --older-than costs=400d --older-than context_log=90d --dry-run
    """
    if listing:
        _list(json=json)
        return
    try:
        policies = _policies(older_than or (), newest or (), never or ())
    except AgentDBError as error:
        raise failed(error) from None
    report = run(_apply(settings_of(context), policies, budget, dry_run=dry_run))
    if json:
        write_json({"rows": report.rows, "finished": report.finished, **_plain(report)})
    else:
        for table in report.tables:
            say(_told(table, dry_run=dry_run))
    for table in report.tables:
        if table.problem:
            complain(f"{table.table}: {table.problem}")
    if not report.finished:
        raise typer.Exit(Exit.LOOK)


@app.command("cleanup-deprecated", epilog=examples("agentdb cleanup-deprecated --dry-run"))
def cleanup_deprecated(context: typer.Context, dry_run: DryRun = False, json: Json = False) -> None:
    """Drop the four tables that older versions of the platform left behind, if they are there, with their rows.

    They are migration_history_backup, _migrations_old, agent_template_versions and agent_template_history.
    """
    dropped = run(_drop(settings_of(context), dry_run=dry_run))
    if json:
        write_json({"dry_run": dry_run, "dropped": dropped})
        return
    for table in dropped:
        say(f"{table.table}: {'would be' if dry_run else 'was'} dropped with {table.rows} rows")
    if not dropped:
        say("no deprecated table is there")


async def _apply(
    settings: Settings, policies: dict[str, Keep | None], budget: float, *, dry_run: bool
) -> RetentionReport:
    async with Database(settings) as database:
        with _telling() as tell:
            return await apply(database, policies, budget_seconds=budget, dry_run=dry_run, on_removed=tell)


async def _drop(settings: Settings, *, dry_run: bool) -> list[Dropped]:
    async with Database(settings) as database:
        return await drop_deprecated(database, dry_run=dry_run)


def _policies(older_than: Iterable[str], newest: Iterable[str], never: Iterable[str]) -> dict[str, Keep | None]:
    asked = [_pair(text, "") for text in older_than]
    asked += [_pair(text, "rows") for text in newest]
    asked += [(table, NEVER) for table in never]
    policies: dict[str, Keep | None] = {}
    for table, how in asked:
        if table in policies:
            raise BadInput(f"{table} is named twice; name it once")
        policies[table] = keep(how)
    return policies


def _pair(text: str, unit: str) -> tuple[str, str]:
    table, _, how = text.partition("=")
    if not table or not how:
        raise BadInput(
            f"{text!r} is not a table and how much of it stays; write {'context_log=1000000' if unit else 'costs=400d'}"
        )
    return table, how + unit


def _told(table: Removed, *, dry_run: bool) -> str:
    if table.table == "costs":
        done = "rows would be folded into days" if dry_run else "rows folded into days"
    else:
        done = "rows would go" if dry_run else "rows removed"
    rest = "" if table.finished else ", and there is more"
    return f"{table.table} (kept {table.keep}): {table.rows} {done}{rest}"


def _plain(report: RetentionReport) -> dict[str, Any]:
    return {"run": report.run, "at": report.at.isoformat(), "dry_run": report.dry_run, "tables": report.tables}


def _list(*, json: bool) -> None:
    declared = [
        _Declared(name, NEVER, rule.why)
        if isinstance(rule, Kept)
        else _Declared(name, str(DEFAULTS[name]) if name in DEFAULTS else "until told", rule.by)
        for name, rule in RULES.items()
    ]
    if json:
        write_json(declared)
        return
    table = Table("table", "kept", "by what, or why")
    for row in declared:
        table.add_row(row.table, "for ever" if row.keeps == NEVER else row.keeps, row.by)
    console().print(table)


@contextmanager
def _telling() -> Iterator[OnRemoved]:
    with bar(SpinnerColumn()) as shown:
        task = shown.add_task("beginning", total=None)
        yield lambda table, rows: shown.update(task, description=f"{table}: {rows} rows")
