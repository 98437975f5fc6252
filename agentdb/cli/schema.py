"""``agentdb migrate`` and its like: thin commands over `agentdb.migrating`."""

from __future__ import annotations

from typing import Annotated

import typer

from agentdb import migrating
from agentdb.cli.application import Exit, app, complain, examples, run, say, settings_of, write_json

Json = Annotated[bool, typer.Option("--json", help="Write it as JSON.")]


@app.command(epilog=examples("agentdb migrate", "agentdb migrate 0003", "agentdb migrate +1"))
def migrate(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(help="A revision, or how many steps: +1.")] = "head",
    json: Json = False,
) -> None:
    """Bring the schema up to date, or up to a revision."""
    _tell(run(migrating.upgrade(settings_of(context), revision)), json=json)


@app.command(epilog=examples("agentdb downgrade 0003", "agentdb downgrade -- -1"))
def downgrade(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(help="A revision, 'base', or how many steps: -1.")],
    json: Json = False,
) -> None:
    """Take the schema back to a revision; what only later revisions hold is lost."""
    _tell(run(migrating.downgrade(settings_of(context), revision)), json=json)


@app.command(epilog=examples("agentdb status --json"))
def status(context: typer.Context, json: Json = False) -> None:
    """Show which revision the database is at, and which one this code expects."""
    version = run(migrating.current(settings_of(context)))
    revision, expected = version and version.revision, f"{migrating.head():04}"
    if json:
        write_json({"revision": revision, "expected": expected})
    elif revision == expected:
        say(f"the schema is at {revision}, which is what this code expects")
    else:
        say(f"the schema is at {revision or 'nothing yet'}; this code expects {expected}")


@app.command(epilog=examples("agentdb stamp head"))
def stamp(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(help="A revision, or head.")],
    json: Json = False,
) -> None:
    """Say which revision the database is at, and change nothing else."""
    report = run(migrating.stamp(settings_of(context), revision))
    if json:
        write_json(report)
    else:
        say(f"the database is said to be at {report.after or 'nothing'}")


@app.command(epilog=examples("agentdb check", "agentdb check --json"))
def check(context: typer.Context, json: Json = False) -> None:
    """Compare the database with the models; name each difference, and end with 1 when there is one."""
    differences = run(migrating.check(settings_of(context)))
    if json:
        write_json(differences)
    else:
        for difference in differences:
            complain(difference)
    if differences:
        raise typer.Exit(Exit.LOOK)
    if not json:
        say("the database and the models agree")


@app.command("revision", epilog=examples('agentdb revision --message "give users a nickname"'))
def new_revision(
    context: typer.Context,
    message: Annotated[str, typer.Option("--message", "-m", help="What the migration does.")],
    json: Json = False,
) -> None:
    """Write a new migration from what differs between the models and the database."""
    path = run(migrating.revision(settings_of(context), message))
    if json:
        write_json({"path": str(path)})
    else:
        say(f"wrote {path}")


def _tell(report: migrating.Report, *, json: bool) -> None:
    if json:
        write_json(report)
        return
    if report.renumbered:
        say(f"the database comes from another server: followers begin anew; renumbered {', '.join(report.renumbered)}")
    if report.before == report.after:
        say(f"nothing to do: the schema is at {report.after or 'nothing'}")
    else:
        say(f"the schema went from {report.before or 'nothing'} to {report.after or 'nothing'}")
