"""Seed files as rows of typed values: what can be said of them without the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column

from agentdb.errors import BadInput
from agentdb.seeding.cells import HIDDEN, Cell, Kind, cell_of
from agentdb.seeding.fitting import checked, fitted
from agentdb.seeding.folder import SeedFolder
from agentdb.seeding.grammar import Field, Place, parse
from agentdb.seeding.problems import Problems
from agentdb.seeding.tables import BY_NAME, TABLES, Key, SeedTable

_UNCAST: Final = ":text"
_TOP: Final = Place(1, 1)


@dataclass(frozen=True, slots=True)
class Named:
    """A reference to a row by what it is called instead of its id."""

    table: str
    key: Key
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class SeedRow:
    """A row of a file: values by column, as far as they are good, and where each stands."""

    values: dict[str, Any]
    places: Mapping[str, Place]
    line: int

    def at(self, *columns: str) -> Place:
        """Return where the first of these columns stands, or else where the row begins."""
        return next((self.places[name] for name in columns if name in self.places), Place(self.line, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """The rows of one table, and the columns its file has."""

    table: SeedTable
    file: str
    columns: frozenset[str]
    rows: list[SeedRow]


@dataclass(frozen=True, slots=True)
class _Heading:
    """What a column of a file is."""

    column: Column[Any]
    target: str | None  # of a reference by name
    cast: bool


def read(folder: SeedFolder, environment: Mapping[str, str]) -> tuple[list[Sheet], Problems]:
    """Return the rows of every file of a folder, in the order of their tables, and what is wrong with them.

    Raises: BadInput when the folder cannot be read, or holds no CSV file.
    """
    problems = Problems()
    files: dict[str, str] = {}
    for file in folder.tables():
        name = file.removesuffix(".csv").replace("-", "_")
        if name not in BY_NAME:
            known = ", ".join(table.file for table in TABLES)
            problems.add(file, _TOP, f"no table is seeded from a file of this name; there are {known}")
        elif name in files:
            problems.add(file, _TOP, f"{files[name]} is of the same table; leave one")
        else:
            files[name] = file
    if not files and not problems.found:
        raise BadInput(f"{folder.path} holds no CSV file; there may be {', '.join(table.file for table in TABLES)}")
    sheets = [
        _sheet(table, files[table.name], folder, environment, problems) for table in TABLES if table.name in files
    ]
    return [sheet for sheet in sheets if sheet is not None], problems


def _sheet(
    table: SeedTable, file: str, folder: SeedFolder, environment: Mapping[str, str], problems: Problems
) -> Sheet | None:
    text = _text(file, folder, problems)
    if text is None:
        return None
    parsed = parse(text)
    if parsed.unended is not None:
        problems.add(file, parsed.unended, "the quote that begins here has no end, and takes the rest of the file")
    if not parsed.rows:
        return None
    headings = _headings(table, file, parsed.rows[0], problems)
    reader = _Reader(table, file, folder, environment, problems)
    rows = [reader.row(headings, fields) for fields in parsed.rows[1:]]
    columns = frozenset(heading.column.name for heading in headings.values())
    return Sheet(table, file, columns, rows)


def _text(file: str, folder: SeedFolder, problems: Problems) -> str | None:
    try:
        content = folder.content(file)
    except BadInput as error:
        problems.add(file, _TOP, str(error))
        return None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        problems.add(file, Place(line, column), "not UTF-8 text from here on")
        return None


def _headings(table: SeedTable, file: str, header: Sequence[Field], problems: Problems) -> dict[int, _Heading]:
    """Return what each column is, by its position; of those with the same name, the last one counts."""
    columns, references = table.columns(), table.references()
    by_name: dict[str, tuple[int, _Heading]] = {}
    for position, field in enumerate(header):
        name = field.text.removesuffix(_UNCAST)
        if name in columns:
            by_name[name] = (position, _Heading(columns[name], None, cast=name == field.text))
        elif name in references:
            column, target = references[name]
            by_name[name] = (position, _Heading(column, target, cast=False))
        elif field.text:
            known = ", ".join([*columns, *references])
            problems.add(file, field.place, f"{table.name} has no column {field.text[:80]!r}; there are {known}")
    for name, (column, _) in references.items():
        if name in by_name and column.name in by_name:
            place = header[by_name[name][0]].place
            problems.add(file, place, f"{name} and {column.name} are the same reference; leave one")
            del by_name[name]
    return dict(by_name.values())


@dataclass(frozen=True, slots=True)
class _Reader:
    table: SeedTable
    file: str
    folder: SeedFolder
    environment: Mapping[str, str]
    problems: Problems

    def row(self, headings: Mapping[int, _Heading], fields: Sequence[Field]) -> SeedRow:
        """Return a row of those values that are good; fields that are missing at its end are empty."""
        values: dict[str, Any] = {}
        places: dict[str, Place] = {}
        hidden: set[str] = set()  # columns whose value comes from elsewhere
        end = fields[-1].place
        for position, heading in headings.items():
            field = fields[position] if position < len(fields) else Field("", end)
            name = heading.column.name
            places[name] = field.place
            try:
                cell = cell_of(field.text, self.folder, self.environment, cast=heading.cast)
                if cell.kind in HIDDEN:
                    hidden.add(name)
                values[name] = self._value(heading, cell)
            except BadInput as error:
                self.problems.add(self.file, field.place, str(error))
        row = SeedRow(values, places, fields[0].place.line)
        try:
            values.update(self._completed(values, frozenset(hidden & values.keys())))
        except BadInput as error:
            self.problems.add(self.file, row.at(*self.table.key, "name"), str(error))
        return row

    def _completed(self, values: Mapping[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
        """Return a row's values with what belongs to them.

        Raises: BadInput, which does not tell what a variable or a file holds.
        """
        if not hidden:
            return self.table.complete(values)
        # What is wrong with the rest of the row is told as it is.
        self.table.complete({name: value for name, value in values.items() if name not in hidden})
        try:
            return self.table.complete(values)
        except BadInput:
            raise BadInput(_untold(*sorted(hidden))) from None

    def _value(self, heading: _Heading, cell: Cell) -> Any:
        name = heading.column.name
        if heading.target is not None and cell.kind is not Kind.NULL:
            called = name.removesuffix("_id")
            if not cell.value:
                raise BadInput(f"{called} is the name of a row of {heading.target}, or null")
            return Named(heading.target, self._called(heading.target, cell, called), cell.text)
        if name == "id" and cell.kind is Kind.NULL:
            return None
        value = fitted(heading.column, cell)
        if value == "" and name in {*self.table.key, "name"}:
            raise BadInput(f"{name} is not empty: a row is known by it")
        if name == "id" and value < 1:
            raise BadInput(f"an id is a whole number from 1, not {value}")
        return value

    def _called(self, target: str, cell: Cell, name: str) -> Key:
        """Return the key of a row that a cell names, as the database may be asked for it.

        Raises: BadInput, which does not tell what a variable or a file holds.
        """
        table = BY_NAME[target]
        try:
            key = table.called(cell.value)
            for column, part in zip(table.key, key, strict=True):
                checked(table.table.columns[column], part)
        except BadInput as error:
            told = _untold(name) if cell.kind in HIDDEN else f"{name}: {error}"
            raise BadInput(told) from None
        return key


def _untold(*columns: str) -> str:
    return f"{' or '.join(columns)} cannot hold what its variable or file holds"
