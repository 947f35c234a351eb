"""Whole task graphs as files: read back to the bit, refused in one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.envs import load_scenario
from hetgym.workloads import CANONICAL_GRAPHS, TaskGraph, join_jobs, load_task_graph, random_task_graph, save_task_graph

DOCUMENT: dict[str, Any] = {
    "name": "diamond",
    "kinds": ["cpu", "gpu"],
    "task_names": ["a", "b", "c", "d"],
    "duration": [[1, 2.5], [3, None], [0.1, 6], [7, 8]],
    "edges": [[0, 1, 10], [0, 2, 0.3], [1, 3, 30], [2, 3, 0]],
    "job": [0, 0, 0, 0],
    "arrival": [0.5],
    "deadline": [None],
}

TWO_JOBS = join_jobs([CANONICAL_GRAPHS["heft-paper"]()] * 2, [0.0, 0.1], [np.inf, 99.5], name="two")


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(HetgymError) as caught:
        load_task_graph(path)
    return checked(path, caught.value)


def checked(path: Path, error: HetgymError) -> str:
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def assert_same(one: TaskGraph, other: TaskGraph) -> None:
    for field in fields(TaskGraph):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), strict=True)


def test_every_field_is_read(tmp_path: Path) -> None:
    graph = load_task_graph(write(tmp_path / "diamond.json", DOCUMENT))
    assert (graph.name, graph.kinds, graph.task_names) == ("diamond", ("cpu", "gpu"), ("a", "b", "c", "d"))
    assert graph.duration.tolist() == [[1, 2.5], [3, np.inf], [0.1, 6], [7, 8]]
    assert graph.edges.tolist() == [[0, 0, 1, 2], [1, 2, 3, 3]]
    assert graph.edge_bytes.tolist() == [10, 0.3, 30, 0]
    assert (graph.arrival.tolist(), graph.deadline.tolist()) == ([0.5], [np.inf])


def test_what_is_left_out_is_the_default(tmp_path: Path) -> None:
    document = {key: DOCUMENT[key] for key in ("name", "kinds", "duration")}
    graph = load_task_graph(write(tmp_path / "bare.json", document))
    assert graph.task_names == ("t0", "t1", "t2", "t3")
    assert graph.num_edges == 0
    assert graph.is_plain


@pytest.mark.parametrize(
    "graph",
    [
        random_task_graph(12, seed=3),
        TaskGraph("one", ("cpu", "gpu"), [[0.1, np.inf]], [[], []], [], ('with "quotes" and\nlines',)),
        TWO_JOBS,
    ],
    ids=lambda graph: graph.name,
)
def test_graph_is_read_back_to_the_bit(graph: TaskGraph, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "graph.json"
    save_task_graph(graph, path)
    assert_same(load_task_graph(path), graph)
    assert [entry.name for entry in path.parent.iterdir()] == ["graph.json"]


def test_graph_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "graph.json").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "graph.json", tmp_path / "file" / "graph.json"):
        with pytest.raises(HetgymError, match="cannot write this task graph"):
            save_task_graph(TWO_JOBS, path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "graph.json"]


def test_scenario_names_a_graph_beside_it(tmp_path: Path) -> None:
    save_task_graph(TWO_JOBS, tmp_path / "graph.json")
    path = tmp_path / "scenario.yaml"
    path.write_text("name: mine\nfamily: task-graph\nworkload: {kind: file, path: graph.json}\n")
    scenario = load_scenario(path)
    assert_same(scenario.instance(7, 3).graph, TWO_JOBS)
    assert scenario.devices.kinds == TWO_JOBS.kinds
    assert_same(load_scenario(scenario, mode="dispatch").instance(0, 0).graph, TWO_JOBS)


def setting(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(changes)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (setting(edges=[[0, 1, 1], [1, 2, 1], [2, 0, 1]]), ["cycle", "a -> b -> c -> a"]),
        (setting(edges=[[0, 4, 1]]), ["edges", "(0, 4)", "0 to 3"]),
        (setting(edges=[[0, 1, 1], [0, 1, 2]]), ["'a' -> 'b'", "twice"]),
        (setting(edges=[[0, 1]]), ["edges.0.2", "required"]),
        (setting(edges=[[0, 1, 2, 3]]), ["edges.0"]),
        (setting(edges=[[0.5, 1, 2]]), ["edges.0.0", "0.5"]),
        (setting(edges=[[0, 1, -2]]), ["edges.0.2", "-2"]),
        (setting(edges=[[0, 10**30, 2]]), ["too large"]),
        (setting(duration=[[1, 2], [3, 4], [5, 6], [7, float("nan")]]), ["duration.3.1", "nan"]),
        (setting(duration=[[1, 2], [3, 4], [5, 6], [7, float("inf")]]), ["duration.3.1", "inf"]),
        (setting(duration=[[1, 2], [3, 4], [5, 6], [7, -8]]), ["duration.3.1", "-8"]),
        (setting(duration=[[1, 2], [3, 4], [5, 6], [7, "8"]]), ["duration.3.1", "'8'"]),
        (setting(duration=[[1, 2], [3, 4], [5, 6], [7]]), ["duration.3", "2 numbers", "1"]),
        (setting(duration=[[1, 2], [3, 4], [5, 6], [None, None]]), ["no device kind", "'d'"]),
        (setting(duration=[[1, 2], [3, 4], [5, 6]]), ["job", "(3)", "(4,)"]),
        (setting(task_names=["a", "b", "a", "d"]), ["task_names", "'a'", "twice"]),
        (setting(duration=[], edges=[], task_names=[], job=[], arrival=[], deadline=[]), ["at least one task"]),
        (setting(kinds=["cpu", "cpu"]), ["kinds", "twice"]),
        (setting(job=[0, 0, 0, 1], arrival=[0, 0], deadline=[5, 5]), ["edges", "joins jobs 0 and 1"]),
        (setting(deadline=[0.25]), ["deadline", "0.25"]),
        (setting(arrival=[None]), ["arrival.0", "None"]),
        (setting(colour="red"), ["colour", "not permitted", "'red'"]),
        (lambda document: document.pop("kinds"), ["kinds", "required"]),
    ],
)
def test_wrong_graph_is_refused(tmp_path: Path, change: Callable[[Any], None], parts: list[str]) -> None:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    message = refusal(write(tmp_path / "wrong.json", document))
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"name": "x"', "\0"])
def test_what_is_no_graph_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.json").write_text(text)
    refusal(tmp_path / "broken.json")


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot read this task graph" in refusal(tmp_path / "nowhere.json")


def damaged(value: Any) -> Iterator[Any]:
    """The value with each part of it, at any depth, left out or replaced in turn."""
    yield from (None, -1, "x", [], {})
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        without = copy.copy(value)
        del without[key]
        yield without
        for part in damaged(value[key]):
            replaced = copy.copy(value)
            replaced[key] = part
            yield replaced


def test_damaged_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.json"
    outcomes = {"read": 0, "refused": 0}
    for document in damaged(DOCUMENT):
        try:
            load_task_graph(write(path, document))
            outcomes["read"] += 1
        except HetgymError as error:
            checked(path, error)
            outcomes["refused"] += 1
    assert outcomes["read"] > 5
    assert outcomes["refused"] > 150
