"""What is remembered: vectors in collections, memories of agents, and documents in chunks.

Vectors of one collection have its dimension and are compared by its distance. A document's chunks go with it.
"""
