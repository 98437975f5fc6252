"""Plans within a user's scope: made from others once, and compiled once for each database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeVar

from sqlalchemy import CompoundSelect, Delete, ForeignKeyConstraint, Insert, Select, Update
from sqlalchemy.engine import Dialect

from agentdb.engine.advisory import turn_taken
from agentdb.engine.locking import writers_wait
from agentdb.engine.plan import Compiled, Plan
from agentdb.engine.queues import queue_turn
from agentdb.engine.scoping.compiling import TENANT, scoping
from agentdb.engine.scoping.conditions import Conditions, Paths
from agentdb.errors import BadInput

T = TypeVar("T")

_LOCKS: Final = (writers_wait, turn_taken, queue_turn)  # they read and change nothing
_SCOPED: Final = (Select, CompoundSelect, Insert, Update, Delete)


@dataclass(slots=True, eq=False)
class ScopedPlan(Plan[T]):
    """A plan whose statement is rendered within a user's scope. It answers each call alone."""

    paths: Paths = field(default_factory=dict, repr=False)

    def on(self, dialect: Dialect) -> Compiled[T]:
        """Return this plan compiled for a dialect."""
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = Compiled(self, _dialect(dialect, _Known(self.paths)))
            # Named in every call: a statement that touches nobody's rows has no use for it.
            compiled.arguments.ignore(TENANT)
            self._compiled[dialect.name] = compiled
        return compiled

    def sees(self, key: ForeignKeyConstraint, values: Mapping[str, Any]) -> str:
        """Return when the user sees the row that a foreign key refers to, as SQL about the table referred to."""
        table = key.referred_table
        conditions = Conditions(self.paths, lambda name: f'"{name}"', lambda: str(int(values[TENANT])))
        referable = conditions.referred(table, key.elements[0].column.name, f'"{table.name}"."id"', writing=False)
        return referable or "1 = 1"


class _Known:
    """Paths, as the key of what is made for them."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def __hash__(self) -> int:
        return id(self.paths)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and other.paths is self.paths


@cache
def _dialect(dialect: Dialect, known: _Known) -> Dialect:
    return scoping(dialect, known.paths)


def scoped(plan: Plan[T], paths: Paths) -> Plan[T]:
    """Return a plan within a user's scope: itself, where it says that it looks beyond.

    Raises: BadInput for what cannot be scoped, such as SQL that is written as text.
    """
    if plan.beyond is not None or isinstance(plan.statement, _LOCKS):
        return plan
    made: Plan[T] | None = plan._scoped  # noqa: SLF001 (kept there, so that it goes with the plan)
    if made is None or not isinstance(made, ScopedPlan) or made.paths is not paths:
        if not isinstance(plan.statement, _SCOPED):
            raise BadInput(f"{plan.name} is not run within a user's scope; use the database without it")
        made = plan._scoped = ScopedPlan(  # noqa: SLF001 (likewise)
            plan.statement,
            plan.name,
            plan.rows,
            plan.columns,
            plan.echo,
            plan.point,
            None,
            apart=plan.apart,
            paths=paths,
        )
    return made
