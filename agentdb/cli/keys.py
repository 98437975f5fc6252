"""``agentdb keys``: new encryption keys, rotation to the newest, sealing what is open, and the check of all."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn

from agentdb.cli.application import Exit, app, complain, examples, run, say, settings_of, write_json
from agentdb.cli.progress import bar
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.keys import new_key
from agentdb.rotation import Check, Rotation, Unreadable
from agentdb.rotation import check as check_secrets
from agentdb.rotation import rotate as rotate_secrets

keys: Final = typer.Typer(help="The encryption keys of secret columns.", no_args_is_help=True)
app.add_typer(keys, name="keys")

Json = Annotated[bool, typer.Option("--json", help="Write what was done as JSON.")]


@keys.command(epilog=examples('AGENTDB_ENCRYPTION_KEYS="$(agentdb keys new),$AGENTDB_ENCRYPTION_KEYS"'))
def new() -> None:
    """Print a fresh key, for AGENTDB_ENCRYPTION_KEYS: put it before those that are there."""
    say(new_key())


@keys.command(epilog=examples("agentdb keys rotate"))
def rotate(context: typer.Context, json: Json = False) -> None:
    """Seal every secret with the newest key, while others read and write.

    Every process must know the new key before, and keep the old ones until this ends with 0. It may be interrupted and
    run again. Secrets that do not open are named, stay as they are, and end it with 1.
    """
    rotation = run(_rotate(settings_of(context)))
    if json:
        write_json(rotation)
    else:
        _name(rotation.unreadable)
        say(f"{rotation.resealed} secrets sealed anew with key {rotation.key}, {rotation.left} left under others")
    if rotation.left > len(rotation.unreadable):
        complain("a process still seals with another key; give it the newest one first, and rotate again")
    if rotation.left:
        raise typer.Exit(Exit.LOOK)


@keys.command(epilog=examples("agentdb keys seal"))
def seal(context: typer.Context, json: Json = False) -> None:
    """Seal the sensitive variables that were stored while there was no key; others may save meanwhile."""
    sealed = run(_seal(settings_of(context)))
    if json:
        write_json({"sealed": sealed})
    else:
        say(f"{sealed} sensitive variables sealed")


@keys.command(epilog=examples("agentdb keys check", "agentdb keys check --sample 100 --json"))
def check(
    context: typer.Context,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Open this many of each column, taken at random.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Open every secret, which is what happens anyway.")] = False,
    json: Json = False,
) -> None:
    """Open every secret, or a sample; name each that does not open, and end with 1 when there is one."""
    if every and sample is not None:
        raise typer.BadParameter("--all and --sample exclude each other")
    found = run(_check(settings_of(context), sample))
    if json:
        write_json(found)
    else:
        _name(found.unreadable)
        _show(found)
    if found.unreadable:
        raise typer.Exit(Exit.LOOK)


async def _rotate(settings: Settings) -> Rotation:
    async with Database(settings) as database:
        with bar(BarColumn(), MofNCompleteColumn()) as shown:
            task = shown.add_task("rotating", total=None)
            return await rotate_secrets(
                database, on_progress=lambda done, total: shown.update(task, completed=done, total=total)
            )


async def _seal(settings: Settings) -> int:
    async with Database(settings) as database:
        return await database.hub.variables.seal_all()


async def _check(settings: Settings, sample: int | None) -> Check:
    async with Database(settings) as database:
        with bar(BarColumn(), MofNCompleteColumn()) as shown:
            task = shown.add_task("checking", total=None)
            return await check_secrets(
                database, sample=sample, on_progress=lambda done, total: shown.update(task, completed=done, total=total)
            )


def _name(unreadable: list[Unreadable]) -> None:
    for secret in unreadable:
        complain(secret.reason)


def _show(found: Check) -> None:
    say(f"{found.checked - len(found.unreadable)} of {found.checked} secrets open")
    for key, count in sorted(found.keys.items()):
        say(f"{count} are sealed with key {key}")
