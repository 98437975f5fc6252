"""agentdb in FastAPI: a Database for the application, units as dependencies, errors as problem documents.

    app = FastAPI(lifespan=lifespan())
    install_error_handlers(app)
    app.include_router(health)

    @app.post("/users", status_code=201, responses=problems(409))
    async def create(new: NewUser, unit: WriteUnit) -> UserShown:
        return UserShown.model_validate(await unit.supervisor.users.create(new.username))

A test replaces the database: ``app.dependency_overrides[get_database] = lambda: agentdb``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, TypedDict, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from agentdb.database import Database, connect
from agentdb.errors import AgentDBError, Unavailable
from agentdb.integrations.openapi import ProblemShown, described, problems
from agentdb.integrations.problems import MEDIA_TYPE, Problem, printable, problem_of, problem_with
from agentdb.integrations.readiness import require_ready
from agentdb.integrations.shapes import PageShown, Shown
from agentdb.page import Page
from agentdb.unit import Unit

__all__ = [
    "DB",
    "Lifespan",
    "PageAsked",
    "PageShown",
    "Paging",
    "ProblemShown",
    "ReadUnit",
    "Readiness",
    "Shown",
    "WriteUnit",
    "get_database",
    "health",
    "install_error_handlers",
    "lifespan",
    "problems",
]

S = TypeVar("S", bound=BaseModel)

STATE: Final = "agentdb"  # the name of the Database in the lifespan's state
_STATUSES: Final = frozenset(HTTPStatus)


class PageWords(TypedDict):
    """What every list takes."""

    limit: int
    after: str | None


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


def lifespan(url: str | None = None, **settings: Any) -> Lifespan:
    """Return a lifespan that opens the database before the first request, and closes it after the last.

    An application with a lifespan of its own enters this one in it: ``async with lifespan()(app) as state: yield
    state``, with whatever it adds to the state.

    Args: url and settings: as `agentdb.connect`; read when the application starts.
    Raises: BadSettings, Unavailable and SchemaMismatch, which keep the application from starting.
    """

    @asynccontextmanager
    async def opened(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with connect(url, **settings) as database:
            yield {STATE: database}

    return opened


async def get_database(connection: HTTPConnection) -> Database:
    """Return the application's database; the dependency behind the others, which tests override."""
    database: Database | None = getattr(connection.state, STATE, None)
    if database is None:
        raise RuntimeError("no database is open; make the application with FastAPI(lifespan=lifespan())")
    return database


DB = Annotated[Database, Depends(get_database)]
"""The Database: each call on it is a transaction of its own. For web sockets, background tasks and single calls."""


async def _write_unit(database: DB) -> AsyncIterator[Unit]:
    async with database.write() as unit:
        yield unit


async def _read_unit(database: DB) -> AsyncIterator[Unit]:
    async with database.read() as unit:
        yield unit


# In the scope of the function a unit ends before the answer leaves: whoever reads "201" finds the row, a commit that
# fails is not answered by "201", and no connection is held while a slow client receives.
WriteUnit = Annotated[Unit, Depends(_write_unit, scope="function")]
"""A unit that writes, for one path operation: it commits before the response is sent, and any error, an HTTPException
included, rolls it back. Also when the answer cannot be made from what the operation returns."""

ReadUnit = Annotated[Unit, Depends(_read_unit, scope="function")]
"""A unit that reads one snapshot, for one path operation; it has ended when a StreamingResponse begins to stream."""


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error with a status and a problem document, and tell so in the OpenAPI document.

    agentdb's errors are no internal server errors any more. What the framework refuses is answered in the same form; a
    request that does not validate is not repeated to its sender, or into a log on the way: it may hold a password.
    """
    app.add_exception_handler(AgentDBError, _answer)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(HTTPException, _tell)
    openapi = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = described(openapi())
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


async def _answer(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, AgentDBError):
        raise error
    return _response(problem_of(error))


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    refused = [
        {"field": printable(".".join(map(str, found["loc"]))), "message": printable(found["msg"])}
        for found in error.errors()
    ]
    detail = "; ".join(f"{part['field']}: {part['message']}" for part in refused)
    return _response(problem_with(422, "bad_input", detail, errors=refused))


async def _tell(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code < 400 or error.status_code not in _STATUSES:
        return await http_exception_handler(request, error)
    code = HTTPStatus(error.status_code).name.lower()
    response = _response(problem_with(error.status_code, code, str(error.detail)))
    response.headers.update(error.headers or {})
    return response


def _response(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.document, problem.status, problem.headers, MEDIA_TYPE)


@dataclass(frozen=True, slots=True)
class PageAsked:
    """Which page of a list a request asks for, and how the page is shown."""

    request: Request
    limit: int
    after: str | None

    @property
    def words(self) -> PageWords:
        """The keywords of every list: ``await repository.list(**paging.words)``."""
        return {"limit": self.limit, "after": self.after}

    def shown(self, page: Page[Any], shape: type[S]) -> PageShown[S]:
        """Return a page, each item in its shape, with the address of the next one."""
        # Not request.url: its path is as it was decoded, where a percent sign no longer says which it was.
        asked = self.request.scope
        url = f"{quote(asked['path'])}?{asked['query_string'].decode('latin-1')}"
        return PageShown[shape].made(page, shape.model_validate, url)  # type: ignore[valid-type]


# Not the class itself, and a coroutine: for what is none the framework takes a thread, at each request.
async def _paging(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100, description="How many items at most.")] = 20,
    after: Annotated[str | None, Query(max_length=2_000, description="The `next` of the page before.")] = None,
) -> PageAsked:
    return PageAsked(request, limit, after)


Paging = Annotated[PageAsked, Depends(_paging)]
"""The query of a path operation that answers a `PageShown`: ``limit`` and ``after``."""


class Readiness(BaseModel):
    """Whether the application can do its work."""

    status: str = Field(examples=["ok"])
    connections_in_use: int = 0
    callers_waiting: int = 0


health: Final = APIRouter(tags=["health"])
"""``/healthz``: the process answers. ``/readyz``: its database does too; 503 when not, and why is logged."""


@health.get("/healthz")
async def alive() -> Readiness:
    """Tell that the process answers."""
    return Readiness(status="ok")


@health.get("/readyz", response_model=Readiness, responses=problems())
async def ready(database: DB) -> Readiness | JSONResponse:
    """Tell that the database answers, and how busy its connections are."""
    try:
        state = await require_ready(database)
    except Unavailable as error:
        return _response(problem_of(error))
    return Readiness(status="ok", connections_in_use=state.in_use, callers_waiting=state.waiting)
