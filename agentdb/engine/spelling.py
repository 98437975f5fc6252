"""How each word of the vocabulary is stored: a column type and two processors for each database.

A bind processor is also a gatekeeper: what it lets through can be stored on either database and comes back equal. The
plans of the engine and SQLAlchemy's own sessions share these processors.

SQLite tables are STRICT, so that a column holds what it says: every word is TEXT, INTEGER or BLOB there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, ClassVar, Final

from sqlalchemy import ARRAY, JSON, BigInteger, Boolean, Integer, String, Text
from sqlalchemy import Uuid as SqlUuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import UUID as POSTGRESQL_UUID
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from agentdb import jsons
from agentdb.errors import BadInput, brief

Processor = Callable[[Any], Any]


# Only a plain INTEGER PRIMARY KEY counts by itself on SQLite.
KEY: Final = BigInteger().with_variant(Integer(), "sqlite")


class Word(TypeDecorator[Any]):
    """A type spelled for both databases; its processors pass None around."""

    impl: Any = Text  # what SQLAlchemy takes the operators from: + on a text would be a concatenation
    cache_ok = True
    python: ClassVar[type[Any]] = object
    on_postgresql: ClassVar[TypeEngine[Any]] = Text()
    on_sqlite: ClassVar[TypeEngine[Any]] = Text()

    def __init_subclass__(cls, **kw: Any) -> None:
        """Let SQLAlchemy cache statements with this type: it looks for the mark on each class itself."""
        super().__init_subclass__(**kw)
        cls.cache_ok = True

    @property
    def python_type(self) -> type[Any]:
        """The class of this type's values, where it matters."""
        return self.python

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of this database."""
        spelled = self.spelling(dialect.name)
        # Adapted to asyncpg, TEXT would be spelled VARCHAR and bound with a cast.
        return spelled if type(spelled) is Text else dialect.type_descriptor(spelled)

    def spelling(self, dialect: str) -> TypeEngine[Any]:
        """Return the column type of a database, by the database's name."""
        return self.on_sqlite if dialect == "sqlite" else self.on_postgresql

    def condition(self, column: str, dialect: str) -> str | None:  # noqa: ARG002
        """Return the CHECK that a column of this type carries on a database, if it needs one."""
        return None

    def bind_processor(self, dialect: Dialect) -> Processor | None:
        """Return what makes the driver's value of Python's."""
        return _around_none(self.binder(dialect.name))

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor | None:  # noqa: ARG002
        """Return what makes Python's value of the driver's."""
        return _around_none(self.loader(dialect.name))

    def binder(self, dialect: str) -> Processor | None:  # noqa: ARG002
        """Return what stores a value that is not None; None when the driver takes it as it is."""
        return None

    def loader(self, dialect: str) -> Processor | None:  # noqa: ARG002
        """Return what loads a value that is not None; None when the driver's is the caller's."""
        return None


def _around_none(process: Processor | None) -> Processor | None:
    if process is None:
        return None
    return lambda value: None if value is None else process(value)


class JsonType(Word):
    """A JSON value, as a value: replaced or merge-patched whole, never mutated in place."""

    impl = JSON
    on_postgresql = JSONB()

    def condition(self, column: str, dialect: str) -> str | None:
        """SQLite knows no JSON type."""
        return f"json_valid({column})" if dialect == "sqlite" else None

    def binder(self, dialect: str) -> Processor:  # noqa: ARG002
        """Encode; refuse what a database would lose."""
        return jsons.encode

    def loader(self, dialect: str) -> Processor:  # noqa: ARG002
        """Decode; a connection that decodes by itself is left in peace."""
        return jsons.decode


class UuidType(Word):
    """A UUID; 36 characters of text on SQLite."""

    impl = SqlUuid
    python = uuid.UUID
    on_postgresql = POSTGRESQL_UUID(as_uuid=True)

    def binder(self, dialect: str) -> Processor:
        """Take a UUID, or the text of one."""
        return _uuid_text if dialect == "sqlite" else _uuid

    def loader(self, dialect: str) -> Processor:
        """Return a plain UUID."""
        return uuid.UUID if dialect == "sqlite" else _uuid

    def condition(self, column: str, dialect: str) -> str | None:
        """SQLite knows no UUID."""
        return f"length({column}) = 36" if dialect == "sqlite" else None


