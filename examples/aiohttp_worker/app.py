"""The service's application: its routes, and nothing of how rows are stored."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from agentdb.integrations.aiohttp import db, health, read, setup, work_alongside, write
from agentdb.models import ContextLog, RunSession
from examples.aiohttp_worker.shapes import (
    Address,
    Beginning,
    Progress,
    Registration,
    answer,
    columns,
    dollars,
    number,
    told,
)
from examples.aiohttp_worker.upkeep import look_after
from examples.aiohttp_worker.working import work

routes = web.RouteTableDef()


def make_app(url: str | None = None, **settings: Any) -> web.Application:
    """Return the application, over the database that the URL, or else the environment, names."""
    app = web.Application()
    setup(app, url, **settings)
    work_alongside(app, "the worker", work)
    work_alongside(app, "the upkeep", look_after)
    app.add_routes(routes)
    app.add_routes(health)
    return app


@routes.post("/hosts")
async def register(request: web.Request) -> web.Response:
    """Register a machine: a known one keeps its host, whatever it is called now."""
    machine = await told(request, Registration)
    host = await db(request).hub.hosts.register(**columns(machine), ip=request.remote)
    return answer({"id": host.id, "name": host.name}, 201)


@routes.post("/runs")
async def start(request: web.Request) -> web.Response:
    """Start a run of a user, who is made when nobody has the name yet."""
    run = await told(request, Beginning)
    async with write(request) as unit:
        user, _ = await unit.supervisor.users.get_or_create(run.username)
        session = await unit.hub.runs.start(user_id=user.id, model_name=run.model, host_id=run.host_id)
    return answer(_session(session), 201)


@routes.post(r"/sessions/{session_id:\d{1,18}}/progress")
async def progress(request: web.Request) -> web.Response:
    """Keep the lines and the charges of a session, all or none."""
    happened = await told(request, Progress)
    async with write(request) as unit:
        session = await unit.hub.runs.get(number(request, "session_id"))
        if happened.lines:
            await unit.hub.logs.append(session, [columns(line) for line in happened.lines])
        for charge in happened.charges:
            await unit.hub.costs.append(user_id=session.user_id, run_session_id=session.id, **columns(charge))
        session = await unit.hub.runs.get(session.id)
    return answer(_session(session))


@routes.get(r"/sessions/{session_id:\d{1,18}}/lines")
async def lines(request: web.Request) -> web.Response:
    """Show a session's last lines, newest first."""
    async with read(request) as unit:
        session = await unit.hub.runs.get(number(request, "session_id"))
        logs = await unit.hub.logs.latest(session.id, limit=100)
    return answer({"lines": [_line(log) for log in logs]})


@routes.put("/users/{username}/email")
async def reach(request: web.Request) -> web.Response:
    """Tell where a user is written to; nobody else has the address."""
    address = await told(request, Address)
    async with write(request) as unit:
        user, _ = await unit.supervisor.users.get_or_create(request.match_info["username"])
        user = await unit.supervisor.users.update(user.id, email=address.email)
    return answer({"id": user.id, "username": user.username, "email": user.email})


@routes.get("/users/{username}/report")
async def report(request: web.Request) -> web.Response:
    """Tell what a user's runs did and cost; all of it of one moment."""
    async with read(request) as unit:
        user = await unit.supervisor.users.by_username(request.match_info["username"])
        spent = await unit.hub.costs.total(user_id=user.id)
        newest = await unit.hub.runs.newest(user_id=user.id, limit=10, after=request.query.get("after"))
    spending = {**asdict(spent), "cost": dollars(spent.cost)}
    return answer({"spent": spending, "sessions": [_session(session) for session in newest.items], "next": newest.next})


def _session(session: RunSession) -> dict[str, Any]:
    return {
        "id": session.id,
        "run": session.run_id,
        "model": session.model_name,
        "lines": session.total_lines,
        "cost": dollars(session.total_cost),
        "last_active": session.last_active,
    }


def _line(log: ContextLog) -> dict[str, Any]:
    return {"id": log.id, "role": log.role, "type": log.type, "message": log.message, "at": log.created_at}
