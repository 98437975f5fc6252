"""Access keys of a person: issued, listed without what proves them, rotated, revoked."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, HTTPException
from pydantic import Field

from agentdb.integrations.fastapi import PageShown, Paging, Shown, problems
from agentdb.models import ApiKeyKind
from examples.fastapi_service.callers import Me, Mine
from examples.fastapi_service.parameters import Asked, Id, Moment, Title

routes = APIRouter(prefix="/keys", tags=["keys"])


class NewKey(Asked):
    """A key to issue."""

    name: Title = Field(examples=["laptop"])
    scopes: list[Title] = Field(default=["*"], max_length=50, description="The tags it is for; `*` is all of them.")
    expires_at: Moment | None = None


class KeyShown(Shown):
    """A key, without what proves it."""

    id: int
    uuid: UUID
    kind: ApiKeyKind
    name: str
    prefix: str = Field(description="What it begins with.")
    scopes: list[str]
    is_active: bool
    usage_count: int
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


class IssuedShown(Shown):
    """A new key."""

    key: KeyShown
    plaintext: str = Field(description="Shown this once.", examples=["adb_..."])


@routes.get("", responses=problems(422))
async def list_keys(mine: Mine, me: Me, paging: Paging) -> PageShown[KeyShown]:
    """List one's keys, newest first."""
    return paging.shown(await mine.supervisor.api_keys.list(me.user_id, **paging.words), KeyShown)


@routes.post("", status_code=201, responses=problems(409, 422))
async def issue_key(new: NewKey, mine: Mine, me: Me) -> IssuedShown:
    """Issue a key, for no more than the present one is for. Of two living ones each has a name of its own."""
    if beyond := [scope for scope in new.scopes if not me.may(scope)]:
        raise HTTPException(403, f"a key for {', '.join(beyond)} is needed to issue another")
    issued = await mine.supervisor.api_keys.issue(me.user_id, by=me.user_id, **new.model_dump())
    return IssuedShown.model_validate(issued)


@routes.delete("/{key_id}", status_code=204, responses=problems(404))
async def revoke_key(key_id: Id, mine: Mine, me: Me) -> None:
    """Revoke a key, the one of this very request too."""
    await mine.supervisor.api_keys.revoke(key_id, by=me.user_id)
