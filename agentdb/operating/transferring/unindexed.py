"""Indexes of single collections of vectors, which a transfer does not carry: it names the collections."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import column, select, table

from agentdb.config import Settings
from agentdb.engine.moving import Side


@dataclass(frozen=True, slots=True)
class Unindexed:
    """A collection that had an index of its own, and is searched without until one is built anew."""

    user_id: int
    collection_id: int
    kind: str


async def unindexed(source: Side, written: Settings) -> list[Unindexed]:
    """Return the collections that have an index in the source; none where the target is a file, which needs none."""
    if written.target.path is not None:
        return []
    collections = table("vector_collections", column("user_id"), column("id"), column("index_kind"))
    indexed = select(*collections.c).where(collections.c.index_kind.is_not(None)).order_by(collections.c.id)
    return [Unindexed(*row) for row in await source.connection.execute(indexed)]
