"""A dispatching rule of weighted features: which ready task comes first, and where it is given.

Hand-made rules order tasks by one number, such as their job's unfinished work; this one orders them by a weighted sum
of many. Weights can be trained (`hetgym.train.evolution`), as dispatching rules of job shops are (Branke, Nguyen,
Pickardt, Zhang 2016, doi:10.1109/TEVC.2015.2429314).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...compilation import handle_kernel, inner
from ...envs import Simulator
from ...envs.core.simulator import Arrays, Feature
from ...envs.task_graph.instance import Problem, problem_at
from ...envs.task_graph.state import Episode, is_allowed
from ...envs.task_graph.world import World, episode_at
from ...workloads.task_graph import FloatArray
from ..policy import Actions
from .online import dispatching

TASK_FEATURES = (
    Feature("age", "time since the arrival of its job, s; / HEFT makespan"),
    Feature("waited", "time since it became ready, s; / HEFT makespan"),
    Feature("min_duration", "duration on its fastest device, s; / HEFT makespan"),
    Feature("path", "least time from its start to the end of its job, s; / HEFT makespan"),
    Feature("rank", "upward rank, s; / the largest of all tasks"),
    Feature("work", "mean durations of its job's unfinished tasks, s; / HEFT makespan"),
    Feature("unfinished", "unfinished tasks of its job; / 10"),
    Feature("in_line", "tasks of its job in line; / 10"),
    Feature("log_age", "logarithm of 0.05 plus age"),
    Feature("log_path", "logarithm of 0.05 plus path"),
    Feature("log_work", "logarithm of 0.05 plus work"),
    Feature("log_unfinished", "logarithm of the unfinished tasks of its job"),
)
"""What a ready task's place in the order depends on: the least weighted sum comes first."""

DEVICE_FEATURES = (
    Feature("duration", "duration, s"),
    Feature("delay", "time from now to its start, s"),
    Feature("idle", "time from when the device is free to its start, s"),
    Feature("transfer", "sum of the transfer times of its inputs, s"),
    Feature("after", "least time from its end to the end of its job, s"),
    Feature("crowded_duration", "duration, s, times the ready tasks; / 10"),
    Feature("crowded_delay", "time from now to its start, s, times the ready tasks; / 10"),
)
"""What is added, weighted, to the finish of a task on a device: the least sum is where it is given."""


class RuleWeights(NamedTuple):
    """The numbers of a rule.

    A task that waits for a device keeps it from those behind it until it would finish there, and ``claim`` times its
    duration longer, or shorter where that is negative.
    """

    task: FloatArray  # of TASK_FEATURES
    device: FloatArray  # of DEVICE_FEATURES
    claim: FloatArray  # (1,)

    @classmethod
    def least_work(cls) -> RuleWeights:
        """Returns the rule ``lwkr``: least unfinished work of the job first, where it finishes first."""
        task = np.zeros(len(TASK_FEATURES))
        task[[feature.name for feature in TASK_FEATURES].index("work")] = 1.0
        return cls(task, np.zeros(len(DEVICE_FEATURES)), np.zeros(1))


class _Desk(NamedTuple):
    """Room to compare in."""

    key: FloatArray  # (T,) of ready tasks, by position; inf for those that are through
    free: FloatArray  # (P,) seconds; when devices are free, after tasks that wait for them


