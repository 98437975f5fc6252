"""Windows of limits: they follow one another without gap or overlap, in local time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdb.hub.ledger.windows import window
from agentdb.hub.models.spending import LimitPeriod

BERLIN = "Europe/Berlin"
ZONES = [
    "UTC",
    BERLIN,
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
]


@given(
    st.sampled_from([period for period in LimitPeriod if period is not LimitPeriod.none]),
    st.integers(1, 400),
    st.sampled_from(ZONES),
    st.integers(0, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC)),
)
def test_windows_follow_one_another(period: LimitPeriod, every: int, zone: str, at: datetime) -> None:
    start, end = window(period, every, zone, at)
    assert end is not None

    assert start <= at < end
    assert window(period, every, zone, end - timedelta(microseconds=1)) == (start, end)
    assert window(period, every, zone, end)[0] == end


WINDOWS: list[tuple[str, int, str, str, str, str]] = [
    ("hour", 6, BERLIN, "2026-06-01T11:00", "2026-06-01T10:00", "2026-06-01T16:00"),  # 13:00 there: from 12 to 18
    ("hour", 7, "UTC", "2026-06-01T22:00", "2026-06-01T21:00", "2026-06-02T00:00"),  # begins anew at midnight
    ("hour", 48, "UTC", "2026-11-21T12:00", "2026-11-21T00:00", "2026-11-23T00:00"),
    ("day", 1, BERLIN, "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),  # of 23 hours
    ("day", 3, "UTC", "2026-11-21T12:00", "2026-11-19T00:00", "2026-11-22T00:00"),
    ("week", 1, "UTC", "2026-11-21T12:00", "2026-11-16T00:00", "2026-11-23T00:00"),  # from Monday
    ("month", 1, "America/New_York", "2026-03-01T04:59", "2026-02-01T05:00", "2026-03-01T05:00"),
    ("month", 3, "UTC", "2026-11-21T12:00", "2026-10-01T00:00", "2027-01-01T00:00"),
]


def test_a_window_is_of_local_time(subtests: pytest.Subtests) -> None:
    for period, every, zone, at, start, end in WINDOWS:
        with subtests.test(period=period, every=every, zone=zone, at=at):
            cut = window(LimitPeriod(period), every, zone, datetime.fromisoformat(f"{at}+00:00"))

            assert cut == (datetime.fromisoformat(f"{start}+00:00"), datetime.fromisoformat(f"{end}+00:00"))


def test_no_period_is_one_window_without_end() -> None:
    assert window(LimitPeriod.none, 1, "UTC", datetime.now(ZoneInfo(BERLIN))) == (
        datetime(1970, 1, 1, tzinfo=UTC),
        None,
    )
