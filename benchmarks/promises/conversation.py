"""Conversations: a turn costs the same however long they are, and so does a list however many there are."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import agentdb
from agentdb import Database
from agentdb.testing.factories import make_user
from benchmarks.adapter import Place
from benchmarks.peers.hiring import TALKERS, hired
from benchmarks.promises.bare_talking import AiosqliteTalk, BareTalk, aiosqlite_talk, bare_talk
from benchmarks.promises.growing import OWNERS, grow_conversations, grow_messages
from benchmarks.promises.measuring import Contest, Promise, Side, Stage, alternate, rate, ratio
from benchmarks.report import BARE, OURS, Cell

LATEST: Final = 50
SHORT: Final = 10
LONG: Final = 10_000
LONGEST: Final = 100_000
GROWTH: Final = 1.3
OF_RAW: Final = 2.0
_SHORT_ONES: Final = 200  # as many as it takes for them to stay short
_SAID: Final = [{"type": "text", "text": "What is the weather like in Lisbon tomorrow, and do I need an umbrella?"}]
_BY_HAND: Final = "aiosqlite"
_LEADS: Final = {
    ("sqlite", _BY_HAND): 1.0,
    **{(kind, peer.name): 1.0 for kind in ("postgresql", "sqlite") for peer in TALKERS},
}

_TURN: Final = Contest(f"append + load {LATEST} of {LONG:,} messages", 1, {"postgresql": 0.6, "sqlite": 0.6}, _LEADS)

Turn = Callable[[int], Awaitable[int]]


async def keep(stage: Stage) -> tuple[list[Cell], list[Promise], list[str]]:
    """Measure turns, with those who keep agents' sessions, and lists; the last is who is not there."""
    async with AsyncExitStack() as stack:
        bare = await stack.enter_async_context(bare_talk(stage.place))
        turns = {BARE: _by_hand(bare), OURS: _ours(stage.database)}
        if stage.kind == "sqlite":
            turns[_BY_HAND] = _by_hand(await stack.enter_async_context(aiosqlite_talk(stage.place)))
        sides = {name: await _of_one(stage, turn, LONG) for name, turn in turns.items()}
        missing = await _hire(stage, stack, sides)
        cell = Cell(stage.kind, _TURN, await alternate(sides, stage.rounds))
        longer = await _longer(stage)
    return [cell], [longer, await _list(stage)], missing


def _by_hand(bare: BareTalk | AiosqliteTalk) -> Turn:
    async def turn(conversation: int) -> int:
        await bare.append(conversation, _SAID)
        return len(await bare.latest(conversation, LATEST))

    return turn


def _ours(database: Database, limit: int = LATEST) -> Turn:
    messages = database.conversation.messages

    async def turn(conversation: int) -> int:
        await messages.append(conversation, "user", _SAID)
        return len(await messages.latest(conversation, limit=limit))

    return turn


async def _conversation(stage: Stage, messages: int) -> int:
    conversation = await stage.database.conversation.conversations.create(user_id=1, title="long")
    await grow_messages(stage.place, conversation.id, messages)
    return conversation.id


async def _of_one(stage: Stage, turn: Turn, messages: int) -> Side:
    """Return a side that has its turns in a conversation of its own."""
    conversation = await _conversation(stage, messages)

    async def act() -> None:
        assert await turn(conversation) == LATEST

    return lambda: rate(act, stage.seconds)


async def _hire(stage: Stage, stack: AsyncExitStack, sides: dict[str, Side]) -> list[str]:
    """Let those who are installed take part, and return why the others do not."""
    missing = []
    for peer in TALKERS:
        place = await stack.enter_async_context(stage.another(with_schema=False))
        try:
            one = await stack.enter_async_context(hired(peer, place))
            await one.ask("fill", LONG)
        except (FileNotFoundError, RuntimeError) as error:
            missing.append(str(error))
        else:
            sides[peer.name] = lambda one=one: one.ask("turns", stage.seconds)  # type: ignore[misc]
    return missing


async def _longer(stage: Stage) -> Promise:
    """Have turns in short conversations and in a very long one; ten are loaded, as a short one has no more."""
    turn = _ours(stage.database, SHORT)
    longest = await _conversation(stage, LONGEST)
    owner = await make_user(stage.database)
    short = []
    for _ in range(_SHORT_ONES):
        conversation = await stage.database.conversation.conversations.create(user_id=owner.id)
        given = [{"role": "user", "content": _SAID}] * SHORT
        await stage.database.conversation.messages.append_many(conversation.id, given)
        short.append(conversation.id)
    hopping = itertools.cycle(short)
    sides: dict[str, Side] = {
        "short": lambda: rate(lambda: turn(next(hopping)), stage.seconds),
        "long": lambda: rate(lambda: turn(longest), stage.seconds),
    }
    reached = ratio(await alternate(sides, stage.rounds), "short", "long")
    name = f"append + load {SHORT} of {LONGEST:,} messages"
    return Promise(name, f"{reached:.2f} of its time with {SHORT}, at most {GROWTH}", reached <= GROWTH)


async def _list(stage: Stage) -> Promise:
    """List a user's conversations among very many, and do the bare driver's query beside it."""
    async with AsyncExitStack() as stack:
        place: Place = await stack.enter_async_context(stage.another(with_schema=True))
        database = await stack.enter_async_context(agentdb.connect(place.url))
        owners = [(await make_user(database)).id for _ in range(OWNERS)]
        await grow_conversations(place, owners[0], stage.grown)
        bare = await stack.enter_async_context(bare_talk(place))
        ours = database.conversation.conversations
        theirs = [row.id for row in await bare.recent(owners[0], LATEST)]
        assert [row.id for row in (await ours.recent(user_id=owners[0], limit=LATEST)).items] == theirs

        async def worst(read: Callable[[int], Awaitable[Any]]) -> float:
            waits: list[float] = []
            began = end = time.perf_counter()
            for owner in itertools.cycle(owners):
                if end - began > 2 * stage.seconds and len(waits) > 2 * OWNERS:
                    break
                before = time.perf_counter()
                await read(owner)
                end = time.perf_counter()
                waits.append(end - before)
            return statistics.quantiles(waits, n=100)[-1]

        sides: dict[str, Side] = {
            BARE: lambda: worst(lambda owner: bare.recent(owner, LATEST)),
            OURS: lambda: worst(lambda owner: ours.recent(user_id=owner, limit=LATEST)),
        }
        for side in sides.values():
            await side()
        measured = await alternate(sides, stage.rounds)
    reached, milliseconds = ratio(measured, OURS, BARE), 1_000 * statistics.median(measured[OURS])
    told = f"p99 {milliseconds:.1f} ms, {reached:.2f} of the bare driver's, at most {OF_RAW:g}"
    return Promise(f"{LATEST} of {stage.grown:,} conversations", told, reached <= OF_RAW)
