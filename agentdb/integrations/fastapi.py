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
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection, Request

from agentdb.database import Database, connect
from agentdb.errors import AgentDBError, Unavailable
from agentdb.integrations.problems import MEDIA_TYPE, problem_of
from agentdb.integrations.readiness import require_ready
from agentdb.unit import Unit

STATE: Final = "agentdb"  # the name of the Database in the lifespan's state

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
    """Answer agentdb's errors with a status and a problem document, instead of an internal server error."""

    async def answer(_: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, AgentDBError):
            raise error
        return _response(error)

    app.add_exception_handler(AgentDBError, answer)


def _response(error: AgentDBError) -> JSONResponse:
    problem = problem_of(error)
    return JSONResponse(problem.document, problem.status, problem.headers, MEDIA_TYPE)


class ProblemShown(BaseModel):
    """Why a request was not done (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    detail: str = Field(description="What was wrong, for people.")
    code: str = Field(description="What was wrong, for programs.", examples=["conflict"])
    constraint: str | None = Field(default=None, description="The rule of the database that refused, where one did.")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a path operation that document these problems; the 503 is always among them."""
    # Written out: a "model" here would be documented as application/json.
    content = {MEDIA_TYPE: {"schema": ProblemShown.model_json_schema()}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content} for status in sorted({*statuses, 503})
    }


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
        return _response(error)
    return Readiness(status="ok", connections_in_use=state.in_use, callers_waiting=state.waiting)
