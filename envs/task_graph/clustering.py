"""Linear clustering, compiled: longest paths first, each on a device of its own choice."""

from __future__ import annotations

import numpy as np

from ...compilation import inner
from . import ranks
from .instance import Problem
from .list_scheduling import Draft, best_place, clear, gather_ready, place, prefer_only, release, take_ready

_UNEXAMINED = -2
_END = -1


@inner
def linear_clustering(problem: Problem, draft: Draft) -> None:
    """By upward rank, inserted; the first task of a cluster takes it where it would end first if it ran at once."""
    plan, num_tasks = draft.plan, problem.total[0].num_tasks
    for task in range(num_tasks):
        draft.following[task] = _UNEXAMINED
    head = _cut_longest_path(problem, draft)
    while head >= 0:
        _look_ahead(problem, draft, head)
        head = _cut_longest_path(problem, draft)
    for task in range(num_tasks):
        draft.priority[task] = problem.upward_rank[task]
    clear(problem, plan)
    num_ready = gather_ready(problem, draft)
    for step in range(num_tasks):
        task = take_ready(draft, num_ready, 0)
        device, start = best_place(problem, draft, task, True)
        place(problem, plan, step, task, device, start)
        if draft.following[task] >= 0:
            prefer_only(problem, draft, draft.following[task], device)
        num_ready = release(problem, draft, task, num_ready - 1)


@inner
def _cut_longest_path(problem: Problem, draft: Draft) -> int:
    """Links the tasks of the longest mean path of unexamined tasks, and returns its first; -1 if there is none.

    The mean durations of its tasks count, and the mean transfers between them.
    """
    level, following = draft.priority, draft.following
    num_tasks = problem.total[0].num_tasks
    for position in range(num_tasks - 1, -1, -1):
        task = problem.tasks[position].order
        if following[task] == _UNEXAMINED:
            _, longest = _next_on_path(problem, draft, task)
            level[task] = problem.tasks[task].mean_duration + longest
    head = -1
    for task in range(num_tasks):
        if following[task] == _UNEXAMINED and (head < 0 or _is_longer(level[task], level[head])):
            head = task
    task = head
    while task >= 0:
        successor, _ = _next_on_path(problem, draft, task)
        following[task] = successor
        task = successor
    return head


@inner
def _is_longer(one: float, other: float) -> bool:
    """Whether one path is longer than another, by more than rounding."""
    return bool(ranks.without_last_bits(one) > ranks.without_last_bits(other))


@inner
def _next_on_path(problem: Problem, draft: Draft, task: int) -> tuple[int, float]:
    """Returns the unexamined successor on the longest path from a task, and how much longer that path is, seconds."""
    chosen, longest = _END, 0.0
    for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
        receiver = problem.edges[edge].target
        if draft.following[receiver] == _UNEXAMINED:
            length = problem.edge_costs[edge].mean_transfer + draft.priority[receiver]
            if chosen < 0 or _is_longer(length, longest):
                chosen, longest = receiver, length
    return chosen, longest


@inner
def _look_ahead(problem: Problem, draft: Draft, head: int) -> None:
    """Sets the outlook of the first task of a cluster to the durations of the others.

    A cluster that no device can run whole falls apart into single tasks.
    """
    whole = False
    for device in range(problem.duration.shape[1]):
        rest, task = 0.0, draft.following[head]
        while task >= 0:
            rest += problem.duration[task, device]
            task = draft.following[task]
        draft.outlook[head, device] = rest
        whole = whole or rest + problem.duration[head, device] < np.inf
    task = head if not whole else _END
    while task >= 0:
        for device in range(problem.duration.shape[1]):
            draft.outlook[task, device] = 0.0
        successor = draft.following[task]
        draft.following[task] = _END
        task = successor
