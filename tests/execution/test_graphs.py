"""Definitions of whatever shape: all problems at once, never a crash; and the order of those that have none."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from agentdb.errors import BadInput
from agentdb.execution.definitions import ProblemKind, told
from agentdb.execution.graphs import Graph, validate

NAMES = st.sampled_from("abcdefg")
TYPES = st.sampled_from(["START", "end", "AGENT", "loop"])


def graph(nodes: str, *edges: str, **types: str) -> dict[str, Any]:
    """Return a definition: nodes of one letter each, edges like ``ab``, and ``ba!`` for one that loops."""
    kinds = {"s": "START", "e": "END", **types}
    return {
        "nodes": [{"id": id_, "type": kinds.get(id_, "AGENT")} for id_ in nodes],
        "edges": [{"source": edge[0], "target": edge[1], "loop": edge.endswith("!")} for edge in edges],
    }


def kinds(definition: Any) -> list[str]:
    return sorted(problem.kind for problem in validate(definition))


def test_a_line_has_no_problems() -> None:
    assert validate(graph("sabe", "sa", "ab", "be")) == []


def test_a_name_that_no_log_could_keep_is_a_problem() -> None:
    definition = graph("sae", "sa", "ae")
    definition["nodes"][1]["name"] = "n" * 255
    assert validate(definition) == []

    definition["nodes"][1]["name"] += "n"

    (problem,) = validate(definition)
    assert (problem.kind, problem.node_ids) == (ProblemKind.shape, ("a",))


@pytest.mark.parametrize(
    ("definition", "wanted"),
    [
        ({}, ["no_end", "no_node", "start"]),
        (None, ["no_end", "no_node", "shape", "start"]),
        ({"nodes": 1, "edges": "x"}, ["no_end", "no_node", "shape", "shape", "start"]),
        (graph("ae", "ae"), ["start"]),
        (graph("ste", "se", "te", t="start"), ["start"]),
        (graph("s"), ["no_end"]),
        (graph("sse", "se"), ["duplicate"]),
        (graph("se", "se", "sx", "ye", "xy"), ["dangling"] * 4),
        (graph("sabe", "se", "ab"), ["unreachable", "unreachable"]),
        (graph("sabe", "sa", "ab", "ba", "be"), ["cycle"]),
        (graph("sae", "sa", "aa", "ae"), ["cycle"]),
        (graph("sabcde", "sa", "ab", "ba", "bc", "cd", "dc", "de"), ["cycle", "cycle"]),
        (graph("sabe", "sa", "ab", "ba!", "be"), ["loop", "cycle"]),
        (graph("sabe", "sa", "ab", "ba!", "ae", a="while"), []),
        (graph("sabe", "sa", "ab", "ba", "ae", a="while"), ["cycle"]),
    ],
)
def test_each_problem_is_told(definition: Any, wanted: list[str]) -> None:
    assert kinds(definition) == sorted(wanted)


def test_all_problems_come_at_once_and_name_what_they_are_about() -> None:
    definition = graph("aabc", "ab", "ba", "bz")
    definition["nodes"] += [7, {"id": ""}, {"id": "x" * 256, "type": "END"}, {"id": "t", "type": 3}]
    definition["edges"] += [None, {"source": [], "target": "a"}, {"source": "a", "target": "c", "loop": 1}]

    problems = validate(definition)

    assert sorted(problem.kind for problem in problems) == sorted(
        ["shape"] * 7 + ["duplicate", "dangling", "start", "no_end", "cycle"]
    )
    (cycle,) = [problem for problem in problems if problem.kind is ProblemKind.cycle]
    assert sorted(cycle.node_ids) == ["a", "b"]
    (dangling,) = [problem for problem in problems if problem.kind is ProblemKind.dangling]
    assert (dangling.node_ids, dangling.edge) == (("z",), 2)
    assert told(problems).endswith("and 7 more")


def test_nodes_come_behind_those_that_lead_to_them() -> None:
    drawn = Graph.of(graph("eabcs", "sa", "sb", "ac", "bc", "ce", "cb!", c="LOOP"))

    assert drawn.order() in (["s", "a", "b", "c", "e"], ["s", "b", "a", "c", "e"])
    assert (drawn.successors("s"), drawn.successors("c"), drawn.successors("e")) == (("a", "b"), ("e",), ())
    assert [edge.target for edge in drawn.leaving("c")] == ["e", "b"]
    assert drawn.ready(()) == ["s"]
    assert drawn.ready({"s"}) == ["a", "b"]
    assert drawn.ready(["s", "a"]) == ["b"]
    assert drawn.ready({"s", "a", "b", "unknown"}) == ["c"]
    assert drawn.ready(drawn.nodes) == []
    with pytest.raises(BadInput, match="no node 'x'"):
        drawn.successors("x")
    with pytest.raises(BadInput, match="wait for each other"):
        Graph.of(graph("ab", "ab", "ba")).order()


def test_a_graph_never_changes() -> None:
    definition = graph("se", "se")
    drawn = Graph.of(definition)
    definition["nodes"].clear()

    assert list(drawn.nodes) == ["s", "e"]
    with pytest.raises(TypeError):
        drawn.nodes["x"] = drawn.nodes["s"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        drawn.edges = ()  # type: ignore[misc]


@pytest.mark.long
@pytest.mark.parametrize("shape", ["chain", "ring", "star", "loose", "selves", "twice", "ladder"])
def test_ten_thousand_nodes_are_looked_at_in_one_go(shape: str) -> None:
    many = 10_000
    nodes = [{"id": str(n), "type": "AGENT"} for n in range(many)]
    edges = {
        "chain": [(n, n + 1) for n in range(many - 1)],
        "ring": [(n, (n + 1) % many) for n in range(many)],
        "star": [(0, n) for n in range(1, many)] + [(n, 1) for n in range(2, many)],
        "loose": [],
        "selves": [(n, n) for n in range(many)],
        "twice": [(0, 1)] * many,
        "ladder": [(n, n + step) for n in range(many - 2) for step in (1, 2)] + [(many - 1, 0)],
    }[shape]
    counted = _Counting(nodes)
    definition = {"nodes": counted, "edges": [{"source": str(a), "target": str(b)} for a, b in edges]}

    problems = validate(definition)

    assert len(problems) <= 2 * many + 2
    assert counted.passes == 1
    assert len(told(problems)) < 1_000


class _Counting(list[Any]):
    """Counts how often it is gone through."""

    passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        return super().__iter__()


def test_what_is_nested_deeply_is_not_looked_into() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    assert kinds(deep) == ["no_end", "no_node", "shape", "start"]
    definition = graph("se", "se")
    definition["nodes"][0]["config"] = deep
    definition["edges"][0]["condition"] = deep
    assert validate(definition) == []
    assert kinds({"nodes": [deep], "edges": [deep]}) == ["no_end", "no_node", "shape", "shape", "start"]


# Anything at all


MEMBERS = st.sampled_from(["id", "type", "nodes", "edges", "source", "target", "loop"])


def anything(leaves: int) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | NAMES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=3),
        max_leaves=leaves,
    )


ANYTHING, SMALL = anything(8), anything(4)
NODE = st.fixed_dictionaries({"id": NAMES | SMALL, "type": TYPES | SMALL})
EDGE = st.fixed_dictionaries({"source": NAMES | SMALL, "target": NAMES, "loop": st.booleans() | SMALL})
NEARLY = st.fixed_dictionaries(
    {"nodes": st.lists(NODE | SMALL, max_size=6) | SMALL, "edges": st.lists(EDGE | SMALL, max_size=8)}
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(ANYTHING | NEARLY)
def test_a_definition_of_any_shape_gives_problems_and_never_a_crash(definition: Any) -> None:
    problems = validate(definition)
    drawn = Graph.of(definition)

    assert all(problem.message.isprintable() for problem in problems)
    json.dumps([[problem.kind, problem.message, problem.node_ids, problem.edge] for problem in problems])
    if problems == []:
        assert len(drawn.order()) == len(definition["nodes"])


DRAWN = st.fixed_dictionaries(
    {
        "nodes": st.lists(st.fixed_dictionaries({"id": NAMES, "type": TYPES}), max_size=7, unique_by=lambda n: n["id"]),
        "edges": st.lists(
            st.fixed_dictionaries({"source": NAMES, "target": NAMES, "loop": st.booleans()}), max_size=12
        ),
    }
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(DRAWN)
def test_the_problems_are_those_that_a_plain_search_finds(definition: Any) -> None:
    types = {node["id"]: node["type"].upper() for node in definition["nodes"]}
    edges, loose = [], 0
    for edge in definition["edges"]:
        ends = (edge["source"], edge["target"])
        loose += sum(end not in types for end in ends)
        if set(ends) <= set(types) and not (edge["loop"] and "LOOP" in {types[end] for end in ends}):
            edges.append(ends)

    def behind(begin: str) -> set[str]:
        found: set[str] = set()
        while True:
            more = {target for source, target in edges if source in found or source == begin} - found
            if not more:
                return found
            found |= more

    starts = [id_ for id_, type_ in types.items() if type_ == "START"]
    reached = {*starts, *(id_ for start in starts for id_ in behind(start))}
    in_cycles = {id_ for id_ in types if id_ in behind(id_)}

    problems = validate(definition)
    told_of = {kind: [problem for problem in problems if problem.kind is kind] for kind in ProblemKind}
    assert len(told_of[ProblemKind.dangling]) == loose
    assert len(told_of[ProblemKind.start]) == (len(starts) != 1)
    assert len(told_of[ProblemKind.no_end]) == ("END" not in types.values())
    unreachable = {id_ for problem in told_of[ProblemKind.unreachable] for id_ in problem.node_ids}
    assert unreachable == (set(types) - reached if starts else set())
    assert {id_ for problem in told_of[ProblemKind.cycle] for id_ in problem.node_ids} == in_cycles
    drawn = Graph.of(definition)
    if in_cycles:
        with pytest.raises(BadInput):
            drawn.order()
        return
    place = {id_: number for number, id_ in enumerate(drawn.order())}
    assert all(place[source] < place[target] for source, target in edges)
    finished: list[str] = []
    while ready := drawn.ready(finished):
        assert all(source in finished for source, target in edges if target in ready)
        finished.append(ready[0])
    assert sorted(finished) == sorted(types)
