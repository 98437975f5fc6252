"""What comes last: each user's pointers to what is newest, and the limits, which count what was spent by then."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final

from sqlalchemy import Table, func, literal_column, select, update
from sqlalchemy.sql import ColumnElement

from agentdb.criteria import table_of
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count
from agentdb.engine.functions import writing_transaction
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import NANO
from agentdb.errors import BadInput
from agentdb.hub.models.machines import RunSession, UserNotification
from agentdb.hub.models.mail import MailKind, MailRecipient
from agentdb.hub.models.spending import LimitPeriod, SpendLimit
from agentdb.importing.naisys.marks import turn
from agentdb.importing.naisys.source import ROWS, Row
from agentdb.importing.naisys.values import mapping, maybe, moment
from agentdb.importing.naisys.work import Importing

_DOLLARS: Final = "SPEND_LIMIT_DOLLARS"
_HOURS: Final = "SPEND_LIMIT_HOURS"
_DAY_HOURS: Final = 24

_notices: Final[Table] = table_of(UserNotification)
_sessions: Final[Table] = table_of(RunSession)
_received: Final[Table] = table_of(MailRecipient)
_user: Final = of(_notices.c.user_id)


def _pointer_plan(column: ColumnElement[int], newest: ColumnElement[int]) -> Plan[None]:
    """Move a pointer forward; one that is there already is not touched."""
    return Plan(
        update(_notices)
        .where(_notices.c.user_id == _user, column < newest)
        .values({column: newest, _notices.c.updated_at: _notices.c.updated_at, _notices.c.tx: writing_transaction()}),
        name="import: pointer",
    )


def _newest_mail(kind: MailKind) -> ColumnElement[int]:
    return (
        select(func.coalesce(func.max(_received.c.message_id), 0))
        .where(
            _received.c.user_id == _user,
            _received.c.kind == literal_column(f"'{kind}'"),
            _received.c.type != literal_column("'from'"),
        )
        .scalar_subquery()
    )


_POINTERS: Final = (
    _pointer_plan(
        _notices.c.latest_log_id,
        select(func.coalesce(func.max(_sessions.c.latest_log_id), 0))
        .where(_sessions.c.user_id == _user)
        .scalar_subquery(),
    ),
    _pointer_plan(_notices.c.latest_mail_id, _newest_mail(MailKind.mail)),
    _pointer_plan(_notices.c.latest_chat_id, _newest_mail(MailKind.chat)),
)


async def import_notices(work: Importing) -> None:
    """Bring when users were last active, and where, and point to what is newest of what came."""

    def convert(row: Row) -> dict[str, Any]:
        updated = moment(row["updated_at"])
        return {
            "user_id": work.users[row["user_id"]],
            "latest_host_id": work.hosts.get(row["latest_host_id"]),
            "last_active": maybe(moment, row["last_active"]),
            "created_at": updated,
            "updated_at": updated,
        }

    rows = [row for row in await work.hub.all("user_notifications") if row["user_id"] in work.users]
    notices = work.carried("user_notifications", rows, convert, "user_id")
    await work.add_unless_there("user_notifications", UserNotification, ("user_id",), notices)
    users = sorted(set(work.users.values()))
    for first in range(0, len(users), ROWS):
        await work.write(partial(_point, users[first : first + ROWS]))
    if any(row["spend_limit_reset_at"] is not None for row in rows):
        work.report.note("limits that were reset by hand count the whole of their present window here")
    work.progress("user_notifications", len(rows), len(rows))


def _point(users: Sequence[int]) -> Script[None]:
    yield from turn()
    for user_id in users:
        for pointer in _POINTERS:
            yield from count(pointer, user_id=user_id)


async def import_limits(work: Importing) -> None:
    """Set the limits that configurations and variables tell, and let those that are here count what has come."""
    limits = work.database.hub.limits
    present = {(limit.user_id, limit.covers) async for limit in limits.stream()}
    for row in await work.hub.all("users"):
        try:
            config = mapping(row["config"])
        except BadInput:
            continue  # told with the user
        user_id = work.users[row["id"]]
        if (user_id, "self") not in present:
            told = config.get("spendLimitDollars"), config.get("spendLimitHours")
            await _set(work, row["username"], *told, least=Decimal(0), user_id=user_id, exempts_from_installation=True)
    values = {row["key"]: row["value"] for row in await work.hub.having("variables", "key", [_DOLLARS, _HOURS])}
    if (None, "self") not in present:
        dollars, hours = (_number(values.get(key)) or None for key in (_DOLLARS, _HOURS))
        await _set(work, _DOLLARS, dollars, hours, least=NANO)
    work.report.stored("spend_limits", 0, len(present))
    # By marks, and not by what this import brought: one before it may have been ended between costs and limits.
    until = await work.marks.until(work.connection, "costs")
    if until > await work.marks.until(work.connection, "spend_limits"):
        async for limit in limits.stream():
            if (limit.user_id, limit.covers) in present:
                await limits.set(**_as_set(limit))
        await work.write(lambda: work.marks.mark("spend_limits", {"until": until}))


def _as_set(limit: SpendLimit) -> dict[str, Any]:
    same = ("amount", "user_id", "covers", "period", "every", "timezone", "exempts_from_installation")
    return {key: getattr(limit, key) for key in same}


async def _set(work: Importing, whose: str, amount: Any, hours: Any, *, least: Decimal, **rest: Any) -> None:
    if amount is None:
        return
    try:
        limit = _limit(amount, least)
        period, every = _period(hours)
        await work.database.hub.limits.set(limit, period=period, every=every, timezone=work.timezone, **rest)
    except BadInput as error:
        work.report.leave("spend_limits", whose, error)
    else:
        work.report.stored("spend_limits", 1)


def _limit(amount: Any, least: Decimal) -> Decimal:
    dollars = _number(amount)
    if dollars is None or dollars < least:
        raise BadInput(f"{str(amount)[:20]!r} is no amount of dollars")
    return dollars.quantize(NANO)


def _period(hours: Any) -> tuple[LimitPeriod, int]:
    if hours is None:
        return LimitPeriod.none, 1
    told = _number(hours)
    if told is None or told != int(told) or told < 1 or (told > _DAY_HOURS and told % _DAY_HOURS):
        raise BadInput(f"a window of {str(hours)[:20]!r} hours is neither of whole hours of a day nor of whole days")
    whole = int(told)
    return (LimitPeriod.hour, whole) if whole < _DAY_HOURS else (LimitPeriod.day, whole // _DAY_HOURS)


def _number(value: Any) -> Decimal | None:
    try:
        found = Decimal(str(value).strip())
    except ArithmeticError:
        return None
    return found if found.is_finite() and abs(found) < 10**9 else None