def _uuid(value: Any) -> uuid.UUID:
    """Return a plain UUID: asyncpg gives a subclass of its own, which does not pickle alike."""
    if type(value) is uuid.UUID:
        return value
    if isinstance(value, uuid.UUID):
        return uuid.UUID(int=value.int)
    try:
        return uuid.UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise BadInput(f"not a UUID: {brief(value)}") from None


def _uuid_text(value: Any) -> str:
    return str(_uuid(value))


class TextType(Word):
    """Text of any length, or of at most ``length`` characters, compared by code point."""

    shown: ClassVar[bool] = True  # in messages

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def spelling(self, dialect: str) -> TypeEngine[Any]:
        """Return TEXT, or a VARCHAR in code point order on PostgreSQL."""
        if dialect == "sqlite" or self.length is None:
            return Text()
        return String(self.length, collation="C")

    def condition(self, column: str, dialect: str) -> str | None:
        """SQLite does not mind lengths by itself."""
        return f"length({column}) <= {self.length}" if dialect == "sqlite" and self.length else None

    def binder(self, dialect: str) -> Processor:  # noqa: ARG002
        """Refuse what is not text, NUL, and what is too long."""
        longest, shown = self.length, self.shown

        def check(value: Any) -> str:
            if not isinstance(value, str):
                raise BadInput(f"text is a str, not {type(value).__name__}")
            if "\0" in value:
                raise BadInput("text holds a NUL character, which PostgreSQL cannot store; remove it")
            if not value.isascii():
                _encodable(value)
            if longest is not None and len(value) > longest:
                told = f": {value[:40]!r}…" if shown else ""
                raise BadInput(f"text of {len(value)} characters where at most {longest} fit{told}")
            return value

        return check


def _encodable(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadInput("text holds a lone surrogate, which is not text; decode the source as UTF-8") from None


class DigestType(TextType):
    """The SHA-256 of a random token, in hex: never shown in a message."""

    shown = False

    def __init__(self) -> None:
        super().__init__(64)


class ChoiceType(Word):
    """One of a few words, as text with a CHECK."""

    def __init__(self, enum: type[StrEnum]) -> None:
        super().__init__()
        self.enum = enum

    def condition(self, column: str, dialect: str) -> str:
        """List the words; one by one on SQLite, which would make a table of a list for each row that is written."""
        words = [repr(str(word)) for word in self.enum]
        if dialect == "sqlite":
            return " OR ".join(f"{column} = {word}" for word in words)
        return f"{column} IN ({', '.join(words)})"

    def binder(self, dialect: str) -> Processor:  # noqa: ARG002
        """Refuse a word that is not listed."""
        words = {str(word): str(word) for word in self.enum}

        def check(value: Any) -> str:
            try:
                return words[value]
            except (KeyError, TypeError):
                raise BadInput(f"{brief(value)} is not one of {', '.join(words)}") from None

        return check

    def loader(self, dialect: str) -> Processor:  # noqa: ARG002
        """Return the enum's member."""
        return {str(word): word for word in self.enum}.__getitem__


class FlagType(Word):
    """True or false; 1 or 0 on SQLite."""

    impl = Boolean
    on_postgresql = Boolean()
    on_sqlite = Integer()

    def condition(self, column: str, dialect: str) -> str | None:
        """SQLite knows no boolean."""
        return f"{column} IN (0, 1)" if dialect == "sqlite" else None

    def binder(self, dialect: str) -> Processor:  # noqa: ARG002
        """Refuse what is not a bool."""
        return _flag

    def loader(self, dialect: str) -> Processor | None:
        """Return a bool."""
        return bool if dialect == "sqlite" else None


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"a flag is True or False, not {brief(value)}")
    return value


class ListType(Word):
    """A parameter that is a list of another type's values: an array, or JSON on SQLite."""

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def spelling(self, dialect: str) -> TypeEngine[Any]:
        """Return TEXT, or an array of the item's plain type: a VARCHAR would cut values to its length."""
        if dialect == "sqlite":
            return Text()
        plain = self.item.spelling(dialect) if isinstance(self.item, Word) else self.item
        return ARRAY(Text() if isinstance(plain, String) else plain)

    def binder(self, dialect: str) -> Processor:
        """Process each item as its own type would."""
        own = self.item.binder(dialect) if isinstance(self.item, Word) else None
        process = _around_none(own) or (lambda value: value)

        def bind(values: Any) -> Any:
            if isinstance(values, str | bytes) or not isinstance(values, Iterable):
                raise BadInput(f"a list of values was expected, not {brief(values)}")
            items = [process(value) for value in values]
            return jsons.encode(items) if dialect == "sqlite" else items

        return bind
