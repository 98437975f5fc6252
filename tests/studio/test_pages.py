"""Browsing, searching and filtering."""

from __future__ import annotations

import re
from decimal import Decimal

from sqlalchemy import insert, text
from starlette.requests import Request
from starlette_admin.filters import FilterGroup, FilterRule

from agentdb.database import Database
from agentdb.engine.events import Statement
from agentdb.hub.models.settings import Variable
from agentdb.studio.fields import Choice
from agentdb.studio.filters import Filters
from agentdb.studio.repositories import models
from agentdb.studio.tables import TableView
from agentdb.testing.factories import make_conversation, make_run_session, make_user
from tests.canaries import canary, told
from tests.studio.conftest import Browser, browsing, heading

SCRIPT = "<script>alert('ada')</script>"
TABLES = [model.__tablename__ for group in models().values() for model in group]


def rows_of(page: str) -> list[str]:
    return re.findall(r'<tr data-sa-pk="([^"]+)"', page)


async def test_every_table_has_a_list_and_its_rows_have_pages(db: Database, reading: Browser) -> None:
    ada = await make_user(db, first_name="Ada", config={"theme": "dark"})
    await make_conversation(db, user_id=ada.id, messages=2)
    run = await make_run_session(db, user_id=ada.id)
    await db.hub.costs.append(source="console", model="m", cost=Decimal("0.25"), user_id=ada.id)
    await db.hub.variables.save("colour", "blue")
    assert run.id

    opened = set()
    for table in TABLES:
        for row in rows_of(await reading.text(f"/{table}/list"))[:1]:
            assert "<table" in await reading.text(f"/{table}/detail", pk=row)
            opened.add(table)
    assert {"users", "conversations", "messages", "runs", "run_session", "costs", "variables", "hosts"} <= opened


async def test_a_script_in_a_value_is_only_shown(db: Database, writing: Browser) -> None:
    ada = await make_user(db, first_name=SCRIPT, title=SCRIPT, settings={SCRIPT: SCRIPT})
    talk = await make_conversation(db, user_id=ada.id, title=SCRIPT)
    await db.hub.costs.append(source="console", model=SCRIPT, cost=Decimal(1), user_id=ada.id)
    await db.hub.variables.save("greeting", SCRIPT)

    pages = [
        await writing.text("/users/list", q=SCRIPT),
        await writing.text("/users/detail", pk=ada.id),
        await writing.text("/users/edit", pk=ada.id),
        await writing.text("/conversations/list"),
        await writing.text("/conversations/edit", pk=talk.id),
        await writing.text("/variables/list", filter="value__contains=alert"),
        await writing.text("/variables/detail", pk="greeting"),
        await writing.text("/spending"),
        (await writing.open("/" + SCRIPT + "/list")).text,
    ]
    for page in pages:
        assert "<script>alert" not in page
    assert all("&lt;script&gt;alert" in page for page in pages[:5])
    assert "&lt;script&gt;alert" in pages[7]


async def test_no_page_tells_a_secret_or_a_digest(db: Database, writing: Browser) -> None:
    ada = await make_user(db)
    secret = canary("studio-variable")
    await db.hub.variables.save("password_of_something", secret, sensitive=True)
    await db.supervisor.passwords.set(ada.id, canary("studio-password"))
    await db.supervisor.logins.start(ada.id)
    (login,) = (await db.supervisor.logins.of_user(ada.id)).items
    stored = await db.supervisor.users.get(ada.id)
    digest = stored.password_hash
    assert digest

    # As it is stored where there is no key yet.
    plain = canary("studio-plain")
    async with db.write() as unit:
        values = {"key": "early", "value": plain, "sensitive": True, "export_to_shell": False}
        await unit.session.execute(insert(Variable), [values])
    for words in ("value__contains=canary", "value__not_null"):
        assert "early" not in rows_of(await writing.text("/variables/list", filter=words))
    assert rows_of(await writing.text("/variables/list", q="studio-plain")) == []

    for table, row in (
        ("variables", "early"),
        ("variables", "password_of_something"),
        ("users", ada.id),
        ("sessions", login.id),
    ):
        for page in ("list", "detail", "edit"):
            text = (await writing.open(f"/{table}/{page}", pk=row)).text
            assert told(text) == []
            assert digest not in text
            assert "password_hash" not in text
            assert "token_hash" not in text


