import copy
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.workloads import TaskGraph, read_wfformat, write_wfformat

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
INSTANCES = Path(os.environ.get("HETGYM_TEST_DATA", SHARED)) / "wfinstances"
WORKFLOWS = sorted(INSTANCES.glob("*.json"))

# split -> left, right -> merge -> report, on a slow and a fast machine.
DOCUMENT: dict[str, Any] = {
    "name": "two-machines",
    "schemaVersion": "1.5",
    "workflow": {
        "specification": {
            "tasks": [
                {"id": "split", "children": ["right"], "inputFiles": ["raw"], "outputFiles": ["a", "b", "both"]},
                {"id": "left", "parents": ["split"], "inputFiles": ["a", "both"], "outputFiles": ["c"]},
                {"id": "right", "children": ["merge"], "inputFiles": ["b", "both"], "outputFiles": ["d", "unread"]},
                {"id": "merge", "parents": ["left", "right"], "children": ["report"], "inputFiles": ["a", "c", "d"]},
                {"id": "report", "parents": ["merge"]},
            ],
            "files": [
                {"id": "raw", "sizeInBytes": 1000},
                {"id": "a", "sizeInBytes": 10},
                {"id": "b", "sizeInBytes": 20},
                {"id": "both", "sizeInBytes": 40},
                {"id": "c", "sizeInBytes": 80},
                {"id": "d", "sizeInBytes": 160},
                {"id": "unread", "sizeInBytes": 320},
            ],
        },
        "execution": {
            "tasks": [
                {"id": "merge", "runtimeInSeconds": 7, "machines": ["unrecorded"]},
                {"id": "split", "runtimeInSeconds": 10, "machines": ["slow"]},
                {"id": "left", "runtimeInSeconds": 4.0, "machines": ["fast"]},
                {"id": "right", "runtimeInSeconds": 3.0, "machines": ["slow", "fast"]},
                {"id": "report", "runtimeInSeconds": 0.5},
            ],
            "machines": [
                {"nodeName": "slow", "cpu": {"speedInMHz": 1200}},
                {"nodeName": "fast", "cpu": {"speedInMHz": 3600}},
                {"nodeName": "unrecorded", "cpu": {"coreCount": 4}},
            ],
        },
    },
}


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(HetgymError) as caught:
        read_wfformat(path)
    return checked(path, caught.value)


def checked(path: Path, error: HetgymError) -> str:
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.skipif(not WORKFLOWS, reason=f"no recorded workflows in {INSTANCES}")
@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.stem for path in WORKFLOWS])
def test_recorded_workflow_loads(path: Path) -> None:
    specification = json.loads(path.read_text())["workflow"]["specification"]
    graph = read_wfformat(path)
    assert graph.num_tasks == len(specification["tasks"])
    assert graph.task_names == tuple(task["id"] for task in specification["tasks"])
    assert graph.kinds == ("cpu",)
    by_parents = {(parent, task["id"]) for task in specification["tasks"] for parent in task.get("parents", [])}
    by_children = {(task["id"], child) for task in specification["tasks"] for child in task.get("children", [])}
    assert {(graph.task_names[s], graph.task_names[t]) for s, t in graph.edges.T} == by_parents | by_children
    assert graph.duration.sum() > 0


def test_durations_are_referred_to_the_reference_clock(tmp_path: Path) -> None:
    graph = read_wfformat(write(tmp_path / "workflow.json", DOCUMENT))
    assert graph.name == "two-machines"
    assert graph.task_names == ("split", "left", "right", "merge", "report")
    at_half_clock, at_one_and_a_half, on_both = 10 * 0.5, 4 * 1.5, 3 * (0.5 + 1.5) / 2
    assert graph.duration[:, 0].tolist() == [at_half_clock, at_one_and_a_half, on_both, 7, 0.5]


def test_edges_carry_the_files_that_both_ends_name(tmp_path: Path) -> None:
    graph = read_wfformat(write(tmp_path / "workflow.json", DOCUMENT))
    named = [(graph.task_names[source], graph.task_names[target]) for source, target in graph.edges.T]
    assert dict(zip(named, graph.edge_bytes.tolist(), strict=True)) == {
        ("split", "left"): 10 + 40,  # named by the child alone
        ("split", "right"): 20 + 40,  # named by the parent alone
        ("left", "merge"): 80,
        ("right", "merge"): 160,
        ("merge", "report"): 0,
    }


