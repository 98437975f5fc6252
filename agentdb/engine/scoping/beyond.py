"""Plans that look beyond a user's scope, each with its reason: `beyond_tenant` is the one word to search for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, TypeVar

from agentdb.engine.plan import Plan
from agentdb.engine.scoping.reasons import Beyond

T = TypeVar("T")


DECLARED: Final[list[Plan[Any]]] = []
"""Every plan that looks beyond: a test reads their reasons."""


def beyond_tenant(plan: Plan[T], why: str, *, own: tuple[str, ...] = (), actor: str | None = None) -> Plan[T]:
    """Return a plan that is not rewritten under a user's scope.

    Args:
        plan: what looks beyond.
        why: the reason, a sentence; also what keeps it from telling one user of another.
        own: the parameters that name users: under a scope they may name only that user.
        actor: the parameter that names who does it: under a scope that user, when it names nobody.
    """
    declared = replace(plan, beyond=Beyond(why, own, actor), _compiled={}, _scoped=None)
    DECLARED.append(declared)
    return declared
