"""The children of partial schedules: what a list scheduler would make of them, and which are equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compilation import handle_kernel, inner
from ...envs.task_graph.instance import Problem, Records, problem_at
from ...envs.task_graph.list_scheduling import Draft, Plan, continue_by_priority, makespan_of, place
from ...envs.task_graph.state import Episode
from ...envs.task_graph.world import World, episode_at
from ...workloads.task_graph import IntArray

CHILD = np.dtype(
    [
        ("row", np.int64),  # the episode that it continues
        ("task", np.int64),  # a ready one
        ("device", np.int64),
        ("preference", np.float64),  # the larger, the better
        ("makespan", np.float64),  # seconds, once it is completed
    ],
    align=True,
)
"""A partial schedule with one decision more."""


@inner
def _copy_plan(problem: Problem, source: Plan, target: Plan) -> None:
    for task in range(problem.total[0].num_tasks):
        target.tasks[task].device = source.tasks[task].device
        target.tasks[task].finish = source.tasks[task].finish
        target.tasks[task].pending = source.tasks[task].pending
    for device in range(problem.duration.shape[1]):
        target.lanes[device].num_intervals = source.lanes[device].num_intervals
        target.lanes[device].available = source.lanes[device].available
        target.lanes[device].busy = source.lanes[device].busy
        for i in range(source.lanes[device].num_intervals):
            target.intervals[device, i].begin = source.intervals[device, i].begin
            target.intervals[device, i].end = source.intervals[device, i].end
            target.intervals[device, i].widest_gap = source.intervals[device, i].widest_gap


@inner
def _complete(world: World, draft: Draft, children: Records) -> None:
    plan = draft.plan
    draft.outlook[:] = 0.0
    for c in range(children.size):
        child = children[c]
        episode = episode_at(world, child.row)
        status = episode.status[0]
        problem = problem_at(world.instances, status.slot)
        for task in range(problem.total[0].num_tasks):
            draft.priority[task] = problem.upward_rank[task]
        _copy_plan(problem, episode.plan, plan)
        start = episode.options[child.task, child.device].start
        place(problem, plan, status.num_placed, child.task, child.device, start)
        for edge in range(problem.tasks[child.task].out_begin, problem.tasks[child.task + 1].out_begin):
            plan.tasks[problem.edges[edge].target].pending -= 1
        continue_by_priority(problem, draft, status.num_placed + 1, status.insertion)
        child.makespan = makespan_of(plan)


@handle_kernel
def complete(handle: Any, draft: Draft, children: Records) -> None:
    """Finds the makespans of children that are completed by HEFT's rule.

    Args:
        handle: Of a `World` in Plan.
        draft: Room for one of its instances.
        children: Any number of `CHILD`; the makespans are written.
    """
    _complete(handle.value, draft, children)


@inner
def _placed(episode: Episode, child: Any, task: int) -> tuple[int, float]:
    """Returns the device and the start of a task in a child, -1 and 0 where it is undecided."""
    if task == child.task:
        return int(child.device), float(episode.options[task, child.device].start)
    device = int(episode.plan.tasks[task].device)
    return device, float(episode.plan.tasks[task].start) if device >= 0 else 0.0


@inner
def _are_equal(world: World, one: Any, other: Any) -> bool:
    """Whether two children are the same partial schedule; if so, the same comes of them."""
    if one.makespan != other.makespan:
        return False
    episode, another = episode_at(world, one.row), episode_at(world, other.row)
    task, num_tasks = 0, world.instances.totals[episode.status[0].slot].num_tasks
    while task < num_tasks and _placed(episode, one, task) == _placed(another, other, task):
        task += 1
    return bool(task == num_tasks)


@inner
def _choose(world: World, children: Records, chosen: IntArray) -> int:
    count = 0
    for c in range(children.size):
        known = 0
        while known < count and not _are_equal(world, children[chosen[known]], children[c]):
            known += 1
        if known == count < chosen.size:
            chosen[count] = c
            count += 1
    return count


@handle_kernel
def choose(handle: Any, children: Records, chosen: IntArray) -> int:
    """Finds the first children, of equal ones one, and returns how many there are.

    Args:
        handle: Of a `World` in Plan, whose episodes play the same instance.
        children: Any number of `CHILD`, completed, the best first.
        chosen: int64 (K,), at most so many; the result comes first in it.
    """
    return _choose(handle.value, children, chosen)