async def test_a_search_finds_texts_keys_and_uuids(db: Database, reading: Browser) -> None:
    ada, eve = await make_user(db, first_name="Ada 100%"), await make_user(db, first_name="Eve 1000")

    async def found(q: object) -> list[str]:
        return rows_of(await reading.text("/users/list", q=q))

    assert await found("aDA") == [str(ada.id)]
    assert await found("100%") == [str(ada.id)]
    assert await found(eve.uuid) == [str(eve.id)]
    assert str(eve.id) in await found(eve.id)
    assert await found("nobody of this name") == []


async def test_filters_find_what_they_say(db: Database, reading: Browser) -> None:
    ada = await make_user(db, first_name="Ada")
    eve = await make_user(db)
    for cost in ("0.10", "0.25", "3"):
        await db.hub.costs.append(source="console", model="m", cost=Decimal(cost), user_id=ada.id)

    async def found(table: str, words: str) -> set[str]:
        return set(rows_of(await reading.text(f"/{table}/list", filter=words)))

    assert await found("users", "first_name__null") == {str(eve.id)}
    assert await found("users", "first_name__begins=ad") == {str(ada.id)}
    assert await found("users", f"id__ge={eve.id}") == {str(eve.id)}
    assert len(await found("users", "kind__eq=human")) == 2
    assert len(await found("costs", "cost__ge=0.25")) == 2
    assert len(await found("costs", "cost__eq=0.10")) == 1
    assert len(await found("costs", f"user_id__eq={ada.id}")) == 3
    assert len(await found("costs", "created_at__ge=2020-01-01T00:00")) == 3
    assert await found("costs", "created_at__lt=2020-01-01T00:00") == set()


VALUES = {"number": "7", "datetime": "2026-03-09T12:00", "string": "a_%b", "none": None}


async def test_every_filter_of_every_kind_of_column_is_understood_by_the_database(db: Database) -> None:
    seen = set()
    for model in [model for group in models().values() for model in group]:
        view = TableView(db, model, writes=False)
        for field in view.fields:
            for kind in Filters().filters_for(field):
                if field.exclude_from_list or (type(field), kind.name) in seen:
                    continue
                seen.add((type(field), kind.name))
                value = (
                    next(iter(field.choices or ()))[0] if isinstance(field, Choice) else VALUES[kind.data_type.value]
                )
                parsed = None if value is None else kind().parse_value(value)
                rule = FilterRule(field.name, kind.name, parsed)
                assert await view.find_all(Request({"type": "http"}), filters=FilterGroup(rules=[rule])) is not None
    assert len(seen) > 30


async def test_a_question_that_makes_no_sense_is_answered_with_400(reading: Browser) -> None:
    for query in (
        {"filter": "id__eq=seven"},
        {"filter": "created_at__ge=yesterday"},
        {"filter": "id__eq=99999999999999999999"},
        {"filter": "kind__eq=robot"},
        {"filter": "password_hash__null"},
        {"page_size": "-1"},
    ):
        assert (await reading.open("/users/list", **query)).status_code == 400


async def test_a_row_that_is_not_there_is_not_found(reading: Browser) -> None:
    for path in ("/users/detail?pk=77", "/users/detail?pk=x", "/mail_attachments/detail?pk=1", "/nothing/list"):
        assert (await reading.open(path)).status_code == 404


async def test_a_list_has_pages(db: Database, reading: Browser) -> None:
    users = [await make_user(db) for _ in range(27)]

    first, second = [rows_of(await reading.text("/users/list", page=page)) for page in (1, 2)]
    assert [int(row) for row in first + second] == [user.id for user in reversed(users)]
    assert len(first) == 25


async def test_what_is_not_shown_is_not_sorted_by(db: Database, reading: Browser) -> None:
    users = [await make_user(db) for _ in range(2)]

    rows = rows_of(await reading.text("/users/list", sort="password_hash__asc"))
    assert rows == [str(user.id) for user in reversed(users)]


async def test_a_page_beyond_the_end_is_empty(db: Database, reading: Browser) -> None:
    await make_user(db)

    for page in (2, 10**19, 10**40):
        assert rows_of(await reading.text("/users/list", page=page)) == []


