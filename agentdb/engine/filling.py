"""How the placeholders of a compiled plan are filled: with what the caller says, and defaults for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NoReturn

from agentdb.engine.asked import spelled
from agentdb.engine.columns import Bind, Constant
from agentdb.errors import BadInput


class Filling:
    """Makes a driver's arguments of parameters.

    Args:
        name: the plan's.
        binds: its placeholders in their order; one of several places is processed once.

    Cost: grows with what is given, not with what a row has: defaults that are always the same are processed here.
    """

    __slots__ = ("_blank", "_computed", "_ignored", "_labels", "_name", "_placed", "_places", "_required")

    def __init__(self, name: str, binds: Sequence[Bind]) -> None:
        once = {bind.name: bind for bind in binds}
        names = list(once)
        places = [names.index(bind.name) for bind in binds]
        self._name = name
        self._placed = itemgetter(*places) if len(places) > len(names) else None
        self._labels = {bind.name: bind.label for bind in once.values()}
        self._places = {bind.name: (place, bind.process) for place, bind in enumerate(once.values())}
        self._required = {bind.name: None for bind in once.values() if bind.default is None}.keys()
        self._blank: list[Any] = [None] * len(once)
        self._computed = []
        for place, bind in enumerate(once.values()):
            if isinstance(bind.default, Constant):
                self._blank[place] = self._processed(bind, bind.default.value)
            elif bind.default is not None:
                self._computed.append((bind, place, bind.default))
        self._ignored: frozenset[str] = frozenset()

    def __call__(self, given: Mapping[str, Any], now: datetime) -> list[Any]:
        """Return the driver's arguments in their order.

        Raises: BadInput for a parameter that is missing, unknown, or cannot be stored.
        """
        if not given.keys() >= self._required:
            missing = next(name for name in self._required if name not in given)
            raise BadInput(f"{self._labels[missing]} is required")
        values = self._blank.copy()
        for name, value in given.items():
            step = self._places.get(name)
            if step is None:
                if name in self._ignored:
                    continue
                self._refuse(given)
            place, process = step
            if value is None or process is None:
                values[place] = value
                continue
            try:
                values[place] = process(value)
            except BadInput as error:
                raise BadInput(f"{self._labels[name]}: {error}") from None
        for bind, place, default in self._computed:
            if bind.name not in given:
                values[place] = self._processed(bind, default(now))
        return values if self._placed is None else list(self._placed(values))

    def ignore(self, name: str) -> None:
        """Take a parameter that has no place."""
        self._ignored |= {name}

    def _refuse(self, given: Mapping[str, Any]) -> NoReturn:
        known = self._places.keys() | self._ignored
        unknown = spelled(given.keys() - known)
        raise BadInput(f"{self._name} knows no {unknown}; it takes {', '.join(sorted(known))}")

    @staticmethod
    def _processed(bind: Bind, value: Any) -> Any:
        if value is None or bind.process is None:
            return value
        try:
            return bind.process(value)
        except BadInput as error:
            raise BadInput(f"{bind.label}: {error}") from None
