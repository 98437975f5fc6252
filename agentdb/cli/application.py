"""The application that every command is part of: its global options, and how a command runs and ends."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from enum import IntEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
import typer
from rich.console import Console

from agentdb.config import Settings
from agentdb.errors import AgentDBError

R = TypeVar("R")

WIDTH: Final = 160  # of what is written to a file or a pipe
_FOREIGN: Final = re.compile(r"[^\x00-\x7f]+")

app: Final = typer.Typer(
    name="agentdb",
    no_args_is_help=True,
    # A traceback with local variables would show what a URL hides.
    pretty_exceptions_enable=False,
)


def examples(*lines: str) -> str:
    """Return the examples below a command's help, one to a line."""
    # Typer joins the lines of a paragraph, so each is one.
    return "\n\n".join(("Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)))


class Exit(IntEnum):
    """How a command ends; docs/operations.md tells what each command means by it."""

    FINE = 0
    LOOK = 1  # done, but there is something to look at
    FAILED = 2
    INTERRUPTED = 130  # as shells have it


@dataclass(frozen=True, slots=True)
class Options:
    """What was said before the command."""

    url: str | None
    folder: Path | None

    def settings(self) -> Settings:
        """Return the settings of this process, with what was said.

        Raises: BadSettings.
        """
        return Settings.load(self.url, **({} if self.folder is None else {"folder": self.folder}))


@app.callback(epilog=examples("agentdb migrate", "AGENTDB_URL=postgresql://agentdb@localhost/agentdb agentdb doctor"))
def _options(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(help="The database; others on this machine can see it: a password belongs in AGENTDB_URL."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where files live: the SQLite database when nothing else is named.")
    ] = None,
) -> None:
    """The data layer of an AI-agent platform: its schema, imports and reports.

    Exit codes: 0, all went well; 1, done, but there is something to look at; 2, not done.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # of an older terminal, which has not every character
            stream.reconfigure(errors="replace")
    context.obj = Options(url, folder)


def settings_of(context: typer.Context) -> Settings:
    """Return the settings that the global options and the environment make; ends the command when they are bad."""
    options: Options = context.obj
    try:
        return options.settings()
    except AgentDBError as error:
        raise failed(error) from None


def run(work: Coroutine[Any, Any, R]) -> R:
    """Run a command's work to its end, and return what it returns; ends the command when it fails."""
    gc.freeze()  # what was imported stays: to look through it again and again takes a fifth of the time of long work
    try:
        return asyncio.run(work)
    except AgentDBError as error:
        raise failed(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None


def failed(error: Exception) -> typer.Exit:
    """Tell an error on one line, and return how the command ends."""
    complain(f"error: {error}")
    return typer.Exit(Exit.FAILED)


def say(what: object) -> None:
    """Write one line to the standard output."""
    sys.stdout.write(_line(what))


def complain(what: object) -> None:
    """Write one line to the standard error."""
    sys.stderr.write(_line(what))


def _line(what: object) -> str:
    return printable(" ".join(str(what).split())) + "\n"


def printable(text: str) -> str:
    """Return text without what a terminal would obey: names and reasons may come from a file."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def console() -> Console:
    """Return the console for tables: what is in square brackets is text, not markup."""
    width = None if sys.stdout.isatty() else WIDTH
    return Console(markup=False, highlight=False, width=width)


def write_json(value: Any) -> None:
    """Write a document for programs: amounts of money as text, so that none is rounded."""
    text = msgspec.json.format(msgspec.json.encode(plain(value)), indent=2).decode()
    if not (sys.stdout.encoding or "utf-8").lower().startswith("utf"):
        text = _FOREIGN.sub(lambda found: json.dumps(found[0])[1:-1], text)  # within strings, as all such are
    sys.stdout.write(text + "\n")


def plain(value: Any) -> Any:
    """Return a record with its amounts of money as text with all nine places, never with an exponent.

    The name of a file may be no text: what of it is none is replaced.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return f"{value:f}" if isinstance(value, Decimal) else value
