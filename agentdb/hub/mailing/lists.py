"""Lists of a user's messages: each page is one range of an index, or the newest of a few ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import Any, Final

from sqlalchemy import and_, bindparam, exists, func, literal_column, or_, select, union
from sqlalchemy.sql import ColumnElement, Select

from agentdb.engine.asked import is_text
from agentdb.engine.columns import of
from agentdb.engine.folding import ESCAPE, containing
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.spelling import TextType
from agentdb.errors import BadInput, brief
from agentdb.hub.mailing.letters import ME, RECEIVED, Letter, letter_columns, letters_from, messages, recipients, users
from agentdb.hub.models.mail import MailKind
from agentdb.supervisor.models import UserStatus

LONGEST_TERMS: Final = 1_000

# The flag stands alone, as the partial index has it: SQLAlchemy writes ``own = 1`` where there are no booleans.
SENT: Final = literal_column("mail_recipients.own", WholeType())
CURRENT: Final = recipients.c.archived_at.is_(None)
ARCHIVED: Final = recipients.c.archived_at.is_not(None)
UNREAD: Final = (recipients.c.read_at.is_(None), CURRENT, RECEIVED)
AMONG_THEM: Final = recipients.c.participants_digest == of(recipients.c.participants_digest)


class Box(Enum):
    """Which of a user's messages a list is of."""

    received = auto()
    sent = auto()
    both = auto()
    among_them = auto()  # whoever takes part: certain people, and nobody else


@dataclass(frozen=True, slots=True)
class Counted:
    """How many messages of a kind there are."""

    kind: MailKind
    messages: int


class Window(Enum):
    """Where a page of a conversation is."""

    latest = auto()
    before = auto()
    after = auto()


def kind_of(kind: MailKind | str) -> MailKind:
    """Return a kind of message by its word.

    Raises: BadInput for another word.
    """
    try:
        return MailKind(kind)
    except ValueError:
        raise BadInput(f"{brief(kind)} is not a kind of message; there are {', '.join(MailKind)}") from None


def _ranges(
    kind: MailKind | None, *alternatives: Sequence[ColumnElement[Any]], ascending: bool = False
) -> list[Select[Any]]:
    """Return a range of a user's rows for each kind and alternative, cut to the limit."""
    order = recipients.c.message_id.asc() if ascending else recipients.c.message_id.desc()
    columns = [recipients.c[name] for name in ("message_id", "type", "read_at", "archived_at")]
    return [
        select(*columns)
        .where(recipients.c.user_id == ME, recipients.c.kind == literal_column(f"'{each}'"), *conditions)
        .order_by(order)
        .limit(bindparam("limit"))
        for each in ([kind] if kind else MailKind)
        for conditions in alternatives
    ]


def _letters(name: str, ranges: Sequence[Select[Any]], *, whole: bool, ascending: bool = False) -> Plan[Letter]:
    """Return the plan that reads the letters of ranges, as one list: a row that two of them have is there once."""
    parts = [part.subquery() for part in ranges]
    mine = union(*map(select, parts)).subquery("mine") if len(parts) > 1 else parts[0]
    order = mine.c.message_id.asc() if ascending else mine.c.message_id.desc()
    statement = letters_from(mine, whole=whole).order_by(order).limit(bindparam("limit"))
    return Plan(statement, name=f"mail.{name}", rows=Letter)


@cache
def page_plan(box: Box, kind: MailKind | None, archived: bool, after: bool) -> Plan[Letter]:
    """Return the plan of a page of a user's messages, newest first."""
    state = ARCHIVED if archived else CURRENT
    beyond = [recipients.c.message_id < bindparam("place")] if after else []
    alternatives: list[list[ColumnElement[Any]]]
    match box:
        case Box.received:
            alternatives = [[state, RECEIVED]]
        case Box.sent:
            alternatives = [[state, SENT]]
        case Box.among_them:
            alternatives = [[state, AMONG_THEM]]
        case Box.both if archived:
            alternatives = [[state]]
        case Box.both:
            alternatives = [[state, RECEIVED], [state, SENT]]
    ranges = _ranges(kind, *([*conditions, *beyond] for conditions in alternatives))
    return _letters(box.name, ranges, whole=False)


