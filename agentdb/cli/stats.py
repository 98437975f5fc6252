"""``agentdb stats``: sizes, rows, the use of indexes, slow queries, connections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from agentdb.cli.application import app, console, examples, printable, run, say, settings_of, write_json
from agentdb.operating.stats import Stats
from agentdb.operating.stats import stats as measure

_UNKNOWN: Final = "?"


@app.command(epilog=examples("agentdb stats", "agentdb stats --quick --json"))
def stats(
    context: typer.Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="Scan nothing: a server's estimates of rows, no sizes of a file's tables.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many lines each table has, at most; JSON has all.")] = 20,
    json: Annotated[
        bool, typer.Option("--json", help="Write it as JSON; null is what this database does not count.")
    ] = False,
) -> None:
    """Show how large the database is, what its tables hold, which indexes are used, what is slow, who is connected."""
    found = run(measure(settings_of(context), quick=quick))
    if json:
        write_json(found)
    else:
        _show(found, limit)


def _show(found: Stats, limit: int) -> None:
    kept = found.storage
    say(f"{found.database}: {_size(kept.bytes)}, log {_size(kept.log_bytes)}, free within {_size(kept.free_bytes)}")
    tables = sorted(found.tables, key=lambda table: (-(table.bytes or 0) - (table.index_bytes or 0), table.name))
    _table(
        "Tables",
        ("table", "rows", "size", "indexes"),
        [(table.name, _number(table.rows), _size(table.bytes), _size(table.index_bytes)) for table in tables[:limit]],
    )
    indexes = sorted(found.indexes, key=lambda index: (index.scans or 0, -(index.bytes or 0), index.name))
    _table(
        "Indexes, those that nobody reads first",
        ("index", "of", "read", "size"),
        [(index.name, index.table, _number(index.scans), _size(index.bytes)) for index in indexes[:limit]],
    )
    if found.slow_queries is not None:
        rows = [(f"{slow.seconds:,.3f} s", _number(slow.calls), slow.query) for slow in found.slow_queries[:limit]]
        _table("Slow queries", ("in all", "calls", "statement"), rows)
    else:
        say("slow queries: this database does not count them; on a server the extension pg_stat_statements does")
    pool = found.pool
    say(f"connections: {pool.size} for each process, {_number(pool.connected)} of {_number(pool.limit)} in all")
    for session in pool.sessions:
        say(f"  {session.count} {session.state}, {session.application or 'without a name'}")


def _table(title: str, columns: Iterable[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(
            name, justify="right" if name in {"rows", "size", "indexes", "read", "in all", "calls"} else "left"
        )
    for row in rows:
        table.add_row(*(Text(printable(value)) for value in row))
    console().print(table)


def _number(value: Any) -> str:
    return _UNKNOWN if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    return _UNKNOWN if value is None else decimal(value)
