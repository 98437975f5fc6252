"""``agentdb migrate-conversations``: sessions for what agents said before there were any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agentdb.cli.application import Exit, app, complain, run, say, settings_of, write_json
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.execution.adopting import LeftOut


@dataclass(slots=True)
class Migrated:
    """What was done in all."""

    examined: int = 0
    created: int = 0
    left_out: list[LeftOut] = field(default_factory=list)


@app.command("migrate-conversations")
def migrate_conversations(
    context: typer.Context,
    batch: Annotated[int, typer.Option(min=1, max=1_000, help="How many conversations in one transaction.")] = 500,
    json: Annotated[bool, typer.Option("--json", help="Write what was done as JSON.")] = False,
) -> None:
    """Give every conversation that names an agent, and has no session, one that is completed.

    It may be interrupted at any moment and begun again, and while others work: nothing is made twice. Conversations
    whose metadata names an agent there is not are named, and left as they are.

    Example: agentdb migrate-conversations --json
    """
    done = run(_migrate(settings_of(context), batch))
    if json:
        write_json(done)
    else:
        for left in done.left_out:
            complain(f"conversation {left.conversation_id}: {left.reason}")
        say(f"{done.created} of {done.examined} conversations without a session got one")
    if done.left_out:
        raise typer.Exit(Exit.LOOK)


async def _migrate(settings: Settings, batch: int) -> Migrated:
    done, after = Migrated(), 0
    terminal = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), MofNCompleteColumn(), TimeElapsedColumn())
    async with Database(settings) as database:
        with Progress(*columns, console=terminal, disable=not terminal.is_terminal, transient=True) as bar:
            task = bar.add_task("conversations", total=None)
            while True:
                step = await database.execution.agent_sessions.adopt(after=after, limit=batch)
                if step.last is None:
                    return done
                after = step.last
                done.examined += step.examined
                done.created += step.created
                done.left_out += step.left_out
                bar.update(task, completed=done.examined)
