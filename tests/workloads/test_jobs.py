from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.envs import load_scenario
from hetgym.envs.task_graph.instance import Instance, Instances
from hetgym.workloads import RandomGraphs, TaskGraph, fft, join_jobs, random_task_graph, write_wfformat
from hetgym.workloads.task_graph import GraphArrays

TWO_JOBS: dict[str, Any] = {
    "name": "two-jobs",
    "kinds": ("cpu", "gpu"),
    "duration": [[1, 2], [3, np.inf], [5, 6], [7, 8]],
    "edges": [[0, 1], [2, 3]],
    "edge_bytes": [10, 20],
    "job": [0, 1, 0, 1],
    "arrival": [0.5, 2],
    "deadline": [np.inf, 9],
}


def two_jobs(**changes: Any) -> TaskGraph:
    return TaskGraph(**{**TWO_JOBS, **changes})


def test_jobs_have_arrivals_and_deadlines() -> None:
    graph = two_jobs()
    assert graph.num_jobs == 2
    assert graph.job.tolist() == [0, 1, 0, 1]
    assert graph.release.tolist() == [0.5, 2, 0.5, 2]
    assert graph.deadline.tolist() == [np.inf, 9]
    assert [array.dtype for array in (graph.job, graph.arrival, graph.deadline)] == [np.int64, np.float64, np.float64]
    for array in (graph.job, graph.arrival, graph.deadline):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_all_tasks_are_one_job_by_default() -> None:
    graph = two_jobs(job=(), arrival=(), deadline=())
    assert graph.num_jobs == 1
    assert graph.job.tolist() == [0] * 4
    assert graph.release.tolist() == [0] * 4
    assert graph.deadline.tolist() == [np.inf]
    assert graph.is_plain


@pytest.mark.parametrize("change", [{"arrival": [1]}, {"deadline": [1]}, {"job": [0, 1, 0, 1]}])
def test_graph_with_jobs_is_not_plain(change: dict[str, Any]) -> None:
    assert not two_jobs(**{"job": (), "arrival": (), "deadline": (), **change}).is_plain


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"job": [0, 1, 0]}, "job: must have the shape (4), not (3,)"),
        ({"job": [0.0, 1.0, 0.0, 1.0]}, "job: must be integers, not float64"),
        ({"job": [0, -1, 0, -1]}, "job: -1 is no job; jobs must be 0, 1, ... with a task each"),
        ({"job": [0, 2, 0, 2]}, "job: job 1 has no task; jobs must be 0, 1, ... with a task each"),
        ({"job": [1, 1, 1, 1]}, "job: job 0 has no task; jobs must be 0, 1, ... with a task each"),
        ({"job": [0, 2**62, 0, 2**62]}, "job: job 1 has no task; jobs must be 0, 1, ... with a task each"),
        ({"job": [0, 1, 0, 0]}, "edges: 't1' -> 't3' joins jobs 1 and 0: must stay within one job"),
        ({"arrival": [0.0]}, "arrival: must have the shape (2), not (1,)"),
        ({"arrival": [0.0, "noon"]}, "arrival: not an array of numbers"),
        ({"arrival": [0.0, -1.0]}, "arrival of job 1 is -1.0: must be finite and zero or more seconds"),
        ({"arrival": [0.0, np.nan]}, "arrival of job 1 is nan: must be finite and zero or more seconds"),
        ({"arrival": [np.inf, 0.0]}, "arrival of job 0 is inf: must be finite and zero or more seconds"),
        ({"deadline": [np.inf] * 3}, "deadline: must have the shape (2), not (3,)"),
        ({"deadline": [np.inf, 2]}, "deadline of job 1 is 2.0: must be after its arrival at 2.0 s (inf where there is"),
        ({"deadline": [np.nan, 9]}, "deadline of job 0 is nan: must be after its arrival at 0.5 s (inf where there is"),
        ({"deadline": [-np.inf, 9]}, "deadline of job 0 is -inf: must be after its arrival"),
    ],
)
def test_wrong_job_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError) as caught:
        two_jobs(**changes)
    assert str(caught.value).startswith(f"task graph 'two-jobs': {message}")
    assert "\n" not in str(caught.value)


