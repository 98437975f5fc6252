"""What an import did, and what it could not carry."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

MOST_PROBLEMS: Final = 200


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A row of the source that did not go in, or not as it was, and why."""

    table: str
    row: str
    reason: str


@dataclass(slots=True)
class TableCount:
    """What became of the rows of one table."""

    imported: int = 0
    present: int = 0  # were there already
    left: int = 0  # could not be carried


@dataclass(slots=True)
class NaisysReport:
    """What an import has done."""

    tables: dict[str, TableCount] = field(default_factory=dict)
    cost: Decimal = Decimal("0.000000000")  # of the rows of the ledger it brought
    notes: list[str] = field(default_factory=list)  # what is never carried, or is otherwise here
    problems: list[RowProblem] = field(default_factory=list)
    problems_untold: int = 0  # beyond the first 200

    def of(self, table: str) -> TableCount:
        """Return the counts of a table."""
        return self.tables.setdefault(table, TableCount())

    def stored(self, table: str, imported: int, present: int = 0) -> None:
        """Count rows."""
        self.of(table).imported += imported
        self.of(table).present += present

    def leave(self, table: str, row: Any, reason: object) -> None:
        """Tell that a row is not carried."""
        self.of(table).left += 1
        self.tell(table, row, reason)

    def tell(self, table: str, row: Any, reason: object) -> None:
        """Tell that a row is carried otherwise than it was."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(RowProblem(table, str(row), str(reason)))
        else:
            self.problems_untold += 1

    def note(self, text: str) -> None:
        """Tell something of the whole."""
        if text not in self.notes:
            self.notes.append(text)
