"""Definitions of workflows: what their nodes and edges are, and what of them cannot be read.

A definition is JSON:

    {"nodes": [{"id": "a", "type": "START"}, {"id": "b", "type": "AGENT", "name": "search", "config": {...}}, ...],
     "edges": [{"source": "a", "target": "b", "condition": ..., "loop": false}, ...]}

Whatever else nodes and edges have is the caller's. Types are compared without case. An edge with ``"loop": true`` at a
loop node (LOOP, WHILE, FOR_EACH) leads back: it makes no cycle, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any, Final

START: Final = "START"
END: Final = "END"
LOOPS: Final = frozenset({"LOOP", "WHILE", "FOR_EACH"})

LONGEST_ID: Final = 255
_SHOWN: Final = 60
_NAMED: Final = 5


class ProblemKind(StrEnum):
    """What is wrong with a definition."""

    shape = auto()  # it is not what a definition looks like
    no_node = auto()
    start = auto()  # not exactly one
    no_end = auto()
    duplicate = auto()  # two nodes have one id
    dangling = auto()  # an edge leads from or to no node
    unreachable = auto()
    cycle = auto()
    loop = auto()  # an edge says that it loops, but is at no loop node


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a definition.

    Attributes:
        kind: what.
        message: for people.
        node_ids: which nodes.
        edge: the place of an edge in the list, from 0.
    """

    kind: ProblemKind
    message: str
    node_ids: tuple[str, ...] = ()
    edge: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A step of a workflow."""

    id: str
    type: str  # in capitals
    name: str
    config: Any


@dataclass(frozen=True, slots=True)
class Edge:
    """What follows what: under a condition, where there is one; ``loop`` says that it leads back."""

    source: str
    target: str
    condition: Any
    loop: bool


def read(definition: Any) -> tuple[dict[str, Node], list[Edge], list[Problem]]:
    """Return the nodes and edges of a definition of whatever shape, as far as they can be read, and what cannot.

    Of two nodes with one id the first counts; edges are those between such nodes.
    """
    faults: list[Problem] = []
    if not isinstance(definition, Mapping):
        faults.append(_misshapen(f"a definition is an object with nodes and edges, not {_kind(definition)}"))
        definition = {}
    nodes: dict[str, Node] = {}
    times: dict[str, int] = {}
    for place, given in enumerate(_items(definition, "nodes", faults)):
        node = _node(given, place, faults)
        if node is not None:
            nodes.setdefault(node.id, node)
            times[node.id] = times.get(node.id, 0) + 1
    for id_, many in times.items():
        if many > 1:
            faults.append(Problem(ProblemKind.duplicate, f"{many} nodes have the id {shown(id_)}", (id_,)))
    given_edges = enumerate(_items(definition, "edges", faults))
    edges = [edge for place, given in given_edges if (edge := _edge(given, place, nodes, faults)) is not None]
    return nodes, edges, faults


def told(problems: Sequence[Problem]) -> str:
    """Return problems in one line: the first few, and how many more."""
    said = "; ".join(problem.message for problem in problems[:_NAMED])
    return said if len(problems) <= _NAMED else f"{said}; and {len(problems) - _NAMED} more"


def listed(ids: Sequence[str]) -> str:
    """Return some ids for a message."""
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(shown(id_) for id_ in ids[:_NAMED]) + more


def shown(id_: str) -> str:
    """Return an id for a message, cut when it is long."""
    return repr(id_) if len(id_) <= _SHOWN else f"{id_[:_SHOWN]!r}..."


def _items(definition: Mapping[Any, Any], name: str, faults: list[Problem]) -> Sequence[Any]:
    items = definition.get(name, ())
    if isinstance(items, list | tuple):
        return items
    faults.append(_misshapen(f"{name} is a list, not {_kind(items)}"))
    return ()


def _node(given: Any, place: int, faults: list[Problem]) -> Node | None:
    if not isinstance(given, Mapping):
        faults.append(_misshapen(f"node {place} is an object, not {_kind(given)}"))
        return None
    id_, type_, name = given.get("id"), given.get("type"), given.get("name")
    if not isinstance(id_, str) or not 0 < len(id_) <= LONGEST_ID:
        what = f"a text of {len(id_)} characters" if isinstance(id_, str) else _kind(id_)
        faults.append(_misshapen(f"the id of node {place} is a text of 1 to {LONGEST_ID} characters, not {what}"))
        return None
    if not isinstance(type_, str) or not type_:
        faults.append(_misshapen(f"the type of node {shown(id_)} is a text, not {_kind(type_)}", id_))
        type_ = ""
    if name is not None and not (isinstance(name, str) and len(name) <= LONGEST_ID):
        what = f"a text of {len(name)} characters" if isinstance(name, str) else _kind(name)
        faults.append(_misshapen(f"the name of node {shown(id_)} is a text of {LONGEST_ID} at most, not {what}", id_))
        name = None
    return Node(id_, type_.upper(), name or id_, given.get("config"))


def _edge(given: Any, place: int, nodes: Mapping[str, Node], faults: list[Problem]) -> Edge | None:
    if not isinstance(given, Mapping):
        faults.append(_misshapen(f"edge {place} is an object, not {_kind(given)}", edge=place))
        return None
    ends = {"source": given.get("source"), "target": given.get("target")}
    for end, id_ in ends.items():
        if not isinstance(id_, str):
            faults.append(_misshapen(f"the {end} of edge {place} is a node's id, not {_kind(id_)}", edge=place))
        elif id_ not in nodes:
            said = f"the {end} of edge {place} is no node: {shown(id_)}"
            faults.append(Problem(ProblemKind.dangling, said, (id_,), place))
    loop = given.get("loop", False)
    if not isinstance(loop, bool):
        faults.append(_misshapen(f"loop of edge {place} is true or false, not {_kind(loop)}", edge=place))
        loop = False
    there = [nodes[id_] for id_ in ends.values() if isinstance(id_, str) and id_ in nodes]
    if len(there) < len(ends):
        return None
    source, target = there
    if loop and not {source.type, target.type} & LOOPS:
        said = f"edge {place} loops, but neither of its nodes is a {', '.join(sorted(LOOPS))}"
        faults.append(Problem(ProblemKind.loop, said, (source.id, target.id), place))
        loop = False
    return Edge(source.id, target.id, given.get("condition"), loop)


def _misshapen(message: str, *node_ids: str, edge: int | None = None) -> Problem:
    return Problem(ProblemKind.shape, message, node_ids, edge)


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
