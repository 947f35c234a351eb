"""The compiled list schedulers' parts: plans that are continued, releases."""

import numpy as np
import pytest

from hetgym.agents import make_policy
from hetgym.agents.heuristics.list_schedulers import StaticScheduler
from hetgym.compilation import kernel
from hetgym.envs.task_graph.instance import Instance, Instances, problem_at
from hetgym.envs.task_graph.list_scheduling import Draft, clear, continue_by_priority, heft, place, prepare
from hetgym.envs.task_graph.ranks import makespan_lower_bound
from hetgym.envs.task_graph.schedule import Schedule
from hetgym.workloads import TaskGraph, random_task_graph
from hetgym.workloads.task_graph import FloatArray, IntArray


@kernel
def clear_plan(instances: Instances, draft: Draft) -> None:
    clear(problem_at(instances, 0), draft.plan)


@kernel
def decide(instances: Instances, draft: Draft, sequence: IntArray, device: IntArray, start: FloatArray) -> None:
    """Places some tasks and counts what their successors still wait for."""
    problem = problem_at(instances, 0)
    for step in range(sequence.size):
        task = sequence[step]
        place(problem, draft.plan, step, task, device[task], start[task])
        for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
            draft.plan.tasks[problem.edges[edge].target].pending -= 1


@kernel
def complete(instances: Instances, draft: Draft, decided: int) -> None:
    """Continues as HEFT a plan in which so many tasks are decided."""
    problem = problem_at(instances, 0)
    draft.outlook[:] = 0.0
    for task in range(problem.total[0].num_tasks):
        draft.priority[task] = problem.upward_rank[task]
    continue_by_priority(problem, draft, decided, True)


@kernel
def run_heft(instances: Instances, draft: Draft) -> None:
    heft(problem_at(instances, 0), draft)


@kernel
def lower_bound(instances: Instances) -> float:
    return makespan_lower_bound(problem_at(instances, 0))


def cleared(graph: TaskGraph) -> tuple[Instances, Draft]:
    """Returns a prepared instance, and a plan for it in which nothing is decided."""
    instance = Instance.of(graph)
    instances, draft = Instances.holding(instance), Draft.empty(*instance.duration.shape)
    prepare(instances, draft, np.zeros(1, np.int64))
    clear_plan(instances, draft)
    return instances, draft


def heft_schedule(graph: TaskGraph) -> Schedule:
    policy = make_policy("heft")
    assert isinstance(policy, StaticScheduler)
    return policy.schedule(graph)


@pytest.mark.parametrize("decided", [0, 1, 17, 59, 60])
def test_a_plan_that_heft_began_is_completed_as_heft_would(decided: int) -> None:
    for seed in range(10):
        graph = random_task_graph(60, 4, ccr=2.0, seed=seed)
        wanted = heft_schedule(graph)
        instances, draft = cleared(graph)
        decide(instances, draft, wanted.sequence[:decided], wanted.device, wanted.start)
        complete(instances, draft, decided)
        for field in ("device", "start", "finish", "sequence"):
            np.testing.assert_array_equal(draft.plan.tasks[field], getattr(wanted, field))


def independent(duration: list[list[float]]) -> TaskGraph:
    kinds = tuple(f"p{device}" for device in range(len(duration[0])))
    return TaskGraph("independent", kinds, np.array(duration), np.empty((2, 0), int), np.empty(0))


def test_busy_devices_are_used_from_when_they_are_available() -> None:
    """The first device is the faster one but busy for 5 s: three tasks of 2 s on it, 3 s on the other."""
    instances, draft = cleared(independent([[2.0, 3.0], [2.0, 3.0], [2.0, 3.0]]))
    draft.plan.intervals["begin"][0, 0], draft.plan.intervals["end"][0, 0] = 0.0, 5.0
    draft.plan.intervals["widest_gap"][0, 0] = 0.0
    draft.plan.lanes["num_intervals"][0], draft.plan.lanes["available"][0] = 1, 5.0
    complete(instances, draft, 0)
    assert draft.plan.tasks["device"].tolist() == [1, 1, 0]
    assert draft.plan.tasks["start"].tolist() == [0.0, 3.0, 5.0]


def test_what_waits_for_a_task_that_is_not_ready_stays_undecided() -> None:
    chain = TaskGraph("chain", ("p0",), np.ones((3, 1)), np.array([[0], [1]]), np.zeros(1))
    instances, draft = cleared(chain)
    draft.plan.tasks["pending"][0] = 1
    complete(instances, draft, 0)
    assert draft.plan.tasks["device"].tolist() == [-1, -1, 0]


def test_no_task_starts_before_its_release() -> None:
    """On one device: the first task is released late, the second fits in before, the third only behind."""
    instances, draft = cleared(independent([[4.0], [3.0], [2.0]]))
    instances.tasks["release"][0, :3] = [4.0, 0.0, 2.5]
    run_heft(instances, draft)
    assert draft.plan.tasks["start"].tolist() == [4.0, 0.0, 8.0]
    assert draft.plan.tasks["sequence"].tolist() == [0, 1, 2]


def test_the_lower_bound_counts_from_the_release() -> None:
    instances, _ = cleared(independent([[4.0, 6.0], [3.0, 3.0]]))
    assert lower_bound(instances) == 4.0
    instances.tasks["release"][0, 1] = 2.0
    assert lower_bound(instances) == 5.0


def test_equal_upward_ranks_tie_however_they_are_summed() -> None:
    """20/3 of one task, and 2.5 + 1 + 19/6 of another and its successor: the lower index goes first."""
    duration = np.array([[8.0, 8.0, 4.0], [2.0, 3.0, 2.5], [0.0, 1.5, 8.0]])
    graph = TaskGraph("equal", ("p0", "p1", "p2"), duration, np.array([[1], [2]]), np.ones(1))
    assert heft_schedule(graph).sequence.tolist() == [0, 1, 2]
