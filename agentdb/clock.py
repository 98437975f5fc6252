"""The library's one clock: every Moment that is written, and every expiry test, is bound from here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta


class _Held:
    """The moment tests hold the clock at; None while it runs."""

    at: datetime | None = None


def now(ahead: timedelta = timedelta(0)) -> datetime:
    """Return the present moment: aware, UTC, to the microsecond.

    Args: ahead: how far the database server's clock is ahead of this machine's; a held clock knows no such thing.
    """
    return _Held.at or datetime.now(UTC) + ahead


@contextmanager
def hold(at: datetime) -> Iterator[Hand]:
    """Stop the clock at a moment, for tests; the hand moves it on."""
    before, _Held.at = _Held.at, at.astimezone(UTC)
    try:
        yield Hand()
    finally:
        _Held.at = before


class Hand:
    """Moves a held clock."""

    @staticmethod
    def forward(step: timedelta) -> datetime:
        """Move the held clock on, and return where it stands."""
        if _Held.at is None:
            raise RuntimeError("the clock is running; hold it first")
        _Held.at += step
        return _Held.at
