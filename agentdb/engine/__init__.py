"""The engine room: all that differs between the two databases, and how a statement runs."""