@cache
def conversation_plan(kind: MailKind, window: Window) -> Plan[Letter]:
    """Return the plan of some messages of one conversation that a user has rows of, put away or not."""
    conditions: list[ColumnElement[Any]] = [AMONG_THEM]
    if window is Window.before:
        conditions.append(recipients.c.message_id < bindparam("place"))
    if window is Window.after:
        conditions.append(recipients.c.message_id > bindparam("place"))
    ascending = window is Window.after
    return _letters("messages", _ranges(kind, conditions, ascending=ascending), whole=True, ascending=ascending)


@cache
def unread_plan(kind: MailKind | None) -> Plan[Letter]:
    """Return the plan of a user's unread messages behind a place, oldest first."""
    ranges = _ranges(kind, [*UNREAD, recipients.c.message_id > bindparam("place")], ascending=True)
    return _letters("unread", ranges, whole=True, ascending=True)


@cache
def search_plan(subject_only: bool, include_archived: bool, after: bool) -> Plan[Letter]:
    """Return the plan that looks through a user's own messages, newest first."""
    pattern = bindparam("pattern", type_=TextType())
    found: ColumnElement[bool] = messages.c.subject_folded.like(pattern, escape=ESCAPE)
    if not subject_only:
        found = or_(found, messages.c.body_folded.like(pattern, escape=ESCAPE))
    statement = letters_from(recipients, whole=False).where(recipients.c.user_id == ME, found)
    if not include_archived:
        statement = statement.where(CURRENT)
    if after:
        # Of both tables: whichever is walked begins at the place.
        place = bindparam("place", type_=messages.c.id.type)
        statement = statement.where(recipients.c.message_id < place, messages.c.id < place)
    statement = statement.order_by(recipients.c.message_id.desc()).limit(bindparam("limit"))
    return Plan(statement, name="mail.search", rows=Letter)


def pattern_of(terms: str) -> str:
    """Return the pattern that finds a phrase as it is written, in whatever case.

    Raises: BadInput for no phrase, or one that is too long.
    """
    if not is_text(terms) or not terms.strip():
        raise BadInput("nothing to search for; give at least one letter or digit")
    if len(terms) > LONGEST_TERMS:
        raise BadInput(f"a search is for at most {LONGEST_TERMS:,} characters, not {len(terms):,}")
    return containing(terms)


def _message_plan() -> Plan[Letter]:
    row = and_(recipients.c.message_id == messages.c.id, recipients.c.user_id == ME)
    sources = messages.outerjoin(recipients, row).outerjoin(users, users.c.id == messages.c.from_user_id)
    statement = (
        select(*letter_columns(recipients, whole=True))
        .select_from(sources)
        .where(
            messages.c.id == of(messages.c.id, "message_id"),
            or_(recipients.c.id.is_not(None), messages.c.from_user_id == ME),
        )
    )
    return Plan(statement, name="mail.message", rows=Letter)


MESSAGE: Final = _message_plan()
SENDER: Final = Plan[int](
    select(messages.c.id).where(messages.c.id == of(messages.c.id, "message_id"), messages.c.from_user_id == ME),
    name="mail.read_by: sender",
)
TAKES_PART: Final = Plan[int](
    select(recipients.c.message_id)
    .where(recipients.c.user_id == ME, recipients.c.kind == of(recipients.c.kind), AMONG_THEM)
    .limit(1),
    name="mail.messages: takes part",
)
COUNTS: Final = Plan[Counted](
    select(recipients.c.kind, func.count()).where(recipients.c.user_id == ME, *UNREAD).group_by(recipients.c.kind),
    name="mail.unread_counts",
    rows=Counted,
)


@cache
def to_wake_plan(of_a_kind: bool) -> Plan[int]:
    """Return the plan that finds active users, or those of one kind, who have something to read."""
    waiting = exists().where(recipients.c.user_id == users.c.id, *UNREAD)
    statement = select(users.c.id).where(
        users.c.status == literal_column(f"'{UserStatus.active}'"), users.c.id > bindparam("after"), waiting
    )
    if of_a_kind:
        statement = statement.where(users.c.kind == of(users.c.kind))
    return Plan(statement.order_by(users.c.id).limit(bindparam("limit")), name="mail.to_wake")
