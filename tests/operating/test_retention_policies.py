"""What may go, and how it is said: every table is declared, and what may not go is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import agentdb
from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.schema.ddl import Deletes
from agentdb.errors import BadInput, BadSettings
from agentdb.operating.retaining.policies import DEFAULTS, Keep, keep
from agentdb.operating.retaining.removing import Kept
from agentdb.operating.retaining.rules import RULES
from agentdb.operating.retention import apply

DAY = timedelta(days=1)
WEEK = Keep(age=7 * DAY)


def test_every_table_is_declared_and_no_table_that_may_never_go_does() -> None:
    never = {name for name, table in Entity.metadata.tables.items() if table.info.get("deletes") is Deletes.NEVER}

    assert set(RULES) == set(Entity.metadata.tables)
    assert never == {"audit_log"}
    assert all(isinstance(RULES[name], Kept) for name in never)
    assert all(not isinstance(RULES[name], Kept) for name in DEFAULTS)


REFUSED: list[tuple[dict[str, Keep], str]] = [
    ({"audit_log": WEEK}, "audit_log is not removed by retention: it is the proof, and is kept for ever"),
    ({"messages": WEEK}, "messages is not removed by retention: it goes with its conversation; name conversations"),
    ({"cost_days": WEEK}, "cost_days is not removed by retention"),
    ({"context_logs": WEEK}, "there is no table 'context_logs'; context_log is meant?"),
    ({"costs": WEEK}, "costs are kept for 35 days at least; 7d is too short"),
    ({"costs": Keep(newest=5)}, "costs are kept by age (created_at, in whole UTC days"),
    ({"sessions": WEEK}, "sessions go by expires_at, whatever their age; write sessions=0d, or sessions=never"),
    ({"run_session": Keep(newest=5)}, "run_session are kept by age (last_active"),
]


async def test_a_table_that_may_not_go_is_refused_before_anything_goes(db: Database, subtests: pytest.Subtests) -> None:
    for policies, told in REFUSED:
        with subtests.test(told=told):
            with pytest.raises(BadInput) as refused:
                await apply(db, policies)

            assert told in str(refused.value)
            assert await db.supervisor.audit.count() == 0


def test_how_long_rows_are_kept_reads_as_it_is_written(subtests: pytest.Subtests) -> None:
    for text in ["400d", "12h", "36h", "0d", "100000rows"]:
        with subtests.test(text=text):
            assert str(keep(text)) == text


def test_two_days_in_hours_are_two_days() -> None:
    assert keep("48h") == keep("2d") == Keep(age=2 * DAY)
    assert keep("never") is None


NO_LENGTHS: list[str] = ["", "400", "d", "-1d", "1.5d", "400 d", "4y", "99999999d", "99999999999h", "٤d"]


def test_what_does_not_say_how_long_is_refused(subtests: pytest.Subtests) -> None:
    for text in NO_LENGTHS:
        with subtests.test(text=text), pytest.raises(BadInput):
            keep(text)


async def test_only_the_owner_of_the_tables_removes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'agentdb.db'}"
    async with agentdb.connect(url):
        pass

    async with agentdb.connect(url, service="hub") as db:
        with pytest.raises(BadSettings, match="owner of the tables"):
            await apply(db)