async def test_a_page_sorts_and_passes_by_keys_alone(db: Database, reading: Browser) -> None:
    """With whole rows, a sort of a large table is written to a disk, and a page deep inside takes minutes."""
    users = [await make_user(db, title=f"{number % 3} of {number}") for number in range(30)]

    sent: list[str] = []
    stop = db.observe(lambda event: sent.append(event.sql) if isinstance(event, Statement) else None)
    pages = [rows_of(await reading.text("/users/list", page=page, sort="title__asc")) for page in (1, 2)]
    stop()
    rows = sorted(users, key=lambda user: user.title or "")
    assert [int(row) for row in pages[0] + pages[1]] == [user.id for user in rows]
    inner = next(sql for sql in sent if "OFFSET" in sql).partition("(SELECT ")[2].partition("FROM")[0]
    assert inner.split() == ["users.id", "AS", "id"]


async def test_a_list_shows_the_beginning_of_a_long_text(db: Database, reading: Browser) -> None:
    ada = await make_user(db)
    text = "".join(f"{number:06} " for number in range(60_000))
    run = await make_run_session(db, user_id=ada.id)
    await db.hub.logs.append(run, [{"role": "llm", "message": message} for message in (text, text[:300])])
    await db.hub.variables.save("long", text)

    sent: list[str] = []
    stop = db.observe(lambda event: sent.append(event.sql) if isinstance(event, Statement) else None)
    listed = await reading.text("/context_log/list")
    stop()
    assert f"{text[:300]}…" in listed
    assert text[300:400] not in listed
    assert sum("substr(context_log.message" in sql for sql in sent) == 1  # and not all of it is sent
    assert text[:301] not in await reading.text("/variables/list")
    (line, _) = (await db.hub.logs.latest(run.id, limit=2))[::-1]
    assert text in await reading.text("/context_log/detail", pk=line.id)


async def test_what_is_sensitive_does_not_sort(db: Database, reading: Browser) -> None:
    async with db.write() as unit:
        rows = [("a", "3", False), ("b", "2", True), ("c", "1", True), ("d", "0", False)]
        values = [
            {"key": key, "value": value, "sensitive": sensitive, "export_to_shell": False}
            for key, value, sensitive in rows
        ]
        await unit.session.execute(insert(Variable), values)

    rows_there = rows_of(await reading.text("/variables/list", sort="value__asc"))
    assert [row for row in rows_there if row in "ad"] == ["d", "a"]
    assert [row for row in rows_there if row in "bc"] == ["c", "b"]  # by their keys, the last first
    opposite = rows_of(await reading.text("/variables/list", sort="value__desc"))
    assert [row for row in opposite if row in "bc"] == ["c", "b"]


async def test_what_the_database_refuses_is_told_and_is_no_server_error(db: Database, reading: Browser) -> None:
    """A NUL is no text on PostgreSQL, and as good as any on SQLite."""
    await make_user(db)

    assert (await reading.open("/users/list", filter="username__contains=\x00")).status_code in {200, 400}
    assert (await reading.open("/users/list", q="\x00")).status_code in {200, 400}


async def test_a_database_that_is_away_is_told_by_every_page(db: Database, writing: Browser) -> None:
    ada = await make_user(db)
    form = await writing.text("/users/edit", pk=ada.id)
    await db.close()

    answers = [
        await writing.open("/users/list"),
        await writing.open(f"/users/detail?pk={ada.id}"),
        await writing.open("/spending"),
        await writing.submit(form, f"/users/edit?pk={ada.id}", first_name="Ada"),
    ]
    assert [answer.status_code for answer in answers] == [503] * 4
    assert (await writing.open("/")).status_code == 200


async def test_a_statement_that_takes_too_long_is_told(agentdb_postgresql: Database) -> None:
    settings = agentdb_postgresql.settings.model_copy(update={"statement_timeout_seconds": 0.2})
    async with Database(settings) as db, browsing(db, writes=False) as reading, agentdb_postgresql.write() as unit:
        await unit.session.execute(text("LOCK TABLE users"))
        late = await reading.open("/users/list")

    assert late.status_code == 503
    assert "the statement took too long" in heading(late)
