"""How an interface reads: its problems are one schema, and each operation tells which it answers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from agentdb.integrations.fastapi import health, install_error_handlers, problems

PROBLEM = "application/problem+json"


class Login(BaseModel):
    username: str
    password: str


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(health)

    @app.post("/logins", responses=problems(404, 409))
    async def log_in(login: Login) -> None:
        raise HTTPException(int(login.password), "not today", {"X-Reason": "tests"})

    return app


async def ask(app: FastAPI, method: str, path: str, **how: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, path, **how)


def test_every_problem_is_one_schema(app: FastAPI) -> None:
    document = app.openapi()

    answers = document["paths"]["/logins"]["post"]["responses"]
    schemas = document["components"]["schemas"]
    assert answers.keys() == {"200", "404", "409", "422", "503"}
    for status in ("404", "409", "422", "503"):
        assert answers[status]["content"] == {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert "Retry-After" in answers["503"]["headers"]
    assert {"type", "title", "status", "detail", "code", "constraint", "errors"} == schemas["Problem"][
        "properties"
    ].keys()
    assert "HTTPValidationError" not in schemas
    assert app.openapi() is document


def test_an_operation_without_problems_has_none(app: FastAPI) -> None:
    assert app.openapi()["paths"]["/healthz"]["get"]["responses"].keys() == {"200"}
    assert app.openapi()["paths"]["/readyz"]["get"]["responses"].keys() == {"200", "503"}


async def test_what_does_not_validate_is_told_but_not_repeated(app: FastAPI) -> None:
    answer = await ask(app, "POST", "/logins", json={"username": 7, "password": {"plain": "opensesame"}})

    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert [part["field"] for part in answer.json()["errors"]] == ["body.username", "body.password"]
    assert answer.json()["detail"].startswith("body.username: ")
    assert "opensesame" not in answer.text


@pytest.mark.parametrize(("status", "code"), [(403, "forbidden"), (418, "im_a_teapot")])
async def test_a_status_of_the_callers_own_is_a_problem_too(app: FastAPI, status: int, code: str) -> None:
    answer = await ask(app, "POST", "/logins", json={"username": "alice", "password": str(status)})

    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert (answer.json()["code"], answer.json()["detail"]) == (code, "not today")
    assert answer.headers["x-reason"] == "tests"


async def test_what_is_no_error_and_what_http_does_not_know_pass(app: FastAPI) -> None:
    unchanged = await ask(app, "POST", "/logins", json={"username": "alice", "password": "304"})
    unknown = await ask(app, "POST", "/logins", json={"username": "alice", "password": "499"})

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (unknown.status_code, unknown.json()) == (499, {"detail": "not today"})


async def test_a_path_that_is_not_there_is_a_problem(app: FastAPI) -> None:
    missing = await ask(app, "GET", "/nothing")
    method = await ask(app, "DELETE", "/logins")

    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (method.status_code, method.headers["allow"]) == (405, "POST")
