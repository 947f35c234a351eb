"""The kernels of Plan: tasks are decided before anything runs, each when its predecessors are decided."""

from __future__ import annotations

from typing import Any

from ...compilation import handle_kernel, inner
from ...workloads.task_graph import IntArray
from .features import show, view_at
from .instance import Problem, problem_at
from .list_scheduling import earliest_start, insert_ready, place
from .reward import cost
from .state import Episode, touch
from .world import NOTHING, World, account, clear_episode, decode, episode_at, find_inputs, first_allowed


@inner
def _make_ready(problem: Problem, episode: Episode, task: int) -> None:
    """Adds a task to the ready ones, and finds when it could start on each device."""
    find_inputs(problem, episode, task)
    for device in range(problem.duration.shape[1]):
        option = episode.options[task, device]
        option.start = earliest_start(
            episode.plan, device, option.data_ready, problem.duration[task, device], episode.status[0].insertion
        )
    insert_ready(episode.plan, episode.status[0].num_ready, problem.upward_rank, task)
    episode.status[0].num_ready += 1


@inner
def _decide(problem: Problem, episode: Episode, task: int, device: int) -> None:
    """Places a ready task, and brings its successors and the starts that it shifts up to date."""
    status, plan, options = episode.status[0], episode.plan, episode.options
    start = options[task, device].start
    finish = start + problem.duration[task, device]
    place(problem, plan, status.num_placed, task, device, start)
    touch(episode, task)
    status.num_placed += 1
    status.makespan = max(status.makespan, finish)
    status.bound = max(status.bound, finish + problem.tail[task, device])

    kept = 0
    for position in range(status.num_ready):
        other = plan.tasks[position].ready
        if other == task:
            continue
        plan.tasks[kept].ready = other
        kept += 1
        # A start moves only if the new interval cuts into what the task would have taken.
        duration, option = problem.duration[other, device], options[other, device]
        cut = start < option.start + duration and finish > option.start
        if cut or not status.insertion:
            option.start = earliest_start(plan, device, option.data_ready, duration, status.insertion)
    status.num_ready = kept
    for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
        receiver = problem.edges[edge].target
        plan.tasks[receiver].pending -= 1
        if plan.tasks[receiver].pending == 0:
            _make_ready(problem, episode, receiver)


@inner
def _settle(world: World, problem: Problem, episode: Episode, b: int) -> None:
    """Finds what is known at the end: when jobs have ended, and the energy."""
    status, finish = episode.status[0], world.state.job_finish[b]
    num_jobs = world.instances.graph.num_jobs[status.slot]
    # The bound sums along paths, the makespan along devices: they may differ in the last bit.
    status.bound = status.makespan
    status.is_over = True
    finish[:] = 0.0
    for task in range(problem.total[0].num_tasks):
        finish[problem.tasks[task].job] = max(finish[problem.tasks[task].job], episode.plan.tasks[task].finish)
    status.job_latency_mean = 0.0
    for job in range(num_jobs):
        times = world.instances.graph.jobs[status.slot, job]
        status.job_latency_mean += (finish[job] - times.arrival) / num_jobs
        status.deadlines_missed += finish[job] > times.deadline
    status.energy = status.idle_power * status.makespan
    for device in range(problem.duration.shape[1]):
        status.energy += problem.steps[device, 0].power * episode.plan.lanes[device].busy


@inner
def _begin(world: World, rows: IntArray) -> None:
    for i in range(rows.size):
        b = rows[i]
        episode = episode_at(world, b)
        status = episode.status[0]
        problem = problem_at(world.instances, status.slot)
        clear_episode(problem, episode, world.outcome[b : b + 1])
        status.insertion = world.law[0].insertion
        for task in range(problem.total[0].num_tasks):
            if episode.plan.tasks[task].pending == 0:
                _make_ready(problem, episode, task)


@inner
def _advance(world: World, rows: IntArray, actions: IntArray, observe: bool) -> int:
    noteworthy = 0
    for i in range(rows.size):
        b = rows[i]
        episode = episode_at(world, b)
        status = episode.status[0]
        problem = problem_at(world.instances, status.slot)
        outcome = world.outcome[b]
        if actions[i] != NOTHING:
            outcome.reward = 0.0
            outcome.invalid_action = False
        if actions[i] != NOTHING and not status.is_over:
            cost_before = cost(episode.status, world.weights)
            task, device, _ = decode(problem, episode, world.shown.candidates.shape[1], actions[i])
            if task < 0:
                outcome.invalid_action = True
                task, device, _ = first_allowed(problem, episode)
            _decide(problem, episode, task, device)
            if status.num_placed == problem.total[0].num_tasks:
                _settle(world, problem, episode, b)
            account(world, b, cost_before)
        if observe:
            show(problem, episode, view_at(world.shown, b))
        noteworthy += outcome.terminated or outcome.invalid_action
    return noteworthy


@handle_kernel
def begin(handle: Any, rows: IntArray) -> None:
    """Begins episodes on the instances that ``slot`` names.

    Args:
        handle: Of a `World`.
        rows: int64, which episodes.
    """
    _begin(handle.value, rows)


@handle_kernel
def advance(handle: Any, rows: IntArray, actions: IntArray, observe: bool) -> int:
    """Takes one decision in each of some episodes that goes on, and shows the result.

    Args:
        handle: Of a `World`.
        rows: int64, which episodes.
        actions: int64, one for each of them; `NOTHING` only shows how it stands.
        observe: Whether anybody looks at the observation.

    Returns:
        How many of them have ended or were asked for what is not allowed.
    """
    return _advance(handle.value, rows, actions, observe)
