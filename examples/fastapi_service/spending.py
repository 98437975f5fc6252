"""Spending: what calls of models cost a person, and the limit that a person sets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from agentdb.integrations.fastapi import Shown, problems
from agentdb.integrations.shapes import Signed
from agentdb.models import LimitPeriod, SpendLimit
from examples.fastapi_service.callers import Me, Mine
from examples.fastapi_service.parameters import Asked, Dollars, Moment

routes = APIRouter(tags=["spending"])

EVER = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


class Spend(Shown):
    """What a number of calls cost, in US dollars."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost: Signed


class SpendOf(Spend):
    """What calls of one kind cost."""

    value: str | int | None = Field(description="The model, agent or source; null: of none.")


class NewLimit(Asked):
    """A limit to set, in place of the one there was."""

    amount: Dollars
    period: LimitPeriod = Field(default=LimitPeriod.none, description="After which it begins anew; `none`: never.")


class LimitShown(
    Shown,
    of=SpendLimit,
    shows=("id", "amount", "period", "every", "spent", "reserved", "window_started_at", "window_ends_at"),
):
    """A limit as it was set."""


class StandingShown(Shown):
    """How a limit stands that binds the caller: one's own, a lead's, or the installation's."""

    limit_id: int
    user_id: int | None = Field(description="Whose it is; null: the installation's.")
    amount: Signed
    spent: Signed
    reserved: Signed
    remaining: Signed
    window_ends_at: datetime | None
    suspended_reason: str | None


@routes.get("/spend", responses=problems(422))
async def show_spend(mine: Mine, me: Me, since: Moment | None = None, until: Moment | None = None) -> Spend:
    """Show what one's calls cost, from `since` up to before `until`."""
    total = await mine.hub.costs.total(user_id=me.user_id, since=since or EVER, until=until or NEVER)
    return Spend.model_validate(total)


@routes.get("/spend/by/{kind}", responses=problems(422))
async def show_spend_by(
    kind: Literal["model", "agent_id", "source"], mine: Mine, me: Me, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> list[SpendOf]:
    """Show what one's calls cost by kind, the dearest first."""
    sums = await mine.hub.costs.sums(kind, user_id=me.user_id, limit=limit)
    return [SpendOf.model_validate(of) for of in sums]


@routes.put("/limit", responses=problems(422))
async def set_limit(new: NewLimit, mine: Mine, me: Me) -> LimitShown:
    """Set a limit of one's own; what was spent in its present window counts."""
    limit = await mine.hub.limits.set(new.amount, user_id=me.user_id, period=new.period)
    return LimitShown.model_validate(limit)


@routes.get("/limits")
async def list_limits(mine: Mine, me: Me) -> list[StandingShown]:
    """List the limits that bind the caller, one's own first."""
    return [StandingShown.model_validate(limit) for limit in await mine.hub.limits.standing(me.user_id)]