def test_speedup_adds_kinds(tmp_path: Path) -> None:
    path = write(tmp_path / "workflow.json", DOCUMENT)
    graph = read_wfformat(path, {"gpu": 4.0, "npu": 0.5})
    assert graph.kinds == ("cpu", "gpu", "npu")
    assert graph.duration[0].tolist() == [5, 1.25, 10]
    assert read_wfformat(str(path)).kinds == ("cpu",)


@pytest.mark.parametrize(
    "factor",
    [-1.0, np.nan, 0.0, np.inf, "fast"],
)
def test_speedup_out_of_range_is_refused(tmp_path: Path, factor: Any) -> None:
    path = write(tmp_path / "workflow.json", DOCUMENT)
    with pytest.raises(HetgymError) as caught:
        read_wfformat(path, {"gpu": factor})
    assert "'gpu'" in checked(path, caught.value)


def test_written_graph_reads_back(tmp_path: Path) -> None:
    graph = TaskGraph(
        name="written",
        kinds=("gpu", "cpu"),
        duration=np.array([[np.inf, 0.1], [1, 1 / 3], [2, 3e-9], [4, 5e6]]),
        edges=np.array([[0, 0, 1, 2], [1, 2, 3, 3]]),
        edge_bytes=np.array([0, 7, 1e12, 2.6]),
        task_names=("a", "b", "c", "ü"),
    )
    path = tmp_path / "written.json"
    write_wfformat(graph, path)
    read = read_wfformat(path)
    assert (read.name, read.kinds, read.task_names) == ("written", ("cpu",), graph.task_names)
    np.testing.assert_allclose(read.duration[:, 0], graph.duration[:, 1], rtol=1e-15)
    assert read.edges.tolist() == graph.edges.tolist()
    assert read.edge_bytes.tolist() == [0, 7, 1e12, 3]
    assert list(tmp_path.iterdir()) == [path]


def test_written_durations_read_back_to_the_bit(tmp_path: Path) -> None:
    duration = np.random.default_rng(0).random((1000, 1))
    graph = TaskGraph("written", ("cpu",), duration, np.empty((2, 0), np.int64), np.empty(0))
    write_wfformat(graph, tmp_path / "written.json")
    assert (read_wfformat(tmp_path / "written.json").duration == duration).all()


def test_written_edges_keep_apart(tmp_path: Path) -> None:
    edges = np.array([[0, 0, 2], [1, 3, 3]])
    graph = TaskGraph("written", ("cpu",), np.ones((4, 1)), edges, np.array([7, 0, 7]), ("a->b", "c", "a", "b->c"))
    write_wfformat(graph, tmp_path / "written.json")
    assert read_wfformat(tmp_path / "written.json").edge_bytes.tolist() == [7, 0, 7]


