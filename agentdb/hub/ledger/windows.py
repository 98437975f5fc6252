"""The windows of spend limits: fixed stretches of local time, which follow one another without gap or overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agentdb.errors import BadInput, brief
from agentdb.hub.models.spending import LimitPeriod

FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
MOST: Final = 10_000  # of a period in one window
_MONDAY: Final = datetime(1970, 1, 5)  # noqa: DTZ001 (local time, whatever the zone)
_DAY_HOURS: Final = 24


def zone(name: str) -> ZoneInfo:
    """Return the time zone of this name.

    Raises: BadInput for one that is not in the IANA database.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        raise BadInput(f"there is no time zone {brief(name)}; write one such as 'Europe/Berlin', or 'UTC'") from None


def window(period: LimitPeriod, every: int, timezone: str, at: datetime) -> tuple[datetime, datetime | None]:
    """Return the start of the window that a moment is in, and its end, which is the start of the next.

    Windows are cut in local time, so that a day stays a day when the clocks change. Hours count from local midnight,
    and begin anew there when ``every`` does not divide the day; more than a day's hours, days and weeks count from
    Monday, 5 January 1970, months from January 1970. The period none has one window, from 1970 on.

    Args: every: how many of the period make a window, 1 to 10,000.
    Raises: BadInput for another number, or an unknown time zone.
    """
    local = zone(timezone)
    if type(every) is not int or not 1 <= every <= MOST:
        raise BadInput(f"a window has 1 to {MOST} of its period, not {brief(every)}")
    if period is LimitPeriod.none:
        return FIRST, None
    start, end = _cut(period, every, at.astimezone(local).replace(tzinfo=None))
    return _instant(start, local), _instant(end, local)


def _cut(period: LimitPeriod, every: int, at: datetime) -> tuple[datetime, datetime]:
    """Return the local start and end of the window around a local time."""
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if period is LimitPeriod.month:
        months = (at.year - 1970) * 12 + at.month - 1
        first = months - months % every
        return _month(first), _month(first + every)
    if period is LimitPeriod.hour and every <= _DAY_HOURS:
        start = midnight + timedelta(hours=at.hour - at.hour % every)
        return start, min(start + timedelta(hours=every), midnight + timedelta(days=1))
    step = {
        LimitPeriod.hour: timedelta(hours=every),
        LimitPeriod.day: timedelta(days=every),
        LimitPeriod.week: timedelta(weeks=every),
    }[period]
    start = at - (at - _MONDAY) % step
    return start, start + step


def _month(number: int) -> datetime:
    return datetime(1970 + number // 12, number % 12 + 1, 1)  # noqa: DTZ001


def _instant(local: datetime, timezone: ZoneInfo) -> datetime:
    # Of a time that comes twice the first is meant; one that the clocks pass over is the moment they do.
    return local.replace(tzinfo=timezone).astimezone(UTC)
