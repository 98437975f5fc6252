"""Policies: what roles may allow, each under a name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from sqlalchemy import bindparam, select

from agentdb.auditing import recorded
from agentdb.criteria import delete_plan, update_plan
from agentdb.engine.connection import Script, count, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one, insert_unless_there
from agentdb.errors import BadInput, NotFound, brief
from agentdb.guarded import Guarded
from agentdb.page import Page
from agentdb.supervisor.models import Policy

Allowed: TypeAlias = tuple[str, str]  # resource, action

_COLUMNS: Final = ("name", "resource", "action")
_LOCKED: Final = Plan[Policy](
    select(Policy).where(Policy.id == bindparam("policy_id")).with_for_update(), name="policies.locked", rows=Policy
)
_NAMED: Final = Plan[Policy](
    select(Policy).where(Policy.name == bindparam("name")).with_for_update(),
    name="policies.define: locked",
    rows=Policy,
)


class Policies(Guarded[Policy]):
    """What roles may allow: actions on resources, each under a name. Whatever is done to them stands in the audit log.

    ``*`` is any resource, or any action.
    """

    model = Policy

    async def create(self, name: str, resource: str, action: str, *, by: int | None) -> Policy:
        """Create a policy, which no role has yet.

        Args: by: the user who creates it, None: the system.
        Raises: Conflict when the name is taken; BadInput.
        Cost: one transaction of two statements.
        """
        return await self.connection.run(partial(_create, _checked(name, resource, action), by))

    async def define(self, name: str, resource: str, action: str, *, by: int | None) -> Policy:
        """Let a policy of this name be this action on this resource, for whatever roles have it, and return it.

        Args: by: who defines it, None: the system.
        Raises: BadInput.
        Cost: one transaction of up to three statements; one when it is so already.
        """
        return await self.connection.run(partial(_define, _checked(name, resource, action), by))

    async def change(
        self,
        policy_id: int,
        *,
        name: str | None = None,
        resource: str | None = None,
        action: str | None = None,
        by: int | None,
    ) -> Policy:
        """Change a policy, for whatever roles have it, and return it; None: that stays.

        Raises: NotFound; Conflict when the name is taken; BadInput, also when nothing is to be changed.
        Cost: one transaction of three statements.
        """
        asked = {"name": name, "resource": resource, "action": action}
        changes = {column: _word(column, value) for column, value in asked.items() if value is not None}
        if not changes:
            raise BadInput(f"a policy is changed by its {', '.join(_COLUMNS)}, and none was given")
        return await self.connection.run(partial(_change, policy_id, changes, by))

    async def list(self, *, limit: int = 50, after: str | None = None) -> Page[Policy]:
        """Return policies by name.

        Cost: one read by uq_policies__name.
        """
        return await self.page(by="name", limit=limit, after=after)

    async def remove(self, *key: Any, by: int | None = None) -> bool:
        """Remove a policy, and tell whether it was there; no role allows it then.

        Cost: one transaction of three statements.
        """
        return await self.connection.run(partial(_remove, self._key(key)["id"], by))


def pair_of(policy: Any) -> Allowed:
    """Return a pair of resource and action.

    Raises: BadInput for what is none.
    """
    match policy:
        case (str(resource), str(action)) if resource and action:
            return resource, action
    raise BadInput(f"a policy is a pair of resource and action, not {brief(policy)}")


def _checked(name: Any, resource: Any, action: Any) -> dict[str, str]:
    given = zip(_COLUMNS, (name, resource, action), strict=True)
    return {column: _word(column, value) for column, value in given}


def _word(column: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise BadInput(f"a policy's {column} is text that is not empty, not {brief(value)}")
    return value


def _create(given: Mapping[str, str], by: int | None) -> Script[Policy]:
    policy = _there((yield from one(insert_one(Policy), **given)), given["name"])
    yield from _told("create", policy.id, given, by)
    return policy


def _define(given: Mapping[str, str], by: int | None) -> Script[Policy]:
    policy: Policy | None = None
    while policy is None:
        there: Policy | None = yield from one(_NAMED, name=given["name"])
        if there is not None and _shown(there) == given:
            return there
        if there is not None:
            plan = update_plan(Policy, frozenset(given), versioned=False)
            policy = yield from one(plan, **given, key_id=there.id)
        else:
            # Another call may define it at this very moment: then nothing is inserted, and it is changed.
            policy = yield from one(insert_unless_there(Policy, ("name",)), **given)
    yield from _told("define", policy.id, given, by)
    return policy


def _change(policy_id: int, changes: Mapping[str, str], by: int | None) -> Script[Policy]:
    before = _shown(_there((yield from one(_LOCKED, policy_id=policy_id)), policy_id))
    plan = update_plan(Policy, frozenset(changes), versioned=False)
    policy = _there((yield from one(plan, **changes, key_id=policy_id)), policy_id)
    yield from _told("change", policy_id, {**changes, "before": before}, by)
    return policy


def _remove(policy_id: int, by: int | None) -> Script[bool]:
    policy: Policy | None = yield from one(_LOCKED, policy_id=policy_id)
    if policy is None:
        return False
    yield from count(delete_plan(Policy), id=policy_id)
    yield from _told("remove", policy_id, _shown(policy), by)
    return True


def _shown(policy: Policy) -> dict[str, str]:
    return {"name": policy.name, "resource": policy.resource, "action": policy.action}


def _there(policy: Policy | None, wanted: int | str) -> Policy:
    if policy is None:
        raise NotFound(f"there is no policy {wanted!r}")
    return policy


def _told(action: str, policy_id: int, detail: Mapping[str, Any], by: int | None) -> Script[None]:
    yield from recorded(actor_id=by, action=action, entity="policies", entity_id=policy_id, detail=detail)
