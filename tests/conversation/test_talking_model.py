"""Conversations and messages on both databases, in lock-step with a model in plain Python."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agentdb import clock
from agentdb.config import Settings
from agentdb.database import Database, connect
from agentdb.errors import AgentDBError, Conflict, MissingReference, NotFound, StaleVersion
from agentdb.testing.plugin import SEALED
from agentdb.testing.postgresql import PostgreSQLServer
from tests.conversation.talking_model import Model, Said, Talk

BEGIN = datetime(2026, 3, 9, 10, tzinfo=UTC)
PICK = st.integers(0, 10_000)
USERS = 2
LISTS = {"created_at": "newest", "last_message_at": "recent", "deleted_at": "deleted"}


class Talking(RuleBasedStateMachine):
    """Every run has fresh databases."""

    template: Path
    server: PostgreSQLServer
    server_template: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = AsyncExitStack()
        self.held = clock.hold(BEGIN)
        self.hand = self.held.__enter__()
        self.now = BEGIN
        self.model = Model()
        self.users: list[tuple[int, ...]] = []
        self.talks: list[tuple[int, ...]] = []
        self.messages: list[list[tuple[int, ...]]] = []
        self.databases = self.runner.run(self.open())

    async def open(self) -> list[Database]:
        url = await self.server.create_database(self.server_template)
        self.opened.push_async_callback(self.server.drop_database, url)
        memory = Database(Settings.load("sqlite://", **SEALED), template=self.template)
        kept = connect(url, **SEALED, pool_size=2)
        return [await self.opened.enter_async_context(database) for database in (memory, kept)]

    def teardown(self) -> None:
        self.runner.run(self.opened.aclose())
        self.runner.close()
        self.held.__exit__(None, None, None)

    def both(self, call: Callable[[Any, int], Awaitable[Any]]) -> list[Any]:
        """Return what a call gives on each database, or the error it raises: of the same kind on both."""

        async def told(database: Database, side: int) -> Any:
            try:
                return await call(database.conversation, side)
            except AgentDBError as error:
                return error

        async def all_told() -> list[Any]:
            return [await told(database, side) for side, database in enumerate(self.databases)]

        answers = self.runner.run(all_told())
        assert type(answers[0]) is type(answers[1]), answers
        return answers

    def expect(self, wanted: type[AgentDBError] | None, call: Callable[[Any, int], Awaitable[Any]]) -> tuple[Any, ...]:
        """Return what a call gives on each database, after it was refused, or not, as the model wants it."""
        answers = self.both(call)
        refused = type(answers[0]) if isinstance(answers[0], AgentDBError) else None
        assert refused is wanted, (answers, wanted)
        return tuple(answers)

    def picked(self, pick: int) -> tuple[int, Talk]:
        number = pick % len(self.talks)
        return number, self.model.talks[number]

    @initialize()
    def begin(self) -> None:
        for number in range(USERS):

            async def made(number: int = number) -> tuple[int, ...]:
                return tuple([(await db.supervisor.users.create(f"user-{number}")).id for db in self.databases])

            self.users.append(self.runner.run(made()))
        self.create(0, "a")
        self.append_many(0, 3)

    @rule(user=st.integers(0, USERS - 1), key=st.none() | st.sampled_from("abc"))
    def create(self, user: int, key: str | None) -> None:
        taken = key is not None and self.model.of_key(key) is not None
        answers = self.expect(
            Conflict if taken else None,
            lambda db, side: db.conversations.create(user_id=self.users[user][side], key=key),
        )
        if not taken:
            self.made(user, key, answers)

    @rule(user=st.integers(0, USERS - 1), key=st.sampled_from("abcd"))
    def get_or_create(self, user: int, key: str) -> None:
        there = self.model.of_key(key)
        refused = there is not None and (there.user != user or not there.is_live)
        answers = self.expect(
            Conflict if refused else None,
            lambda db, side: db.conversations.get_or_create(key, user_id=self.users[user][side]),
        )
        if refused:
            return
        assert {created for _, created in answers} == {there is None}
        ids = tuple(conversation.id for conversation, _ in answers)
        if there is None:
            self.made(user, key, tuple(conversation for conversation, _ in answers))
        else:
            assert ids == self.talks[self.model.talks.index(there)]

    def made(self, user: int, key: str | None, rows: tuple[Any, ...]) -> None:
        self.talks.append(tuple(row.id for row in rows))
        self.messages.append([])
        self.model.talks.append(Talk(user, key, "", self.now))

    def said(self, number: int, rows: tuple[Any, ...], *messages: Said) -> None:
        talk = self.model.talks[number]
        talk.say(self.now, *messages)
        self.messages[number] += zip(*([row.id for row in side] for side in rows), strict=True)
        for side in rows:
            assert [row.position for row in side] == list(
                range(len(talk.messages) - len(messages) + 1, len(talk.messages) + 1)
            )

    @rule(
        pick=PICK,
        parent=st.none() | PICK,
        tokens=st.none() | st.integers(0, 9),
        late=st.sampled_from([None, 0, 0, 1]),
        by=st.sampled_from(["anyone", "owner", "stranger"]),
    )
    def append(self, pick: int, parent: int | None, tokens: int | None, late: int | None, by: str) -> None:
        number, talk = self.picked(pick)
        place = talk.places[parent % len(talk.places)] if parent is not None and talk.places else None
        user = None if by == "anyone" else talk.user if by == "owner" else 1 - talk.user
        wanted: type[AgentDBError] | None = None
        if not talk.is_live or by == "stranger":
            wanted = NotFound
        elif late:
            wanted = StaleVersion
        answers = self.expect(
            wanted,
            lambda db, side: db.messages.append(
                self.talks[number][side],
                "user",
                "one",
                tokens=tokens,
                parent_id=None if place is None else self.messages[number][place][side],
                expected_position=None if late is None else len(talk.messages) - late,
                user_id=None if user is None else self.users[user][side],
            ),
        )
        if wanted is None:
            self.said(number, tuple([answer] for answer in answers), Said("user", "one", tokens, place))

    @rule(pick=PICK, many=st.integers(1, 3))
    def append_many(self, pick: int, many: int) -> None:
        number, talk = self.picked(pick)
        rows = [{"role": "assistant", "content": "many", "tokens": 1}] * many
        wanted = None if talk.is_live else NotFound
        answers = self.expect(wanted, lambda db, side: db.messages.append_many(self.talks[number][side], rows))
        if talk.is_live:
            self.said(number, answers, *(Said("assistant", "many", 1, None) for _ in range(many)))

    @precondition(lambda self: any(self.messages))
    @rule(pick=PICK, at=PICK, remove=st.sampled_from([False, False, True]))
    def edit_or_remove(self, pick: int, at: int, *, remove: bool) -> None:
        number, talk = self.picked(pick)
        if not talk.messages or talk.purged:
            return
        place = at % len(talk.messages)
        message = talk.messages[place]
        key = self.messages[number][place]
        if remove:
            answers = self.both(lambda db, side: db.messages.remove(key[side]))
            assert answers == [not message.removed] * 2
            talk.remove(place)
            return
        wanted = NotFound if message.removed or not talk.is_live else None
        answers = list(self.expect(wanted, lambda db, side: db.messages.edit(key[side], "edited", tokens=2)))
        if wanted is None:
            assert [answer.metadata_["edited_from"] for answer in answers] == list(key)
            edited = Said(message.role, "edited", 2, message.parent, place)
            self.said(number, tuple([answer] for answer in answers), edited)

    @rule(pick=PICK, other=PICK, at=PICK)
    def set_summary(self, pick: int, other: int, at: int) -> None:
        number, talk = self.picked(pick)
        whose, strange = self.picked(other if at % 3 == 0 else pick)
        if not strange.messages:
            return
        place = at % len(strange.messages)
        wanted: type[AgentDBError] | None = None
        if not talk.is_live:
            wanted = NotFound
        elif whose != number or strange.messages[place].removed:
            wanted = MissingReference
        self.expect(
            wanted,
            lambda db, side: db.conversations.set_summary(self.talks[number][side], self.messages[whose][place][side]),
        )
        if wanted is None:
            talk.summary = place

    @rule(pick=PICK, what=st.sampled_from(["delete", "restore", "purge", "delete", "restore"]), stranger=st.booleans())
    def change_standing(self, pick: int, what: str, *, stranger: bool) -> None:
        number, talk = self.picked(pick)
        stranger = stranger and pick % 2 == 0
        possible = not stranger and not talk.purged and talk.is_live is (what == "delete")
        user = 1 - talk.user if stranger else talk.user
        self.expect(
            None if possible else NotFound,
            lambda db, side: getattr(db.conversations, what)(self.talks[number][side], user_id=self.users[user][side]),
        )
        if possible:
            talk.deleted_at = self.now if what == "delete" else None
            talk.purged = what == "purge"

    @rule(minutes=st.sampled_from([0, 1, 60]))
    def purge_deleted(self, minutes: int) -> None:
        before = self.now - timedelta(minutes=minutes)
        answers = self.expect(None, lambda db, _side: db.conversations.purge_deleted(before=before, batch=1))
        overdue = [talk for talk in self.model.talks if talk.deleted_at is not None and talk.deleted_at < before]
        assert answers == (len(overdue), len(overdue))
        for talk in overdue:
            talk.purged, talk.deleted_at = True, None

    @rule(minutes=st.sampled_from([1, 1, 30, -7]))
    def wait(self, minutes: int) -> None:
        self.now = self.hand.forward(timedelta(minutes=minutes))

    @invariant()
    def lists_are_alike(self) -> None:
        for user in range(len(self.users)):
            for by, name in LISTS.items():
                wanted = self.model.listed(user, by)

                async def listed(db: Any, side: int, name: str = name, user: int = user) -> list[int]:
                    page = await getattr(db.conversations, name)(user_id=self.users[user][side], limit=3)
                    items = list(page.items)
                    while page.next is not None:
                        page = await getattr(db.conversations, name)(
                            user_id=self.users[user][side], limit=3, after=page.next
                        )
                        items += page.items
                    return [item.id for item in items]

                answers = self.both(listed)
                assert answers == [[self.talks[number][side] for number in wanted] for side in range(2)], name

    @invariant()
    def talks_are_alike(self) -> None:
        for number, talk in enumerate(self.model.talks):
            if talk.is_live:
                self.expect(None, partial(self.compare, number, talk))

    async def compare(self, number: int, talk: Talk, db: Any, side: int) -> None:
        key = self.talks[number][side]
        ids = [message[side] for message in self.messages[number]]
        row = await db.conversations.get(key)
        assert (row.last_position, row.last_message_at) == (len(talk.messages), talk.last_message_at)
        assert row.summary_message_id == (None if talk.summary is None else ids[talk.summary])
        latest = await db.messages.latest(key, limit=4)
        wanted = [(ids[place], talk.messages[place].content) for place in talk.places[-4:]]
        assert [(message.id, message.content) for message in latest] == wanted
        context = await db.messages.context(key, limit=3)
        assert [message.id for message in context] == [ids[place] for place in talk.context(3)]
        counted = await db.messages.tokens(key, since=1)
        tokens = [talk.messages[place].tokens for place in talk.places if place >= 1]
        assert (counted.messages, counted.tokens) == (len(tokens), sum(one or 0 for one in tokens))
        branches = [(ids[leaf], ids[root], length) for leaf, root, length in talk.branches()]
        assert [(one.leaf_id, one.root_id, one.messages) for one in await db.messages.branches(key)] == branches
        if talk.places:
            path = await db.messages.path(ids[talk.places[-1]])
            assert [message.id for message in path] == [ids[place] for place in talk.path(talk.places[-1])]


def _run(template: Path, server: PostgreSQLServer, examples: int, steps: int) -> None:
    async def prepare(url: str) -> None:
        async with connect(url, **SEALED):
            pass

    server_template = asyncio.run(server.template("agentdb", prepare))
    known = {"template": template, "server": server, "server_template": server_template}
    run_state_machine_as_test(
        type("Talking", (Talking,), known),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_both_databases_agree_with_the_model(
    agentdb_template: Path, agentdb_postgresql_server: PostgreSQLServer
) -> None:
    _run(agentdb_template, agentdb_postgresql_server, examples=6, steps=27)
