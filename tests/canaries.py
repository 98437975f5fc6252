"""Secrets planted in the tests, and a watch on everything the run logs, at its most talkative.

Whatever a test plants, and every access key, must not be in any record of any logger: the test during which one appears
fails. The watch hears DEBUG from the root logger, so also from SQLAlchemy, asyncpg and asyncio.
"""

from __future__ import annotations

import logging
import re
from typing import Final

_ACCESS_KEY: Final = re.compile(r"adb_[A-Za-z0-9_-]{43}")
_CANARY: Final = re.compile(r"canary-[0-9a-f]{8}", re.IGNORECASE)

_planted: set[str] = set()


def canary(name: str) -> str:
    """Return a secret that is found wherever it shows: every record of the run is searched for its beginning."""
    return f"canary-{sum(name.encode()) * 2654435761 % 2**32:08x}-{name}"


def plant(secret: str) -> str:
    """Watch for a secret that could not be chosen, such as a token; returns it."""
    assert len(secret) >= 16, "so short a secret is found in innocent text"
    _planted.add(secret)
    return secret


def told(text: str) -> list[str]:
    """Return the secrets that a text tells."""
    found = [secret for secret in _planted if secret in text]
    return found + _CANARY.findall(text) + _ACCESS_KEY.findall(text)


class Watch(logging.Handler):
    """Remembers the records that tell a secret."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(
            logging.Formatter("%(name)s %(levelname)s %(message)s")
        )  # with the traceback, if there is one
        self.heard = 0
        self.telling: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Search a record."""
        self.heard += 1
        text = self.format(record)
        if told(text):
            self.telling.append(text)
