"""No row without its file: how storing and clearing away agree, among any number of processes.

Whoever stores places the file first. Then, in the transaction that adds the row, it holds the file's hash together with
others who store the same contents, looks whether the file is there, and adds the row only if it is. Otherwise it places
the file again and starts over.

Whoever clears away takes, in one transaction, the hash alone, or leaves the file when somebody holds it. Then it looks
for rows, and removes the file only if there is none and it was not placed anew.

A hash is held until the transaction ends, the one of a whole unit too. So whoever clears away either comes after the
commit, and finds the row; or before the look at the file, which then finds nothing, and places it again. A process that
is killed holds nothing any more: what it leaves is a file without a row, or one that never came in as a whole. Nobody
waits while holding a hash alone, so nothing deadlocks.

On SQLite the one writer of the database stands for all hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table, and_, bindparam, delete, exists, select

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, every, one
from agentdb.engine.functions import among
from agentdb.engine.holding import held_alone, held_together, number_of
from agentdb.engine.lists import listed
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.statements import insert_one
from agentdb.hub.models.machines import ContextLog
from agentdb.hub.models.mail import Attachment, MailAttachment
from agentdb.hub.models.settings import SchemaVersion

_attachments: Final[Table] = Attachment.__table__  # type: ignore[assignment]
_links: Final[Table] = MailAttachment.__table__  # type: ignore[assignment]
_logs: Final[Table] = ContextLog.__table__  # type: ignore[assignment]

_HOLD: Final = Plan[Any](
    select(held_together(bindparam("number", type_=WholeType()))), name="attachments.store: hold the file"
)
_given = listed("numbers", WholeType())
_TAKE: Final = Plan[int](select(_given.c.value).where(held_alone(_given.c.value)), name="attachments.collect: files")

IN_ROWS: Final = Plan[str](
    select(_attachments.c.file_hash).distinct().where(among(_attachments.c.file_hash, "hashes")),
    name="attachments.collect: files of rows",
)

# Whose the folder is.
IDENTITY: Final = Plan[str](select(SchemaVersion.identity).where(SchemaVersion.id == 1), name="attachments: database")

_UNUSED: Final = and_(
    _attachments.c.created_at < of(_attachments.c.created_at, "before"),
    ~exists().where(_links.c.attachment_id == _attachments.c.id),
    ~exists().where(_logs.c.attachment_id == _attachments.c.id),
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A row, and whether it may go."""

    id: int
    unused: bool


# The next rows in order, so that each is looked at once, however many are used.
NEXT: Final = Plan[_Found](
    select(_attachments.c.id, _UNUSED.label("unused"))
    .where(_attachments.c.id > of(_attachments.c.id, "after"))
    .order_by(_attachments.c.id)
    .limit(bindparam("limit")),
    name="attachments.collect: rows",
    rows=_Found,
)
_LOCK: Final = Plan[int](
    select(_attachments.c.id)
    .where(among(_attachments.c.id, "ids"), _UNUSED)
    .order_by(_attachments.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True, of=_attachments),
    name="attachments.collect: lock",
)
_DELETE: Final = Plan[None](
    delete(_attachments).where(among(_attachments.c.id, "ids"), _UNUSED), name="attachments.collect: delete"
)


def kept(file_hash: str, there: Callable[[], bool], values: Mapping[str, Any]) -> Script[Attachment | None]:
    """Add the row of a file that was placed, or give None when the file is not there.

    Args: there: tells whether it is.
    """
    yield from one(_HOLD, number=_number(file_hash))
    if not there():
        return None
    row: Attachment | None = yield from one(insert_one(Attachment), file_hash=file_hash, **values)
    return row


def unused(ids: Sequence[int], before: datetime, limit: int) -> Script[int]:
    """Delete those of some rows that nothing refers to, and return how many.

    They are locked and then looked at again: what was attached meanwhile is seen, what is being attached waits, and
    finds no row.
    """
    locked = yield from every(_LOCK, ids=ids, before=before, limit=limit)
    if not locked:
        return 0
    return (yield from count(_DELETE, ids=locked, before=before))


def unreferred(hashes: Sequence[str], remove: Callable[[str], None]) -> Script[None]:
    """Remove those of some files that no row refers to, and that nobody is storing.

    Args: remove: removes the file of a hash, unless it was placed anew; once more does no harm.
    """
    numbers = {_number(file_hash): file_hash for file_hash in hashes}
    taken = yield from every(_TAKE, numbers=list(numbers))
    ours = [numbers[number] for number in taken]
    used = set((yield from every(IN_ROWS, hashes=ours)))
    for file_hash in ours:
        if file_hash not in used:
            remove(file_hash)


def _number(file_hash: str) -> int:
    return number_of(f"attachment {file_hash}")
