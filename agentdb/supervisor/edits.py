"""Columns of a user within a transaction: changed, or added when there is no such user; the audit log tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, select

from agentdb.auditing import recorded
from agentdb.criteria import update_plan
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import StaleVersion
from agentdb.supervisor.models import User
from agentdb.supervisor.principals import locked
from agentdb.supervisor.standing import created

_users: Final[Table] = User.__table__  # type: ignore[assignment]


@cache
def _locked_by(on: tuple[str, ...]) -> Plan[User]:
    same = [_users.c[name] == of(_users.c[name]) for name in on]
    return Plan(select(User).where(*same).with_for_update(key_share=True), name="users.upsert: locked", rows=User)


def updated(user_id: int, values: Mapping[str, Any], expected_version: int | None, by: int | None) -> Script[User]:
    """Within a script: change columns of a user.

    Args: values: as of `agentdb.supervisor.profiles.normal`.
    """
    user = yield from locked(user_id)
    if expected_version is not None and user.version != expected_version:
        raise StaleVersion(f"users {user_id} is at version {user.version}, not {expected_version}; read it again")
    return (yield from _changed(user, values, by))


def upserted(on: tuple[str, ...], values: Mapping[str, Any], by: int | None) -> Script[User]:
    """Within a script: change the user with these values in the columns ``on``, or add one."""
    while True:
        user: User | None = yield from one(_locked_by(on), **{name: values[name] for name in on})
        if user is not None:
            return (yield from _changed(user, {name: values[name] for name in values.keys() - {*on}}, by))
        # Another call may add it at this very moment: then nothing is inserted, and it is changed.
        user = yield from created(insert_unless_there(User, on), values, by)
        if user is not None:
            return user


def _changed(user: User, values: Mapping[str, Any], by: int | None) -> Script[User]:
    changes = dict(values)
    if "email" in changes and changes["email"] != user.email:
        changes.setdefault("email_verified_at", None)
    plan = update_plan(User, frozenset(changes), versioned=False)
    changed: User | None = yield from one(plan, **changes, key_id=user.id)
    # Their names alone: a configuration may hold what nobody is to read in a log.
    detail = {"columns": sorted(name for name in changes if not name.endswith("_folded"))}
    yield from recorded(actor_id=by, action="update", entity="users", entity_id=user.id, detail=detail)
    return changed or user
