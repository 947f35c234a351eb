"""Compiled list schedulers, and the steps that they share with the simulator.

Ties go to the lowest index, among devices to the first of equals.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...compilation import inner, kernel
from ...workloads.task_graph import FloatArray, IntArray
from . import ranks
from .instance import Instances, Problem, Records, problem_at
from .ranks import transfer_time

DECISION = np.dtype(
    [
        ("device", np.int64),  # -1 where undecided
        ("start", np.float64),  # seconds
        ("finish", np.float64),  # seconds
        ("pending", np.int64),  # undecided predecessors
        ("ready", np.int64),  # the task at this place of the list of ready tasks
        ("sequence", np.int64),  # the task decided at this step
    ],
    align=True,
)
"""What is decided of each task, and two lists of tasks beside it."""

INTERVAL = np.dtype([("begin", np.float64), ("end", np.float64)], align=True)
"""A time in which a device is busy, seconds."""

LANE = np.dtype(
    [
        ("num_intervals", np.int64),
        ("available", np.float64),  # seconds, the end of the last interval
        ("busy", np.float64),  # seconds, the sum of the intervals
        ("data_ready", np.float64),  # seconds; when the inputs of the task at hand are there
    ],
    align=True,
)
"""A device."""


class Plan(NamedTuple):
    """The decisions taken so far for one instance."""

    tasks: Records  # (T,) of DECISION
    intervals: Records  # (P, T) of INTERVAL, in order of time
    lanes: Records  # (P,) of LANE


class Draft(NamedTuple):
    """Room for a list scheduler to work in: its plan, and what it compares tasks and devices by."""

    plan: Plan
    priority: FloatArray  # (T,)
    outlook: FloatArray  # (T, P) seconds

    @classmethod
    def empty(cls, num_tasks: int, num_devices: int) -> Draft:
        """Returns room for one instance of such a size, or less."""
        return cls(
            Plan(
                np.empty(num_tasks, DECISION),
                np.empty((num_devices, num_tasks), INTERVAL),
                np.empty(num_devices, LANE),
            ),
            np.empty(num_tasks),
            np.empty((num_tasks, num_devices)),
        )


@inner
def clear(problem: Problem, plan: Plan) -> None:
    """Undoes all decisions; the list of ready tasks is left to the caller."""
    for task in range(problem.total[0].num_tasks):
        plan.tasks[task].device = -1
        plan.tasks[task].pending = problem.tasks[task + 1].in_begin - problem.tasks[task].in_begin
    for device in range(problem.duration.shape[1]):
        plan.lanes[device].num_intervals = 0
        plan.lanes[device].available = 0.0
        plan.lanes[device].busy = 0.0


@inner
def find_data_ready(problem: Problem, plan: Plan, task: int) -> None:
    """Finds when all inputs of a task can be on each device; all its predecessors are decided."""
    lanes = plan.lanes
    for device in range(lanes.size):
        lanes[device].data_ready = 0.0
    for entry in range(problem.tasks[task].in_begin, problem.tasks[task + 1].in_begin):
        edge = problem.edges[problem.edge_costs[entry].incoming]
        sender = plan.tasks[edge.source]
        for device in range(lanes.size):
            arrival = sender.finish + transfer_time(problem, edge.bytes, sender.device, device)
            lanes[device].data_ready = max(lanes[device].data_ready, arrival)


@inner
def earliest_start(plan: Plan, device: int, ready: float, duration: float, insertion: bool) -> float:
    """Returns when a task can start on a device, seconds.

    Args:
        plan: The decisions so far.
        device: Where it is to run.
        ready: When its inputs are there.
        duration: How long it takes.
        insertion: Whether it may go into the first gap that holds it (HEFT's rule), or only behind all others.
    """
    available, count = plan.lanes[device].available, plan.lanes[device].num_intervals
    if ready >= available:
        return ready
    if not insertion:
        return float(available)
    first = count - 1
    while first > 0 and plan.intervals[device, first - 1].end > ready:
        first -= 1
    time = ready
    for i in range(first, count):
        if time + duration <= plan.intervals[device, i].begin:
            return time
        time = max(time, plan.intervals[device, i].end)
    return time


@inner
def place(problem: Problem, plan: Plan, step: int, task: int, device: int, start: float) -> None:
    """Decides a task: where it runs, and when."""
    finish = start + problem.duration[task, device]
    plan.tasks[task].device = device
    plan.tasks[task].start = start
    plan.tasks[task].finish = finish
    plan.tasks[step].sequence = task
    lane = plan.lanes[device]
    position = lane.num_intervals
    while position > 0 and (
        plan.intervals[device, position - 1].begin > start
        or (plan.intervals[device, position - 1].begin == start and plan.intervals[device, position - 1].end > start)
    ):
        plan.intervals[device, position].begin = plan.intervals[device, position - 1].begin
        plan.intervals[device, position].end = plan.intervals[device, position - 1].end
        position -= 1
    plan.intervals[device, position].begin = start
    plan.intervals[device, position].end = finish
    lane.num_intervals += 1
    lane.available = max(lane.available, finish)
    lane.busy += problem.duration[task, device]


@inner
def insert_ready(plan: Plan, count: int, priority: FloatArray, task: int) -> None:
    """Adds a task to the list of ready ones, highest priority first, ties by index."""
    position = count
    while position > 0:
        other = plan.tasks[position - 1].ready
        if priority[other] > priority[task] or (priority[other] == priority[task] and other < task):
            break
        plan.tasks[position].ready = other
        position -= 1
    plan.tasks[position].ready = task


@inner
def remove_ready(plan: Plan, count: int, position: int) -> None:
    """Takes the task at a position from the list of ready ones."""
    for later in range(position + 1, count):
        plan.tasks[later - 1].ready = plan.tasks[later].ready


@inner
def _start(problem: Problem, draft: Draft) -> int:
    """Begins a plan without decisions, and returns how many tasks are ready."""
    clear(problem, draft.plan)
    num_ready = 0
    for task in range(problem.total[0].num_tasks):
        if draft.plan.tasks[task].pending == 0:
            insert_ready(draft.plan, num_ready, draft.priority, task)
            num_ready += 1
    return num_ready


@inner
def _release(problem: Problem, draft: Draft, task: int, num_ready: int) -> int:
    """Makes the successors of a decided task ready where it was the last that they waited for."""
    tasks = draft.plan.tasks
    for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
        receiver = problem.edges[edge].target
        tasks[receiver].pending -= 1
        if tasks[receiver].pending == 0:
            insert_ready(draft.plan, num_ready, draft.priority, receiver)
            num_ready += 1
    return num_ready


@inner
def schedule_by_priority(problem: Problem, draft: Draft, insertion: bool) -> None:
    """Places the ready task of highest priority where its finish plus outlook is least, again and again.

    Args:
        problem: The instance.
        draft: With ``priority`` and ``outlook`` set; the result is its ``plan``.
        insertion: Whether tasks may go into gaps.
    """
    plan, outlook = draft.plan, draft.outlook
    num_ready = _start(problem, draft)
    for step in range(problem.total[0].num_tasks):
        task = plan.tasks[0].ready
        remove_ready(plan, num_ready, 0)
        find_data_ready(problem, plan, task)
        best, best_device, best_start = np.inf, 0, 0.0
        for device in range(problem.duration.shape[1]):
            duration = problem.duration[task, device]
            if duration < np.inf:
                start = earliest_start(plan, device, plan.lanes[device].data_ready, duration, insertion)
                if start + duration + outlook[task, device] < best:
                    best, best_device, best_start = start + duration + outlook[task, device], device, start
        place(problem, plan, step, task, best_device, best_start)
        num_ready = _release(problem, draft, task, num_ready - 1)


@inner
def heft(problem: Problem, draft: Draft) -> None:
    """Heterogeneous earliest finish time: by upward rank, with insertion, on the device of earliest finish.

    Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206.
    """
    draft.outlook[:] = 0.0
    for task in range(problem.total[0].num_tasks):
        draft.priority[task] = problem.upward_rank[task]
    schedule_by_priority(problem, draft, True)


@inner
def peft(problem: Problem, draft: Draft) -> None:
    """Predict earliest finish time: the ready task of highest mean OCT, where finish plus OCT is least, inserted.

    Arabnejad, Barbosa 2014, doi:10.1109/TPDS.2013.57.
    """
    num_devices = problem.duration.shape[1]
    ranks.optimistic_cost(problem, True, draft.outlook)
    for task in range(problem.total[0].num_tasks):
        draft.priority[task] = 0.0
        for device in range(num_devices):
            draft.priority[task] += draft.outlook[task, device] / num_devices
    schedule_by_priority(problem, draft, True)


@inner
def mct(problem: Problem, draft: Draft) -> None:
    """Minimum completion time: tasks in breadth-first order, appended where they finish first.

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581.
    """
    draft.outlook[:] = 0.0
    for position in range(problem.total[0].num_tasks):
        draft.priority[problem.tasks[position].order] = -position
    schedule_by_priority(problem, draft, False)


@inner
def min_min(problem: Problem, draft: Draft) -> None:
    """Min-Min: of all ready tasks the one that can finish first, appended on that device.

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581.
    """
    plan = draft.plan
    draft.priority[:] = 0.0
    num_ready = _start(problem, draft)
    for step in range(problem.total[0].num_tasks):
        best, best_position, best_device, best_start = np.inf, 0, 0, 0.0
        for position in range(num_ready):
            task = plan.tasks[position].ready
            find_data_ready(problem, plan, task)
            for device in range(problem.duration.shape[1]):
                duration = problem.duration[task, device]
                if duration < np.inf:
                    start = earliest_start(plan, device, plan.lanes[device].data_ready, duration, False)
                    if start + duration < best:
                        best, best_position, best_device, best_start = start + duration, position, device, start
        task = plan.tasks[best_position].ready
        remove_ready(plan, num_ready, best_position)
        place(problem, plan, step, task, best_device, best_start)
        num_ready = _release(problem, draft, task, num_ready - 1)


@inner
def derive(instances: Instances, n: int, draft: Draft) -> None:
    """Fills what list schedulers need of an instance: edges by task, orders, mean costs and upward ranks."""
    problem = problem_at(instances, n)
    total = problem.total[0]
    total.num_tasks = instances.graph.num_tasks[n]
    total.num_edges = instances.graph.num_edges[n]
    ranks.index_edges(problem)
    ranks.breadth_first_order(problem, draft.plan.tasks)
    ranks.mean_costs(problem)
    ranks.upward_rank(problem)


@inner
def _prepare(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    problem = problem_at(instances, n)
    total = problem.total[0]
    ranks.optimistic_cost(problem, False, problem.tail)
    total.lower_bound = ranks.makespan_lower_bound(problem)
    heft(problem, draft)
    makespan = 0.0
    for device in range(problem.duration.shape[1]):
        makespan = max(makespan, draft.plan.lanes[device].available)
    total.heft_makespan = makespan


@kernel
def prepare(instances: Instances, draft: Draft, rows: IntArray) -> None:
    """Fills the derived fields of some instances.

    Args:
        instances: The instances.
        draft: Room for the largest of them.
        rows: int64, which of them.
    """
    for i in range(rows.size):
        _prepare(instances, rows[i], draft)
