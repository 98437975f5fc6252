"""When a row is a user's: the conditions, as SQL, from the paths that the models declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Table

from agentdb.errors import BadInput
from agentdb.owners import Among, AnyOf, By, FirstOf, Fixed, Owner, Via

NEVER = "1 = 0"
Paths = Mapping[str, Owner]


def leading(path: Owner) -> set[str]:
    """Return the columns that make a new row a user's; of alternatives, the first's."""
    match path:
        case By(column) | Via(column, _):
            return {column}
        case FirstOf(paths):
            return leading(paths[0])
        case AnyOf(paths):
            return set().union(*(leading(one) for one in paths))
    return set()


def is_shared(path: Owner, table: Table) -> bool:
    """Tell whether others have rows that would go with one of this table."""
    match path:
        case Among(name, column):
            return any(key.ondelete == "CASCADE" for key in table.metadata.tables[name].c[column].foreign_keys)
        case AnyOf(paths):
            return any(is_shared(one, table) for one in paths)
    return False


def columns_of(path: Owner) -> set[str]:
    """Return all the columns of a path."""
    match path:
        case FirstOf(paths) | AnyOf(paths):
            return set().union(*(columns_of(one) for one in paths))
    return leading(path)


class Conditions:
    """The conditions of one statement. ``None`` is the condition that holds always.

    Args:
        paths: of the tables, by name.
        quote: writes a name as the database reads it.
        tenant: writes the placeholder of the user's id; a statement that needs none has none.
    """

    def __init__(self, paths: Paths, quote: Callable[[str], str], tenant: Callable[[], str]) -> None:
        self._paths = paths
        self._quote = quote
        self._tenant = tenant

    def path(self, table: Table) -> Owner:
        """Return the path of a table.

        Raises: BadInput for a table that has none.
        """
        path = self._paths.get(table.name)
        if path is None:
            raise BadInput(f"{table.name} declares no owner path, and is not seen within a user's scope")
        return path

    def readable(self, table: Table, row: str) -> str | None:
        """Return when the user sees a row.

        Args: row: what the statement calls the table.
        """
        return self._condition(self.path(table), table, row, writing=False)

    def writable(self, table: Table, row: str) -> str | None:
        """Return when a row is the user's to change: what everybody reads is nobody's."""
        return self._condition(self.path(table), table, row, writing=True)

    def same(self, value: str) -> str:
        """Return when a value is the user's id."""
        return f"{value} = {self._tenant()}"

    def referred(self, table: Table, column: str, value: str, *, writing: bool, depth: int = 1) -> str | None:
        """Return when a value is the key of a row that the user sees; or, ``writing``, that is theirs."""
        path = self.path(table)
        if path == By(column):
            return self.same(value)
        parent = f"scope_{depth}"
        condition = self._condition(path, table, parent, writing=writing, depth=depth + 1)
        if condition is None:
            return None
        if condition == NEVER:
            return NEVER
        name, key = self._quote(table.name), self._quote(column)
        return f"EXISTS (SELECT 1 FROM {name} AS {parent} WHERE {parent}.{key} = {value} AND {condition})"

    def of_path(self, path: Owner, table: Table, values: Mapping[str, str]) -> str | None:
        """Return when the values of a row that is to be stored make it the user's."""
        return self._path(path, table, lambda column: values.get(column, "NULL"), writing=True, depth=1)

    def _condition(self, path: Owner, table: Table, row: str, *, writing: bool, depth: int = 1) -> str | None:
        return self._path(path, table, lambda column: f"{row}.{self._quote(column)}", writing=writing, depth=depth)

    def _path(self, path: Owner, table: Table, value: Callable[[str], str], *, writing: bool, depth: int) -> str | None:
        match path:
            case Fixed(readable=readable):
                return None if readable and not writing else NEVER
            case By(column):
                return self.same(value(column))
            case Via(column, _):
                key = next(iter(table.c[column].foreign_keys)).column
                return self.referred(key.table, key.name, value(column), writing=writing, depth=depth)
            case Among(name, column):
                # Whoever is among them sees the row; it is not theirs to change.
                return NEVER if writing else self._among(table.metadata.tables[name], column, value("id"), depth)
            case AnyOf(paths):
                conditions = [self._path(one, table, value, writing=writing, depth=depth) for one in paths]
                return _any(conditions)
            case FirstOf(paths):
                return self._first(paths, table, value, writing=writing, depth=depth)
        raise BadInput(f"{table.name} has an owner path that nobody can read: {path!r}")

    def _among(self, table: Table, column: str, key: str, depth: int) -> str:
        row = f"scope_{depth}"
        seen = self._condition(self.path(table), table, row, writing=False, depth=depth + 1) or "1 = 1"
        name, refers = self._quote(table.name), self._quote(column)
        return f"EXISTS (SELECT 1 FROM {name} AS {row} WHERE {row}.{refers} = {key} AND {seen})"

    def _first(
        self, paths: tuple[Owner, ...], table: Table, value: Callable[[str], str], *, writing: bool, depth: int
    ) -> str | None:
        first, *others = paths
        condition = self._path(first, table, value, writing=writing, depth=depth)
        if not others or not isinstance(first, By | Via):
            return condition
        empty = f"{value(first.column)} IS NULL"
        following = self._first(tuple(others), table, value, writing=writing, depth=depth)
        if following == NEVER:
            return condition
        otherwise = empty if following is None else f"({empty} AND {following})"
        if condition is None:
            return f"({value(first.column)} IS NOT NULL OR {otherwise})"
        return f"({condition} OR {otherwise})"


def _any(conditions: list[str | None]) -> str | None:
    told = [condition for condition in conditions if condition is not None]
    if len(told) < len(conditions):
        return None
    possible = [condition for condition in told if condition != NEVER]
    return f"({' OR '.join(possible)})" if possible else NEVER
