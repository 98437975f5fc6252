"""``agentdb backup`` and ``agentdb restore``: thin commands over `agentdb.operating`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentdb.cli.application import Exit, app, complain, examples, run, say, settings_of, write_json
from agentdb.cli.progress import staged
from agentdb.config import Settings
from agentdb.operating.backups import Backup
from agentdb.operating.backups import backup as make_backup
from agentdb.operating.contents import StoredFile
from agentdb.operating.restoring import Restored
from agentdb.operating.restoring import restore as restore_backup

Json = Annotated[bool, typer.Option("--json", help="Write what was done as JSON.")]


@app.command(epilog=examples("agentdb backup", "agentdb backup /mnt/backups --no-verify --json"))
def backup(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(help="Where the backup gets a folder of its own; by default backups in AGENTDB_FOLDER."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Restore it to a scratch database, and compare every row."),
    ] = True,
    json: Json = False,
) -> None:
    """Save the database and its attachments while others use it.

    It is verified before it gets its name: a backup that is there is whole. It holds no encryption key; keep those
    elsewhere. Attachments whose files are missing are named, and end it with 1.
    """
    made = run(_backup(settings_of(context), folder, verify=verify))
    contents, missing = made.manifest.contents, made.manifest.missing
    if json:
        write_json(
            {
                "path": str(made.path),
                "taken_at": made.manifest.taken_at.isoformat(),
                "revision": contents.revision,
                "tables": len(contents.tables),
                "rows": contents.rows,
                "bytes": made.manifest.size,
                "files": len(contents.files) - len(missing),
                "missing": missing,
                "keys": contents.keys,
                "verified": made.manifest.verified,
            }
        )
    else:
        verified = "verified" if made.manifest.verified else "not verified"
        say(f"{made.path}")
        say(f"{contents.rows} rows of {len(contents.tables)} tables at revision {contents.revision}, {verified}")
        say(f"{len(contents.files) - len(missing)} files of attachments")
        _name_keys(contents.keys)
    _end(missing, json=json)


@app.command(
    epilog=examples(
        "agentdb restore data/backups/20260301T120000000000Z",
        "agentdb restore data/backups/20260301T120000000000Z --force",
    )
)
def restore(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A backup, or a copy made by AGENTDB_BACKUP_BEFORE_MIGRATE.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the database that is there.")] = False,
    json: Json = False,
) -> None:
    """Put a backup in the place of the database, and bring its schema up to date; stop what uses it before.

    It is done wholly or not at all, and may be run again.
    """
    done = run(_restore(settings_of(context), path, force=force))
    if json:
        write_json(
            {
                "revision": done.revision,
                "now_at": done.now_at,
                "tables": done.tables,
                "rows": done.rows,
                "files": done.files,
                "missing": done.missing,
                "keys": done.keys,
                "moved_aside": done.moved_aside and str(done.moved_aside),
            }
        )
    else:
        say(f"{done.rows} rows of {done.tables} tables, and {done.files} files that were not there")
        if done.revision != done.now_at:
            say(f"the schema went from {done.revision} to {done.now_at}")
        if done.moved_aside is not None:
            say(f"the database that was there could not be read; it was moved to {done.moved_aside}")
        _name_keys(done.keys)
    _end(done.missing, json=json)


async def _backup(settings: Settings, folder: Path | None, *, verify: bool) -> Backup:
    with staged() as tell:
        return await make_backup(settings, folder, verify=verify, on_progress=tell)


async def _restore(settings: Settings, path: Path, *, force: bool) -> Restored:
    with staged() as tell:
        return await restore_backup(path, settings, force=force, on_progress=tell)


def _name_keys(keys: list[str]) -> None:
    if keys:
        say(f"its secrets open with {'key' if len(keys) == 1 else 'keys'} {', '.join(keys)}")


def _end(missing: list[StoredFile], *, json: bool) -> None:
    if missing and not json:
        for file in missing:
            complain(f"the file {file.sha256} of {file.size} bytes is missing, or was damaged")
    if missing:
        raise typer.Exit(Exit.LOOK)
