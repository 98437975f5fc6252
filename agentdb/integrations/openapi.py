"""How an interface's errors read in its OpenAPI document: one schema, and every operation tells which it may answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, Field

from agentdb.integrations.problems import MEDIA_TYPE

NAME: Final = "Problem"
_AT: Final = "#/components/schemas/"
_METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_FRAMEWORKS_OWN: Final = ("HTTPValidationError", "ValidationError")


class Refused(BaseModel):
    """A part of a request that cannot be taken."""

    field: str = Field(description="Where it is.", examples=["body.username"])
    message: str = Field(description="What was expected there.")


class ProblemShown(BaseModel):
    """Why a request was not done (RFC 9457)."""

    type: str = Field(default="about:blank", description="What kind of problem; it has no page of its own.")
    title: str = Field(description="The status, in words.", examples=["Conflict"])
    status: int = Field(examples=[409])
    detail: str = Field(description="What was wrong, for people.")
    code: str = Field(description="What was wrong, for programs.", examples=["conflict"])
    constraint: str | None = Field(default=None, description="The rule of the database that refused, where one did.")
    errors: list[Refused] | None = Field(default=None, description="Each part of the request that cannot be taken.")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a path operation that document these problems; the 503 is always among them."""
    return {status: _answer(HTTPStatus(status)) for status in sorted({*statuses, 503})}


def _answer(status: HTTPStatus) -> dict[str, Any]:
    # Written out: a "model" here would be documented as application/json.
    answer: dict[str, Any] = {
        "description": status.phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_AT}{NAME}"}}},
    }
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        whole = {"type": "integer", "minimum": 1}
        answer["headers"] = {"Retry-After": {"description": "Seconds after which to try again.", "schema": whole}}
    return answer


def described(document: dict[str, Any]) -> dict[str, Any]:
    """Return a framework's OpenAPI document with our problems in place of its own validation errors."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = ProblemShown.model_json_schema(ref_template=_AT + "{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas[NAME] = {**problem, "title": NAME}
    for path in document.get("paths", {}).values():
        for method, operation in path.items():
            if method in _METHODS and _is_the_frameworks(operation["responses"].get("422", {})):
                operation["responses"]["422"] = _answer(HTTPStatus.UNPROCESSABLE_ENTITY)
    for name in _FRAMEWORKS_OWN:
        schemas.pop(name, None)
    pages = {name: schema["title"] for name, schema in schemas.items() if name.startswith("PageShown_")}
    for name, title in pages.items():
        schemas[title] = schemas.pop(name)
    _rename(document, {f"{_AT}{name}": f"{_AT}{title}" for name, title in pages.items()})
    return document


def _rename(part: Any, references: dict[str, str]) -> None:
    """Let references lead to schemas that are called something else by now."""
    if isinstance(part, dict):
        if part.get("$ref") in references:
            part["$ref"] = references[part["$ref"]]
        for inner in part.values():
            _rename(inner, references)
    elif isinstance(part, list):
        for inner in part:
            _rename(inner, references)


def _is_the_frameworks(answer: dict[str, Any]) -> bool:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).endswith("/HTTPValidationError")
