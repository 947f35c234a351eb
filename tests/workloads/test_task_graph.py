import dataclasses
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.workloads import CANONICAL_GRAPHS, TaskGraph
from hetgym.workloads.task_graph import edges_from

# The papers' numbers, typed a second time.
PUBLISHED = {
    "heft-paper": (
        "14 16 9 | 13 19 18 | 11 13 19 | 13 8 17 | 12 13 10 | 13 16 9 | 7 15 11 | 5 11 14 | 18 12 20 | 21 7 16",
        "0-1:18 0-2:12 0-3:9 0-4:11 0-5:14 1-7:19 1-8:16 2-6:23 3-7:27 3-8:23 4-8:13 5-7:15 6-9:17 7-9:11 8-9:13",
    ),
    "peft-paper": (
        "22 21 36 | 22 18 18 | 32 27 43 | 7 10 4 | 29 27 35 | 26 17 24 | 14 25 30 | 29 23 36 | 15 21 8 | 13 16 33",
        "0-1:17 0-2:31 0-3:29 0-4:13 0-5:7 1-7:3 1-8:30 2-6:16 3-7:11 3-8:7 4-8:57 5-7:5 6-9:9 7-9:42 8-9:7",
    ),
}

DIAMOND: dict[str, Any] = {
    "name": "diamond",
    "kinds": ("cpu", "gpu"),
    "duration": [[1, 2], [3, np.inf], [5, 6], [7, 8]],
    "edges": [[0, 0, 1, 2], [1, 2, 3, 3]],
    "edge_bytes": [10, 20, 30, 40],
}


def refusal(**wrong: Any) -> str:
    with pytest.raises(HetgymError) as caught:
        TaskGraph(**{**DIAMOND, **wrong})
    message = str(caught.value)
    assert message.startswith("task graph 'diamond': ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", CANONICAL_GRAPHS)
def test_canonical_graph_is_as_published(name: str) -> None:
    graph = CANONICAL_GRAPHS[name]()
    duration, edges = PUBLISHED[name]
    assert graph.name == name
    assert graph.kinds == ("p1", "p2", "p3")
    assert graph.num_tasks == 10
    assert graph.num_edges == 15
    assert graph.duration.tolist() == [[float(entry) for entry in row.split()] for row in duration.split("|")]
    listed = zip(*graph.edges.tolist(), graph.edge_bytes, strict=True)
    assert " ".join(f"{source}-{target}:{size:g}" for source, target, size in listed) == edges


def test_arrays_have_their_types_and_are_read_only() -> None:
    graph = TaskGraph(**DIAMOND)
    assert graph.duration.dtype == np.float64
    assert graph.edges.dtype == np.int64
    assert graph.edge_bytes.dtype == np.float64
    for array in (graph.duration, graph.edges, graph.edge_bytes):
        with pytest.raises(ValueError, match="read-only"):
            array[..., 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.name = "other"  # type: ignore[misc]


def test_arrays_are_copies() -> None:
    duration = np.array(DIAMOND["duration"])
    graph = TaskGraph(**{**DIAMOND, "duration": duration})
    duration[0, 0] = 99
    assert graph.duration[0, 0] == 1


def test_edges_are_sorted_with_their_bytes() -> None:
    graph = TaskGraph(**{**DIAMOND, "edges": [[2, 0, 1, 0], [3, 2, 3, 1]], "edge_bytes": [40, 20, 30, 10]})
    assert graph.edges.tolist() == DIAMOND["edges"]
    assert graph.edge_bytes.tolist() == DIAMOND["edge_bytes"]


def test_tasks_have_names() -> None:
    assert TaskGraph(**DIAMOND).task_names == ("t0", "t1", "t2", "t3")
    assert TaskGraph(**DIAMOND, task_names=list("abcd")).task_names == ("a", "b", "c", "d")  # type: ignore[arg-type]


@pytest.mark.parametrize("edges", [[], [[], []], np.empty((2, 0))], ids=["list", "rows", "array"])
def test_single_task_without_edges(edges: Any) -> None:
    graph = TaskGraph("single", ("cpu",), [[3.0]], edges, [])  # type: ignore[arg-type]
    assert (graph.num_tasks, graph.num_edges) == (1, 0)
    assert graph.edges.shape == (2, 0)
    assert graph.edges.dtype == np.int64


def test_default_platform_has_a_device_of_each_kind() -> None:
    platform = TaskGraph(**DIAMOND).default_platform()
    assert platform.kinds == ("cpu", "gpu")
    assert platform.seconds_per_byte.tolist() == [[0, 1], [1, 0]]


def test_edges_from_triples() -> None:
    edges, size = edges_from([(0, 2, 5), (1, 2, 7.5)])
    assert edges.tolist() == [[0, 1], [2, 2]]
    assert size.tolist() == [5, 7.5]


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        ([[0, 0, 1, 3], [1, 2, 3, 1]], {"b -> d -> b", "d -> b -> d"}),
        ([[0, 0, 1, 2], [1, 2, 3, 2]], {"c -> c"}),
    ],
)
def test_cycle_is_named_by_its_tasks(edges: list[list[int]], cycle: set[str]) -> None:
    assert refusal(edges=edges, task_names=("a", "b", "c", "d")).rpartition(": ")[2] in cycle


