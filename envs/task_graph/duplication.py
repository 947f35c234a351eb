"""HEFT with task duplication, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...compilation import inner, kernel
from ...workloads.task_graph import FloatArray
from .instance import Instances, Problem, Records, problem_at
from .list_scheduling import Draft, clear, derive, earliest_start, gather_ready, occupy, release, take_ready, vacate
from .ranks import transfer_time

COPY = np.dtype(
    [("task", np.int64), ("device", np.int64), ("start", np.float64), ("finish", np.float64)],  # seconds
    align=True,
)
"""One run of a task."""


class Copies(NamedTuple):
    """Room for a scheduler that may run a task on several devices."""

    draft: Draft
    finish: FloatArray  # (T, P) seconds, when each task ends on each device; inf where it does not run
    runs: Records  # (T * P,) of COPY, in the order of the decisions

    @classmethod
    def empty(cls, num_tasks: int, num_devices: int) -> Copies:
        """Returns room for one instance of such a size, or less."""
        return cls(
            Draft.empty(num_tasks, num_devices),
            np.empty((num_tasks, num_devices)),
            np.empty(num_tasks * num_devices, COPY),
        )


@kernel
def duplicate(instances: Instances, n: int, copies: Copies) -> int:
    """Makes a schedule by HEFT with duplication, and returns how many runs it has.

    Args:
        instances: The instances.
        n: Which of them.
        copies: Room for it; the result is the first ``runs``.
    """
    draft = copies.draft
    derive(instances, n, draft)
    problem = problem_at(instances, n)
    copies.finish[:] = np.inf
    for task in range(problem.total[0].num_tasks):
        draft.priority[task] = problem.upward_rank[task]
    clear(problem, draft.plan)
    num_ready, count = gather_ready(problem, draft), 0
    for _ in range(problem.total[0].num_tasks):
        task = take_ready(draft, num_ready, 0)
        best, chosen = np.inf, 0
        for device in range(problem.duration.shape[1]):
            if problem.duration[task, device] < np.inf:
                start, end = _start_with_copies(problem, copies, count, task, device)
                if start + problem.duration[task, device] < best:
                    best, chosen = start + problem.duration[task, device], device
                for run in range(end - 1, count - 1, -1):
                    _take_back(copies, run)
        start, count = _start_with_copies(problem, copies, count, task, chosen)
        _run(problem, copies, count, task, chosen, start)
        count += 1
        num_ready = release(problem, draft, task, num_ready - 1)
    return count


@inner
def _start_with_copies(problem: Problem, copies: Copies, count: int, task: int, device: int) -> tuple[float, int]:
    """Returns when a task can start on a device, seconds, and how many runs there are with the copies that it needs.

    The predecessor whose data arrive last is run there as well, if the task can then start earlier, again and again.
    """
    plan, duration = copies.draft.plan, problem.duration
    ready, latest = _find_inputs(problem, copies, task, device)
    start = earliest_start(plan, device, ready, duration[task, device], True)
    while latest >= 0 and copies.finish[latest, device] == np.inf and duration[latest, device] < np.inf:
        ready, _ = _find_inputs(problem, copies, latest, device)
        begin = earliest_start(plan, device, ready, duration[latest, device], True)
        _run(problem, copies, count, latest, device, begin)
        ready, latest = _find_inputs(problem, copies, task, device)
        sooner = earliest_start(plan, device, ready, duration[task, device], True)
        if sooner >= start:
            _take_back(copies, count)
            break
        start = sooner
        count += 1
    return start, count


@inner
def _find_inputs(problem: Problem, copies: Copies, task: int, device: int) -> tuple[float, int]:
    """Returns when a task is released and its inputs are on a device, seconds, and whose arrive last; -1 for none.

    Data come from that run of the sender from which they arrive first.
    """
    ready, latest = float(problem.tasks[task].release), -1
    for entry in range(problem.tasks[task].in_begin, problem.tasks[task + 1].in_begin):
        edge = problem.edges[problem.edge_costs[entry].incoming]
        arrival = np.inf
        for source in range(problem.duration.shape[1]):
            finish = copies.finish[edge.source, source]
            if finish < arrival:
                arrival = min(arrival, finish + transfer_time(problem, edge.bytes, source, device))
        if arrival > ready:
            ready, latest = arrival, edge.source
    return ready, latest


@inner
def _run(problem: Problem, copies: Copies, count: int, task: int, device: int, start: float) -> None:
    """Decides one more run of a task."""
    finish = start + problem.duration[task, device]
    copies.runs[count].task = task
    copies.runs[count].device = device
    copies.runs[count].start = start
    copies.runs[count].finish = finish
    copies.finish[task, device] = finish
    occupy(copies.draft.plan, device, start, finish)


@inner
def _take_back(copies: Copies, run: int) -> None:
    """Undoes the last run."""
    taken = copies.runs[run]
    vacate(copies.draft.plan, taken.device, taken.start, taken.finish)
    copies.finish[taken.task, taken.device] = np.inf
