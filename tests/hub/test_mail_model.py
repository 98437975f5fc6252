"""Mail and chat on both databases, in lock-step with a model in plain Python."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, invariant, precondition, rule
from sqlalchemy import select

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.hub.chat import MailConversation
from agentdb.hub.mailing.letters import Addressee, Letter
from agentdb.models import MailRecipient, UserNotification
from agentdb.page import Page
from agentdb.testing.postgresql import PostgreSQLServer
from tests.hub.lockstep import BEGIN, Ids, Lockstep, run
from tests.hub.mail_model import Model, User

E = TypeVar("E", bound=Entity)
PICK = st.integers(0, 10_000)
USER = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4])  # a few talk much
KIND = st.sampled_from(["mail", "chat"])
WORDS = st.lists(st.sampled_from(["Plan", "PLAN b", "50%", "500", "5_0", "É", "é", ""]), max_size=3).map(" ".join)
WAYS = ["to", "cc", "bcc"]
ADDRESSED = st.lists(st.tuples(USER, st.sampled_from(WAYS)), max_size=3, unique_by=lambda one: one[0])
LISTS = [
    (box, kind, archived) for box in ("received", "sent", "both") for kind in (None, "mail") for archived in (0, 1)
]


class Mail(Lockstep):
    """Five users, and one who never was."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.users: list[Ids] = []
        self.messages: list[Ids] = []
        self.turn = 0

    @property
    def now(self) -> datetime:
        return BEGIN + timedelta(minutes=self.turn)

    @initialize()
    def begin(self) -> None:
        for number in range(5):
            self.users.append(self.ids(lambda db, _side, n=number: db.supervisor.users.create(f"user-{n}")))  # type: ignore[misc]
            self.model.users.append(User(f"user-{number}"))

    def id(self, user: int, side: int) -> int:
        return self.users[user][side] if user < len(self.users) else 987_654

    def picked(self, picks: list[int], side: int) -> list[int]:
        return [self.messages[pick % len(self.messages)][side] for pick in picks]

    def numbers(self, picks: list[int]) -> list[int]:
        return [pick % len(self.messages) for pick in picks]

    # Writing

    @rule(sender=USER, addressed=ADDRESSED, kind=KIND, subject=WORDS, body=WORDS)
    def send(self, sender: int, addressed: list[tuple[int, str]], kind: str, subject: str, body: str) -> None:
        addressed = sorted(addressed, key=lambda one: WAYS.index(one[1]))
        answers, number = self.told(
            lambda db, side: db.hub.mail.send(
                self.id(sender, side),
                **{way: [self.id(user, side) for user, of in addressed if of == way] for way in ("to", "cc", "bcc")},  # type: ignore[arg-type]
                kind=kind,
                subject=subject,
                body=body,
            ),
            lambda: self.model.send(sender, addressed, kind, (subject, body), self.now),
        )
        if number is not None:
            self.messages.append(tuple(answer.id for answer in answers))

    @precondition(lambda self: self.messages)
    @rule(pick=PICK, sender=USER, blind=USER, body=WORDS)
    def answer(self, pick: int, sender: int, blind: int, body: str) -> None:
        message = self.model.messages[pick % len(self.messages)]
        others = [(user, "to") for user in sorted(message.members) if user not in {sender, blind}]
        self.send(sender, [*others, (blind, "bcc")], message.kind, message.subject, body)

    @rule(sender=USER, again=USER, way=st.sampled_from(WAYS), stranger=st.booleans())
    def send_in_vain(self, sender: int, again: int, way: str, *, stranger: bool) -> None:
        self.send(sender, [(again, "to"), (5 if stranger else again, way)], "mail", "", "")

    @precondition(lambda self: self.messages)
    @rule(user=USER, picks=st.lists(PICK, max_size=4), way=st.sampled_from(["mark_read", "archive", "unarchive"]))
    def handle(self, user: int, picks: list[int], way: str) -> None:
        numbers = self.numbers(picks)
        answers, changed = self.told(
            lambda db, side: getattr(db.hub.mail, way)(self.id(user, side), self.picked(picks, side)),
            lambda: (
                self.model.mark_read(user, numbers, self.now)
                if way == "mark_read"
                else self.model.put_away(user, numbers, self.now if way == "archive" else None)
            ),
        )
        if changed is not None:
            assert answers == [[self.messages[number][side] for number in changed] for side in (0, 1)]

    @rule(user=USER, kind=KIND)
    def archive_all(self, user: int, kind: str) -> None:
        self.agree(
            lambda db, side: db.hub.mail.archive_all(self.id(user, side), kind),
            lambda: self.model.put_all_away(user, kind, self.now),
        )

    @rule(user=USER)
    def rename(self, user: int) -> None:
        name = f"renamed-{self.turn}"
        self.told(
            lambda db, side: db.supervisor.users.rename(self.id(user, side), name),
            lambda: self.model.rename(user, name),
        )

    @rule(user=USER, status=st.sampled_from(["disable", "archive", "restore", "enable"]))
    def move(self, user: int, status: str) -> None:
        becomes = {"disable": "disabled", "archive": "archived", "restore": "restored", "enable": "active"}[status]
        self.told(
            lambda db, side: getattr(db.supervisor.users, status)(self.id(user, side)),
            lambda: self.model.move(user, becomes),
        )

    @precondition(lambda self: self.turn % 5 == 0)
    @rule(user=st.integers(3, 4))
    def remove(self, user: int) -> None:
        self.agree(lambda db, side: db.supervisor.users.remove(self.id(user, side)), lambda: self.model.remove(user))

    # Reading

    def agree_on(self, call: Callable[[Database, int], Awaitable[Any]], model: Callable[[], Any]) -> None:
        """Assert that what is shown is the same, whatever its numbers are on each database."""
        answers, wanted = self.told(call, model)
        if wanted is not None:
            for side, answer in enumerate(answers):
                shown = answer.items if isinstance(answer, Page) else answer
                told = [self.shown(one, side) for one in shown] if isinstance(shown, list) else self.shown(shown, side)
                assert told == wanted, side

    def shown(self, one: Any, side: int) -> Any:
        """Return what is shown, by the model's numbers."""
        users = {ids[side]: number for number, ids in enumerate(self.users)}
        messages = {ids[side]: number for number, ids in enumerate(self.messages)}
        match one:
            case Letter():
                recipients = [(users[by.user_id], by.username, by.type.value, by.read_at) for by in one.recipients]
                members = tuple(sorted(users[int(member)] for member in one.participants.split(",")))
                texts = (one.kind.value, one.subject, one.body, members, one.sender_name, one.sent_as)
                state = (one.is_unread, one.read_at, one.archived_at)
                return (messages[one.id], *texts, *state, tuple(recipients))
            case MailConversation():
                others = tuple((users[other.user_id], other.username) for other in one.others)
                last = (messages[one.latest_id], one.body, one.sender_name, one.sent_as)
                return (*last, one.unread, one.is_archived, others)
            case Addressee():
                return users[one.user_id]
        return users[one]

    async def walked(self, db: Database, side: int, user: int, box: str, **asked: Any) -> list[Letter]:
        """Return a list, read in pages of two."""
        letters: list[Letter] = []
        after = None
        while True:
            page = await getattr(db.hub.mail, box)(self.id(user, side), **asked, limit=2, after=after)
            letters += page.items
            if (after := page.next) is None:
                return letters

    @invariant()
    def one_user_sees_the_same(self) -> None:
        self.turn += 1
        self.forward(timedelta(minutes=1))
        if not self.users:
            return
        user, model = self.turn % 5, self.model
        box, kind, archived = LISTS[self.turn // 5 % len(LISTS)]
        self.agree_on(
            lambda db, side: self.walked(db, side, user, box, kind=kind, archived=bool(archived)),
            lambda: model.listed(user, box, kind, archived=bool(archived)),
        )
        self.agree_on(lambda db, side: db.hub.mail.unread(self.id(user, side)), lambda: model.unread(user, None, -1))
        self.agree(lambda db, side: self.counted(db, side, user), lambda: model.counts(user))
        for of in ("mail", "chat"):
            self.agree_on(
                lambda db, side, of=of: db.hub.mail.conversations(self.id(user, side), kind=of),  # type: ignore[misc]
                lambda of=of: model.conversations(user, of),  # type: ignore[misc]
            )
        self.agree_on(lambda db, _side: db.hub.mail.to_wake(), model.to_wake)

    async def counted(self, db: Database, side: int, user: int) -> tuple[int, int]:
        counts = await db.hub.mail.unread_counts(self.id(user, side))
        return counts.mail, counts.chat

    @precondition(lambda self: self.messages)
    @rule(user=USER, pick=PICK, kind=KIND, terms=WORDS, subject_only=st.booleans(), archived=st.booleans())
    def look(self, user: int, pick: int, kind: str, terms: str, *, subject_only: bool, archived: bool) -> None:
        number, model = pick % len(self.messages), self.model
        members = model.messages[number].members
        others = [member for member in members if member != user]
        self.agree_on(
            lambda db, side: db.hub.mail.message(self.id(user, side), self.messages[number][side]),
            lambda: model.message(user, number),
        )
        self.agree_on(
            lambda db, side: db.hub.mail.read_by(self.id(user, side), self.messages[number][side]),
            lambda: model.read_by(user, number),
        )
        self.agree_on(
            lambda db, side: db.hub.mail.with_users(self.id(user, side), [self.id(one, side) for one in others]),
            lambda: model.among(user, frozenset({user, *others}), None),
        )
        self.agree_on(
            lambda db, side: db.hub.mail.messages(
                self.id(user, side),
                participants=",".join(str(self.id(one, side)) for one in sorted(members)),
                kind=kind,
            ),
            lambda: model.conversation(user, members, kind),
        )
        if terms.strip():
            self.agree_on(
                lambda db, side: self.walked(
                    db, side, user, "search", terms=terms, subject_only=subject_only, include_archived=archived
                ),
                lambda: model.search(user, terms, subject_only=subject_only, include_archived=archived),
            )

    @invariant()
    def everything_is_stored_alike(self) -> None:
        wanted = {
            (number, row.user): (row.type, row.own, row.read_at, row.archived_at)
            for number, message in enumerate(self.model.messages)
            for row in message.rows.values()
        }
        pointers: dict[int, tuple[int | None, ...]] = {
            number: tuple(user.latest.values()) for number, user in enumerate(self.model.users) if not user.is_gone
        }
        self.agree(self.rows, lambda: wanted)
        self.agree(self.pointers, lambda: pointers)

    async def rows(self, db: Database, side: int) -> dict[Any, Any]:
        users = {ids[side]: number for number, ids in enumerate(self.users)}
        messages = {ids[side]: number for number, ids in enumerate(self.messages)}
        return {
            (messages[row.message_id], users[row.user_id]): (row.type.value, row.own, row.read_at, row.archived_at)
            for row in await _all(db, MailRecipient)
        }

    async def pointers(self, db: Database, side: int) -> dict[int, tuple[int | None, ...]]:
        users = {ids[side]: number for number, ids in enumerate(self.users) if not self.model.users[number].is_gone}
        messages = {0: None, **{ids[side]: number for number, ids in enumerate(self.messages)}}
        rows = await _all(db, UserNotification)
        known = {row.user_id: (messages[row.latest_mail_id], messages[row.latest_chat_id]) for row in rows}
        return {number: known.pop(id_, (None, None)) for id_, number in users.items()} | ({-1: ()} if known else {})


async def _all(db: Database, model: type[E]) -> list[E]:
    async with db.read() as unit:
        return list(await unit.session.scalars(select(model)))


def test_both_databases_agree_with_the_model(
    agentdb_template: Path, agentdb_postgresql_server: PostgreSQLServer
) -> None:
    run(Mail, agentdb_template, agentdb_postgresql_server, examples=5, steps=20)


@pytest.mark.long
def test_both_databases_agree_with_the_model_for_long(
    agentdb_template: Path, agentdb_postgresql_server: PostgreSQLServer
) -> None:
    run(Mail, agentdb_template, agentdb_postgresql_server, examples=30, steps=60)