@pytest.mark.parametrize(
    ("field", "value", "parts"),
    [
        ("edges", [[0, 0, 1, 0], [1, 2, 3, 2]], ["edges", "'t0' -> 't2'", "twice"]),
        ("edges", [[0, 0, 1, 2], [1, 2, 3, 4]], ["edges", "(2, 4)", "0 to 3"]),
        ("edges", [[0, -1, 1, 2], [1, 2, 3, 3]], ["edges", "(-1, 2)", "0 to 3"]),
        ("edges", [[0.0, 0.0, 1.0, 2.0], [1.0, 2.0, 3.0, 3.0]], ["edges", "integers", "float64"]),
        ("edges", [[0, 1], [0, 2], [1, 3], [2, 3]], ["edges", "(2, E)", "(4, 2)"]),
        ("edges", [0, 1], ["edges", "(2, E)", "(2,)"]),
        ("edges", [[0, 1], [2]], ["edges", "not an array of numbers"]),
        ("edges", None, ["edges", "integers"]),
        ("duration", [[1, 2], [3, np.nan], [5, 6], [7, 8]], ["duration", "'t1'", "'gpu'", "nan"]),
        ("duration", [[1, 2], [-3, 4], [5, 6], [7, 8]], ["duration", "'t1'", "'cpu'", "-3.0"]),
        ("duration", [[1, 2], [3, -np.inf], [5, 6], [7, 8]], ["duration", "'t1'", "'gpu'", "-inf"]),
        ("duration", [[1, 2], [3, 4], [np.inf, np.inf], [7, 8]], ["no device kind", "'t2'"]),
        ("duration", [[1], [2], [3], [4]], ["duration", "(T, 2)", "(4, 1)"]),
        ("duration", [1, 2, 3, 4], ["duration", "(T, 2)", "(4,)"]),
        ("duration", [[1, 2], [3]], ["duration", "not an array of numbers"]),
        ("duration", [["long", 2], [3, 4], [5, 6], [7, 8]], ["duration", "not an array of numbers", "long"]),
        ("duration", [[1, 2], [3, 4], [5, 6]], ["edges", "(1, 3)", "0 to 2"]),
        ("edge_bytes", [10, np.nan, 30, 40], ["edge_bytes", "'t0' -> 't2'", "nan"]),
        ("edge_bytes", [10, 20, -30, 40], ["edge_bytes", "'t1' -> 't3'", "-30.0"]),
        ("edge_bytes", [10, 20, 30, np.inf], ["edge_bytes", "'t2' -> 't3'", "inf"]),
        ("edge_bytes", [10, 20, 30], ["edge_bytes", "(4)", "(3,)"]),
        ("edge_bytes", [], ["edge_bytes"]),
        ("task_names", ("a", "b"), ["task_names", "2 names", "4 tasks"]),
        ("kinds", ("cpu", "cpu"), ["kinds", "'cpu'", "twice"]),
        ("kinds", ("cpu", "gpu", "npu"), ["duration", "(T, 3)", "(4, 2)"]),
        (
            "task_names",
            ("a", "b", "a", "c"),
            ["task_names", "'a'", "twice"],
        ),
        (
            "duration",
            [[10**400, 2], [3, 4], [5, 6], [7, 8]],
            ["duration"],
        ),
    ],
)
def test_wrong_value_is_refused(field: str, value: Any, parts: list[str]) -> None:
    message = refusal(**{field: value})
    assert [part for part in parts if part not in message] == []


def test_graph_without_tasks_is_refused() -> None:
    assert "at least one task" in refusal(duration=[], edges=[], edge_bytes=[])


def test_cycle_of_a_name_with_a_line_break_is_one_line() -> None:
    refusal(edges=[[0, 0, 1, 3], [1, 2, 3, 1]], task_names=("a", "b\n", "c", "d"))
