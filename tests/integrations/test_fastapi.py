"""agentdb in FastAPI: when a unit ends, what errors become, and what the application closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from agentdb.database import Database
from agentdb.errors import BadInput, BadSettings, Unavailable
from agentdb.integrations.fastapi import (
    DB,
    PageShown,
    Paging,
    ReadUnit,
    WriteUnit,
    get_database,
    health,
    install_error_handlers,
    lifespan,
    problems,
)
from agentdb.page import Page

ALICE = {"username": "alice"}


class Named(BaseModel):
    username: str


class Number(BaseModel):
    username: int


routes = APIRouter()


@routes.post("/users", status_code=201)
async def create(new: Named, unit: WriteUnit) -> Named:
    return Named(username=(await unit.supervisor.users.create(new.username)).username)


@routes.post("/refused", status_code=201)
async def refuse(new: Named, unit: WriteUnit) -> None:
    await unit.supervisor.users.create(new.username)
    raise HTTPException(418)


@routes.post("/unshowable", status_code=201, response_model=Number)
async def show_wrongly(new: Named, unit: WriteUnit) -> Any:
    return {"username": (await unit.supervisor.users.create(new.username)).username}


@routes.post("/mixed", status_code=201)
async def mix(new: Named, unit: WriteUnit, db: DB) -> None:
    await unit.supervisor.users.create(new.username)
    await db.supervisor.users.create("bob")


@routes.post("/held", status_code=201)
async def hold(new: Named, unit: WriteUnit) -> None:
    await unit.supervisor.users.create(new.username)
    await asyncio.sleep(60)


@routes.get("/users/{username}", responses=problems(404))
async def show(username: str, unit: ReadUnit) -> Named:
    return Named(username=(await unit.supervisor.users.by_username(username)).username)


@routes.post("/read-only")
async def write_through_the_read_door(new: Named, unit: ReadUnit) -> None:
    await unit.supervisor.users.create(new.username)


@routes.get("/stream")
async def stream(db: DB) -> StreamingResponse:
    async def names() -> AsyncIterator[str]:
        async for user in db.supervisor.users.stream():
            yield f"{user.username}\n"

    return StreamingResponse(names())


def make_app(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    install_error_handlers(app)
    app.include_router(routes)
    app.include_router(health)
    return app


@pytest.fixture
def app(db: Database) -> FastAPI:
    app = make_app()
    app.dependency_overrides[get_database] = lambda: db
    return app


def client_of(app: Any, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, **options), base_url="http://test")


@pytest_asyncio.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, raise_app_exceptions=False) as client:
        yield client


async def test_a_unit_has_committed_when_the_answer_leaves(app: FastAPI, db: Database) -> None:
    seen: list[int] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def look(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.append(await db.supervisor.users.count())
            await send(message)

        await app(scope, receive, look)

    async with client_of(watched) as client:
        answer = await client.post("/users", json=ALICE)

    assert (answer.status_code, seen) == (201, [1])


ERRORS: list[tuple[str, int]] = [("/refused", 418), ("/unshowable", 500), ("/mixed", 422), ("/read-only", 500)]


async def test_an_error_leaves_nothing(client: httpx.AsyncClient, db: Database, subtests: pytest.Subtests) -> None:
    for path, status in ERRORS:
        with subtests.test(path=path):
            answer = await client.post(path, json=ALICE)

            assert answer.status_code == status, answer.text
            assert await db.supervisor.users.count() == 0
            assert (await db.health()).in_use == 0


async def test_errors_are_problem_documents(client: httpx.AsyncClient) -> None:
    await client.post("/users", json=ALICE)
    taken = await client.post("/users", json=ALICE)
    missing = await client.get("/users/bob")

    assert taken.headers["content-type"] == missing.headers["content-type"] == "application/problem+json"
    assert taken.json() | {"detail": ""} == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "",
        "code": "conflict",
        "constraint": "uq_users__username",
    }
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no user 'bob'")


async def test_a_request_that_is_given_up_leaves_nothing(client: httpx.AsyncClient, db: Database) -> None:
    request = asyncio.create_task(client.post("/held", json=ALICE))
    await asyncio.sleep(0.1)
    request.cancel()
    await asyncio.wait([request])

    assert (await client.post("/users", json=ALICE)).status_code == 201


async def test_a_stream_reads_as_long_as_it_lasts(client: httpx.AsyncClient, db: Database) -> None:
    for username in ("alice", "bob"):
        await db.supervisor.users.create(username)

    answer = await client.get("/stream")
    assert answer.text == "alice\nbob\n"


async def test_health_tells_a_living_database(client: httpx.AsyncClient) -> None:
    alive = await client.get("/healthz")
    ready = await client.get("/readyz")

    assert (alive.status_code, alive.json()["status"]) == (200, "ok")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")


async def test_readiness_is_refused_when_every_connection_is_taken(
    agentdb: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agentdb.integrations.readiness.WITHIN_SECONDS", 0.05)
    app = make_app()
    app.dependency_overrides[get_database] = lambda: agentdb
    async with client_of(app) as client:
        readers = [agentdb.read() for _ in range(agentdb.settings.sqlite_readers)]
        units = [asyncio.create_task(_hold(reader)) for reader in readers]
        await asyncio.sleep(0.05)
        answer = await client.get("/readyz")
        for unit in units:
            unit.cancel()
        await asyncio.wait(units)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "did not answer" in caplog.text


async def _hold(door: Any) -> None:
    async with door:
        await asyncio.sleep(60)


async def test_the_lifespan_opens_and_closes(migrated_sqlite_url: str) -> None:
    app = make_app(lifespan=lifespan(migrated_sqlite_url, page_limit=7))
    for _ in range(2):
        async with app.router.lifespan_context(app) as state:
            database: Database = (state or {})["agentdb"]
            await database.supervisor.users.get_or_create("alice")

        assert database.settings.page_limit == 7
        with pytest.raises(Unavailable):
            await database.supervisor.users.count()


async def test_a_lifespan_of_the_callers_own_holds_ours(migrated_sqlite_url: str) -> None:
    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with lifespan(migrated_sqlite_url)(app) as state:
            yield {**state, "greeting": "hello"}

    app = make_app(lifespan=own)
    async with app.router.lifespan_context(app) as state:
        assert set(state or {}) == {"agentdb", "greeting"}


async def test_a_database_that_cannot_be_had_keeps_the_application_from_starting() -> None:
    app = make_app(lifespan=lifespan("postgresql://nobody@127.0.0.1:1/nothing"))

    with pytest.raises(Unavailable):
        async with app.router.lifespan_context(app):
            pass


async def test_settings_are_read_when_the_application_starts() -> None:
    app = make_app(lifespan=lifespan(pool_sise=3))

    with pytest.raises(BadSettings, match="pool_size"):
        async with app.router.lifespan_context(app):
            pass


async def test_an_application_without_the_lifespan_is_told_so() -> None:
    async with client_of(make_app()) as client:
        with pytest.raises(RuntimeError, match="lifespan"):
            await client.get("/readyz")


async def test_an_error_at_the_commit_is_not_answered_by_201(client: httpx.AsyncClient, app: FastAPI) -> None:
    async def refusing(unit: WriteUnit) -> AsyncIterator[None]:
        yield
        raise BadInput("the unit cannot be kept")

    @app.post("/late", status_code=201, dependencies=[Depends(refusing, scope="function")])
    async def late(new: Named, unit: WriteUnit) -> None:
        await unit.supervisor.users.create(new.username)

    answer = await client.post("/late", json=ALICE)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_input")
    assert (await client.get("/users/alice")).status_code == 404


@pytest.mark.parametrize("word", ["plain", "a b", "100%", "50%25", "what?#", "caf\u00e9"])
async def test_the_address_of_the_next_page_leads_to_the_same_list(word: str) -> None:
    app = FastAPI()

    @app.get("/words/{word}")
    async def list_words(word: str, paging: Paging) -> PageShown[Named]:
        return paging.shown(Page([Named(username=word)], "abc"), Named)

    async with client_of(app) as client:
        first = (await client.get(f"/words/{quote(word)}?limit=1&q=%C3%BF")).json()
        second = (await client.get(first["next_url"])).json()

    assert first["items"] == second["items"] == [{"username": word}]
    assert first["next_url"] == second["next_url"] == f"/words/{quote(word)}?limit=1&q=%C3%BF&after=abc"
