"""Progress bars: on the standard error, only where somebody looks, and gone when the work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn


def bar(*counting: ProgressColumn) -> Progress:
    """Return a bar that tells what is done, for how long, and how much of it.

    Args: counting: the columns that tell how much; none: a bar and percents.
    """
    terminal = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        *(counting or (BarColumn(), TaskProgressColumn())),
        TimeElapsedColumn(),
        console=terminal,
        disable=not terminal.is_terminal,
        transient=True,
    )


@contextmanager
def staged() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar, and yield what is told of each stage, how much of it is done, and of how much (0: not known)."""
    with bar() as shown:
        task = shown.add_task("beginning", total=None)
        yield lambda what, done, total: shown.update(task, description=what, completed=done, total=total or None)
