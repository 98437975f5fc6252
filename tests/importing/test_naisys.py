"""An installation of NAISYS, brought whole."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.hub.models.machines import LogRole, LogSource, LogType
from agentdb.hub.models.spending import CostSource, LimitPeriod
from agentdb.importing.naisys import NaisysReport, import_naisys
from agentdb.supervisor.models import UserKind, UserStatus
from tests.importing.naisys_files import (
    ADMIN,
    ALICE,
    BCRYPT,
    BOB,
    CAROL,
    FILE,
    GHOST,
    KEY_HASH,
    SECRET,
    change,
    hub_file,
    insert,
    supervisor_file,
)

AT = datetime(2026, 3, 1, 10, 0, 0, 123_000, tzinfo=UTC)
ABOUT = AT.replace(microsecond=0)


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": hashlib.sha256(b"the imports' tests").hexdigest()}


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return hub_file(tmp_path / "naisys")


@pytest.fixture
def supervisor(tmp_path: Path) -> Path:
    return supervisor_file(tmp_path / "naisys")


async def counts(db: Database) -> dict[str, int]:
    async with db.read() as unit:
        return {
            table.name: (await unit.session.execute(text(f"SELECT count(*) FROM {table.name}"))).scalar_one()
            for table in Entity.metadata.sorted_tables
        }


async def user(db: Database, uuid: str) -> Any:
    return (await db.supervisor.users.page(uuid=UUID(uuid))).items[0]


async def test_users_of_both_files_are_one_by_their_uuid(db: Database, hub: Path, supervisor: Path) -> None:
    report = await import_naisys(db, hub, supervisor)

    alice, bob, admin = [await user(db, uuid) for uuid in (ALICE, BOB, ADMIN)]
    carol, ghost = [await user(db, uuid) for uuid in (CAROL, GHOST)]
    assert await db.supervisor.users.count() == 5
    assert (alice.kind, alice.username, alice.runtime_key_hash) == (UserKind.agent, "alice", KEY_HASH)
    assert (alice.created_at, admin.created_at, admin.kind) == (AT, ABOUT, UserKind.service)
    assert (bob.lead_user_id, bob.status, bob.title_folded) == (alice.id, UserStatus.disabled, "écrivain")
    assert (carol.kind, carol.password_hash) == (UserKind.human, BCRYPT)
    assert (ghost.username, ghost.status) == ("bob-2", UserStatus.archived)
    (granted,) = await db.supervisor.permissions.of_user(alice.id)
    assert (granted.permission, granted.granted_by, granted.granted_at) == ("view_run_logs", carol.id, ABOUT)
    (passkey,) = (await db.supervisor.passkeys.page(user_id=carol.id)).items
    assert (passkey.counter, passkey.transports, passkey.last_used_at) == (9, "usb,nfc", ABOUT)
    assert {problem.row for problem in report.problems if problem.table == "users"} == {"alice-before", "bob"}
    assert report.tables["sessions"].left == 1
    assert sum("logins" in note or "API keys" in note for note in report.notes) == 2


async def test_runs_keep_their_sessions_lines_and_costs(db: Database, hub: Path, supervisor: Path) -> None:
    report = await import_naisys(db, hub, supervisor)

    alice, bob = await user(db, ALICE), await user(db, BOB)
    sessions = (await db.hub.runs.page(user_id=alice.id)).items
    first = next(one for one in sessions if (one.subagent_id, one.session_id) == (0, 1))
    below = next(one for one in sessions if one.subagent_id == -1)
    (of_bob,) = (await db.hub.runs.page(user_id=bob.id)).items
    assert len(sessions) == 3
    assert len({one.run_id for one in sessions}) == 1
    assert of_bob.run_id != first.run_id
    assert (first.total_lines, first.total_cost) == (4, Decimal("0.3"))
    assert (below.total_lines, below.total_cost) == (1, Decimal(0))
    logs = (await db.hub.logs.page(run_session_id=first.id)).items
    assert [(log.role, log.source, log.type, log.created_at) for log in logs] == [
        (LogRole.platform, LogSource.start_prompt, LogType.system, AT),
        (LogRole.platform, LogSource.console, LogType.tool, ABOUT),
        (LogRole.llm, LogSource.llm, None, AT),
    ]
    assert logs[1].message == "key [REDACTED:OPENAI_API_KEY]"
    assert logs[2].attachment_id is not None
    assert (first.latest_log_id, first.latest_tx >= logs[-1].tx) == (logs[-1].id, True)
    costs = (await db.hub.costs.page()).items
    sources = [cost.source for cost in costs]
    assert sources == [CostSource.console, CostSource.websearch, CostSource.genimg, CostSource.other]
    assert [cost.created_at for cost in costs] == [AT, ABOUT, AT, AT]
    assert sum(cost.cost for cost in costs) == report.cost == Decimal("1.3")
    assert costs[0].model_id is not None
    notice = await db.hub.notifications.get(alice.id)
    assert notice.latest_log_id == max(first.latest_log_id, below.latest_log_id)


async def test_mail_comes_with_its_recipients_and_files(db: Database, hub: Path, supervisor: Path) -> None:
    report = await import_naisys(db, hub, supervisor)

    alice, bob = await user(db, ALICE), await user(db, BOB)
    (letter,) = (await db.hub.mail.received(bob.id, kind="mail")).items
    rows = (await db.hub.mail.page()).items
    assert [row.body for row in rows] == ["the key is [REDACTED:OPENAI_API_KEY]", "hi"]
    assert rows[0].participants == f"{alice.id},{bob.id}"
    assert letter.is_unread
    (enclosed,) = letter.attachments
    opened = await db.hub.attachments.open(enclosed.public_id, bob.id)
    assert opened.path.read_bytes() == FILE
    assert await db.hub.attachments.count() == 2
    assert any("without their files" in note for note in report.notes)
    assert report.tables["mail_recipients"].left == 1
    assert (await db.hub.notifications.get(bob.id)).latest_mail_id == rows[0].id


async def test_settings_come_sealed_and_limits_count_what_was_spent(db: Database, hub: Path, supervisor: Path) -> None:
    report = await import_naisys(db, hub, supervisor, timezone="Europe/Berlin")

    alice, bob, carol = [await user(db, uuid) for uuid in (ALICE, BOB, CAROL)]
    async with db.read() as unit:
        rows = (await unit.session.execute(text("SELECT key, value, secret FROM variables ORDER BY key"))).all()
    assert [(row.key, row.value) for row in rows][:2] == [("EDITOR", "vim"), ("OPENAI_API_KEY", None)]
    assert SECRET.encode() not in bytes(rows[1].secret)
    assert await db.hub.variables.value("OPENAI_API_KEY") == SECRET
    assert (await db.hub.variables.get("EDITOR")).updated_by == carol.id
    assert {problem.row for problem in report.problems if problem.table == "variables"} == {"NAISYS_API_KEY"}
    revisions = (await db.hub.configs.revisions(alice.id)).items
    assert [(one.config, one.changed_by_id) for one in revisions] == [
        ({"title": "B"}, carol.id),
        ({"title": "A"}, alice.id),
    ]
    assert report.tables["config_revisions"].left == 1
    own, whole = await db.hub.limits.of(alice.id), await db.hub.limits.of()
    assert (own.amount, own.period, own.every, own.timezone) == (Decimal(10), LimitPeriod.day, 1, "Europe/Berlin")
    assert own.exempts_from_installation
    assert (whole.amount, whole.period, whole.every) == (Decimal(100), LimitPeriod.hour, 6)
    (model,) = (await db.catalog.models.page()).items
    assert (model.key, model.price_input, model.max_context) == ("m-1", Decimal("2.5"), 1000)
    assert (await db.hub.hosts.page()).items[0].environment == {"platform": "linux"}
    assert bob.config == {}


async def test_a_second_import_brings_nothing_and_a_later_one_what_is_new(
    db: Database, hub: Path, supervisor: Path
) -> None:
    await import_naisys(db, hub, supervisor)
    before = await counts(db)
    files = {path.name: path.read_bytes() for path in (hub, supervisor)}

    again = await import_naisys(db, hub, supervisor)
    assert await counts(db) == before
    assert {name for name, counted in again.tables.items() if counted.imported} == set()
    assert {path.name: path.read_bytes() for path in (hub, supervisor)} == files

    change(hub, "DELETE FROM users WHERE username = 'admin'")  # by which the hub was known
    row = {"user_id": 1, "run_id": 7, "session_id": 1, "host_id": 3, "created_at": "2026-03-02T10:00:00.000Z"}
    insert(hub, "context_log", row | {"role": "LLM", "message": "more"})
    insert(hub, "costs", row | {"source": "console", "model": "m-1", "cost": 0.5})
    later = await import_naisys(db, hub, supervisor)
    after = await counts(db)
    new = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert new == {"context_log": 1, "costs": 1, "audit_log": 3}
    assert later.cost == Decimal("0.5")


async def test_costs_that_were_folded_since_are_not_charged_again(db: Database, hub: Path) -> None:
    await import_naisys(db, hub)
    before = await db.hub.costs.total()
    limits = {(limit.user_id, limit.spent) async for limit in db.hub.limits.stream()}
    assert await db.hub.costs.fold(before=AT + timedelta(days=1), limit=100) == before.calls > 0

    again = await import_naisys(db, hub)

    assert again.tables["costs"].imported == again.cost == 0
    assert await db.hub.costs.count() == 0
    assert await db.hub.costs.total() == before
    assert {(limit.user_id, limit.spent) async for limit in db.hub.limits.stream()} == limits


async def test_what_is_here_stays_as_it_is(db: Database, hub: Path) -> None:
    taken = await db.supervisor.users.create("alice")
    own = await db.hub.hosts.register(name="box", machine_id="another")
    await db.hub.variables.save("EDITOR", "emacs")

    report = await import_naisys(db, hub)

    assert (await user(db, ALICE)).username == "alice-2"
    assert (await db.supervisor.users.get(taken.id)).username == "alice"
    assert {host.name for host in (await db.hub.hosts.page()).items} == {"box", "box-2", "SUPERVISOR"}
    assert (await db.hub.hosts.get(own.id)).machine_id == "another"
    assert await db.hub.variables.value("EDITOR") == "emacs"
    assert {"alice", "box"} <= {problem.row for problem in report.problems}


async def test_leads_that_run_in_a_circle_are_cut(db: Database, hub: Path) -> None:
    change(hub, "UPDATE users SET lead_user_id = 2 WHERE id = 1")

    report: NaisysReport = await import_naisys(db, hub)

    leads = [(await user(db, uuid)).lead_user_id for uuid in (ALICE, BOB)]
    assert leads.count(None) == 1
    assert any("circle" in problem.reason for problem in report.problems)
