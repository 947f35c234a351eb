"""The worked examples of the HEFT and the PEFT paper, to the exact number (facts/task-graphs.md, section 1)."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hetgym.agents import make_policy
from hetgym.agents.heuristics.list_schedulers import StaticScheduler
from hetgym.compilation import kernel
from hetgym.envs.task_graph import checker, ranks
from hetgym.envs.task_graph.instance import Instance, Instances, problem_at
from hetgym.envs.task_graph.list_scheduling import Draft, prepare
from hetgym.evaluate import evaluate
from hetgym.workloads import CANONICAL_GRAPHS

MAKESPANS = [
    ("heft-paper", "heft", 80),
    ("heft-paper", "peft", 85),
    ("heft-paper", "min-min", 76),
    ("heft-paper", "mct", 80),
    ("peft-paper", "heft", 133),
    ("peft-paper", "peft", 122),
    ("peft-paper", "min-min", 122),
]

HEFT_SCHEDULE = [
    [(1, 27, 40), (7, 57, 62)],
    [(3, 18, 26), (5, 26, 42), (8, 56, 68), (9, 73, 80)],
    [(0, 0, 9), (2, 9, 28), (4, 28, 38), (6, 38, 49)],
]
"""By device, in order of time: (task, start, finish)."""

HEFT_RANKS = [108, 77, 80, 80, 69, 63.333, 42.667, 35.667, 44.333, 14.667]

PEFT_OPTIMISTIC_COSTS = [
    [64, 68, 86], [42, 39, 42], [27, 41, 43], [42, 39, 50], [28, 37, 28],
    [42, 39, 44], [13, 16, 22], [13, 16, 33], [13, 16, 20], [0, 0, 0],
]  # fmt: skip


def scheduler(name: str) -> StaticScheduler:
    policy = make_policy(name)
    assert isinstance(policy, StaticScheduler)
    return policy


def prepared(graph: str) -> Instances:
    instance = Instance.of(CANONICAL_GRAPHS[graph]())
    instances = Instances.holding(instance)
    prepare(instances, Draft.empty(*instance.duration.shape), np.zeros(1, np.int64))
    return instances


@kernel
def fill_optimistic_cost(instances: Instances, cost: NDArray[np.float64]) -> None:
    ranks.optimistic_cost(problem_at(instances, 0), True, cost)


@pytest.mark.parametrize(("graph", "policy", "makespan"), MAKESPANS)
def test_makespan(graph: str, policy: str, makespan: float) -> None:
    problem = CANONICAL_GRAPHS[graph]()
    schedule = scheduler(policy).schedule(problem)
    assert schedule.makespan == makespan
    assert checker.violations(Instance.of(problem), schedule) == []


@pytest.mark.parametrize("graph", ["heft-paper", "peft-paper"])
def test_evaluation(graph: str) -> None:
    wanted = {policy: makespan for name, policy, makespan in MAKESPANS if name == graph}
    table = evaluate(graph, list(wanted), episodes=1).set_index("policy")
    assert table["makespan"].to_dict() == wanted
    assert set(table["heft_makespan"]) == {wanted["heft"]}
    by_return = (table["lower_bound"] - table["makespan"]) / wanted["heft"]
    np.testing.assert_allclose(table["return"], by_return, rtol=0, atol=1e-12)


def test_heft_schedule() -> None:
    schedule = scheduler("heft").schedule(CANONICAL_GRAPHS["heft-paper"]())
    on_device = [sorted(np.flatnonzero(schedule.device == device), key=schedule.start.item) for device in range(3)]
    found = [[(int(task), schedule.start[task], schedule.finish[task]) for task in tasks] for tasks in on_device]
    assert found == HEFT_SCHEDULE


def test_heft_ranks() -> None:
    np.testing.assert_allclose(prepared("heft-paper").upward_rank[0], HEFT_RANKS, rtol=0, atol=0.0005)


def test_peft_optimistic_costs() -> None:
    cost = np.full((10, 3), np.nan)
    fill_optimistic_cost(prepared("peft-paper"), cost)
    assert cost.tolist() == PEFT_OPTIMISTIC_COSTS
