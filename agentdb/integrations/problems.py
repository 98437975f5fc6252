"""Errors as HTTP answers: a status, and a problem document that says what the caller can do.

What the caller did wrong is told in full. What went wrong here is logged, and the caller is told no more than that: the
messages of those errors name hosts, files and settings.

Source: RFC 9457.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from agentdb.errors import (
    AgentDBError,
    BadInput,
    BudgetExceeded,
    Conflict,
    Contended,
    InvalidTransition,
    MissingReference,
    NotFound,
    StaleVersion,
    Unavailable,
)

MEDIA_TYPE: Final = "application/problem+json"

# A ReadOnly is ours, not the caller's: a handler wrote through the read door, or to what never changes. StaleVersion is
# no 412, which answers an If-Match header.
_STATUSES: Final[Mapping[type[AgentDBError], HTTPStatus]] = {
    BadInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    BudgetExceeded: HTTPStatus.PAYMENT_REQUIRED,
    Conflict: HTTPStatus.CONFLICT,
    InvalidTransition: HTTPStatus.CONFLICT,
    MissingReference: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    StaleVersion: HTTPStatus.CONFLICT,
    Contended: HTTPStatus.SERVICE_UNAVAILABLE,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
_RETRY_AFTER_SECONDS: Final[Mapping[type[AgentDBError], int]] = {Contended: 1, Unavailable: 5}

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """An HTTP answer to an error."""

    status: HTTPStatus
    document: dict[str, Any]
    headers: dict[str, str]


def problem_of(error: AgentDBError) -> Problem:
    """Return the answer to an error; one that is no fault of the caller's is logged."""
    kind = next((kind for kind in type(error).__mro__ if kind in _STATUSES), None)
    status = _STATUSES[kind] if kind is not None else HTTPStatus.INTERNAL_SERVER_ERROR
    headers: dict[str, str] = {}
    if kind is None:
        _log.error("%s: %s", type(error).__name__, error, exc_info=error)
        return Problem(status, _document(status, "internal_error", "the server could not answer"), headers)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        _log.warning("%s: %s", type(error).__name__, error)
        headers["Retry-After"] = str(_RETRY_AFTER_SECONDS[kind])
        return Problem(status, _document(status, _code(kind), "the database cannot answer now; try again"), headers)
    document = _document(status, _code(kind), str(error))
    if isinstance(error, Conflict | MissingReference) and error.constraint:
        document["constraint"] = error.constraint
    return Problem(status, document, headers)


def problem_with(status: int, code: str, detail: str, **more: Any) -> Problem:
    """Return an answer of the framework's or the caller's own, in the same form.

    Args:
        status: a status that HTTP knows.
        code: what was wrong, for programs: ``bad_input``.
        detail: what was wrong, for people.
        more: further members of the document.
    """
    answered = HTTPStatus(status)
    return Problem(answered, {**_document(answered, code, detail), **more}, {})


def printable(text: str) -> str:
    """Return text as it can be sent: half a surrogate pair, quoted from a request, cannot."""
    return text.encode(errors="replace").decode()


def _document(status: HTTPStatus, code: str, detail: str) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": printable(detail),
        "code": code,
    }


def _code(kind: type[AgentDBError]) -> str:
    """Return an error's name as programs compare it: ``missing_reference``."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("_")
