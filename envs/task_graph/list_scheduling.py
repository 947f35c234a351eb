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

INTERVAL = np.dtype([("begin", np.float64), ("end", np.float64), ("widest_gap", np.float64)], align=True)
"""A time in which a device is busy, seconds; no gap between it and the last interval is wider than its widest."""

LANE = np.dtype(
    [
        ("num_intervals", np.int64),
        ("available", np.float64),  # seconds, the end of the last interval
        ("busy", np.float64),  # seconds, the sum of the intervals
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
    """Room for a list scheduler to work in: its plan, what it compares tasks and devices by, and what is next."""

    plan: Plan
    priority: FloatArray  # (T,)
    outlook: FloatArray  # (T, P) seconds
    ready: IntArray  # (T,) the undecided tasks whose predecessors are all decided come first
    data_ready: FloatArray  # (P,) seconds; when the inputs of the task at hand are on each device
    following: IntArray  # (T + P,) the task behind each task, where tasks are in lists; then the first of each device

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
            np.empty(num_tasks, np.int64),
            np.empty(num_devices),
            np.empty(num_tasks + num_devices, np.int64),
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
def find_data_ready(problem: Problem, draft: Draft, task: int) -> None:
    """Finds when a task is released and its inputs are on each device, as far as its predecessors are decided."""
    data_ready, release = draft.data_ready, problem.tasks[task].release
    for device in range(data_ready.size):
        data_ready[device] = release
    for entry in range(problem.tasks[task].in_begin, problem.tasks[task + 1].in_begin):
        edge = problem.edges[problem.edge_costs[entry].incoming]
        sender = draft.plan.tasks[edge.source]
        source, finish, size = sender.device, sender.finish, edge.bytes
        if source < 0:
            continue
        for device in range(data_ready.size):
            arrival = finish + transfer_time(problem, size, source, device)
            data_ready[device] = arrival if arrival > data_ready[device] else data_ready[device]


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
    available = float(plan.lanes[device].available)
    if ready >= available:
        return ready
    if not insertion:
        return available
    return _earliest_gap(plan, device, ready, duration)


@inner
def _earliest_gap(plan: Plan, device: int, ready: float, duration: float) -> float:
    """Returns the begin of the first gap that holds a task, or the end of the last interval, seconds."""
    available = float(plan.lanes[device].available)
    # The margin is for rounding, which may fit a task into a gap that is narrower in the last bit.
    too_narrow = duration - 1e-12 * available
    # The first interval that ends after the inputs are there; or none, once all gaps from there on are too narrow.
    count = plan.lanes[device].num_intervals
    first, last = 0, count - 1
    while first < last:
        middle = (first + last) // 2
        if plan.intervals[device, middle].end > ready:
            last = middle
        elif plan.intervals[device, middle].widest_gap < too_narrow:
            return available
        else:
            first = middle + 1
    if ready + duration <= plan.intervals[device, first].begin:
        return ready
    if plan.intervals[device, first].widest_gap < too_narrow:
        return available
    time = float(plan.intervals[device, first].end)
    for i in range(first + 1, count):
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
    occupy(plan, device, start, finish)
    plan.lanes[device].busy += problem.duration[task, device]


@inner
def occupy(plan: Plan, device: int, start: float, finish: float) -> None:
    """Makes a device busy for a time in which it was free."""
    lane = plan.lanes[device]
    position = lane.num_intervals
    while position > 0 and (
        plan.intervals[device, position - 1].begin > start
        or (plan.intervals[device, position - 1].begin == start and plan.intervals[device, position - 1].end > start)
    ):
        plan.intervals[device, position].begin = plan.intervals[device, position - 1].begin
        plan.intervals[device, position].end = plan.intervals[device, position - 1].end
        plan.intervals[device, position].widest_gap = plan.intervals[device, position - 1].widest_gap
        position -= 1
    plan.intervals[device, position].begin = start
    plan.intervals[device, position].end = finish
    plan.intervals[device, position].widest_gap = 0.0
    if position < lane.num_intervals:
        following = plan.intervals[device, position + 1]
        plan.intervals[device, position].widest_gap = max(following.widest_gap, following.begin - finish)
    gap = start - lane.available
    while position > 0 and plan.intervals[device, position - 1].widest_gap < gap:
        position -= 1
        plan.intervals[device, position].widest_gap = gap
    lane.num_intervals += 1
    lane.available = max(lane.available, finish)


@inner
def makespan_of(plan: Plan) -> float:
    """Returns when the last device is done, seconds."""
    makespan = 0.0
    for device in range(plan.lanes.size):
        makespan = max(makespan, plan.lanes[device].available)
    return makespan


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
def _precedes(draft: Draft, task: int, other: int) -> bool:
    """Whether a task has the higher priority, ties by index."""
    mine, its = draft.priority[task], draft.priority[other]
    return bool((mine > its) | ((mine == its) & (task < other)))


@inner
def _push_ready(draft: Draft, place: int, task: int) -> None:
    """Lets a task rise from a free place of the heap of ready ones: none precedes the one at half its place."""
    ready = draft.ready
    while place > 0 and _precedes(draft, task, ready[(place - 1) // 2]):
        ready[place] = ready[(place - 1) // 2]
        place = (place - 1) // 2
    ready[place] = task


@inner
def take_ready(draft: Draft, num_ready: int, place: int) -> int:
    """Takes the task at a place from the heap of ready ones, and returns it."""
    ready, rest = draft.ready, num_ready - 1
    taken, child = int(ready[place]), 2 * place + 1
    while child < rest:
        if child + 1 < rest:
            child += _precedes(draft, ready[child + 1], ready[child])
        ready[place] = ready[child]
        place, child = child, 2 * child + 1
    _push_ready(draft, place, ready[rest])
    return taken


@inner
def gather_ready(problem: Problem, draft: Draft) -> int:
    """Makes the heap of ready tasks, and returns how many there are."""
    num_ready = 0
    for task in range(problem.total[0].num_tasks):
        if draft.plan.tasks[task].pending == 0 and draft.plan.tasks[task].device < 0:
            _push_ready(draft, num_ready, task)
            num_ready += 1
    return num_ready


@inner
def release(problem: Problem, draft: Draft, task: int, num_ready: int) -> int:
    """Makes the successors of a decided task ready where it was the last that they waited for."""
    tasks = draft.plan.tasks
    for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
        receiver = problem.edges[edge].target
        tasks[receiver].pending -= 1
        if tasks[receiver].pending == 0:
            _push_ready(draft, num_ready, receiver)
            num_ready += 1
    return num_ready


@inner
def best_place(problem: Problem, draft: Draft, task: int, insertion: bool) -> tuple[int, float]:
    """Returns the device where a task's finish plus outlook is least, and when it can start there."""
    find_data_ready(problem, draft, task)
    best, best_device, best_start = np.inf, 0, 0.0
    for device in range(problem.duration.shape[1]):
        ready, duration, outlook = draft.data_ready[device], problem.duration[task, device], draft.outlook[task, device]
        if ready + duration + outlook < best:
            start = earliest_start(draft.plan, device, ready, duration, insertion)
            if start + duration + outlook < best:
                best, best_device, best_start = start + duration + outlook, device, start
    return best_device, best_start


@inner
def place_in_order(
    problem: Problem, draft: Draft, sequence: IntArray, devices: IntArray, first: int, last: int, insertion: bool
) -> None:
    """Makes the plan that given decisions lead to, each task as early as it can start on its device.

    Args:
        problem: The instance.
        draft: With ``outlook`` set where devices are chosen; the result is its ``plan``.
        sequence: int64 (T,), the tasks, each after its predecessors.
        devices: int64 (T,), the device of each task. From the step ``first`` to the one before ``last`` they are
            chosen instead: where finish plus outlook is least.
        first: A step.
        last: Another, no earlier; with the same, all devices are as given.
        insertion: Whether tasks may go into gaps.
    """
    clear(problem, draft.plan)
    for step in range(sequence.size):
        task = sequence[step]
        if first <= step < last:
            devices[task], start = best_place(problem, draft, task, insertion)
        else:
            find_data_ready(problem, draft, task)
            ready, duration = draft.data_ready[devices[task]], problem.duration[task, devices[task]]
            start = earliest_start(draft.plan, devices[task], ready, duration, insertion)
        place(problem, draft.plan, step, task, devices[task], start)


@inner
def continue_by_priority(problem: Problem, draft: Draft, step: int, insertion: bool) -> int:
    """Completes a plan, and returns how many tasks are decided then.

    It places the ready task of highest priority where its finish plus outlook is least, again and again.

    Args:
        problem: The instance.
        draft: With ``priority`` and ``outlook`` set, and a ``plan`` in which some tasks are decided and the others
            count their undecided predecessors; the result is its ``plan``. What waits for a task that does not
            become ready stays undecided.
        step: How many tasks are decided.
        insertion: Whether tasks may go into gaps.
    """
    num_ready = gather_ready(problem, draft)
    while num_ready > 0:
        task = take_ready(draft, num_ready, 0)
        device, start = best_place(problem, draft, task, insertion)
        place(problem, draft.plan, step, task, device, start)
        step += 1
        num_ready = release(problem, draft, task, num_ready - 1)
    return step


@inner
def schedule_by_priority(problem: Problem, draft: Draft, insertion: bool) -> None:
    """Places the ready task of highest priority where its finish plus outlook is least, again and again.

    Args:
        problem: The instance.
        draft: With ``priority`` and ``outlook`` set; the result is its ``plan``.
        insertion: Whether tasks may go into gaps.
    """
    clear(problem, draft.plan)
    continue_by_priority(problem, draft, 0, insertion)


@inner
def schedule_by_pair(problem: Problem, draft: Draft) -> None:
    """Appends, again and again, the ready task to the device where its start plus outlook is least.

    Args:
        problem: The instance.
        draft: With ``priority`` and ``outlook`` set; of equal pairs the task of higher priority goes first. The
            result is its ``plan``.
    """
    plan, ready, outlook = draft.plan, draft.ready, draft.outlook
    clear(problem, plan)
    num_ready = gather_ready(problem, draft)
    for step in range(problem.total[0].num_tasks):
        best, best_position, best_device, best_start = np.inf, 0, 0, 0.0
        for position in range(num_ready):
            task = ready[position]
            find_data_ready(problem, draft, task)
            for device in range(problem.duration.shape[1]):
                if problem.duration[task, device] < np.inf:
                    start = max(draft.data_ready[device], plan.lanes[device].available)
                    value = start + outlook[task, device]
                    if value < best or (value == best and _precedes(draft, task, ready[best_position])):
                        best, best_start = value, start
                        best_position, best_device = position, device
        task = take_ready(draft, num_ready, best_position)
        place(problem, plan, step, task, best_device, best_start)
        num_ready = release(problem, draft, task, num_ready - 1)


@inner
def schedule_by_task(problem: Problem, draft: Draft, sufferage: bool) -> None:
    """Appends, again and again, one ready task to the device where it finishes first.

    Args:
        problem: The instance.
        draft: With ``priority`` set, which decides between equals; the result is its ``plan``.
        sufferage: Whether the task goes next that loses most on its second-best device (where it has only one,
            that is infinite), or the one that finishes last.
    """
    plan, ready = draft.plan, draft.ready
    clear(problem, plan)
    num_ready = gather_ready(problem, draft)
    for step in range(problem.total[0].num_tasks):
        most, chosen, chosen_device, chosen_start = -np.inf, 0, 0, 0.0
        for position in range(num_ready):
            task = ready[position]
            find_data_ready(problem, draft, task)
            best, second, best_device, best_start = np.inf, np.inf, 0, 0.0
            for device in range(problem.duration.shape[1]):
                start = max(draft.data_ready[device], plan.lanes[device].available)
                finish = start + problem.duration[task, device]
                if finish < best:
                    second = best
                    best, best_device, best_start = finish, device, start
                else:
                    second = min(second, finish)
            value = second - best if sufferage else best
            if value > most or (value == most and _precedes(draft, task, ready[chosen])):
                most, chosen, chosen_device, chosen_start = value, position, best_device, best_start
        task = take_ready(draft, num_ready, chosen)
        place(problem, plan, step, task, chosen_device, chosen_start)
        num_ready = release(problem, draft, task, num_ready - 1)


@inner
def _prefer_breadth_first(problem: Problem, draft: Draft) -> None:
    """Makes a first-in-first-out queue of the list of ready tasks."""
    for position in range(problem.total[0].num_tasks):
        draft.priority[problem.tasks[position].order] = -position


@inner
def prefer_only(problem: Problem, draft: Draft, task: int, device: int) -> None:
    """Leaves one device to a task."""
    for other in range(problem.duration.shape[1]):
        draft.outlook[task, other] = 0.0 if other == device else np.inf


@inner
def fastest_device(problem: Problem, task: int) -> int:
    """Returns the device that runs a task in least time."""
    fastest = 0
    for device in range(1, problem.duration.shape[1]):
        if problem.duration[task, device] < problem.duration[task, fastest]:
            fastest = device
    return fastest


@inner
def _median_duration(problem: Problem, draft: Draft, task: int) -> float:
    """Returns the median over the devices that can run a task, seconds."""
    room, count = draft.data_ready, 0
    for device in range(problem.duration.shape[1]):
        duration = problem.duration[task, device]
        if duration < np.inf:
            position = count
            while position > 0 and room[position - 1] > duration:
                room[position] = room[position - 1]
                position -= 1
            room[position] = duration
            count += 1
    return 0.5 * float(room[(count - 1) // 2] + room[count // 2])


@inner
def _static_levels(problem: Problem, draft: Draft) -> None:
    """Sets ``priority`` to the static level: the longest path of median durations to an exit, without transfers."""
    level, tasks = draft.priority, problem.tasks
    for position in range(problem.total[0].num_tasks - 1, -1, -1):
        task = tasks[position].order
        longest = 0.0
        for edge in range(tasks[task].out_begin, tasks[task + 1].out_begin):
            longest = max(longest, level[problem.edges[edge].target])
        level[task] = _median_duration(problem, draft, task) + longest
    for task in range(problem.total[0].num_tasks):
        level[task] = ranks.without_last_bits(level[task])


@inner
def heft(problem: Problem, draft: Draft) -> None:
    """By upward rank, inserted where a task finishes first."""
    draft.outlook[:] = 0.0
    for task in range(problem.total[0].num_tasks):
        draft.priority[task] = problem.upward_rank[task]
    schedule_by_priority(problem, draft, True)


@inner
def peft(problem: Problem, draft: Draft) -> None:
    """By mean optimistic cost, inserted where finish plus optimistic cost is least."""
    num_devices = problem.duration.shape[1]
    ranks.optimistic_cost(problem, True, draft.outlook)
    for task in range(problem.total[0].num_tasks):
        draft.priority[task] = 0.0
        for device in range(num_devices):
            draft.priority[task] += draft.outlook[task, device]
        draft.priority[task] = ranks.without_last_bits(draft.priority[task] / num_devices)
    schedule_by_priority(problem, draft, True)


@inner
def ipeft(problem: Problem, draft: Draft) -> None:
    """By pessimistic cost, inserted where finish plus critical-node cost is least.

    A parent of a critical task that is not critical itself goes where it finishes first.
    """
    critical, outlook = draft.ready, draft.outlook
    num_devices = problem.duration.shape[1]
    ranks.downward_rank(problem, draft.priority)
    ranks.mark_critical(problem, draft.priority, critical)
    ranks.pessimistic_cost(problem, outlook)
    for task in range(problem.total[0].num_tasks):
        total = 0.0
        for device in range(num_devices):
            total += outlook[task, device]
        draft.priority[task] = ranks.without_last_bits(total / num_devices + problem.tasks[task].mean_duration)
    ranks.critical_node_cost(problem, critical, outlook)
    for task in range(problem.total[0].num_tasks):
        if not critical[task] and ranks.has_critical_successor(problem, critical, task):
            for device in range(num_devices):
                outlook[task, device] = 0.0
    schedule_by_priority(problem, draft, True)


@inner
def cpop(problem: Problem, draft: Draft) -> None:
    """By upward plus downward rank, inserted; the tasks of a critical path all on the device that suits it best."""
    tasks, priority, outlook = problem.tasks, draft.priority, draft.outlook
    num_tasks, num_devices = problem.total[0].num_tasks, problem.duration.shape[1]
    outlook[:] = 0.0
    ranks.downward_rank(problem, priority)
    for task in range(num_tasks):
        priority[task] = ranks.without_last_bits(priority[task] + problem.upward_rank[task])
    entry = -1
    for task in range(num_tasks):
        is_entry = tasks[task].in_begin == tasks[task + 1].in_begin
        if is_entry and (entry < 0 or priority[task] > priority[entry]):
            entry = task
    least, suited = np.inf, -1
    for device in range(num_devices):
        total, task = 0.0, entry
        while task >= 0:
            total += problem.duration[task, device]
            task = _critical_successor(problem, priority, task)
        if total < least:
            least, suited = total, device
    task = entry
    while task >= 0 and suited >= 0:
        prefer_only(problem, draft, task, suited)
        task = _critical_successor(problem, priority, task)
    schedule_by_priority(problem, draft, True)


@inner
def _critical_successor(problem: Problem, priority: FloatArray, task: int) -> int:
    """Returns the next task of a critical path, -1 after the last."""
    chosen = -1
    for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
        receiver = problem.edges[edge].target
        if chosen < 0 or priority[receiver] > priority[chosen]:
            chosen = receiver
    return chosen


@inner
def min_min(problem: Problem, draft: Draft) -> None:
    """Of all ready tasks the one that can finish first, appended."""
    draft.priority[:] = 0.0
    for task in range(problem.total[0].num_tasks):
        for device in range(problem.duration.shape[1]):
            draft.outlook[task, device] = problem.duration[task, device]
    schedule_by_pair(problem, draft)


@inner
def max_min(problem: Problem, draft: Draft) -> None:
    """Of all ready tasks the one that finishes last on its best device, appended there."""
    draft.priority[:] = 0.0
    schedule_by_task(problem, draft, False)


@inner
def sufferage(problem: Problem, draft: Draft) -> None:
    """Of all ready tasks the one that loses most on its second-best device, appended to its best."""
    draft.priority[:] = 0.0
    schedule_by_task(problem, draft, True)


@inner
def etf(problem: Problem, draft: Draft) -> None:
    """The ready task that can start first, appended; of equals the one of highest static level."""
    _static_levels(problem, draft)
    draft.outlook[:] = 0.0
    schedule_by_pair(problem, draft)


@inner
def dls(problem: Problem, draft: Draft) -> None:
    """The ready task and device of highest dynamic level, appended."""
    _static_levels(problem, draft)
    for task in range(problem.total[0].num_tasks):
        median = _median_duration(problem, draft, task)
        for device in range(problem.duration.shape[1]):
            draft.outlook[task, device] = problem.duration[task, device] - median - draft.priority[task]
    draft.priority[:] = 0.0
    schedule_by_pair(problem, draft)


@inner
def mct(problem: Problem, draft: Draft) -> None:
    """In breadth-first order, appended where a task finishes first."""
    draft.outlook[:] = 0.0
    _prefer_breadth_first(problem, draft)
    schedule_by_priority(problem, draft, False)


@inner
def met(problem: Problem, draft: Draft) -> None:
    """In breadth-first order, appended to the device that runs a task fastest."""
    for task in range(problem.total[0].num_tasks):
        prefer_only(problem, draft, task, fastest_device(problem, task))
    _prefer_breadth_first(problem, draft)
    schedule_by_priority(problem, draft, False)


@inner
def fastest_node(problem: Problem, draft: Draft) -> None:
    """In breadth-first order on the one device that runs all tasks in least time; where it cannot run one, as MET."""
    num_tasks = problem.total[0].num_tasks
    least, fastest = np.inf, -1
    for device in range(problem.duration.shape[1]):
        total = 0.0
        for task in range(num_tasks):
            total += problem.duration[task, device]
        if total < least:
            least, fastest = total, device
    for task in range(num_tasks):
        prefer_only(problem, draft, task, fastest if fastest >= 0 else fastest_device(problem, task))
    _prefer_breadth_first(problem, draft)
    schedule_by_priority(problem, draft, False)


@inner
def olb(problem: Problem, draft: Draft) -> None:
    """In breadth-first order, appended to the device that is free first."""
    plan = draft.plan
    clear(problem, plan)
    for step in range(problem.total[0].num_tasks):
        task = problem.tasks[step].order
        find_data_ready(problem, draft, task)
        free = -1
        for device in range(problem.duration.shape[1]):
            if problem.duration[task, device] < np.inf and (
                free < 0 or plan.lanes[device].available < plan.lanes[free].available
            ):
                free = device
        place(problem, plan, step, task, free, max(draft.data_ready[free], plan.lanes[free].available))


@inner
def _take_back(problem: Problem, plan: Plan, task: int) -> None:
    """Undoes `place`."""
    device = plan.tasks[task].device
    vacate(plan, device, plan.tasks[task].start, plan.tasks[task].finish)
    plan.lanes[device].busy -= problem.duration[task, device]
    plan.tasks[task].device = -1


@inner
def vacate(plan: Plan, device: int, start: float, finish: float) -> None:
    """Undoes `occupy`."""
    lane = plan.lanes[device]
    position = 0
    while plan.intervals[device, position].begin != start or plan.intervals[device, position].end != finish:
        position += 1
    lane.num_intervals -= 1
    for later in range(position, lane.num_intervals):
        plan.intervals[device, later].begin = plan.intervals[device, later + 1].begin
        plan.intervals[device, later].end = plan.intervals[device, later + 1].end
        plan.intervals[device, later].widest_gap = plan.intervals[device, later + 1].widest_gap
    lane.available = plan.intervals[device, lane.num_intervals - 1].end if lane.num_intervals > 0 else 0.0


@inner
def lookahead(problem: Problem, draft: Draft) -> None:
    """HEFT's order; a task goes where its children, placed one by one as HEFT would, all finish first.

    The children of a task are placed by upward rank, as far as their predecessors are placed, and taken back.
    """
    plan, rank = draft.plan, draft.priority
    draft.outlook[:] = 0.0
    for task in range(problem.total[0].num_tasks):
        rank[task] = problem.upward_rank[task]
    clear(problem, plan)
    num_ready = gather_ready(problem, draft)
    for step in range(problem.total[0].num_tasks):
        task = take_ready(draft, num_ready, 0)
        begin, end = problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin
        best, best_device, best_start = np.inf, 0, 0.0
        for device in range(problem.duration.shape[1]):
            duration = problem.duration[task, device]
            if duration == np.inf:
                continue
            find_data_ready(problem, draft, task)
            start = earliest_start(plan, device, draft.data_ready[device], duration, True)
            place(problem, plan, step, task, device, start)
            latest = start + duration if begin == end else 0.0
            for _ in range(begin, end):
                child = -1
                for edge in range(begin, end):
                    other = problem.edges[edge].target
                    if plan.tasks[other].device < 0 and (child < 0 or rank[other] > rank[child]):
                        child = other
                child_device, child_start = best_place(problem, draft, child, True)
                place(problem, plan, step, child, child_device, child_start)
                latest = max(latest, plan.tasks[child].finish)
            for edge in range(begin, end):
                _take_back(problem, plan, problem.edges[edge].target)
            _take_back(problem, plan, task)
            if latest < best:
                best, best_device, best_start = latest, device, start
        place(problem, plan, step, task, best_device, best_start)
        num_ready = release(problem, draft, task, num_ready - 1)


@inner
def derive(instances: Instances, n: int, draft: Draft) -> None:
    """Fills what list schedulers need of an instance: edges by task, orders, mean costs and upward ranks."""
    problem = problem_at(instances, n)
    total = problem.total[0]
    total.num_tasks = instances.graph.num_tasks[n]
    total.num_edges = instances.graph.num_edges[n]
    for task in range(total.num_tasks):
        problem.tasks[task].release = instances.graph.release[n, task]
        problem.tasks[task].job = instances.graph.job[n, task]
    ranks.index_edges(problem)
    ranks.breadth_first_order(problem, draft.plan.tasks)
    ranks.mean_costs(problem)
    ranks.upward_rank(problem)


@kernel
def prepare(instances: Instances, draft: Draft, rows: IntArray) -> None:
    """Fills the derived fields of some instances.

    Args:
        instances: The instances.
        draft: Room for the largest of them.
        rows: int64, which of them.
    """
    for i in range(rows.size):
        derive(instances, rows[i], draft)
        problem = problem_at(instances, rows[i])
        total = problem.total[0]
        ranks.optimistic_cost(problem, False, problem.tail)
        total.lower_bound = ranks.makespan_lower_bound(problem)
        heft(problem, draft)
        total.heft_makespan = makespan_of(draft.plan)
