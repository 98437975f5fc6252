"""Repositories whose rows have rules that a generic write would pass by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from agentdb.base import Entity
from agentdb.errors import BadInput
from agentdb.repository import Repository

E = TypeVar("E", bound=Entity)


class Guarded(Repository[E]):
    """Rows that are written by the methods of their own repository alone."""

    async def add(self, **_values: Any) -> E:
        """Refuse."""
        raise self._refused("added")

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> int:  # noqa: ARG002
        """Refuse."""
        raise self._refused("added")

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> E:  # noqa: ARG002
        """Refuse."""
        raise self._refused("changed")

    async def upsert(self, *, on: Sequence[str], **values: Any) -> E:  # noqa: ARG002
        """Refuse."""
        raise self._refused("changed")

    async def remove(self, *key: Any) -> bool:  # noqa: ARG002
        """Refuse."""
        raise self._refused("removed")

    def _refused(self, verb: str) -> BadInput:
        name = type(self).__name__
        return BadInput(f"{self.model.__tablename__} are not {verb} here by their columns; {name} has methods for it")
