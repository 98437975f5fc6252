"""The FastAPI service against its own OpenAPI document: what fits it is answered as it tells, never by an error."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from agentdb.database import Database
from examples.fastapi_service.app import make_app
from tests.examples.platform import START_TO_END
from tests.examples.serving import File

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
DOCUMENT = make_app().openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]
FEW, MANY = 4, 25
SOME_IDS = 3  # of each kind of row there are about as many


class Served:
    """The service on a thread and a loop of its own: schemathesis calls it as any program would."""

    def __init__(self, url: str) -> None:
        self._server = uvicorn.Server(uvicorn.Config(make_app(url), port=0, log_config=None, ws="none", lifespan="on"))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()))

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a migrated, empty database."""
    if getattr(request, "param", "sqlite") == "sqlite":
        file: File = request.getfixturevalue("file")
        return file.url
    database: Database = request.getfixturevalue("agentdb_postgresql")
    return database.settings.target.secret_url()


@pytest.fixture
def base_url(url: str) -> Iterator[str]:
    with Served(url) as base_url:
        yield base_url


def _furnish(base_url: str) -> dict[str, str]:
    """Make a few rows of each kind, and return the headers of whose they are."""
    with httpx.Client(base_url=base_url, trust_env=False) as client:
        key = client.post("/users", json={"username": "alice"}).json()["key"]
        header = {"Authorization": f"Bearer {key}"}
        for number in range(SOME_IDS):
            for path, body in (
                ("/conversations", {"title": "trams"}),
                ("/conversations/1/messages", {"role": "user", "content": "Which tram?"}),
                ("/runs", {"model": "gpt-4o"}),
                ("/runs/1/lines", [{"role": "llm", "message": "28"}]),
                ("/workflows", {"name": f"answer {number}", "definition": START_TO_END}),
                ("/workflows/1/executions", {}),
                ("/documents", {"title": "trams", "content": "Tram 15 goes to Belém."}),
                ("/agents", {"name": f"guide {number}"}),
                ("/connections", {"provider": f"provider {number}"}),
            ):
                assert client.post(path, json=body, headers=header).is_success, path
    return header


def _ask(base_url: str, header: dict[str, str], method: str, path: str, examples: int) -> None:
    """Send what fits an operation, and check each answer."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=SCHEMA[path][method].as_strategy(), is_there=st.booleans())
    def ask(case: Any, is_there: bool) -> None:
        if is_there:
            for name, value in (case.path_parameters or {}).items():
                if isinstance(value, int):
                    case.path_parameters[name] = value % SOME_IDS + 1
        case.call_and_validate(base_url=base_url, headers=header, checks=CHECKS)

    ask()


def _named(part: Any) -> Iterator[str]:
    """Yield the names of the schemas that a part of the document refers to."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for inner in part.values():
            yield from _named(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _named(inner)


def test_every_body_refuses_a_field_that_it_does_not_know() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    found: set[str] = set()
    left = [_named(DOCUMENT["paths"][path][method].get("requestBody")) for method, path in OPERATIONS]
    while left:
        new = set(left.pop()) - found
        found |= new
        left += [_named(schemas[name]) for name in new]

    objects = {name for name in found if schemas[name]["type"] == "object"}
    assert {"NewUser", "NewMessage", "Usage", "NewLine"} <= objects
    assert [name for name in objects if schemas[name].get("additionalProperties") is not False] == []


@pytest.mark.long
def test_whatever_fits_the_document_is_answered_as_it_tells(base_url: str) -> None:
    header = _furnish(base_url)

    for method, path in OPERATIONS:
        _ask(base_url, header, method, path, FEW)


@pytest.mark.long
@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_much_that_fits_the_document_is_answered_as_it_tells(base_url: str) -> None:
    header = _furnish(base_url)

    for method, path in OPERATIONS:
        _ask(base_url, header, method, path, MANY)
