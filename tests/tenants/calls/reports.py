"""Calls of the reports: they name nobody, and tell of the caller alone."""

from __future__ import annotations

from tests.tenants.walking import Call

CALLS: dict[str, dict[str, Call]] = {
    "activity": {
        "tools": Call(lambda at, _: at.tools(), of_nobody=True),
        "totals": Call(lambda at, _: at.totals(), of_nobody=True),
    },
    "spending": {
        "by_day": Call(lambda at, _: at.by_day(), of_nobody=True),
        "by_model": Call(lambda at, _: at.by_model(), of_nobody=True),
        "by_user": Call(lambda at, _: at.by_user(), of_nobody=True),
    },
}
