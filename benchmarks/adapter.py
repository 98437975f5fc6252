"""What an adapter is asked to do, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

Kind = Literal["postgresql", "sqlite"]

USERS: Final = 100
CONVERSATIONS: Final = 95_000
DEEP: Final = 90_000
PAGE: Final = 50
COSTS: Final = 500_000
SPENDER: Final = 1  # one user has a tenth of the ledger
SHORT_SESSIONS: Final = 64
SHORT: Final = 10
LONG: Final = 10_000
POOL: Final = 16


@dataclass(frozen=True, slots=True)
class Place:
    """A seeded database that an adapter works on, and which conversation and sessions are its own.

    Attributes:
        number: from 1, of the adapter.
        url: as agentdb reads it.
        server: what `asyncpg.connect` takes; empty on SQLite.
        path: the file; None on PostgreSQL.
    """

    kind: Kind
    number: int
    url: str
    server: Mapping[str, Any]
    path: Path | None

    @property
    def conversation(self) -> int:
        """The hot conversation."""
        return self.number

    @property
    def short_sessions(self) -> range:
        """The sessions whose logs are short: as many as it takes for them to stay so."""
        first = (self.number - 1) * (SHORT_SESSIONS + 1) + 1
        return range(first, first + SHORT_SESSIONS)

    @property
    def long_session(self) -> int:
        """The session whose log is long."""
        return self.number * (SHORT_SESSIONS + 1)


class Totals(NamedTuple):
    """What a user's calls came to."""

    calls: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    cost: Decimal


def totals_of(calls: Any, *sums: Any) -> Totals:
    """Return what a database's sums say: four of tokens, and one of billionths of a dollar."""
    *tokens, billionths = map(int, sums)
    first, second, third, fourth = tokens
    return Totals(int(calls), first, second, third, fourth, Decimal(billionths).scaleb(-9))


class Adapter(Protocol):
    """One way to do the work. Rows come back as objects with typed attributes, JSON and times decoded."""

    @property
    def place(self) -> Place: ...

    async def close(self) -> None: ...

    async def get(self, key: int) -> Any:
        """Return the conversation with this key."""
        ...

    async def insert(self, row: Mapping[str, Any]) -> Any:
        """Insert a conversation in a transaction of its own, and return it complete."""
        ...

    async def page(self, *, deep: bool) -> list[Any]:
        """Return the 50 conversations after the first place of the list, or after row 90,000, by keyset."""
        ...

    async def pour(self, rows: list[dict[str, Any]]) -> int:
        """Insert many conversations, all or none, as fast as the adapter offers."""
        ...

    async def log(self, session: int, message: str) -> Any:
        """Append one entry, count it and move the session's and the user's pointers, in one transaction."""
        ...

    async def append(self, conversation: int, content: Any) -> Any:
        """Append a message at the next position, in one transaction."""
        ...

    async def total(self, user: int) -> Totals:
        """Return what a user's calls came to, what retention has folded included."""
        ...


class Witness(Adapter, Protocol):
    """An adapter that also tells how things stand, for the checks of all the others."""

    async def counted(self, session: int) -> tuple[int, int, int]:
        """Return a session's lines, its pointer, and its user's pointer."""
        ...
