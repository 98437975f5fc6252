"""How long memories live, and how they fade."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from agentdb.errors import BadInput, brief

_TTL: Final = re.compile(r"P(?:(\d{1,6})D)?(?:T(?=\d)(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})S)?)?", re.ASCII)


def lifetime(ttl: timedelta | str) -> timedelta:
    """Return how long something lives.

    Args: ttl: a duration, or the text of one in days, hours, minutes and seconds: ``P1D``, ``PT36H``, ``P1DT30M``.
    Raises: BadInput for anything else: a lifetime that nobody understands would never end.
    Source: ISO 8601, durations; years, months and weeks are left out.
    """
    if isinstance(ttl, str):
        found = _TTL.fullmatch(ttl)
        if found is None or not any(found.groups()):
            raise BadInput(f"{ttl[:40]!r} is not a lifetime; write one such as P30D or PT12H")
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        ttl = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    given: object = ttl
    if not isinstance(given, timedelta) or given <= timedelta():
        raise BadInput(f"a lifetime is a duration above 0, not {brief(given)}")
    return given


def check_half_life(half_life: timedelta | None) -> None:
    """Check a half-life; None: nothing fades.

    Raises: BadInput for what is no duration above 0.
    """
    given: object = half_life
    if given is not None and (not isinstance(given, timedelta) or given <= timedelta()):
        raise BadInput(f"a half-life is a duration above 0, not {brief(given)}")


def fading(created_at: datetime, now: datetime, half_life: timedelta | None) -> float:
    """Return what is left of a memory's weight: half of it after each half-life; all of it without one."""
    if half_life is None:
        return 1.0
    age = max(timedelta(), now - created_at)
    return float(0.5 ** (age / half_life))
