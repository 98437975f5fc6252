"""How moments, money and whole numbers are stored."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, Literal

from sqlalchemy import BigInteger, DateTime, Float, Integer, SmallInteger
from sqlalchemy.types import TypeEngine

from agentdb.engine.spelling import Processor, Word
from agentdb.errors import BadInput, brief


class MomentType(Word):
    """An instant: aware UTC in and out; text of fixed width on SQLite, which sorts as time."""

    impl = DateTime
    python = datetime
    on_postgresql = DateTime(timezone=True)

    def binder(self, dialect: str) -> Processor:
        """Refuse what has no time zone."""
        return _moment_text if dialect == "sqlite" else utc

    def loader(self, dialect: str) -> Processor | None:
        """Parse SQLite's text; asyncpg gives aware UTC already."""
        return datetime.fromisoformat if dialect == "sqlite" else None


def utc(value: Any) -> datetime:
    """Return a moment, in UTC.

    Raises: BadInput for what is no moment, has no time zone, or is in UTC beyond the calendar.
    """
    if type(value) is datetime and value.tzinfo is UTC:
        return value
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise BadInput(f"a moment needs a date, a time and a time zone, not {brief(value)}; use datetime.now(UTC)")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise BadInput(f"{value!r} is in UTC before the year 1 or after 9999") from None


class _Latest:
    """The last moments that were spelled: rows have the same one several times, and another between."""

    spelled: tuple[object, str] = (None, "")
    before: tuple[object, str] = (None, "")


def _moment_text(value: Any) -> str:
    latest = _Latest.spelled
    if latest[0] is value:
        return latest[1]
    found = _Latest.before
    if found[0] is not value:
        moment = utc(value)
        # To say how fine it shall be takes half as long again, and is needed where the fraction is 0.
        text = moment.isoformat() if moment.microsecond else moment.isoformat(timespec="microseconds")
        found = (value, text)
    _Latest.before, _Latest.spelled = latest, found
    return found[1]


NANO: Final = Decimal("0.000000001")
_exact: Final = Context(prec=60)
_strict: Final = Context(prec=28, traps=[Inexact, InvalidOperation])
_BEYOND: Final = 10**10


class MoneyType(Word):
    """US dollars as a whole number of billionths: exact sums on both databases."""

    impl = BigInteger
    python = Decimal
    on_postgresql = BigInteger()
    on_sqlite = Integer()

    def binder(self, dialect: str) -> Processor:  # noqa: ARG002
        """Refuse floats, and what nine places do not hold."""
        return billionths

    def loader(self, dialect: str) -> Processor:  # noqa: ARG002
        """Return dollars with nine places."""
        return dollars


def billionths(value: Any) -> int:
    """Return an amount of dollars in billionths.

    Raises: BadInput for floats, for what is finer than nine places and for what is beyond 64 bits.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise BadInput(f"money is a Decimal or an int, not {type(value).__name__}; write Decimal('0.10')")
    amount = Decimal(value)
    if not amount.is_finite():
        raise BadInput(f"money is a finite amount, not {value}")
    # Compared first: a number of a million digits is not worked out.
    if not -_BEYOND < amount < _BEYOND:
        raise BadInput("these dollars are more than the 9.2 billion a column holds")
    try:
        whole = int(_exact.scaleb(_strict.quantize(amount, NANO), 9))
    except Inexact:
        raise BadInput(f"{value} dollars have more than nine decimal places; round them first") from None
    if not -(2**63) <= whole < 2**63:
        raise BadInput(f"{value} dollars are more than the 9.2 billion a column holds")
    return whole


def dollars(whole: Any) -> Decimal:
    """Return billionths (an integer, or a database's sum of such) as dollars with nine places."""
    return _exact.scaleb(Decimal(int(whole)), -9)


class WholeType(Word):
    """An integer of 64 bits (or 16, for the few that are small on PostgreSQL)."""

    impl = BigInteger
    on_sqlite = Integer()

    def __init__(self, bits: Literal[16, 32, 64] = 64) -> None:
        super().__init__()
        self.bits = bits

    def spelling(self, dialect: str) -> TypeEngine[Any]:
        """Return INTEGER on SQLite, the size that was asked for on PostgreSQL."""
        if dialect == "sqlite":
            return Integer()
        return {16: SmallInteger(), 32: Integer(), 64: BigInteger()}[self.bits]

    def binder(self, dialect: str) -> Processor:  # noqa: ARG002
        """Refuse what is not an int, and what does not fit."""
        limit = 2 ** (self.bits - 1)

        def check(value: Any) -> int:
            if not isinstance(value, int) or isinstance(value, bool):
                raise BadInput(f"a whole number is an int, not {type(value).__name__}")
            if not -limit <= value < limit:
                raise BadInput(f"{brief(value)} does not fit a column of {self.bits} bits")
            return value

        return check


class RealType(Word):
    """A floating-point number, as a query computes it."""

    impl = Float
    python = float
    on_postgresql = Float()
    on_sqlite = Float()
