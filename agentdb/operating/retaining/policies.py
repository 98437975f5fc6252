"""How long rows are kept: by their age, or the newest so many."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from agentdb.errors import BadInput

NEVER: Final = "never"
_HOW: Final = "write 400d or 12h for an age, 100000rows for a number of rows, or never"
_FORM: Final = re.compile(r"([0-9]{1,12})(d|h|rows)")
_LONGEST: Final = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Keep:
    """How long the rows of a table are kept: for an age, or the newest so many of them."""

    age: timedelta | None = None
    newest: int | None = None

    def __post_init__(self) -> None:
        if (self.age is None) == (self.newest is None):
            raise BadInput(f"rows are kept for an age, or the newest so many; {_HOW}")
        if self.age is not None and not timedelta(0) <= self.age <= _LONGEST:
            raise BadInput(f"rows are kept for 0 to {_LONGEST.days} days, not {self.age}")
        if self.newest is not None and (type(self.newest) is not int or self.newest < 0):
            raise BadInput(f"a number of rows is a whole number from 0, not {self.newest!r}")

    def __str__(self) -> str:
        if self.age is None:
            return f"{self.newest}rows"
        days, rest = divmod(self.age, timedelta(days=1))
        return f"{days}d" if not rest else f"{self.age / timedelta(hours=1):g}h"


def keep(text: str) -> Keep | None:
    """Return what a text such as ``400d``, ``12h`` or ``100000rows`` says; None for ``never``: nothing goes.

    Raises: BadInput for anything else.
    """
    if text == NEVER:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        raise BadInput(f"{text!r} does not say how long rows are kept; {_HOW}")
    number, unit = int(found[1]), found[2]
    if unit == "rows":
        return Keep(newest=number)
    if number > _LONGEST / timedelta(hours=1):
        raise BadInput(f"rows are kept for 0 to {_LONGEST.days} days, not {text}")
    return Keep(age=timedelta(days=number) if unit == "d" else timedelta(hours=number))


# What is over by itself goes; everything else is kept until somebody says how long.
DEFAULTS: Final[Mapping[str, Keep]] = MappingProxyType(
    {
        "sessions": Keep(age=timedelta(0)),
        "memories": Keep(age=timedelta(0)),
        "attachments": Keep(age=timedelta(days=1)),
    }
)
"""The policies that hold where no other is given."""
