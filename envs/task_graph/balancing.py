"""HBMCT, compiled: groups of independent tasks, each balanced over the devices."""

from __future__ import annotations

import numpy as np

from ...compilation import inner
from . import ranks
from .instance import Problem
from .list_scheduling import Draft, clear, fastest_device, find_data_ready, gather_ready, place, release, take_ready


@inner
def hbmct(problem: Problem, draft: Draft) -> None:
    """Cuts the order of upward ranks into groups of independent tasks, and appends them group by group, balanced."""
    plan, num_tasks = draft.plan, problem.total[0].num_tasks
    for task in range(num_tasks):
        draft.priority[task] = problem.upward_rank[task]
    clear(problem, plan)
    num_ready = gather_ready(problem, draft)
    for step in range(num_tasks):
        task = take_ready(draft, num_ready, 0)
        plan.tasks[step].sequence = task
        num_ready = release(problem, draft, task, num_ready - 1)
    begin = 0
    while begin < num_tasks:
        end = begin + 1
        while end < num_tasks and _inputs_are_decided(problem, draft, plan.tasks[end].sequence):
            end += 1
        _allot(problem, draft, begin, end)
        _balance(problem, draft, begin, end)
        _append(problem, draft, begin)
        begin = end


@inner
def _inputs_are_decided(problem: Problem, draft: Draft, task: int) -> bool:
    for entry in range(problem.tasks[task].in_begin, problem.tasks[task + 1].in_begin):
        if draft.plan.tasks[problem.edges[problem.edge_costs[entry].incoming].source].device < 0:
            return False
    return True


@inner
def _allot(problem: Problem, draft: Draft, begin: int, end: int) -> None:
    """Gives each task of a group to its fastest device, and sorts the group by mean completion time.

    Sets ``outlook`` to when the inputs of each task are on each device. The lists in ``following`` hold what a device
    is to run, by when its inputs are there.
    """
    plan, outlook, completion = draft.plan, draft.outlook, draft.priority
    num_devices = problem.duration.shape[1]
    for device in range(num_devices):
        draft.following[draft.priority.size + device] = -1
    for step in range(begin, end):
        task = plan.tasks[step].sequence
        find_data_ready(problem, draft, task)
        total, count = 0.0, 0
        for device in range(num_devices):
            outlook[task, device] = draft.data_ready[device]
            if problem.duration[task, device] < np.inf:
                start = max(draft.data_ready[device], plan.lanes[device].available)
                total += start + problem.duration[task, device]
                count += 1
        completion[task] = ranks.without_last_bits(total / count)
        position = step
        while position > begin:
            other = plan.tasks[position - 1].sequence
            if completion[other] < completion[task] or (completion[other] == completion[task] and other < task):
                break
            plan.tasks[position].sequence = other
            position -= 1
        plan.tasks[position].sequence = task
    for step in range(begin, end):
        task = plan.tasks[step].sequence
        _enlist(draft, task, fastest_device(problem, task))


@inner
def _place_before(draft: Draft, task: int, device: int) -> int:
    """Returns the place in a device's list behind which a task is, or would be."""
    ready, place_before = draft.outlook[task, device], draft.priority.size + device
    other = draft.following[place_before]
    while other >= 0 and (
        draft.outlook[other, device] < ready or (draft.outlook[other, device] == ready and other < task)
    ):
        place_before, other = other, draft.following[other]
    return int(place_before)


@inner
def _enlist(draft: Draft, task: int, device: int) -> None:
    """Adds a task to a device's list."""
    before = _place_before(draft, task, device)
    draft.following[task] = draft.following[before]
    draft.following[before] = task
    draft.plan.tasks[task].device = device


@inner
def _finish(problem: Problem, draft: Draft, device: int, extra: int, left_out: int) -> float:
    """Returns when a device has run its list, with one more task or without one, if that is not -1; seconds.

    It is -inf where there is nothing to run.
    """
    available, time = float(draft.plan.lanes[device].available), -np.inf
    place_before = draft.priority.size + device
    entry = _place_before(draft, extra, device) if extra >= 0 else -1
    while True:
        if place_before == entry:
            time = max(available, time, draft.outlook[extra, device]) + problem.duration[extra, device]
        task = draft.following[place_before]
        if task < 0:
            return time
        if task != left_out:
            time = max(available, time, draft.outlook[task, device]) + problem.duration[task, device]
        place_before = task


@inner
def _balance(problem: Problem, draft: Draft, begin: int, end: int) -> None:
    """Moves tasks away from the device that ends last, as long as that makes it and the receiver end earlier."""
    plan, num_devices = draft.plan, problem.duration.shape[1]
    moved = True
    while moved:
        moved = False
        latest, last = -np.inf, -1
        for device in range(num_devices):
            finish = _finish(problem, draft, device, -1, -1)
            if finish > latest:
                latest, last = finish, device
        for step in range(begin, end):
            task = plan.tasks[step].sequence
            if plan.tasks[task].device == last and _finish(problem, draft, last, -1, task) < latest:
                least, receiver = latest, -1
                for device in range(num_devices):
                    if device != last and problem.duration[task, device] < np.inf:
                        finish = _finish(problem, draft, device, task, -1)
                        if finish < least:
                            least, receiver = finish, device
                if receiver >= 0:
                    draft.following[_place_before(draft, task, last)] = draft.following[task]
                    _enlist(draft, task, receiver)
                    moved = True
                    break


@inner
def _append(problem: Problem, draft: Draft, begin: int) -> None:
    """Places what is in the lists."""
    step = begin
    for device in range(problem.duration.shape[1]):
        task = draft.following[draft.priority.size + device]
        while task >= 0:
            start = max(draft.outlook[task, device], draft.plan.lanes[device].available)
            place(problem, draft.plan, step, task, device, start)
            step += 1
            task = draft.following[task]