def test_joined_graphs_are_jobs() -> None:
    first, second = fft(4, seed=1, num_devices=2), random_task_graph(3, 2, seed=1, shape=0.1)
    graph = join_jobs([first, second], [0, 1.5], [7, np.inf], name="stream")
    assert graph.name == "stream"
    assert graph.kinds == ("p1", "p2")
    assert graph.task_names[:2] == ("j0.call 0 0", "j0.call 1 0")
    assert graph.task_names[-3:] == ("j1.t0", "j1.t1", "j1.t2")
    assert graph.job.tolist() == [0] * 15 + [1] * 3
    assert graph.arrival.tolist() == [0, 1.5]
    assert graph.deadline.tolist() == [7, np.inf]
    assert graph.duration.tolist() == [*first.duration.tolist(), *second.duration.tolist()]
    assert graph.edges.T.tolist() == [*first.edges.T.tolist(), *(second.edges.T + 15).tolist()]
    assert graph.edge_bytes.tolist() == [*first.edge_bytes, *second.edge_bytes]
    assert join_jobs([first], [2]).deadline.tolist() == [np.inf]


@pytest.mark.parametrize(
    ("graphs", "arrivals", "message"),
    [
        ([], [], "graphs: there must be at least one"),
        ([fft(4), fft(4, num_devices=2)], [0, 1], "graphs: 'fft-0-0' has the kinds ('p1', 'p2'), 'fft-0-0' has "),
        ([fft(4), fft(4)], [0], "arrival: must have the shape (2), not (1,)"),
        ([fft(4), fft(4)], [0, [1]], "arrival: not an array of numbers"),
        ([fft(4)], [-1], "arrival of job 0 is -1.0"),
        ([two_jobs()], [0], "graphs: 'two-jobs' must be one job that arrives at 0 without a deadline"),
    ],
)
def test_graphs_that_do_not_join_are_refused(graphs: list[TaskGraph], arrivals: Any, message: str) -> None:
    with pytest.raises(HetgymError) as caught:
        join_jobs(graphs, arrivals)
    assert str(caught.value).startswith(f"task graph 'jobs': {message}")


def test_arrays_hold_the_jobs() -> None:
    room = GraphArrays.empty(2, 5, 2, 3, num_jobs=3)
    for array in room:
        array.view(np.uint8)[:] = 7
    before = [array[0].tobytes() for array in room]
    graph = two_jobs()
    room.put(1, graph, graph.duration)
    assert [array[0].tobytes() for array in room] == before
    assert (room.num_tasks[1], room.num_edges[1], room.num_jobs[1]) == (4, 2, 2)
    assert room.duration[1, :4].tolist() == graph.duration.tolist()
    assert room.job[1, :4].tolist() == [0, 1, 0, 1]
    assert room.release[1, :4].tolist() == [0.5, 2, 0.5, 2]
    assert room.jobs[1, :2].tolist() == [(0.5, np.inf), (2, 9)]
    assert room.edges[1, :2].tolist() == [(0, 2, 10), (1, 3, 20)]


def test_instances_hold_the_jobs() -> None:
    instances = Instances.holding(Instance.of(two_jobs()))
    assert instances.graph.jobs[0].tolist() == [(0.5, np.inf), (2, 9)]
    assert instances.graph.release[0].tolist() == [0.5, 2, 0.5, 2]


def test_drawn_graphs_are_one_job() -> None:
    source = RandomGraphs(num_tasks=6)
    room = GraphArrays.empty(2, 6, 4, source.max_edges, source.max_jobs)
    for array in room:
        array.view(np.uint8)[:] = 7
    source.fill(room, np.arange(2), np.arange(2), np.arange(2))
    assert room.num_jobs.tolist() == [1, 1]
    assert room.jobs.tolist() == [[(0, np.inf)]] * 2
    assert not room.job.any()
    assert not room.release.any()
    assert source.sample(0, 0).is_plain


def test_more_jobs_than_there_is_room_for_are_refused() -> None:
    graph = join_jobs([fft(2), fft(2)], [0, 1])
    with pytest.raises(HetgymError, match="'jobs' has 2 jobs; the scenario has room for 1"):
        load_scenario("random").simulator(1).reset([0], [graph])


@pytest.mark.parametrize("change", [{}, {"job": (), "arrival": [1.0], "deadline": ()}])
def test_jobs_are_not_written_as_a_workflow(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(HetgymError, match="'two-jobs': a WfFormat workflow is one job that arrives at 0"):
        write_wfformat(two_jobs(**change), tmp_path / "jobs.json")
    assert not list(tmp_path.iterdir())
