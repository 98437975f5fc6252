"""Retention: what is removed when it is old, from which table, and by which of its columns."""
