"""agentdb in aiohttp: a Database for the application, units for requests, errors as problem documents.

    app = web.Application()
    setup(app)
    app.add_routes(health)

    async def create(request: web.Request) -> web.Response:
        async with write(request) as unit:
            user = await unit.supervisor.users.create((await request.json())["username"])
        return web.json_response({"id": user.id}, status=201)

A test may put a Database of its own into ``app[DATABASE]``, with ``answer_errors`` among the middlewares, in place of
``setup``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from agentdb.database import Database, connect
from agentdb.errors import AgentDBError, Unavailable
from agentdb.integrations.problems import MEDIA_TYPE, problem_of
from agentdb.integrations.readiness import require_ready
from agentdb.unit import Unit

DATABASE: Final = web.AppKey("agentdb", Database)


def setup(app: web.Application, url: str | None = None, **settings: Any) -> None:
    """Open the database before the first request, close it after the last, and answer its errors.

    Sub-applications need no set-up of their own.

    Args: url and settings: as `agentdb.connect`; read when the application starts.
    Raises: when the application starts, BadSettings, Unavailable and SchemaMismatch, which keep it from starting.
    """
    app.cleanup_ctx.append(_opened(url, settings))
    app.middlewares.append(answer_errors)


def _opened(url: str | None, settings: dict[str, Any]) -> Callable[[web.Application], AsyncIterator[None]]:
    async def opened(app: web.Application) -> AsyncIterator[None]:
        async with connect(url, **settings) as database:
            app[DATABASE] = database
            yield

    return opened


def db(request: web.Request) -> Database:
    """Return the Database: each call on it is a transaction of its own."""
    return request.config_dict[DATABASE]


def write(request: web.Request) -> AbstractAsyncContextManager[Unit]:
    """Open a unit that writes: it commits when its block is left, and any error rolls it back, web.HTTPException too.

    Answer after the block, so that whoever reads "201" finds the row.
    """
    return db(request).write()


def read(request: web.Request) -> AbstractAsyncContextManager[Unit]:
    """Open a unit that reads one snapshot and cannot write."""
    return db(request).read()


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer agentdb's errors with a status and a problem document, instead of an internal server error.

    Once a stream has begun there is no other answer to give: the error passes, and the connection ends.
    """
    try:
        return await handler(request)
    except AgentDBError as error:
        if request.writer.output_size:
            raise
        return _response(error)


def _response(error: AgentDBError) -> web.Response:
    problem = problem_of(error)
    return web.json_response(problem.document, status=problem.status, headers=problem.headers, content_type=MEDIA_TYPE)


health: Final = web.RouteTableDef()
"""``/healthz``: the process answers. ``/readyz``: its database does too; 503 when not, and why is logged."""


@health.get("/healthz")
async def alive(_: web.Request) -> web.Response:
    """Tell that the process answers."""
    return web.json_response({"status": "ok"})


@health.get("/readyz")
async def ready(request: web.Request) -> web.Response:
    """Tell that the database answers, and how busy its connections are."""
    try:
        state = await require_ready(db(request))
    except Unavailable as error:
        return _response(error)
    return web.json_response({"status": "ok", "connections_in_use": state.in_use, "callers_waiting": state.waiting})
