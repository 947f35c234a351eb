"""Jobs of stages: their structure, the laws of their sizes, and that a batch plays the graphs of single episodes."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.envs import TaskGraphScenario, load_scenario
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.hardware_models import load_platform
from hetgym.workloads import SparkJobs, TaskGraph, spark_jobs
from hetgym.workloads.task_graph import GraphArrays


def stages(graph: TaskGraph) -> list[list[int]]:
    """Tasks of each stage: those of a job that take equally long, as no two stages do."""
    found: dict[tuple[int, float], list[int]] = {}
    for task in range(graph.num_tasks):
        found.setdefault((int(graph.job[task]), float(graph.duration[task, 0])), []).append(task)
    return list(found.values())


@pytest.mark.parametrize("seed", range(20))
def test_stages_of_a_job_are_a_tree(seed: int) -> None:
    graph = spark_jobs(jobs=3, stages=6, width=5, seed=seed)
    assert sorted(set(graph.job.tolist())) == [0, 1, 2]
    edges = set(map(tuple, graph.edges.T.tolist()))
    stage_edges, seen = [], set()
    groups = stages(graph)
    for first, senders in enumerate(groups):
        assert senders == list(range(senders[0], senders[-1] + 1))
        for second, receivers in enumerate(groups):
            pairs = {(sender, receiver) for sender in senders for receiver in receivers}
            if pairs & edges:
                assert pairs <= edges
                stage_edges.append((first, second))
                seen |= pairs
    assert seen == edges
    tree = nx.DiGraph(stage_edges)
    tree.add_nodes_from(range(len(groups)))
    assert sorted(dict(tree.out_degree()).values()) == [0] * 3 + [1] * (len(groups) - 3)
    assert nx.number_weakly_connected_components(tree) == 3


def test_bounds_hold_and_are_reached() -> None:
    source = SparkJobs(jobs=2, stages=3, width=4, width_tail=0.1)
    graphs = [source.sample(seed, 0) for seed in range(300)]
    assert max(graph.num_tasks for graph in graphs) == source.max_tasks == 24
    assert max(graph.num_edges for graph in graphs) == source.max_edges == 2 * 2 * 16
    assert all(graph.num_jobs == source.max_jobs == 2 for graph in graphs)
    assert {len(stages(graph)) for graph in graphs} == {2, 3, 4, 5, 6}


def test_sizes_have_the_tails_that_are_asked_for() -> None:
    graphs = [spark_jobs(jobs=1, stages=1, width=50, width_tail=0.5, mean_duration=2.0, duration_tail=2.5, seed=seed)
              for seed in range(4_000)]  # fmt: skip
    width = np.array([graph.num_tasks for graph in graphs])
    for k in (2, 4, 16, 50):
        assert np.mean(width >= k) == pytest.approx(k**-0.5, abs=0.03)
    seconds = np.array([graph.duration[0, 0] for graph in graphs])
    assert seconds.mean() == pytest.approx(2.0, rel=0.05)
    assert seconds.min() == pytest.approx(2.0 * 1.5 / 2.5, rel=0.01)
    for factor in (2.0, 4.0):
        assert np.mean(seconds > factor * 1.2) == pytest.approx(factor**-2.5, abs=0.02)


def test_executors_are_alike_unless_asked() -> None:
    alike = spark_jobs(seed=1, num_devices=5)
    assert alike.kinds == ("p1", "p2", "p3", "p4", "p5")
    assert (alike.duration == alike.duration[:, :1]).all()
    assert not alike.edge_bytes.any()
    unlike = spark_jobs(seed=1, heterogeneity=1.0, ccr=1.0)
    assert (unlike.duration.min(axis=1) < unlike.duration.max(axis=1)).all()
    assert (unlike.edge_bytes > 0).all()
    assert all(len({tuple(row) for row in unlike.duration[stage]}) == 1 for stage in stages(unlike))


def test_fill_equals_sample_on_a_platform() -> None:
    platform = load_platform("readys-2c2g")
    source = SparkJobs(heterogeneity=0.5).on(platform)
    room = GraphArrays.empty(2, source.max_tasks, platform.num_devices, source.max_edges, source.max_jobs)
    source.fill(room, np.array([1]), np.array([5]), np.array([3]))
    graph = source.sample(5, 3)
    assert room.num_tasks[1] == graph.num_tasks
    assert room.num_jobs[1] == graph.num_jobs
    assert (room.duration[1, : graph.num_tasks] == graph.duration[:, [0, 0, 1, 1]]).all()
    assert (room.job[1, : graph.num_tasks] == graph.job).all()
    assert not room.release[1, : graph.num_tasks].any()
    edges = room.edges[1, : room.num_edges[1]]
    assert (np.array([edges["source"], edges["target"]]) == graph.edges).all()
    assert (edges["bytes"] == graph.edge_bytes).all()


def test_batch_plays_the_graphs_of_single_episodes() -> None:
    scenario = load_scenario("spark-tpch-like", pool=2)
    assert isinstance(scenario, TaskGraphScenario)
    simulator = scenario.simulator(3)
    assert isinstance(simulator, TaskGraphSimulator)
    simulator.reset([0, 1, 2])
    for episode in range(3):
        for row in range(3):
            expected, played = scenario.instance(row, episode).graph, simulator.instance(row).graph
            assert played.duration.tobytes() == expected.duration.tobytes()
            assert played.edges.tobytes() == expected.edges.tobytes()
            assert played.job.tobytes() == expected.job.tobytes()
        simulator.reset_to_next()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"jobs": 0}, "spark_jobs: jobs: "), ({"duration_tail": 1.0}, "spark_jobs: duration_tail: "),
     ({"width_tail": 0.0}, "spark_jobs: width_tail: "), ({"seed": -1}, "spark_jobs: seed: ")],
)  # fmt: skip
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        spark_jobs(**settings)
