"""``agentdb reset`` and ``agentdb push``: thin commands over `agentdb.operating.rebuilding`."""

from __future__ import annotations

from typing import Annotated

import typer

from agentdb.cli.application import Exit, app, complain, examples, printable, run, say, settings_of, write_json
from agentdb.config import Settings
from agentdb.operating import rebuilding

Json = Annotated[bool, typer.Option("--json", help="Write what was done as JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Do not ask.")]


@app.command(epilog=examples("agentdb reset", "agentdb reset --force --json", "agentdb reset --empty --force"))
def reset(
    context: typer.Context,
    force: Force = False,
    empty: Annotated[bool, typer.Option("--empty", help="Leave the database without tables.")] = False,
    json: Json = False,
) -> None:
    """Drop all tables of agentdb with every row in them, and make them anew by the migrations; asks before.

    It is one transaction. Tables of others stay, and so do the files of attachments.
    """
    settings = settings_of(context)
    _ask(settings, force=force)
    done = run(rebuilding.reset(settings, empty=empty))
    if json:
        write_json(done)
    else:
        say(f"dropped {len(done.dropped)} tables; the schema is at {done.revision or 'nothing'}")


@app.command(epilog=examples("agentdb push", "agentdb push --anew --force"))
def push(
    context: typer.Context,
    anew: Annotated[bool, typer.Option("--anew", help="Drop what is there before, with every row; asks.")] = False,
    force: Force = False,
    remote: Annotated[bool, typer.Option("--remote", help="Also where the server is another machine.")] = False,
    json: Json = False,
) -> None:
    """Make the tables that the database lacks straight from the models, past all migrations; for development.

    Tables that are there stay as they are; what they differ in is named, and ends it with 1.
    """
    settings = settings_of(context)
    if anew:
        _ask(settings, force=force)
    done = run(rebuilding.push(settings, anew=anew, remote=remote))
    if json:
        write_json(done)
    else:
        for difference in done.differences:
            complain(difference)
        dropped = f"dropped {len(done.dropped)} tables, " if anew else ""
        say(f"{dropped}made {len(done.created)} tables")
    if done.differences:
        complain("tables that were there stay as they are; `agentdb push --anew` drops them with their rows")
        raise typer.Exit(Exit.LOOK)


def _ask(settings: Settings, *, force: bool) -> None:
    """Ask whether everything may go; ends the command when it may not, or when nobody answers."""
    if force:
        return
    question = f"Drop every table of agentdb in {printable(settings.target.display)}, with all rows?"
    try:
        if typer.confirm(question, err=True):
            return
    except typer.Abort:
        complain("")
    complain("nothing was done; answer y, or pass --force")
    raise typer.Exit(Exit.FAILED)
