"""What is wrong with seed files: every problem, each with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentdb.errors import BadInput
from agentdb.seeding.grammar import Place


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong at a place of a seed file."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        """Return the problem behind its place, as editors read it."""
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class BadSeed(BadInput):
    """Seed files that cannot be loaded; nothing was. ``problems`` has all of them, by file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems)
        many = f"{len(problems)} problems in the seed files, nothing was loaded: " if len(problems) > 1 else ""
        super().__init__(many + "; ".join(map(str, self.problems)))


class Problems:
    """The problems found so far."""

    def __init__(self, found: Sequence[Problem] = ()) -> None:
        self.found = list(found)

    def add(self, file: str, place: Place, message: str) -> None:
        """Remember one."""
        self.found.append(Problem(file, place.line, place.column, message))
