"""The service's application: its routes, and nothing of how rows are stored."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from agentdb.integrations.fastapi import health, install_error_handlers, lifespan, problems
from examples.fastapi_service import (
    agents,
    connections,
    conversations,
    executions,
    keys,
    knowledge,
    messages,
    people,
    runs,
    spending,
)
from examples.fastapi_service.callers import needs

SUMMARIES = [
    {"name": "people", "description": "Who uses the platform. Signing up needs no key, and gives the first."},
    {"name": "keys", "description": "What programs of a person show in place of a password."},
    {"name": "conversations", "description": "What was said."},
    {"name": "runs", "description": "Agents at work: what they say, and what each call of a model costs."},
    {"name": "spending", "description": "What was spent, and what may be."},
    {"name": "executions", "description": "Work to be done by a worker: workflows, and their executions."},
    {"name": "knowledge", "description": "Documents, and a search of all that a person has."},
    {"name": "agents", "description": "What an agent can be made of."},
    {"name": "connections", "description": "What a person has connected elsewhere."},
    {"name": "health", "description": "For whoever watches over the service."},
]


def make_app(url: str | None = None, **settings: Any) -> FastAPI:
    """Return the application, over the database that the URL, or else the environment, names."""
    app = FastAPI(
        title="Agents",
        version="1.0.0",
        summary="A small agent platform over agentdb.",
        lifespan=lifespan(url, **settings),
        openapi_tags=SUMMARIES,
        generate_unique_id_function=_named,
    )
    install_error_handlers(app)
    app.include_router(people.signing_up)
    keyed = APIRouter(responses=problems(401))
    keyed.include_router(people.routes)
    for routes in (
        keys.routes,
        conversations.routes,
        messages.routes,
        runs.routes,
        spending.routes,
        executions.routes,
        knowledge.routes,
        agents.routes,
        connections.routes,
    ):
        (scope,) = routes.tags
        keyed.include_router(routes, dependencies=[needs(str(scope))], responses=problems(403))
    app.include_router(keyed)
    app.include_router(health)
    return app


def _named(route: APIRoute) -> str:
    """Return what a generated client calls an operation: the name of its function."""
    return route.name
