"""``agentdb doctor``: a thin command over `agentdb.operating.doctor`."""

from __future__ import annotations

import os
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from agentdb.cli.application import Exit, Options, app, console, examples, printable, run, say, write_json
from agentdb.errors import AgentDBError
from agentdb.operating.doctor import Finding, Verdict, examine, refused

_STYLES: Final = {Verdict.FINE: "green", Verdict.LOOK: "yellow", Verdict.WRONG: "red", Verdict.SKIPPED: "dim"}
_EXITS: Final = {Verdict.WRONG: Exit.FAILED, Verdict.LOOK: Exit.LOOK}


@app.command(epilog=examples("agentdb doctor", "agentdb doctor --thorough --json"))
def doctor(
    context: typer.Context,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Of a file, compare each index with its table too; it takes long.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write every finding as JSON.")] = False,
) -> None:
    """Look at the settings, the database and what surrounds it, and say what to do; it changes nothing.

    Ends with 0 when all is fine, with 1 when something should be done, with 2 when something does not work.
    """
    findings = _findings(context.obj, thorough=thorough)
    if json:
        write_json(findings)
    else:
        _show(findings)
    for verdict, code in _EXITS.items():
        if any(finding.verdict is verdict for finding in findings):
            raise typer.Exit(code)


def _findings(options: Options, *, thorough: bool) -> list[Finding]:
    try:
        settings = options.settings()
    except AgentDBError as error:
        return [refused(error)]
    return run(examine(settings, environment=os.environ, thorough=thorough))


def _show(findings: list[Finding]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for finding in findings:
        table.add_row(
            Text(finding.verdict, _STYLES[finding.verdict]), Text(finding.check), Text(printable(finding.told))
        )
        if finding.remedy is not None:
            table.add_row("", "", Text(f"→ {printable(finding.remedy)}"))
    console().print(table)
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    say(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))
