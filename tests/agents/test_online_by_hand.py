"""The online rules on instances that are small enough to decide by hand."""

import numpy as np
import pytest

from hetgym.agents import make_policy
from hetgym.agents.policy import Policy
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.rules import Rules
from hetgym.envs.task_graph.schedule import Schedule
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.hardware_models import Device, Link, Platform
from hetgym.workloads import TaskGraph
from hetgym.workloads.generators import GivenGraph

INF = np.inf


def platform(*kinds: str) -> Platform:
    devices = tuple(Device(name=f"d{index}", kind=kind) for index, kind in enumerate(kinds))
    links = (Link(between=tuple(device.name for device in devices), bandwidth=1.0),) if len(devices) > 1 else ()
    return Platform(name="by-hand", devices=devices, links=links)


def play(policy: str | Policy, graph: TaskGraph, devices: Platform) -> Schedule:
    source = GivenGraph(graph=graph)
    simulator = TaskGraphSimulator(source, devices, 1, graph.num_tasks, rules=Rules(mode="dispatch"))
    simulator.reset([0], [Instance(graph, devices)])
    chosen = make_policy(policy) if isinstance(policy, str) else policy
    chosen.reset(simulator)
    while not simulator.outcome["terminated"][0]:
        simulator.step(chosen.act(simulator.observation, simulator))
    return simulator.schedule(0)


def jobs(
    durations: list[float], job: list[int], edges: list[tuple[int, int]] | None = None, **times: list[float]
) -> TaskGraph:
    pairs = np.array(edges or [], int).reshape(-1, 2).T
    return TaskGraph("jobs", ("cpu",), np.array(durations)[:, None], pairs, np.zeros(pairs.shape[1]), job=job, **times)


@pytest.mark.parametrize(("policy", "order"), [("edf", [0, 1, 2]), ("rm", [0, 2, 1])])
def test_deadlines_and_periods(policy: str, order: list[int]) -> None:
    # Task 0 must end by 7, and keeps the device until 6. Then task 1 is due at 14, 14 s after its job's arrival;
    # task 2 at 16, but only 11 s after.
    graph = jobs([6.0, 3.0, 3.0], [0, 1, 2], arrival=[0.0, 0.0, 5.0], deadline=[7.0, 14.0, 16.0])
    assert play(policy, graph, platform("cpu")).sequence.tolist() == order


@pytest.mark.parametrize(("policy", "order"), [("srcpf", [2, 0, 1]), ("rank-online", [0, 2, 1])])
def test_shortest_remaining_path(policy: str, order: list[int]) -> None:
    # Tasks 0 and 1 are a chain of 5 + 1 s, task 2 takes 4 s: the chain is more urgent, and is the longer job.
    graph = jobs([5.0, 1.0, 4.0], [0, 0, 1], [(0, 1)])
    assert play(policy, graph, platform("cpu")).sequence.tolist() == order


def test_remaining_path_counts_what_runs() -> None:
    # At 2 s a device is free. Job 0 has a task of 2 s to give, but runs one of 10 s: job 1, with 4 s, goes first.
    graph = jobs([10.0, 2.0, 2.0, 4.0], [0, 0, 0, 1], arrival=[0.0, 1.0])
    assert play("srcpf", graph, platform("cpu", "cpu")).sequence.tolist() == [0, 1, 3, 2]


@pytest.mark.parametrize(("exponent", "order"), [(-1.0, [4, 0, 1]), (1.0, [4, 0, 5])])
def test_weighted_fair(exponent: float, order: list[int]) -> None:
    # Job 0 has four tasks of 2 s, 8 s in all; job 1 two of 9 s, 18 s in all. Nothing is in line, so the most urgent
    # task, 4, goes first; then job 0 has nothing in line. For the third device 1 x 8 < 1 x 18, but 1 / 8 > 1 / 18.
    graph = jobs([2.0] * 4 + [9.0] * 2, [0] * 4 + [1] * 2)
    policy = make_policy("weighted-fair", exponent=exponent)
    assert play(policy, graph, platform("cpu", "cpu", "cpu")).sequence.tolist()[:3] == order


def test_dominant_shares() -> None:
    # Job 1 first gets the only GPU, all of it; job 0 one CPU, a half; so the other CPU is for job 0, not for task 1.
    duration = [[INF, 9.0], [9.0, INF], [2.0, INF], [2.0, INF], [2.0, INF]]
    graph = TaskGraph(
        "shares", ("cpu", "gpu"), np.array(duration), np.zeros((2, 0), int), np.zeros(0), job=[1, 1, 0, 0, 0]
    )
    devices = platform("cpu", "cpu", "gpu")
    assert play("drf", graph, devices).sequence.tolist()[:3] == [0, 2, 3]
    assert play(make_policy("weighted-fair", exponent=0.0), graph, devices).sequence.tolist()[:3] == [0, 2, 1]


def test_earliest_start_does_not_ask_how_long() -> None:
    # Both devices are free: the first one is taken by the more urgent task, though it is slow there.
    graph = TaskGraph(
        "starts", ("slow", "fast"), np.array([[3.0, 1.0], [9.0, 2.0]]), np.zeros((2, 0), int), np.zeros(0)
    )
    started, finished = (play(name, graph, platform("slow", "fast")) for name in ("etf-online", "eft"))
    assert (started.sequence.tolist(), started.device.tolist()) == ([1, 0], [1, 0])
    assert (finished.sequence.tolist(), finished.device.tolist()) == ([0, 1], [1, 0])


def test_optimistic_costs_look_ahead() -> None:
    # Task 1 can run on d1 only, and its input takes 10 s to get there: task 0 goes to d1, though it is faster on d0.
    graph = TaskGraph(
        "ahead", ("one", "two"), np.array([[2.0, 3.0], [INF, 4.0]]), np.array([[0], [1]]), np.array([10.0])
    )
    devices = platform("one", "two")
    assert play("oct-online", graph, devices).device.tolist() == [1, 1]
    assert play("rank-online-wait", graph, devices).device.tolist() == [0, 1]
