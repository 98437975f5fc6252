"""Why a plan looks beyond a user's scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentdb.errors import MissingReference


@dataclass(frozen=True, slots=True)
class Beyond:
    """Why a plan looks beyond a user's scope, and what keeps it to the user nevertheless.

    Args:
        why: a sentence.
        own: the parameters that name users, or lists of them: under a scope, nobody but the user, or nobody.
        actor: the parameter that names who does it: under a scope it is the user, where it names nobody.
    """

    why: str
    own: tuple[str, ...] = ()
    actor: str | None = None

    def within(self, name: str, values: Mapping[str, Any], tenant: int) -> Mapping[str, Any]:
        """Return the parameters of a call within a user's scope.

        Raises: as `check`.
        """
        self.check(name, values, tenant)
        if self.actor is None or values.get(self.actor) is not None:
            return values
        return {**values, self.actor: tenant}

    def check(self, name: str, values: Mapping[str, Any], tenant: int) -> None:
        """Refuse to do for another user what the plan of this name does for one.

        Raises: MissingReference: another user is as good as not there.
        """
        for own in self.own:
            value = values.get(own)
            named = value if isinstance(value, list | tuple | set | frozenset) else [value]
            strange = [user_id for user_id in named if user_id is not None and user_id != tenant]
            if strange:
                raise MissingReference(f"{name}: there is no user {strange[0]!r}", constraint="scope")
