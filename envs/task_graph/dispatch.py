"""The kernels of Dispatch: tasks are decided while they run, each when its predecessors have finished."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compilation import handle_kernel, inner
from ...workloads.task_graph import IntArray
from .features import show, view_at
from .instance import Problem, problem_at
from .list_scheduling import insert_ready
from .state import Episode, episode_at, touch
from .world import NOTHING, World, account, clear_episode, decode, find_inputs, first_allowed


@inner
def _make_ready(problem: Problem, episode: Episode, task: int) -> None:
    """Adds a task to the ready ones."""
    find_inputs(problem, episode, task)
    episode.runs[task].ready_at = episode.status[0].now
    insert_ready(episode.plan, episode.status[0].num_ready, problem.upward_rank, task)
    episode.status[0].num_ready += 1


@inner
def _await_release(problem: Problem, episode: Episode, task: int) -> None:
    """Adds a task without predecessors to those that wait for their release, earliest first, ties by index."""
    runs, position = episode.runs, episode.status[0].num_arriving
    while position > 0 and problem.tasks[runs[position - 1].arriving].release > problem.tasks[task].release:
        runs[position].arriving = runs[position - 1].arriving
        position -= 1
    runs[position].arriving = task
    episode.plan.tasks[task].pending = 1
    episode.status[0].num_arriving += 1


@inner
def _serve(problem: Problem, episode: Episode, device: int) -> None:
    """Starts the task at the head of a device's queue when its inputs are there."""
    queue = episode.queues[device]
    start = max(episode.status[0].now, episode.options[queue.head, device].data_ready)
    episode.plan.tasks[queue.head].start = start
    queue.until = start + problem.duration[queue.head, device] * episode.runs[queue.head].slowdown


@inner
def _enqueue(problem: Problem, episode: Episode, task: int, device: int) -> None:
    """Gives a ready task to a device."""
    status, plan, queue = episode.status[0], episode.plan, episode.queues[device]
    kept = 0
    for position in range(status.num_ready):
        if plan.tasks[position].ready != task:
            plan.tasks[kept].ready = plan.tasks[position].ready
            kept += 1
    status.num_ready = kept
    plan.tasks[status.num_placed].sequence = task
    touch(episode, task)
    status.num_placed += 1
    plan.tasks[task].device = device
    episode.runs[task].decided = status.now
    episode.runs[task].behind = -1
    queue.length += 1
    if queue.length > 1:
        episode.runs[queue.tail].behind = task
        queue.tail = task
    else:
        queue.head = queue.tail = task
        _serve(problem, episode, device)


@inner
def _complete(problem: Problem, episode: Episode, device: int) -> None:
    """Ends the task in service on a device, and begins the next."""
    status, plan, queue = episode.status[0], episode.plan, episode.queues[device]
    task = queue.head
    decision = plan.tasks[task]
    decision.finish = queue.until
    touch(episode, task)
    status.num_finished += 1
    status.bound = max(status.bound, decision.finish + problem.tail[task, device])
    plan.lanes[device].busy += decision.finish - decision.start
    queue.length -= 1
    queue.head = episode.runs[task].behind
    queue.until = np.inf
    if queue.length > 0:
        _serve(problem, episode, device)
    for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
        receiver = problem.edges[edge].target
        plan.tasks[receiver].pending -= 1
        if plan.tasks[receiver].pending == 0:
            _make_ready(problem, episode, receiver)


@inner
def _next_event(problem: Problem, episode: Episode) -> float:
    """Returns when something happens by itself, seconds; inf if nothing will."""
    time = np.inf
    for device in range(episode.queues.size):
        time = min(time, episode.queues[device].until)
    status = episode.status[0]
    if status.num_arrived < status.num_arriving:
        time = min(time, problem.tasks[episode.runs[status.num_arrived].arriving].release)
    return time


@inner
def _pass_time(problem: Problem, episode: Episode) -> None:
    """Lets time pass until the next event, and everything happen that is due then."""
    status = episode.status[0]
    status.now = max(status.now, _next_event(problem, episode))
    for device in range(episode.queues.size):
        if episode.queues[device].until <= status.now:
            _complete(problem, episode, device)
    while status.num_arrived < status.num_arriving:
        task = episode.runs[status.num_arrived].arriving
        if problem.tasks[task].release > status.now:
            break
        status.num_arrived += 1
        episode.plan.tasks[task].pending = 0
        _make_ready(problem, episode, task)


@inner
def _run_on(problem: Problem, episode: Episode) -> None:
    """Lets time pass until there is something to decide, or all tasks have run."""
    status = episode.status[0]
    while status.num_finished < problem.total[0].num_tasks and (
        first_allowed(problem, episode)[0] < 0 or _next_event(problem, episode) <= status.now
    ):
        _pass_time(problem, episode)
    status.can_wait = _next_event(problem, episode) < np.inf
    _expect(problem, episode)
    if status.num_finished == problem.total[0].num_tasks:
        status.bound = status.makespan


