"""What permissions and policies allow: the rules, and what a user has of both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from typing import Final

from agentdb.engine.asked import is_text
from agentdb.errors import BadInput, brief
from agentdb.supervisor.models import UserStatus


class Permission(StrEnum):
    """What may be given to one user, by name; `supervisor_admin` may do everything."""

    supervisor_admin = auto()
    manage_agents = auto()
    remote_execution = auto()
    manage_hosts = auto()
    agent_communication = auto()
    manage_models = auto()
    manage_variables = auto()
    view_run_logs = auto()


ALL: Final = "*"  # any resource, any action
LONGEST: Final = 255  # characters of a permission

# What each named permission allows, as resource and action.
ALLOWS: Final[Mapping[Permission, tuple[str, str]]] = {
    Permission.supervisor_admin: (ALL, ALL),
    Permission.manage_agents: ("agents", ALL),
    Permission.remote_execution: ("runs", "execute"),
    Permission.manage_hosts: ("hosts", ALL),
    Permission.agent_communication: ("mail", ALL),
    Permission.manage_models: ("models", ALL),
    Permission.manage_variables: ("variables", ALL),
    Permission.view_run_logs: ("logs", "read"),
}
_NAMES: Final = frozenset(map(str, Permission))
_SPELLED: Final = re.compile(r"[^\s:]+:[^\s:]+").fullmatch


@dataclass(frozen=True, slots=True)
class Holder:
    """A user to whom a permission is given; ``id`` is that of the grant."""

    id: int
    user_id: int
    username: str
    status: UserStatus
    granted_by: int | None
    granted_at: datetime


@dataclass(frozen=True, slots=True)
class Access:
    """What a user may do: permissions given directly, and the policies of the role, as resource and action."""

    user_id: int
    username: str
    status: UserStatus
    role: str | None
    direct: tuple[str, ...]
    policies: tuple[tuple[str, str], ...]

    def allows(self, action: str, resource: str) -> bool:
        """Tell whether the user may do something; as `Permissions.can`, of this moment."""
        if self.status is not UserStatus.active:
            return False
        return not set(allowing(action, resource)).isdisjoint(self.direct) or any(
            policy in self.policies for policy in matching(action, resource)
        )


def matching(action: str, resource: str) -> list[tuple[str, str]]:
    """Return each pair of resource and action that allows an action on a resource.

    Raises: BadInput for what is not text.
    """
    if not (is_text(action) and is_text(resource)):
        raise BadInput("what a user may do is asked by two texts: an action, and a resource")
    return [(of, doing) for of in {resource, ALL} for doing in {action, ALL}]


def allowing(action: str, resource: str) -> list[str]:
    """Return each permission that allows an action on a resource."""
    pairs = matching(action, resource)
    spelled = (f"{of}:{doing}" for of, doing in pairs)
    named = (str(permission) for permission, pair in ALLOWS.items() if pair in pairs)
    return [*named, *(permission for permission in spelled if len(permission) <= LONGEST)]


def known(permission: str) -> str:
    """Return a permission as it is stored.

    Raises: BadInput for what is neither a name of `Permission` nor ``resource:action``.
    """
    if is_text(permission) and (permission in _NAMES or _SPELLED(permission)):
        return str(permission)
    raise BadInput(f"{brief(permission)} is no permission; there are {', '.join(sorted(_NAMES))}, and resource:action")


def named(permission: str) -> str:
    """Return a permission as it may be stored, one that is not known any more too.

    Raises: BadInput for what is not text.
    """
    if not is_text(permission):
        raise BadInput(f"a permission is a text, not {type(permission).__name__}")
    return str(permission)
