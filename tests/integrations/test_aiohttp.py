"""agentdb in aiohttp: when a unit ends, what errors become, and what the application closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agentdb.database import Database
from agentdb.errors import NotFound, Unavailable
from agentdb.integrations.aiohttp import (
    DATABASE,
    answer_errors,
    db,
    health,
    read,
    setup,
    work_alongside,
    write,
)

Client = TestClient[web.Request, web.Application]

routes = web.RouteTableDef()


@routes.post("/users/{username}")
async def create(request: web.Request) -> web.Response:
    async with write(request) as unit:
        user = await unit.supervisor.users.create(request.match_info["username"])
    return web.json_response({"username": user.username}, status=201)


@routes.post("/refused/{username}")
async def refuse(request: web.Request) -> web.Response:
    async with write(request) as unit:
        await unit.supervisor.users.create(request.match_info["username"])
        raise web.HTTPForbidden


@routes.post("/mixed/{username}")
async def mix(request: web.Request) -> web.Response:
    async with write(request) as unit:
        await unit.supervisor.users.create(request.match_info["username"])
        await db(request).supervisor.users.create("bob")
    return web.Response(status=201)


@routes.post("/read-only/{username}")
async def write_through_the_read_door(request: web.Request) -> web.Response:
    async with read(request) as unit:
        await unit.supervisor.users.create(request.match_info["username"])
    return web.Response(status=201)


@routes.get("/users/{username}")
async def show(request: web.Request) -> web.Response:
    async with read(request) as unit:
        user = await unit.supervisor.users.by_username(request.match_info["username"])
    return web.json_response({"username": user.username})


@routes.get("/broken-stream")
async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"some of it")
    raise NotFound("the rest of it is gone")


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes(routes)
    app.add_routes(health)
    return app


@pytest_asyncio.fixture
async def client(db: Database) -> AsyncIterator[Client]:
    app = web.Application(middlewares=[answer_errors])
    app[DATABASE] = db
    app.add_routes(routes)
    app.add_routes(health)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_a_unit_has_committed_when_the_answer_leaves(client: Client, db: Database) -> None:
    answer = await client.post("/users/alice")

    assert answer.status == 201
    assert await db.supervisor.users.count() == 1


async def test_an_error_leaves_nothing(client: Client, db: Database, subtests: pytest.Subtests) -> None:
    for path, status in [("/refused", 403), ("/mixed", 422), ("/read-only", 500)]:
        with subtests.test(path=path):
            answer = await client.post(f"{path}/alice")

            assert answer.status == status
            assert await db.supervisor.users.count() == 0
            assert (await db.health()).in_use == 0


async def test_errors_are_problem_documents(client: Client) -> None:
    await client.post("/users/alice")
    taken = await client.post("/users/alice")
    missing = await client.get("/users/bob")

    assert taken.content_type == missing.content_type == "application/problem+json"
    document = await taken.json()
    assert (taken.status, document["code"], document["constraint"]) == (409, "conflict", "uq_users__username")
    assert (missing.status, (await missing.json())["detail"]) == (404, "there is no user 'bob'")


async def test_a_stream_that_has_begun_ends_without_a_second_answer(client: Client) -> None:
    answer = await client.get("/broken-stream")

    assert answer.status == 200
    with pytest.raises(aiohttp.ClientPayloadError):
        await answer.read()


async def test_health_tells_a_living_database(client: Client) -> None:
    alive = await client.get("/healthz")
    ready = await client.get("/readyz")

    assert (alive.status, await alive.json()) == (200, {"status": "ok"})
    assert (ready.status, await ready.json()) == (200, {"status": "ok", "connections_in_use": 0, "callers_waiting": 0})


async def test_the_application_opens_and_closes(migrated_sqlite_url: str) -> None:
    app = make_app()
    setup(app, migrated_sqlite_url, page_limit=7)
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/users/alice")

    database = app[DATABASE]
    assert answer.status == 201
    assert database.settings.page_limit == 7
    with pytest.raises(Unavailable):
        await database.supervisor.users.count()


async def test_a_sub_application_shares_the_database(migrated_sqlite_url: str) -> None:
    app = web.Application()
    setup(app, migrated_sqlite_url)
    app.add_subapp("/v1/", make_app())
    async with TestClient(TestServer(app)) as client:
        created = await client.post("/v1/users/alice")
        taken = await client.post("/v1/users/alice")

    assert (created.status, taken.status) == (201, 409)


async def test_a_database_that_cannot_be_had_keeps_the_application_from_starting() -> None:
    app = make_app()
    setup(app, "postgresql://nobody@127.0.0.1:1/nothing")

    with pytest.raises(Unavailable):
        await TestServer(app).start_server()


async def test_a_handler_that_is_cancelled_leaves_nothing(client: Client, db: Database) -> None:
    async def held() -> None:
        async with db.write() as unit:
            await unit.supervisor.users.create("alice")
            await asyncio.sleep(60)

    task = asyncio.create_task(held())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])

    assert (await client.post("/users/alice")).status == 201


async def test_what_works_alongside_may_finish_before_the_database_is_closed(migrated_sqlite_url: str) -> None:
    done: list[str] = []

    async def work(database: Database) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append((await database.supervisor.users.create("given-back")).username)

    app = make_app()
    setup(app, migrated_sqlite_url)
    work_alongside(app, "the worker", work)
    async with TestClient(TestServer(app)) as client:
        alive = await client.get("/healthz")

    assert alive.status == 200
    assert done == ["given-back"]


async def test_a_process_whose_worker_has_ended_is_to_be_started_anew(
    migrated_sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(_: Database) -> None:
        raise NotFound("the queue is gone")

    app = make_app()
    setup(app, migrated_sqlite_url)
    work_alongside(app, "the worker", work)
    async with TestClient(TestServer(app)) as client:
        alive = await client.get("/healthz")
        ready = await client.get("/readyz")
        told = await alive.json()

    assert (alive.status, alive.content_type, told["code"]) == (503, "application/problem+json", "ended")
    assert ready.status == 200
    assert "the worker" in caplog.text
    assert "the queue is gone" in caplog.text
