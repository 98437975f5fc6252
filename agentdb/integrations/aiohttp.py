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

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from agentdb.database import Database, connect
from agentdb.errors import AgentDBError, Unavailable
from agentdb.integrations.problems import MEDIA_TYPE, Problem, problem_of, problem_with
from agentdb.integrations.readiness import require_ready
from agentdb.unit import Unit

DATABASE: Final = web.AppKey("agentdb", Database)
_ALONGSIDE: Final = web.AppKey("agentdb_alongside", dict[str, "asyncio.Task[None]"])

_log: Final = logging.getLogger(__name__)


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


def work_alongside(app: web.Application, name: str, work: Callable[[Database], Awaitable[None]]) -> None:
    """Let something work from before the first request until after the last, as a worker of a queue does.

    It is cancelled when the application ends, and may take its time to give back what it holds; the database is closed
    after it. Work that ends by itself is logged, and ``/healthz`` refuses from then on: the process is to be started
    anew. Call this after `setup`.

    Args: name: what the logs call it. work: gets the database.
    """

    async def working(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.ensure_future(work(app[DATABASE]))
        task.add_done_callback(lambda ended: _tell_of_the_end(name, ended))
        app.setdefault(_ALONGSIDE, {})[name] = task
        yield
        task.cancel()
        await asyncio.wait([task])

    app.cleanup_ctx.append(working)


def _tell_of_the_end(name: str, task: asyncio.Future[None]) -> None:
    if not task.cancelled():
        _log.error("%s has ended before the application", name, exc_info=task.exception())


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
        return _response(problem_of(error))


def _response(problem: Problem) -> web.Response:
    return web.json_response(problem.document, status=problem.status, headers=problem.headers, content_type=MEDIA_TYPE)


health: Final = web.RouteTableDef()
"""``/healthz``: the process answers, and what works alongside has not ended. ``/readyz``: its database answers too; 503
when not, and why is logged."""


@health.get("/healthz")
async def alive(request: web.Request) -> web.Response:
    """Tell that the process answers, and that what works alongside has not ended."""
    ended = [name for name, task in request.config_dict.get(_ALONGSIDE, {}).items() if task.done()]
    if ended:
        return _response(problem_with(503, "ended", f"{', '.join(ended)} has ended; start this process anew"))
    return web.json_response({"status": "ok"})


@health.get("/readyz")
async def ready(request: web.Request) -> web.Response:
    """Tell that the database answers, and how busy its connections are."""
    try:
        state = await require_ready(db(request))
    except Unavailable as error:
        return _response(problem_of(error))
    return web.json_response({"status": "ok", "connections_in_use": state.in_use, "callers_waiting": state.waiting})
