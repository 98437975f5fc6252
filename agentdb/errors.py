"""Every error agentdb raises, apart from any loop of imports.

    AgentDBError
    ├── BadInput              what the caller passed cannot be stored or asked
    ├── BadSettings           the configuration names something that is not there
    ├── BudgetExceeded        a spend limit does not leave room
    ├── Conflict              a unique value is taken, or a row is still referred to
    ├── DatabaseCorrupt       the file or page is damaged: restore a backup
    ├── DecryptionFailed      a stored secret cannot be read with the configured keys
    ├── InvalidTransition     the row's state does not allow this change
    ├── MissingReference      a row names another row that is not there
    ├── NotFound              no such row
    ├── ReadOnly              a write through a read door, or to what never changes
    ├── SchemaMismatch        database and code are of different versions
    ├── StaleVersion          somebody else changed the row first
    └── Unavailable           the database cannot answer now; the same call may succeed later
        └── Contended         it answered that another transaction was in the way

Drivers' and SQLAlchemy's errors never leave a repository: the engine turns each into one of these by its SQLSTATE or
its SQLite error name, and keeps the original as ``__cause__``.
"""

from __future__ import annotations

from typing import ClassVar


class AgentDBError(Exception):
    """Whatever agentdb raises."""

    retryable: ClassVar[bool] = False


class BadInput(AgentDBError):
    """What the caller passed cannot be stored or asked."""


class BadSettings(AgentDBError):
    """The configuration names something that is not there or cannot work."""


class BudgetExceeded(AgentDBError):
    """A spend limit does not leave room for this amount.

    ``user_id`` is whose limit it is; None: the installation's.
    """

    def __init__(self, message: str, *, user_id: int | None = None) -> None:
        super().__init__(message)
        self.user_id = user_id


class Conflict(AgentDBError):
    """A unique value is taken already, or a row is still referred to.

    ``constraint`` is the constraint's name, the same on both databases; ``row`` is the position of the offending row
    in a bulk call, where the database tells it.
    """

    def __init__(self, message: str, *, constraint: str = "", row: int | None = None) -> None:
        super().__init__(message)
        self.constraint = constraint
        self.row = row


class DatabaseCorrupt(AgentDBError):
    """The database file is damaged or is not a database: restore a backup."""


class DecryptionFailed(AgentDBError):
    """A stored secret cannot be read with the configured keys."""


class InvalidTransition(AgentDBError):
    """The row's present state does not allow this change."""


class MissingReference(AgentDBError):
    """A row names another row that is not there; ``constraint`` is the foreign key's name."""

    def __init__(self, message: str, *, constraint: str = "") -> None:
        super().__init__(message)
        self.constraint = constraint


class NotFound(AgentDBError):
    """There is no such row, or not for this caller."""


class ReadOnly(AgentDBError):
    """A write came through a read door, or to a table whose rows never change."""


class SchemaMismatch(AgentDBError):
    """Database and code are of different schema versions."""


class StaleVersion(AgentDBError):
    """Somebody else changed the row first: read it again and decide anew."""


class Unavailable(AgentDBError):
    """The database cannot answer now; the same call may succeed later."""

    retryable = True


class Contended(Unavailable):
    """Another transaction was in the way (serialization failure, deadlock, busy): run the whole unit again.

    ``waited`` tells that a lock was waited for as long as the settings allow: then nothing is tried again by itself.
    """

    def __init__(self, message: str, *, waited: bool = False) -> None:
        super().__init__(message)
        self.waited = waited


def brief(value: object, most: int = 60) -> str:
    """Return how an error tells a value: its representation, of at most so many characters."""
    try:
        return repr(value)[:most]
    except ValueError:  # Python spells no number of more than 4,300 digits
        return f"one of type {type(value).__name__} too long to tell"
