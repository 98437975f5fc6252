"""``agentdb pull``: a thin command over `agentdb.operating.pulling`."""

from __future__ import annotations

from typing import Annotated

import typer

from agentdb.cli.application import Exit, app, complain, examples, run, say, settings_of, write_json
from agentdb.operating import pulling


@app.command(epilog=examples("agentdb pull", "agentdb --url sqlite:///old.db pull --json"))
def pull(
    context: typer.Context,
    json: Annotated[
        bool, typer.Option("--json", help="Write it as JSON, every column of other tables among it.")
    ] = False,
) -> None:
    """Describe an existing database: what differs from the models, what could be adopted, and what to do.

    It changes nothing. What differs ends it with 1; tables that agentdb knows nothing of do not.
    """
    found = run(pulling.pull(settings_of(context)))
    if json:
        write_json(found)
    else:
        _show(found)
    if not found.agrees:
        raise typer.Exit(Exit.LOOK)


def _show(found: pulling.Pulled) -> None:
    say(f"the schema is at {found.revision or 'nothing yet'}; this code expects {found.expected}")
    for state in ("equal", "different", "missing"):
        names = [own.name for own in found.tables if own.state == state]
        if names:
            few = f": {', '.join(names)}" if state == "different" else ""
            say(f"{len(names)} tables of agentdb are {state}{few}")
    for own in found.tables:
        for difference in (*own.missing, *own.extra, *own.changed):
            complain(difference)
    for other in found.others:
        like = f", like {other.like}" if other.like is not None else ""
        say(f"{other.name} is another's, {len(other.columns)} columns, {other.rows} rows{like}")
    for advice in found.advice:
        say(advice)
