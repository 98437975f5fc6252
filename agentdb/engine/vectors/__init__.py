"""Vectors: how far apart they are, which are nearest, and the indexes that find them sooner.

A database proposes candidates, by float32 and, where there is an index, roughly; `ranking` then says, by float64 and
the same on both databases, how near each is and in which order they stand.
"""
