"""Runs: agents at work, what they say, and what each call of a model costs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from agentdb.integrations.fastapi import PageShown, Paging, Shown, problems
from agentdb.integrations.shapes import Signed
from agentdb.models import ContextLog, Cost, CostSource, LogRole, LogSource, LogType, RunSession
from examples.fastapi_service.callers import Me, Mine, ReadMine, WriteMine
from examples.fastapi_service.parameters import LARGEST, Asked, Dollars, Id, Title, Tokens

routes = APIRouter(prefix="/runs", tags=["runs"])

After = Annotated[int, Query(ge=0, le=LARGEST, description="The id of the last line seen.")]


class NewRun(Asked):
    """A run to start."""

    model: Title = Field(examples=["gpt-4o"])


class RunShown(
    Shown,
    of=RunSession,
    shows=("id", "run_id", "session_id", "model_name", "total_lines", "total_cost", "last_active", "created_at"),
):
    """A session of a run."""


class NewLine(Asked):
    """What a run said or saw."""

    role: LogRole
    message: str = Field(examples=["I look at the timetable."])
    source: LogSource | None = None
    type: LogType | None = None


class LineShown(Shown, of=ContextLog, shows=("id", "role", "source", "type", "message", "created_at")):
    """What a run said or saw."""


class NewCall(Asked):
    """A call of a model; told twice under one request id, it is charged once."""

    model: Title = Field(examples=["gpt-4o"])
    cost: Dollars
    request_id: Annotated[str, Field(min_length=1, max_length=200, description="The caller's own.")]
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0


class CallShown(
    Shown,
    of=Cost,
    shows=("id", "model", "source", "input_tokens", "output_tokens", "created_at"),
):
    """What a call of a model cost."""

    cost: Signed


@routes.post("", status_code=201, responses=problems(422))
async def start_run(new: NewRun, mine: Mine, me: Me) -> RunShown:
    """Start a run."""
    return RunShown.model_validate(await mine.hub.runs.start(user_id=me.user_id, model_name=new.model))


@routes.get("", responses=problems(422))
async def list_runs(mine: Mine, me: Me, paging: Paging) -> PageShown[RunShown]:
    """List the sessions of one's runs, newest first."""
    return paging.shown(await mine.hub.runs.newest(user_id=me.user_id, **paging.words), RunShown)


@routes.post("/{session_id}/lines", status_code=201, responses=problems(404, 422))
async def append_lines(
    session_id: Id, new: Annotated[list[NewLine], Field(max_length=1000)], unit: WriteMine
) -> RunShown:
    """Append lines to a session's log: all, or none."""
    session = await unit.hub.runs.get(session_id)
    if new:
        await unit.hub.logs.append(session, [line.model_dump(exclude_none=True) for line in new])
    return RunShown.model_validate(await unit.hub.runs.get(session_id))


@routes.get("/{session_id}/lines", responses=problems(404, 422))
async def list_lines(
    session_id: Id, unit: ReadMine, after: After = 0, limit: Annotated[int, Query(ge=1, le=100)] = 50
) -> list[LineShown]:
    """List a session's lines after one of them, oldest first."""
    session = await unit.hub.runs.get(session_id)
    lines = await unit.hub.logs.after(session, after, limit=limit)
    return [LineShown.model_validate(line) for line in lines]


@routes.post("/{session_id}/calls", status_code=201, responses=problems(402, 404, 409, 422))
async def charge_call(session_id: Id, new: NewCall, unit: WriteMine, me: Me) -> CallShown:
    """Charge a call of a model, unless a limit leaves no room for it."""
    session = await unit.hub.runs.get(session_id)
    request = f"{me.user_id}:{new.request_id}"  # nobody meets somebody else's
    held = await unit.hub.reservations.reserve(user_id=me.user_id, amount=new.cost, request_id=request)
    settled = await unit.hub.reservations.settle(
        held.id,
        source=CostSource.console,
        run_session_id=session.id,
        **new.model_dump(exclude={"request_id"}),
    )
    return CallShown.model_validate(settled.cost)
