"""What is remembered: vectors in collections, memories of agents, and documents in chunks.

Vectors of one collection have its dimension and are compared by its distance. A document's chunks go with it.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.knowledge.collections import Collections
from agentdb.knowledge.documents import Documents
from agentdb.knowledge.hybrid import Hybrid
from agentdb.knowledge.indexes import Indexes
from agentdb.knowledge.memories import Memories
from agentdb.knowledge.vectors import Vectors
from agentdb.repository import Aggregate


class KnowledgeRepositories(Aggregate):
    """The repositories of what is remembered."""

    @cached_property
    def collections(self) -> Collections:
        """Users' collections of vectors."""
        return Collections(self.connection, most=self.most)

    @cached_property
    def vectors(self) -> Vectors:
        """What is in the collections, and the search for what is near."""
        return Vectors(self.connection, most=self.most)

    @cached_property
    def indexes(self) -> Indexes:
        """What makes large collections quick to search."""
        return Indexes(self.connection, most=self.most)

    @cached_property
    def memories(self) -> Memories:
        """What agents remember."""
        return Memories(self.connection, most=self.most)

    @cached_property
    def documents(self) -> Documents:
        """What users want to be found again, and the queue it is embedded through."""
        return Documents(self.connection, most=self.most)

    @cached_property
    def hybrid(self) -> Hybrid:
        """One search, by words and by meaning, over documents, memories and messages."""
        return Hybrid(self.connection, most=self.most)
