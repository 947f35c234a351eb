"""Lower bounds, by hand on small graphs; that no policy undercuts them is tested beside the simulator."""

import numpy as np
import pytest

from hetgym.envs import load_scenario
from hetgym.envs.task_graph.bounds import fractional_lower_bound, heads_and_tails, lower_bound
from hetgym.envs.task_graph.instance import Instance
from hetgym.workloads import TaskGraph, join_jobs, random_task_graph
from hetgym.workloads.canonical import heft_paper


def graph_of(duration: list[list[float]], edges: list[tuple[int, int, float]] | None = None) -> TaskGraph:
    senders, receivers, volumes = zip(*edges, strict=True) if edges else ((), (), ())
    kinds = tuple(f"p{device}" for device in range(len(duration[0])))
    return TaskGraph("by-hand", kinds, np.array(duration), np.array([senders, receivers], int), np.array(volumes))


def bounds(graph: TaskGraph) -> tuple[float, float]:
    instance = Instance.of(graph)
    return lower_bound(instance), fractional_lower_bound(instance)


def test_heads_and_tails_of_a_join() -> None:
    """Two tasks, 2 s each on its own device, send 3 bytes to a third: it is there after 5 s at best."""
    instance = Instance.of(graph_of([[2.0, np.inf], [np.inf, 2.0], [1.0, 4.0]], [(0, 2, 3.0), (1, 2, 3.0)]))
    head, tail = heads_and_tails(instance)
    assert head.tolist() == [[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]]
    assert tail.tolist() == [[1.0, 4.0], [1.0, 4.0], [0.0, 0.0]]


def test_a_join_is_on_one_device() -> None:
    """One sender or the other must send: 2 + 3 + 1 s, though either path alone takes no more than 4 s."""
    graph = graph_of([[2.0, np.inf], [np.inf, 2.0], [1.0, 2.0]], [(0, 2, 3.0), (1, 2, 3.0)])
    assert bounds(graph) == (6.0, 6.0)


def test_work_is_shared() -> None:
    """Five tasks of 2 s on two devices."""
    assert bounds(graph_of([[2.0, 2.0]] * 5)) == pytest.approx((5.0, 5.0))


def test_devices_share_work_by_their_speeds() -> None:
    """12 s of work for the first device, of which the second takes a fifth, at a quarter of the speed."""
    assert bounds(graph_of([[2.0, 8.0]] * 6)) == pytest.approx((6.0, 9.6))


def test_work_that_only_one_device_can_do() -> None:
    assert bounds(graph_of([[2.0, np.inf], [3.0, np.inf], [1.0, 1.0]])) == pytest.approx((3.0, 5.0))


def test_work_lies_between_head_and_tail() -> None:
    """A task of 3 s before and one of 4 s after six of 2 s each, which two devices share."""
    edges = [(0, task, 0.0) for task in range(1, 7)] + [(task, 7, 0.0) for task in range(1, 7)]
    graph = graph_of([[3.0, 3.0], *[[2.0, 2.0]] * 6, [4.0, 4.0]], edges)
    assert bounds(graph) == pytest.approx((3.0 + 6.0 + 4.0, 13.0))


def test_work_of_a_late_job() -> None:
    """At 10 s arrive four tasks of 3 s for two devices."""
    job = graph_of([[3.0, 3.0]] * 4)
    assert bounds(join_jobs([job, job], [0.0, 10.0])) == pytest.approx((16.0, 16.0))


def test_a_device_that_takes_very_long_is_no_help() -> None:
    assert bounds(graph_of([[1.0, 1e30]] * 4)) == pytest.approx((2.0, 4.0))


def test_nothing_to_do() -> None:
    assert bounds(graph_of([[0.0, 0.0]])) == (0.0, 0.0)


def test_canonical() -> None:
    """The graph's optimum is 73."""
    least, shared = bounds(heft_paper())
    assert 0 < least <= shared <= 73


def test_no_less_than_the_bound_of_the_rewards() -> None:
    for seed in range(20):
        scenario = load_scenario("random", num_tasks=5 + 5 * seed, ccr=0.1 + seed % 3)
        simulator = scenario.simulator(1)
        simulator.reset([seed])
        instance = simulator.instance(0)
        least, shared = lower_bound(instance), fractional_lower_bound(instance)
        assert simulator.metrics_of(0)["lower_bound"] <= least * (1 + 1e-9)
        assert least <= shared


def test_unit_of_time_does_not_matter() -> None:
    drawn = random_task_graph(30, 4, seed=1)
    for unit in (1e-9, 1e9):
        graph = TaskGraph("drawn", drawn.kinds, drawn.duration * unit, drawn.edges, drawn.edge_bytes * unit)
        assert bounds(graph) == pytest.approx(tuple(unit * bound for bound in bounds(drawn)))
