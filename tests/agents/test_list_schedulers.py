"""The static list schedulers: golden makespans, and what each definition promises on small graphs."""

from __future__ import annotations

import numpy as np
import pytest

from hetgym.agents import list_policies, make_policy
from hetgym.agents.heuristics.replay import Planner
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.workloads import TaskGraph, random_task_graph
from hetgym.workloads.canonical import heft_paper, peft_paper

STATIC = [name for name in list_policies("task-graph") if isinstance(make_policy(name), Planner)]

GOLDEN = {
    "heft": (80, 133), "peft": (85, 122), "cpop": (86, 167), "lookahead": (76, 127), "dls": (91, 134),
    "min-min": (76, 122), "max-min": (97, None), "mct": (80, None), "met": (82, None), "olb": (102, None),
    "ipeft": (86, 142), "hbmct": (76, 147), "linear-clustering": (95, 147), "duplication": (73, 118),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_makespans(name: str) -> None:
    heft, peft = GOLDEN[name]
    assert make_policy(name).schedule(heft_paper()).makespan == heft
    if peft is not None:
        assert make_policy(name).schedule(peft_paper()).makespan == peft


@pytest.mark.parametrize("name", STATIC)
def test_schedules_of_random_graphs_are_valid(name: str) -> None:
    scheduler = make_policy(name)
    for seed in range(25):
        graph = random_task_graph(1 + 3 * seed, 1 + seed % 5, ccr=0.2 * seed, seed=seed)
        schedule = scheduler.schedule(graph)
        assert violations(Instance.of(graph), schedule) == []
        assert sorted(schedule.sequence.tolist()) == list(range(graph.num_tasks))


@pytest.mark.parametrize("name", STATIC)
def test_tasks_go_only_where_they_can_run(name: str) -> None:
    """Two kinds of device; every third task runs on one of them only, and no device runs everything."""
    drawn = random_task_graph(30, 4, seed=3)
    duration = drawn.duration.copy()
    duration[::3, :2] = np.inf
    duration[1::3, 2:] = np.inf
    graph = TaskGraph("choosy", drawn.kinds, duration, drawn.edges, drawn.edge_bytes)
    assert violations(Instance.of(graph), make_policy(name).schedule(graph)) == []


def independent(duration: list[list[float]]) -> TaskGraph:
    kinds = tuple(f"p{device}" for device in range(len(duration[0])))
    return TaskGraph("independent", kinds, np.array(duration), np.empty((2, 0), int), np.empty(0))


def test_sufferage_serves_first_whom_waiting_hurts_most() -> None:
    """Task 1 loses 9 s on the other device, task 0 only 1 s, and both are best on the first."""
    schedule = make_policy("sufferage").schedule(independent([[4.0, 5.0], [3.0, 12.0]]))
    assert schedule.sequence.tolist() == [1, 0]
    assert schedule.device.tolist() == [1, 0]


def test_max_min_starts_with_the_longest_and_min_min_with_the_shortest() -> None:
    graph = independent([[2.0, 2.0], [9.0, 9.0], [4.0, 4.0]])
    assert make_policy("max-min").schedule(graph).sequence[0] == 1
    assert make_policy("min-min").schedule(graph).sequence[0] == 0


def test_etf_breaks_ties_of_start_by_static_level() -> None:
    """On one device all ready tasks can start together: the order is by level, 4 and 3, then 2 and 2."""
    graph = TaskGraph("levels", ("p0",), np.array([[3.0], [2.0], [2.0]]), np.array([[1], [2]]), np.zeros(1))
    assert make_policy("etf").schedule(graph).sequence.tolist() == [1, 0, 2]


def test_met_and_fastest_node_ignore_queues() -> None:
    graph = independent([[1.0, 2.0], [1.0, 2.0], [3.0, 2.5]])
    assert make_policy("met").schedule(graph).device.tolist() == [0, 0, 1]
    assert make_policy("fastest-node").schedule(graph).device.tolist() == [0, 0, 0]


def test_olb_takes_the_device_that_is_free_first_however_slow() -> None:
    graph = independent([[1.0, 50.0], [1.0, 50.0], [1.0, 50.0]])
    assert make_policy("olb").schedule(graph).device.tolist() == [0, 1, 0]


def test_cpop_keeps_the_critical_path_on_one_device() -> None:
    """A chain beside two short tasks: the chain's durations are least on the second device."""
    duration = np.array([[4.0, 3.0], [4.0, 3.0], [4.0, 3.0], [0.5, 0.5], [0.5, 0.5]])
    graph = TaskGraph("chain", ("p0", "p1"), duration, np.array([[0, 1], [1, 2]]), np.full(2, 1.0))
    assert make_policy("cpop").schedule(graph).device[:3].tolist() == [1, 1, 1]
