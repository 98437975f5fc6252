"""Who calls: each request shows an access key, and sees the database as the key's user does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from agentdb import BadInput, NotFound, Unit
from agentdb.integrations.fastapi import DB
from agentdb.supervisor.key_records import Caller
from agentdb.tenants import Tenant

_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="An access key, as signing up gives the first.")


async def _caller(shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)], db: DB) -> Caller:
    try:
        return await db.supervisor.api_keys.authenticate(shown.credentials if shown else "")
    except (BadInput, NotFound):  # one answer for all: nobody learns which keys there were
        raise HTTPException(401, "a living access key is needed", {"WWW-Authenticate": "Bearer"}) from None


Me = Annotated[Caller, Depends(_caller)]
"""Whose key it is."""


def needs(scope: str) -> Any:
    """Return a dependency of operations that only a key of this scope may be used for."""

    async def check(me: Me) -> None:
        if not me.may(scope):
            raise HTTPException(403, f"a key for {scope} is needed")

    return Depends(check)


async def _mine(db: DB, me: Me) -> Tenant:
    return db.as_user(me.user_id)


Mine = Annotated[Tenant, Depends(_mine)]
"""The database as the caller sees it: each call on it is a transaction of its own."""


async def _write(mine: Mine) -> AsyncIterator[Unit]:
    async with mine.write() as unit:
        yield unit


async def _read(mine: Mine) -> AsyncIterator[Unit]:
    async with mine.read() as unit:
        yield unit


# As the library's own units: committed before the answer leaves.
WriteMine = Annotated[Unit, Depends(_write, scope="function")]
"""Several calls as the caller, one transaction."""

ReadMine = Annotated[Unit, Depends(_read, scope="function")]
"""Several reads as the caller, one snapshot."""
