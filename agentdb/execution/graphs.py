"""The graph of a workflow: what is wrong with it, all at once, and in which order its nodes are done."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any

from agentdb.errors import BadInput
from agentdb.execution.definitions import END, START, Edge, Node, Problem, ProblemKind, listed, read, shown

Links = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Graph:
    """The nodes and edges of a definition, as far as they can be read. It never changes.

    Attributes:
        nodes: by their ids, in the order of the definition; of two with one id, the first.
        edges: those between such nodes.
        faults: what could not be read.
    """

    nodes: Mapping[str, Node]
    edges: Sequence[Edge]
    faults: Sequence[Problem] = ()

    @classmethod
    def of(cls, definition: Any) -> Graph:
        """Return the graph of a definition, of whatever shape that is."""
        nodes, edges, faults = read(definition)
        return cls(MappingProxyType(nodes), tuple(edges), tuple(faults))

    def order(self) -> list[str]:
        """Return the ids of all nodes, each behind those that lead to it; edges that loop do not count.

        Raises: BadInput when there is a cycle.
        """
        try:
            return list(self._sorter().static_order())
        except CycleError as error:
            raise BadInput(f"the nodes {listed(error.args[1])} wait for each other; mark the edge that loops") from None

    def successors(self, node_id: str) -> Sequence[str]:
        """Return the nodes that edges lead to from this one, without edges that loop.

        Raises: BadInput for an unknown node.
        """
        self._known(node_id)
        return self._after[node_id]

    def leaving(self, node_id: str) -> list[Edge]:
        """Return the edges from this node, those that loop too, with their conditions.

        Raises: BadInput for an unknown node.
        """
        self._known(node_id)
        return [edge for edge in self.edges if edge.source == node_id]

    def ready(self, finished: Collection[str]) -> list[str]:
        """Return the nodes that may be done now: they are not finished, and all that lead to them are.

        Args: finished: the ids of nodes that are done or skipped; unknown ones do not matter.
        """
        done = finished if isinstance(finished, set | frozenset | Mapping) else set(finished)
        return [id_ for id_ in self.nodes if id_ not in done and all(before in done for before in self._before[id_])]

    def problems(self) -> list[Problem]:
        """Return all that is wrong: none for a graph that can be executed.

        Cost: in proportion to nodes and edges.
        """
        found = list(self.faults)
        if not self.nodes:
            found.append(Problem(ProblemKind.no_node, "there is no node"))
        starts = [node.id for node in self.nodes.values() if node.type == START]
        if len(starts) != 1:
            said = "no" if not starts else str(len(starts))
            there = f": {listed(starts)}" if starts else ""
            found.append(Problem(ProblemKind.start, f"there is {said} START node, not one{there}", tuple(starts)))
        if not any(node.type == END for node in self.nodes.values()):
            found.append(Problem(ProblemKind.no_end, "there is no END node"))
        return [*found, *self._unreachable(starts), *self._cycles()]

    def _unreachable(self, starts: Sequence[str]) -> Iterator[Problem]:
        """Yield the nodes no path leads to; without a START nothing is said of that."""
        reached, waiting = set(starts), list(starts)
        while waiting:
            for id_ in self._after[waiting.pop()]:
                if id_ not in reached:
                    reached.add(id_)
                    waiting.append(id_)
        for id_ in self.nodes if starts else ():
            if id_ not in reached:
                yield Problem(ProblemKind.unreachable, f"no path leads from START to node {shown(id_)}", (id_,))

    def _cycles(self) -> Iterator[Problem]:
        try:
            self._sorter().prepare()
        except CycleError:
            for knot in _knots(self._after, self._before):
                yield Problem(ProblemKind.cycle, f"a cycle leads through {listed(knot)}", tuple(knot))

    def _sorter(self) -> TopologicalSorter[str]:
        return TopologicalSorter(self._before)

    def _known(self, node_id: str) -> None:
        if node_id not in self.nodes:
            raise BadInput(f"there is no node {shown(node_id)} in this workflow")

    @cached_property
    def _after(self) -> Links:
        return self._links(forwards=True)

    @cached_property
    def _before(self) -> Links:
        return self._links(forwards=False)

    def _links(self, *, forwards: bool) -> Links:
        links: dict[str, dict[str, None]] = {id_: {} for id_ in self.nodes}
        for edge in self.edges:
            if not edge.loop:
                one, other = (edge.source, edge.target) if forwards else (edge.target, edge.source)
                links[one][other] = None
        return {id_: tuple(others) for id_, others in links.items()}


def validate(definition: Any) -> list[Problem]:
    """Return all that is wrong with a definition, of whatever shape: none for one that can be executed."""
    return Graph.of(definition).problems()


def _knots(after: Links, before: Links) -> Iterator[list[str]]:
    """Yield the groups of nodes that all lead to each other.

    Source: S. R. Kosaraju; M. Sharir, A strong-connectivity algorithm (1981). Without recursion: chains are long.
    """
    seen: set[str] = set()
    left: list[str] = []  # in the order in which all behind them was seen
    for root in after:
        path = [] if root in seen else [(root, iter(after[root]))]
        seen.add(root)
        while path:
            node, rest = path[-1]
            following = next((id_ for id_ in rest if id_ not in seen), None)
            if following is None:
                left.append(path.pop()[0])
            else:
                seen.add(following)
                path.append((following, iter(after[following])))
    placed: set[str] = set()
    for root in reversed(left):
        if root in placed:
            continue
        placed.add(root)
        knot = [root]
        for node in knot:  # it grows meanwhile
            fresh = [id_ for id_ in before[node] if id_ not in placed]
            placed.update(fresh)
            knot += fresh
        if len(knot) > 1 or root in after[root]:
            yield knot[::-1]
