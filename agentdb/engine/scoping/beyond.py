"""Plans that look beyond a user's scope, each with its reason: `beyond_tenant` is the one word to search for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from agentdb.engine.plan import Plan
from agentdb.errors import MissingReference

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Beyond:
    """Why a plan looks beyond a user's scope, and what keeps it to the user nevertheless.

    Args:
        why: a sentence.
        own: the parameters that name users, or lists of them: under a scope, nobody but the user, or nobody.
    """

    why: str
    own: tuple[str, ...] = ()

    def check(self, plan: Plan[Any], values: Mapping[str, Any], tenant: int) -> None:
        """Refuse to do for another user what the plan does for one.

        Raises: MissingReference: another user is as good as not there.
        """
        for name in self.own:
            value = values.get(name)
            named = value if isinstance(value, list | tuple | set | frozenset) else [value]
            strange = [user_id for user_id in named if user_id is not None and user_id != tenant]
            if strange:
                raise MissingReference(f"{plan.name}: there is no user {strange[0]!r}", constraint="scope")


DECLARED: Final[list[Plan[Any]]] = []
"""Every plan that looks beyond: a test reads their reasons."""


def beyond_tenant(plan: Plan[T], why: str, *, own: tuple[str, ...] = ()) -> Plan[T]:
    """Return a plan that is not rewritten under a user's scope.

    Args:
        plan: what looks beyond.
        why: the reason, a sentence; also what keeps it from telling one user of another.
        own: the parameters that name users: under a scope they may name only that user.
    """
    declared = replace(plan, beyond=Beyond(why, own), _compiled={}, _scoped=None)
    DECLARED.append(declared)
    return declared
