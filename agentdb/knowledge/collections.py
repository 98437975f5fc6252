"""Collections of vectors: each has one dimension and one distance, from its first day to its last."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Table, delete, select, update

from agentdb.engine.asked import whole_number
from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.engine.vectors.ranking import Distance
from agentdb.errors import BadInput, NotFound
from agentdb.guarded import Guarded
from agentdb.knowledge.models import VectorCollection
from agentdb.page import Page

collections: Final[Table] = VectorCollection.__table__  # type: ignore[assignment]

_OWN: Final = (
    collections.c.id == of(collections.c.id, "collection_id"),
    collections.c.user_id == of(collections.c.user_id),
)
FIND: Final = Plan[VectorCollection](
    select(VectorCollection).where(*_OWN), name="collections.owned", rows=VectorCollection, point=True
)
_BY_NAME: Final = Plan[VectorCollection](
    select(VectorCollection).where(
        collections.c.user_id == of(collections.c.user_id), collections.c.name == of(collections.c.name)
    ),
    name="collections.by_name",
    rows=VectorCollection,
    point=True,
)
_RENAME: Final = Plan[VectorCollection](
    update(collections).where(*_OWN).values(name=of(collections.c.name, "new_name")).returning(collections),
    name="collections.rename",
    rows=VectorCollection,
)
_DELETE: Final = Plan[None](delete(collections).where(*_OWN), name="collections.delete")


class Collections(Guarded[VectorCollection]):
    """Users' collections of vectors. Somebody else's is NotFound."""

    model = VectorCollection

    async def create(
        self,
        user_id: int,
        name: str,
        dimension: int,
        *,
        distance: Distance | str = Distance.cosine,
        embedding_model: str | None = None,
    ) -> VectorCollection:
        """Make an empty collection, and return it.

        Args:
            user_id: whose.
            name: the user's own has none twice.
            dimension: how many numbers each of its vectors has: 1 to 16,000.
            distance: ``cosine``, ``l2`` or ``inner_product``: what its vectors are compared by.
            embedding_model: what makes its vectors.

        Raises: BadInput; Conflict for a name the user has given already; MissingReference.
        Cost: one insert.
        """
        if not 1 <= whole_number(dimension, "a dimension") <= 16_000:
            raise BadInput(f"a dimension is a whole number from 1 to 16,000, not {dimension}")
        if not name:
            raise BadInput("a collection has a name")
        values = {"user_id": user_id, "name": name, "dimension": dimension, "distance": distance}
        row: VectorCollection | None = await self.connection.fetch_one(
            insert_one(VectorCollection), {**values, "embedding_model": embedding_model}
        )
        return self._there(row)

    async def owned(self, user_id: int, collection_id: int) -> VectorCollection:
        """Return a user's collection.

        Raises: NotFound, also for somebody else's.
        Cost: one read by the primary key.
        """
        row: VectorCollection | None = await self.connection.fetch_one(
            FIND, {"user_id": user_id, "collection_id": collection_id}
        )
        if row is None:
            raise missing(user_id, collection_id)
        return row

    async def by_name(self, user_id: int, name: str) -> VectorCollection:
        """Return the collection a user has given a name.

        Raises: NotFound.
        Cost: one read by uq_vector_collections__user_id_name.
        """
        row: VectorCollection | None = await self.connection.fetch_one(_BY_NAME, {"user_id": user_id, "name": name})
        if row is None:
            raise NotFound(f"user {user_id} has no collection {name!r}")
        return row

    async def of_user(self, user_id: int, *, limit: int = 50, after: str | None = None) -> Page[VectorCollection]:
        """Return a page of a user's collections, by name.

        Raises: BadInput.
        Cost: one read by uq_vector_collections__user_id_name.
        """
        return await self.page(by="name", limit=limit, after=after, user_id=user_id)

    async def rename(self, user_id: int, collection_id: int, name: str) -> VectorCollection:
        """Give a collection another name, and return it.

        Raises: NotFound; Conflict for a name the user has given already; BadInput.
        """
        if not name:
            raise BadInput("a collection has a name")
        row: VectorCollection | None = await self.connection.fetch_one(
            _RENAME, {"user_id": user_id, "collection_id": collection_id, "new_name": name}
        )
        if row is None:
            raise missing(user_id, collection_id)
        return row

    async def delete(self, user_id: int, collection_id: int) -> bool:
        """Delete a collection with all its vectors, and tell whether it was there.

        Its index stays behind, empty, until `Indexes.tidy`: to drop one, everybody else must be done with the table.
        """
        return await self.connection.execute(_DELETE, {"user_id": user_id, "collection_id": collection_id}) > 0


def missing(user_id: int, collection_id: int) -> NotFound:
    """Return the error for a collection that is not there, or not the user's."""
    return NotFound(f"user {user_id} has no collection {collection_id}")
