"""What stands before a connection: it looks at what is run, and has the rest answered behind it."""

from __future__ import annotations

from datetime import datetime

from agentdb.engine.connection import Connection
from agentdb.keyring import Keyring


class Before:
    """A connection before another one.

    Args: behind: the database itself, or an open transaction.
    """

    def __init__(self, behind: Connection) -> None:
        self._behind = behind

    @property
    def chains(self) -> bool:
        """Whether one statement may change several tables."""
        return self._behind.chains

    @property
    def keyring(self) -> Keyring:
        """What seals and opens secrets."""
        return self._behind.keyring

    def now(self) -> datetime:
        """Return the database's present moment."""
        return self._behind.now()
