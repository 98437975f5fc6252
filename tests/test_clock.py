"""The one clock: aware, UTC, and held still by tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from agentdb import clock


def test_the_clock_runs_in_utc() -> None:
    before = datetime.now(UTC)
    now = clock.now()

    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC
    assert clock.now(timedelta(hours=1)) - now >= timedelta(hours=1)


def test_a_held_clock_stands_and_moves_by_hand() -> None:
    at = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))

    with clock.hold(at) as hand:
        assert clock.now() == clock.now(timedelta(hours=1)) == at
        assert clock.now().tzinfo is UTC
        assert hand.forward(timedelta(days=1)) == clock.now() == at + timedelta(days=1)
        with clock.hold(at + timedelta(days=9)):
            assert clock.now() == at + timedelta(days=9)
        assert clock.now() == at + timedelta(days=1)

    assert clock.now() > at
    with pytest.raises(RuntimeError, match="running"):
        hand.forward(timedelta(days=1))