def test_written_date_can_be_given(tmp_path: Path) -> None:
    graph = read_wfformat(write(tmp_path / "workflow.json", DOCUMENT))
    paths = [tmp_path / "first.json", tmp_path / "second.json"]
    for path in paths:
        write_wfformat(graph, path, datetime(2026, 1, 2, tzinfo=UTC))
    assert json.loads(paths[0].read_text())["createdAt"] == "2026-01-02T00:00:00+00:00"
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_graph_that_cpus_cannot_run_is_not_written(tmp_path: Path, kind: str) -> None:
    edges = np.empty((2, 0), np.int64)
    graph = TaskGraph("no-cpu", (kind, "npu"), np.array([[np.inf, 1.0]]), edges, np.empty(0))
    with pytest.raises(HetgymError, match=r"'no-cpu'.*'cpu'"):
        write_wfformat(graph, tmp_path / "refused.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["content", "JSON"]),
        (bytes(range(256)), ["not UTF-8"]),
        (b"\x00\x01\n\x02", ["content", "JSON"]),
        (b"[" * 100_000, ["content", "JSON"]),
        (b"[]", ["content"]),
        (b"{}", ["name", "required", "2 more"]),
        (json.dumps(DOCUMENT).encode()[:-1], ["content", "JSON", "EOF"]),
        (json.dumps(DOCUMENT).encode()[:300], ["content", "JSON", "EOF"]),
        (json.dumps(DOCUMENT).replace("4.0", "NaN").encode(), ["tasks.2.runtimeInSeconds", "finite", "nan"]),
        (json.dumps(DOCUMENT).replace("4.0", "1e999").encode(), ["tasks.2.runtimeInSeconds", "finite", "inf"]),
    ],
    ids=["empty", "binary", "control", "deep", "list", "bare", "truncated", "half", "nan", "inf"],
)
def test_broken_file_is_refused(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    message = refusal(path)
    assert [part for part in parts if part not in message] == []


def test_message_on_a_long_truncated_file_is_short(tmp_path: Path) -> None:
    path = tmp_path / "truncated.json"
    path.write_text(json.dumps({**DOCUMENT, "description": "x" * 100_000})[:-1])
    assert len(refusal(path)) < 1000


def test_path_without_a_file_is_refused(tmp_path: Path) -> None:
    assert "cannot read this workflow: No such file" in refusal(tmp_path / "nowhere.json")
    assert "cannot read this workflow" in refusal(tmp_path)


def in_tasks(**change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["workflow"]["specification"]["tasks"][2].update(change)


def in_run(**change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["workflow"]["execution"]["tasks"][2].update(change)


def in_machine(speed: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["workflow"]["execution"]["machines"][0]["cpu"].update(speedInMHz=speed)


def more(part: str, item: str, **entry: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["workflow"][part][item].append(entry)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (in_tasks(parents=["report"]), ["cycle", "right -> merge", "merge -> report", "report -> right"]),
        (in_tasks(parents=["right"]), ["cycle", "right -> right"]),
        (in_tasks(parents=["nobody"]), ["'right'", "parent 'nobody'", "specification.tasks"]),
        (in_tasks(children=["nobody"]), ["'right'", "child 'nobody'", "specification.tasks"]),
        (in_tasks(inputFiles=["nothing"]), ["'right'", "file 'nothing'", "specification.files"]),
        (in_tasks(outputFiles=["nothing"]), ["'right'", "file 'nothing'", "specification.files"]),
        (in_tasks(id="left"), ["specification.tasks", "two tasks", "'left'"]),
        (in_tasks(id=""), ["specification.tasks.2.id", "''"]),
        (in_run(runtimeInSeconds=-1.5), ["execution.tasks.2.runtimeInSeconds", "-1.5"]),
        (in_run(runtimeInSeconds=None), ["execution.tasks.2.runtimeInSeconds", "None"]),
        (in_run(runtimeInSeconds="long"), ["execution.tasks.2.runtimeInSeconds", "'long'"]),
        (in_run(id="nobody"), ["'left'", "runtimeInSeconds"]),
        (in_machine(0), ["machines.0.cpu.speedInMHz", "0"]),
        (in_machine(-1200), ["machines.0.cpu.speedInMHz", "-1200"]),
        (more("specification", "files", id="a", sizeInBytes=11), ["specification.files", "'a'", "listed twice"]),
        (more("specification", "files", id="e", sizeInBytes=-1), ["specification.files.7.sizeInBytes", "-1"]),
        (lambda document: document.update(schemaVersion="1.4"), ["schemaVersion", "'1.5'", "'1.4'"]),
        (lambda document: document.update(schemaVersion=1.5), ["schemaVersion", "'1.5'", "1.5"]),
        (lambda document: document.pop("schemaVersion"), ["schemaVersion", "required"]),
        (lambda document: document.pop("workflow"), ["workflow", "required"]),
        (lambda document: document["workflow"].pop("execution"), ["workflow.execution", "required"]),
        (
            lambda document: document["workflow"]["specification"].update(tasks=[]),
            ["specification.tasks", "at least 1"],
        ),
        (
            more("execution", "tasks", id="left", runtimeInSeconds=99),
            ["execution.tasks", "'left'"],
        ),
        (
            more("execution", "machines", nodeName="slow", cpu={"speedInMHz": 99}),
            ["execution.machines", "'slow'"],
        ),
    ],
)
def test_contradiction_is_refused(tmp_path: Path, change: Callable[[Any], None], parts: list[str]) -> None:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    message = refusal(write(tmp_path / "contradiction.json", document))
    assert [part for part in parts if part not in message] == []


def test_file_listed_twice_with_one_size_is_accepted(tmp_path: Path) -> None:
    document = copy.deepcopy(DOCUMENT)
    more("specification", "files", id="a", sizeInBytes=10)(document)
    graph = read_wfformat(write(tmp_path / "workflow.json", document))
    assert graph.edge_bytes[0] == 50


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
            read_wfformat(write(path, document))
            outcomes["read"] += 1
        except HetgymError as error:
            checked(path, error)
            outcomes["refused"] += 1
    assert outcomes["read"] > 50
    assert outcomes["refused"] > 300