class WeightedRule:
    """A rule of weighted features as a policy: tasks in order, each to its device, and it waits for that.

    Attributes:
        name: What it is called.
    """

    clairvoyant = False
    observes = False

    def __init__(self, name: str, weights: RuleWeights) -> None:
        """Takes the weights.

        Args:
            name: What it is called.
            weights: Of the features.
        """
        self.name = name
        self._weights = weights

    def reset(self, simulator: Simulator) -> None:
        """Checks that tasks are decided while they run.

        Raises:
            HetgymError: If they are not.
        """
        state = dispatching(self.name, simulator).state
        self._desk = _Desk(np.empty(state.tasks.shape[1]), np.empty(state.lanes.shape[1]))

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns a task and its device for each episode, or 0 to wait, int64 (B,)."""
        actions = np.zeros(simulator.num_envs, np.int64)
        choose_weighted(dispatching(self.name, simulator).handle, self._weights, self._desk, actions)
        return actions


@inner
def _task_key(problem: Problem, episode: Episode, weights: FloatArray, task: int) -> float:
    """Returns the weighted sum of `TASK_FEATURES`."""
    status, job = episode.status[0], episode.jobs[problem.tasks[task].job]
    path = np.inf
    for device in range(problem.duration.shape[1]):
        path = min(path, problem.duration[task, device] + problem.tail[task, device])
    per_unit = 1.0 / status.makespan_unit
    age, work, path = (status.now - job.arrival) * per_unit, job.work * per_unit, path * per_unit
    return float(
        weights[0] * age
        + weights[1] * (status.now - episode.runs[task].ready_at) * per_unit
        + weights[2] * problem.tasks[task].min_duration * per_unit
        + weights[3] * path
        + weights[4] * problem.upward_rank[task] / problem.total[0].largest_rank
        + weights[5] * work
        + weights[6] * job.remaining * 0.1
        + weights[7] * job.in_line * 0.1
        + weights[8] * np.log(0.05 + age)
        + weights[9] * np.log(0.05 + path)
        + weights[10] * np.log(0.05 + work)
        + weights[11] * np.log(float(job.remaining))
    )


@inner
def _best_device(problem: Problem, episode: Episode, weights: FloatArray, desk: _Desk, task: int) -> int:
    """Returns the device of least finish plus weighted sum of `DEVICE_FEATURES`."""
    best, best_device = np.inf, -1
    now, crowd = episode.status[0].now, 0.1 * episode.status[0].num_ready
    for device in range(problem.duration.shape[1]):
        duration, option = problem.duration[task, device], episode.options[task, device]
        if duration == np.inf:
            continue
        start = max(option.start, desk.free[device])
        cost = start + duration
        cost += (weights[0] + weights[5] * crowd) * duration
        cost += (weights[1] + weights[6] * crowd) * (start - now)
        cost += weights[2] * (start - desk.free[device])
        cost += weights[3] * option.transfer
        cost += weights[4] * problem.tail[task, device]
        if cost < best:
            best, best_device = cost, device
    return best_device


@inner
def _next_position(desk: _Desk, num_ready: int) -> int:
    """Returns the position of least key; of equals the first, which is the most urgent."""
    least = 0
    for position in range(1, num_ready):
        if desk.key[position] < desk.key[least]:
            least = position
    return least


@inner
def _choose(problem: Problem, episode: Episode, weights: RuleWeights, desk: _Desk) -> tuple[int, int]:
    """Returns the first ready task in order whose device takes it now, and the device; (-1, -1) if there is none."""
    ready, num_ready = episode.plan.tasks, episode.status[0].num_ready
    for device in range(desk.free.size):
        desk.free[device] = episode.plan.lanes[device].available
    for position in range(num_ready):
        desk.key[position] = _task_key(problem, episode, weights.task, ready[position].ready)
    for _ in range(num_ready):
        position = _next_position(desk, num_ready)
        task = ready[position].ready
        device = _best_device(problem, episode, weights.device, desk, task)
        if is_allowed(problem, episode, task, device, 0):
            return task, device
        start = max(episode.options[task, device].start, desk.free[device])
        desk.free[device] = start + (1.0 + weights.claim[0]) * problem.duration[task, device]
        desk.key[position] = np.inf
    return -1, -1


@inner
def _choose_weighted(world: World, weights: RuleWeights, desk: _Desk, actions: Actions) -> None:
    for b in range(actions.size):
        episode = episode_at(world, b)
        if episode.status[0].is_over:
            continue
        problem = problem_at(world.instances, episode.status[0].slot)
        task, device = _choose(problem, episode, weights, desk)
        if task >= 0:
            pair = task * problem.duration.shape[1] + device
            actions[b] = world.shown.candidates.shape[1] + pair * problem.steps.shape[1]


@handle_kernel
def choose_weighted(handle: Any, weights: RuleWeights, desk: _Desk, actions: Actions) -> None:
    """Finds the next decision of every episode.

    Args:
        handle: Of a `World`.
        weights: Of the rule.
        desk: To work in.
        actions: int64 (B,), zeros; the result.
    """
    _choose_weighted(handle.value, weights, desk, actions)
