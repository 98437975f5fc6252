"""Whose a row is: the path from each table to the user who owns its rows, which scopes what a tenant reads.

A model declares its path as ``__owner__``. A path is a value: whoever builds a scope matches on the five classes.

    Owner.installation                              nobody's but the installation's: a tenant reads none of it
    Owner.catalog                                   the installation's, and every tenant may read it
    Owner.nobody                                    a record of its own, which outlives whom it tells about
    Owner.by("user_id")                             the user a column names
    Owner.via("conversation_id", "conversations")   whoever owns the row a column refers to
    Owner.among("mail_recipients", "message_id")    whoever sees one of the rows of a table that refer to this one
    Owner.first_of(path, path)                      the first path that leads to a row: the next where a column is null
    Owner.any_of(path, path)                        several people at once
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class Owner:
    """A path to the users who own a row."""

    __slots__ = ()

    installation: ClassVar[Owner]
    catalog: ClassVar[Owner]
    nobody: ClassVar[Owner]

    @staticmethod
    def by(column: str) -> Owner:
        """Return the path to the user a column holds the id of."""
        return By(column)

    @staticmethod
    def via(column: str, table: str) -> Owner:
        """Return the path of the row of ``table`` that a column refers to."""
        return Via(column, table)

    @staticmethod
    def among(table: str, column: str) -> Owner:
        """Return the path to the users who see rows of ``table`` whose ``column`` refers to this row: to read it."""
        return Among(table, column)

    @staticmethod
    def first_of(*paths: Owner) -> Owner:
        """Return the first of several paths whose column is not null."""
        return FirstOf(paths)

    @staticmethod
    def any_of(*paths: Owner) -> Owner:
        """Return several paths that hold at once."""
        return AnyOf(paths)


@dataclass(frozen=True, slots=True)
class Fixed(Owner):
    """Not a user's: ``readable`` tells whether every tenant may read the rows."""

    name: str
    readable: bool = False


@dataclass(frozen=True, slots=True)
class By(Owner):
    """The user whose id is in ``column``."""

    column: str


@dataclass(frozen=True, slots=True)
class Via(Owner):
    """Whoever owns the row of ``table`` that ``column`` refers to."""

    column: str
    table: str


@dataclass(frozen=True, slots=True)
class Among(Owner):
    """Whoever sees one of the rows of ``table`` whose ``column`` refers to this row."""

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class FirstOf(Owner):
    """The first path whose column is not null."""

    paths: tuple[Owner, ...]


@dataclass(frozen=True, slots=True)
class AnyOf(Owner):
    """Every path at once."""

    paths: tuple[Owner, ...]


Owner.installation = Fixed("installation")
Owner.catalog = Fixed("catalog", readable=True)
Owner.nobody = Fixed("nobody")
