"""``agentdb transfer``: a thin command over `agentdb.operating.transferring`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from agentdb import urls
from agentdb.cli.application import Exit, app, complain, examples, failed, run, say, settings_of, write_json
from agentdb.cli.progress import staged
from agentdb.config import Settings
from agentdb.errors import AgentDBError, BadSettings
from agentdb.operating.transferring import Transferred
from agentdb.operating.transferring import transfer as transfer_database

_VARIABLE: Final = "env:"
_URL: Final = "A URL, or env: and the name of a variable that holds one with a password."


@app.command(
    epilog=examples(
        "agentdb transfer sqlite:///data/agentdb.db env:NEW_URL",
        "agentdb transfer env:AGENTDB_URL sqlite:///copy/agentdb.db --target-folder copy",
    )
)
def transfer(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help=f"The database that is moved. {_URL}")],
    target: Annotated[str, typer.Argument(help=f"Where to: an empty database, past any pooler. {_URL}")],
    source_folder: Annotated[
        Path | None, typer.Option("--source-folder", help="The source's AGENTDB_FOLDER, when it is another.")
    ] = None,
    target_folder: Annotated[
        Path | None, typer.Option("--target-folder", help="The target's AGENTDB_FOLDER, when it is another.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Clear away what the target holds.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write what was done as JSON.")] = False,
) -> None:
    """Move a whole database into an empty one, of the same kind or the other, and compare every row.

    The source is only read. A run that was ended goes on when it is started again. Rows that refer to rows which are
    not there, and files that are missing, are named, and end it with 1.
    """
    base = settings_of(context)
    try:
        read, written = _named(base, "SOURCE", source, source_folder), _named(base, "TARGET", target, target_folder)
    except AgentDBError as error:
        raise failed(error) from None
    done = run(_transfer(read, written, force=force))
    if json:
        write_json(
            {
                "rows": done.rows,
                "tables": {name: digest.rows for name, digest in sorted(done.tables.items())},
                "copied": done.copied,
                "resumed": done.resumed,
                "began_over": done.began_over,
                "left_out": done.left_out,
                "nulled": done.nulled,
                "files": done.files,
                "missing": done.missing,
                "unindexed": done.unindexed,
                "rows_per_second": round(done.copied / done.seconds) if done.seconds else 0,
            }
        )
    else:
        say(f"{done.rows} rows of {len(done.tables)} tables, compared row by row")
        say(f"{done.files} files of attachments that were not there")
        if done.began_over:
            say("the source had changed since the earlier run; it was begun over")
        elif done.resumed:
            say(f"{done.resumed} tables had been moved by an earlier run")
        for index in done.unindexed:
            say(f"collection {index.collection_id} of user {index.user_id} had an index, {index.kind}: build it anew")
        for name, rows in done.left_out.items():
            complain(f"{rows} rows of {name} refer to rows that are not there; they were left out")
        for name, rows in done.nulled.items():
            complain(f"{rows} rows say nothing in {name} any more, as it led to rows that are not there")
        for file in done.missing:
            complain(f"the file {file.sha256} of {file.size} bytes is missing, or was damaged")
    if done.left_out or done.nulled or done.missing:
        raise typer.Exit(Exit.LOOK)


def _named(base: Settings, source: str, given: str, folder: Path | None) -> Settings:
    """Return the settings of one of the two databases; what the environment says of a pooler or a replica is another's.

    Raises: BadSettings.
    """
    url = given
    if given.startswith(_VARIABLE):
        name = given.removeprefix(_VARIABLE)
        url = os.environ.get(name, "")
        if not url:
            raise BadSettings(f"{source}: the variable {name} is not set")
    settings = base.over(urls.parse(url, source=source, environment=os.environ))
    return settings if folder is None else settings.model_copy(update={"folder": folder})


async def _transfer(source: Settings, target: Settings, *, force: bool) -> Transferred:
    with staged() as tell:
        return await transfer_database(source, target, force=force, on_progress=tell)