@inner
def _expect(problem: Problem, episode: Episode) -> None:
    """Finds what expected durations let expect: when tasks in line will run, when ready ones could start.

    Until a task has finished, the state shows its expected finish; only ``until`` knows the true one.
    """
    status, plan = episode.status[0], episode.plan
    status.makespan = status.now
    for device in range(problem.duration.shape[1]):
        _expect_line(problem, episode, device)
        status.makespan = max(status.makespan, plan.lanes[device].available)
    for position in range(status.num_ready):
        task = plan.tasks[position].ready
        path = np.inf
        for device in range(problem.duration.shape[1]):
            option = episode.options[task, device]
            option.start = max(option.data_ready, plan.lanes[device].available)
            path = min(path, option.start + problem.duration[task, device] + problem.tail[task, device])
        status.bound = max(status.bound, path)


@inner
def _expect_line(problem: Problem, episode: Episode, device: int) -> None:
    """Finds when the tasks in line on a device will run, and when it will be free."""
    lane, tasks = episode.plan.lanes[device], episode.plan.tasks
    lane.available = episode.status[0].now
    task = episode.queues[device].head
    if task >= 0:
        lane.available = max(lane.available, tasks[task].start + problem.duration[task, device])
        tasks[task].finish = lane.available
        task = episode.runs[task].behind
    while task >= 0:
        tasks[task].start = max(lane.available, episode.options[task, device].data_ready)
        lane.available = tasks[task].start + problem.duration[task, device]
        tasks[task].finish = lane.available
        task = episode.runs[task].behind


@inner
def _begin(world: World, rows: IntArray, queue_limit: int) -> None:
    for i in range(rows.size):
        b = rows[i]
        episode = episode_at(world.state, b)
        status = episode.status[0]
        problem = problem_at(world.instances, status.slot)
        clear_episode(problem, episode, world.outcome[b : b + 1])
        status.queue_limit = queue_limit
        status.num_finished = 0
        status.num_arriving = 0
        status.num_arrived = 0
        status.now = 0.0
        for device in range(episode.queues.size):
            episode.queues[device].head = -1
            episode.queues[device].length = 0
            episode.queues[device].until = np.inf
        for task in range(problem.total[0].num_tasks):
            if episode.plan.tasks[task].pending == 0:
                if problem.tasks[task].release > 0.0:
                    _await_release(problem, episode, task)
                else:
                    _make_ready(problem, episode, task)
        _run_on(problem, episode)


@inner
def _advance(world: World, rows: IntArray, actions: IntArray, reward_code: int) -> int:
    noteworthy = 0
    for i in range(rows.size):
        b = rows[i]
        episode = episode_at(world.state, b)
        status = episode.status[0]
        problem = problem_at(world.instances, status.slot)
        outcome = world.outcome[b]
        if actions[i] != NOTHING:
            outcome.reward = 0.0
            outcome.invalid_action = False
        if actions[i] != NOTHING and status.num_finished < problem.total[0].num_tasks:
            bound_before = status.bound
            task, device = decode(problem, episode, world.shown.candidates.shape[1], actions[i])
            wait = task < 0 and status.can_wait
            outcome.invalid_action = task < 0 and not (wait and actions[i] == 0)
            if wait:
                _pass_time(problem, episode)
            else:
                if task < 0:
                    task, device = first_allowed(problem, episode)
                _enqueue(problem, episode, task, device)
            _run_on(problem, episode)
            account(world, b, bound_before, status.num_finished == problem.total[0].num_tasks, reward_code)
        show(problem, episode, view_at(world.shown, b))
        noteworthy += outcome.terminated or outcome.invalid_action
    return noteworthy


@handle_kernel
def begin(handle: Any, rows: IntArray, queue_limit: int) -> None:
    """Begins episodes on the instances that ``slot`` names with the slowdowns in ``runs``.

    Args:
        handle: Of a `World`.
        rows: int64, which episodes.
        queue_limit: How many tasks may wait on a device behind the one in service.
    """
    _begin(handle.value, rows, queue_limit)


@handle_kernel
def advance(handle: Any, rows: IntArray, actions: IntArray, reward_code: int) -> int:
    """Takes one decision in each of some episodes that goes on, lets time pass, and shows the result.

    Args:
        handle: Of a `World`.
        rows: int64, which episodes.
        actions: int64, one for each of them; `NOTHING` only shows how it stands.
        reward_code: Place in `REWARDS`.

    Returns:
        How many of them have ended or were asked for what is not allowed.
    """
    return _advance(handle.value, rows, actions, reward_code)
