"""What goes in comes out equal, on both databases, or is refused at the door."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdb.database import Database
from agentdb.engine.blobs import VectorType
from agentdb.engine.quantities import MomentType, MoneyType, WholeType, billionths, dollars
from agentdb.engine.spelling import ChoiceType, FlagType, JsonType, TextType, UuidType
from agentdb.errors import BadInput
from agentdb.models import Agent, Memory, UserStatus
from agentdb.repository import Repository
from agentdb.testing.factories import make_user

BOTH = ("sqlite", "postgresql")
DEEP: Any = "x"
for _ in range(3000):
    DEEP = [DEEP]


class Agents(Repository[Agent]):
    model = Agent


class Memories(Repository[Memory]):
    model = Memory


_REFUSED: list[Any] = [
    *((MomentType(), bad) for bad in (datetime(2026, 1, 1), "2026-01-01", 5)),  # noqa: DTZ001 (naive is what is tested)
    (MomentType(), datetime.min.replace(tzinfo=timezone(timedelta(hours=3)))),
    (MomentType(), datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))),
    *((MoneyType(), bad) for bad in (0.1, True, "1", 10**10, -(10**10), Decimal("NaN"), Decimal("sNaN"))),
    *((MoneyType(), Decimal(bad)) for bad in ("1e-10", "1." + "0" * 70 + "1", "1e999999", "1e-999999", "Infinity")),
    *(
        (JsonType(), bad)
        for bad in ("\0", "\ud800", math.nan, math.inf, -math.inf, 2**63, -(2**63) - 1, DEEP, object())
    ),
    *((JsonType(), {"a": [bad]}) for bad in ("\0", "\ud800", math.nan, math.inf, 2**64, 10**30)),
    *((JsonType(), {bad: 1}) for bad in ("a\0", "\ud800")),
    *((TextType(), bad) for bad in ("\0", "a\ud800", b"x", 5)),
    (TextType(3), "four"),
    *((WholeType(), bad) for bad in (2**63, -(2**63) - 1, True, 1.0, "1")),
    (WholeType(16), 2**15),
    (WholeType(32), 2**31),
    *(
        (VectorType(), bad)
        for bad in ([], [[1.0]], ["a"], [math.nan], [math.inf], [1e300], [10**400], 5, [1.0] * 16_001)
    ),
    (VectorType(3), [1.0, 2.0]),
    *((UuidType(), bad) for bad in ("x", 5, b"x" * 16)),
    *((FlagType(), bad) for bad in (1, 0, "true")),
    *((ChoiceType(UserStatus), bad) for bad in ("nope", 5, [1])),
    *((word, 10**5_000) for word in (MomentType(), MoneyType(), WholeType(), TextType(), JsonType(), VectorType())),
    *((word, 10**5_000) for word in (UuidType(), FlagType(), ChoiceType(UserStatus))),  # more digits than Python spells
]


def test_what_a_database_would_lose_is_refused_at_the_door(subtests: pytest.Subtests) -> None:
    for number, (word, bad) in enumerate(_REFUSED):
        for dialect in BOTH:
            with subtests.test(number=number, word=word, dialect=dialect), pytest.raises(BadInput):
                word.binder(dialect)(bad)


@given(st.integers(-(2**63), 2**63 - 1))
def test_money_is_exact(whole: int) -> None:
    assert billionths(dollars(whole)) == whole


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_money_is_stored_exactly_or_refused(amount: Decimal) -> None:
    try:
        stored = billionths(amount)
    except BadInput:
        return
    assert dollars(stored) == amount


_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
_jsons = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)


def test_moments_are_spelled_alike_with_and_without_a_fraction() -> None:
    spell = MomentType().binder("sqlite")
    whole = datetime(2026, 11, 21, 3, 4, 5, tzinfo=UTC)

    assert spell(whole) == "2026-11-21T03:04:05.000000+00:00"
    assert spell(whole.replace(microsecond=20)) == "2026-11-21T03:04:05.000020+00:00"
    assert spell(whole.astimezone(timezone(timedelta(hours=3)))) == spell(whole)


_moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones())  # noqa: DTZ001 (given zones)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    config=_jsons.filter(lambda value: value is not None), text=_texts, moment=_moments, number=st.integers(0, 10**18)
)
async def test_what_goes_in_comes_out_equal(
    db: Database, config: Any, text: str, moment: datetime, number: int
) -> None:
    user = await db.supervisor.users.get_or_create("bob")
    values = {"config": config, "title": text, "email_verified_at": moment}

    changed = await db.supervisor.users.update(user[0].id, **values)
    cost = await db.hub.costs.append(source="chat", model="m", cost=dollars(number), quantity=number)
    read = await db.supervisor.users.get(user[0].id)

    for row in (changed, read):
        assert (row.config, row.title, row.email_verified_at) == (config, text, moment.astimezone(UTC))
        assert row.email_verified_at is not None
        assert row.email_verified_at.tzinfo is UTC
    assert (cost.cost, cost.quantity) == (dollars(number), number)


FLOATS: list[float] = [0.1, 1.0, -0.0, 5e-324, 2.0**53, 1e16, 1e23, 1.7976931348623157e308, 1234567890123456768.0]


async def test_a_json_float_stays_that_float(db: Database, subtests: pytest.Subtests) -> None:
    for number in FLOATS:
        with subtests.test(number=number):
            user = await make_user(db, config={"number": number})

            read = (await db.supervisor.users.get(user.id)).config["number"]

            assert read == number
            assert type(read) is float


@pytest.mark.long
async def test_ten_mebibytes_of_text_and_json_are_stored(db: Database) -> None:
    large = "é" * (5 * 2**20)

    user = await db.supervisor.users.add(username="bob", first_name=large, config={"large": large})
    read = await db.supervisor.users.get(user.id)

    assert read.first_name == large
    assert read.config == {"large": large}


async def test_vectors_come_back_as_they_went_and_do_not_change_with_the_callers(db: Database) -> None:
    agent = await Agents(db._over).add(name="agent")
    vector = np.array([1.5, -2.25, 3.4e38, 1e-45], dtype=np.float32)

    memory = await Memories(db._over).add(agent_id=agent.id, content="", embedding=vector)
    read = await Memories(db._over).get(memory.id)
    given_back = memory.embedding
    vector[0] = 7

    assert given_back is not None
    assert read.embedding is not None
    assert given_back[0] == 1.5
    assert np.array_equal(read.embedding, given_back)
    assert read.embedding.dtype == np.float32


async def test_json_passed_in_is_not_kept(db: Database) -> None:
    config: dict[str, Any] = {"a": [1]}

    user = await db.supervisor.users.add(username="bob", config=config)
    config["a"].append(2)

    assert user.config == {"a": [1]}
