"""In which order tables are moved: those that others refer to go first, those that refer to each other go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Table


def groups(tables: Iterable[Table]) -> Iterator[list[Table]]:
    """Yield groups of tables, of which each refers to tables of its own and of those before it only."""
    waiting = {table.name: table for table in tables}
    reached = {name: _reached(name, waiting) for name in waiting}
    done: set[str] = set()
    while waiting:
        # What reaches the least is reached by all that it reaches: its cycle, or itself alone.
        name = min(waiting, key=lambda one: (len((reached[one] | {one}) - done), one))
        together = {name} | {other for other in reached[name] - done if name in reached[other]}
        yield [waiting.pop(other) for other in sorted(together)]
        done |= together


def _reached(name: str, tables: dict[str, Table]) -> set[str]:
    """Return the tables that one refers to, and that those refer to, and so on."""
    found: set[str] = set()
    asked = [name]
    while asked:
        for key in tables[asked.pop()].foreign_keys:
            other = key.column.table.name
            if other not in found:
                found.add(other)
                asked.append(other)
    return found
