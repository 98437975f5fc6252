"""What a page answers when the database cannot, or does not want to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.status import HTTP_400_BAD_REQUEST, HTTP_503_SERVICE_UNAVAILABLE

from agentdb.errors import AgentDBError, Unavailable


@contextmanager
def answering() -> Iterator[None]:
    """Answer errors of ours with a page that tells them: whoever comes in operates the database."""
    try:
        yield
    except Unavailable as error:
        raise HTTPException(HTTP_503_SERVICE_UNAVAILABLE, str(error)) from None
    except AgentDBError as error:
        raise HTTPException(HTTP_400_BAD_REQUEST, str(error)) from None
