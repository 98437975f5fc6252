"""People: they sign up, and see themselves."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from agentdb.integrations.fastapi import Shown, WriteUnit, problems
from agentdb.models import User
from examples.fastapi_service.callers import Me, Mine
from examples.fastapi_service.parameters import Asked

signing_up = APIRouter(prefix="/users", tags=["people"])
routes = APIRouter(prefix="/me", tags=["people"])


class NewUser(Asked):
    """A person to sign up."""

    username: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["alice"])
    email: str | None = Field(default=None, max_length=255, examples=["alice@example.org"])


class UserShown(Shown, of=User, shows=("id", "username", "email", "kind", "created_at")):
    """A person."""


class SignedUp(BaseModel):
    """A person, and the key to everything that is theirs."""

    user: UserShown
    key: str = Field(description="Shown this once.", examples=["adb_..."])


@signing_up.post("", status_code=201, responses=problems(409, 422))
async def sign_up(new: NewUser, unit: WriteUnit) -> SignedUp:
    """Sign a person up. The username and the address are nobody else's."""
    user = await unit.supervisor.users.create(new.username, email=new.email)
    issued = await unit.supervisor.api_keys.issue(user.id, "first", scopes=["*"], by=user.id)
    return SignedUp(user=UserShown.model_validate(user), key=issued.plaintext)


@routes.get("")
async def show_me(mine: Mine, me: Me) -> UserShown:
    """Show whose key this is."""
    return UserShown.model_validate(await mine.supervisor.users.get(me.user_id))
