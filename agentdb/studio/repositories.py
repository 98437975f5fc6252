"""Where the rows of a table are written: its repository, by the table's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, Final, get_type_hints

from sqlalchemy import Table

import agentdb.models  # noqa: F401 (so that every model is mapped)
from agentdb.aggregates import Aggregates
from agentdb.base import Entity
from agentdb.repository import Repository

_OF_SEVERAL: Final = {"users": "users"}  # where others write some columns of the same rows: the one for all of them


@cache
def places() -> Mapping[str, tuple[str, str]]:
    """Return the aggregate and the repository of each table that has one: ``("hub", "runs")``."""
    found: dict[str, tuple[str, str]] = {}
    for aggregate, repository, kind in _repositories():
        table = kind.model.__tablename__
        if _OF_SEVERAL.get(table, repository) == repository:
            found[table] = (aggregate, repository)
    return MappingProxyType(found)


def repository_of(within: Aggregates, table: Table) -> Repository[Any]:
    """Return a table's repository.

    Raises: KeyError when there is none.
    """
    aggregate, name = places()[table.name]
    repository: Repository[Any] = getattr(getattr(within, aggregate), name)
    return repository


def models() -> dict[str, list[type[Entity]]]:
    """Return all models by their aggregate, as they are listed: the order of the aggregates, then of the names."""
    groups: dict[str, list[type[Entity]]] = {name: [] for name, _ in _aggregates()}
    for mapper in sorted(Entity.registry.mappers, key=lambda mapper: mapper.class_.__tablename__):
        groups.setdefault(mapper.class_.__module__.split(".")[1], []).append(mapper.class_)
    return {name: listed for name, listed in groups.items() if listed}


def _aggregates() -> Iterator[tuple[str, type[Any]]]:
    for name, member in vars(Aggregates).items():
        if isinstance(member, cached_property):
            yield name, get_type_hints(member.func)["return"]


def _repositories() -> Iterator[tuple[str, str, type[Repository[Any]]]]:
    for aggregate, kind in _aggregates():
        for name, member in vars(kind).items():
            if isinstance(member, cached_property):
                repository = get_type_hints(member.func)["return"]
                if isinstance(repository, type) and issubclass(repository, Repository):
                    yield aggregate, name, repository
