"""``agentdb migrate-conversations``: sessions for what agents said before there were any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn

from agentdb.cli.application import Exit, app, complain, examples, run, say, settings_of, write_json
from agentdb.cli.progress import bar
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.execution.adopting import Adopted, LeftOut


@dataclass(slots=True)
class Migrated:
    """What was done in all, or with ``--dry-run`` would be.

    Attributes: as of `agentdb.execution.adopting.Adopted`.
    """

    examined: int = 0
    created: int = 0
    of_nobody: int = 0
    begun: int = 0
    left_out: list[LeftOut] = field(default_factory=list)

    def add(self, step: Adopted) -> None:
        """Count what was done in a batch."""
        self.examined += step.examined
        self.created += step.created
        self.of_nobody += step.of_nobody
        self.begun += step.begun
        self.left_out += step.left_out


@app.command("migrate-conversations", epilog=examples("agentdb migrate-conversations --dry-run"))
def migrate_conversations(
    context: typer.Context,
    batch: Annotated[int, typer.Option(min=1, max=1_000, help="How many conversations in one transaction.")] = 500,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and do nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write what was done as JSON.")] = False,
) -> None:
    """Give every conversation that names an agent, and has no session, one that is completed.

    It may be interrupted at any moment and begun again, and while others work: nothing is made twice. Conversations
    that name an agent there is not are named, left as they are, and end it with 1.

    Example: agentdb migrate-conversations --json
    """
    done = run(_migrate(settings_of(context), batch, dry_run=dry_run))
    if json:
        write_json(done)
    else:
        _show(done, dry_run=dry_run)
    if done.left_out:
        raise typer.Exit(Exit.LOOK)


def _show(done: Migrated, *, dry_run: bool) -> None:
    for left in done.left_out:
        complain(f"conversation {left.conversation_id}: {left.reason}")
    say(f"{done.created} of {done.examined} conversations without a session {'would get' if dry_run else 'got'} one")
    if done.of_nobody:
        say(f"conversations that name no agent: {done.of_nobody}")
    if done.begun:
        say(f"conversations whose session was taken from them: {done.begun}")


async def _migrate(settings: Settings, batch: int, *, dry_run: bool) -> Migrated:
    done, after = Migrated(), 0
    async with Database(settings) as database:
        sessions = database.execution.agent_sessions
        take = sessions.adoptable if dry_run else sessions.adopt
        with bar(BarColumn(), MofNCompleteColumn()) as shown:
            total = None
            if not shown.disable:
                total = await database.conversation.conversations.count(session_id=None, deleted_at=None)
            task = shown.add_task("conversations", total=total)
            while True:
                step = await take(after=after, limit=batch)
                if step.last is None:
                    return done
                after = step.last
                done.add(step)
                shown.update(task, completed=done.examined)
