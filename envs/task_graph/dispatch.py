"""The kernels of Dispatch: tasks are decided while they run, by the rules in `docs/dispatch.md`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compilation import handle_kernel, inner, rare
from ...workloads.task_graph import IntArray
from .features import show, show_running, view_at
from .instance import Problem, problem_at
from .lines import (
    account_for_run,
    begin_lines,
    commit,
    enqueue,
    expect_lines,
    fail_or_repair,
    make_ready,
    serve,
    start_in_front,
)
from .reward import cost
from .state import Episode, Surroundings, touch
from .stream import arrive_jobs, begin_stream, end_stream_job, log_run
from .transfers import FAIR, end_flows, next_flow_end
from .world import (
    NOTHING,
    Stream,
    World,
    account,
    clear_episode,
    decode,
    episode_at,
    first_allowed,
    is_any_allowed,
    stream_at,
    surroundings_of,
)


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


@rare
def _greet(problem: Problem, episode: Episode, task: int) -> None:
    """Makes a task without predecessors ready when its job arrives."""
    status, job = episode.status[0], episode.jobs[problem.tasks[task].job]
    if not job.has_arrived:
        job.has_arrived = True
        status.jobs_arrived += 1
        status.jobs_active += 1
    episode.plan.tasks[task].pending = 0
    make_ready(problem, episode, task)


@rare
def _begin_jobs(world: World, problem: Problem, episode: Episode) -> None:
    """Prepares the jobs of a graph, and lets those arrive that are there from the beginning."""
    status = episode.status[0]
    for job in range(world.instances.graph.num_jobs[status.slot]):
        episode.jobs[job].index = job
        episode.jobs[job].arrival = world.instances.graph.jobs[status.slot, job].arrival
        episode.jobs[job].deadline = world.instances.graph.jobs[status.slot, job].deadline
        episode.jobs[job].has_arrived = False
        episode.jobs[job].remaining = 0
        episode.jobs[job].in_line = 0
        episode.jobs[job].work = 0.0
        # What a graph's jobs take at least is not asked for.
        episode.jobs[job].critical_path = 1.0
    for task in range(problem.total[0].num_tasks):
        episode.jobs[problem.tasks[task].job].remaining += 1
        episode.jobs[problem.tasks[task].job].work += problem.tasks[task].mean_duration
    for task in range(problem.total[0].num_tasks):
        if episode.plan.tasks[task].pending == 0:
            if problem.tasks[task].release > 0.0:
                _await_release(problem, episode, task)
            else:
                _greet(problem, episode, task)


@rare
def _end_job(episode: Episode, place: int) -> None:
    """Notes the end of a job."""
    status, job = episode.status[0], episode.jobs[place]
    status.jobs_active -= 1
    status.jobs_ended += 1
    if job.arrival >= episode.law[0].warmup:
        latency = status.now - job.arrival
        status.jobs_counted += 1
        status.latency_sum += latency
        status.job_slowdown_sum += latency / job.critical_path
        status.deadlines_missed += status.now > job.deadline


@inner
def _complete(problem: Problem, episode: Episode, stream: Stream, device: int) -> None:
    """Ends the task in front of a line, and lets the next come to the front."""
    status, plan, queue = episode.status[0], episode.plan, episode.queues[device]
    task = queue.head
    decision, run, job = plan.tasks[task], episode.runs[task], episode.jobs[problem.tasks[task].job]
    decision.finish = queue.until
    account_for_run(problem, episode, device, run.since, queue.until)
    touch(episode, task)
    if episode.law[0].is_stream:
        log_run(problem, episode, stream, task)
    status.num_finished += 1
    status.num_in_line -= 1
    job.remaining -= 1
    job.in_line -= 1
    job.work -= problem.tasks[task].mean_duration
    status.bound = max(status.bound, decision.finish + problem.tail[task, device])
    queue.length -= 1
    queue.head = run.behind
    queue.until = np.inf
    commit(problem, episode, device)
    if queue.length > 0:
        serve(problem, episode, device)
    for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
        receiver = problem.edges[edge].target
        plan.tasks[receiver].pending -= 1
        if plan.tasks[receiver].pending == 0:
            make_ready(problem, episode, receiver)
    if job.remaining == 0:
        _end_job(episode, problem.tasks[task].job)
        if episode.law[0].is_stream:
            end_stream_job(problem, episode, stream, problem.tasks[task].job)


@inner
def _next_event(problem: Problem, episode: Episode, around: Surroundings, stream: Stream) -> float:
    """Returns when something happens by itself, seconds; inf if nothing will."""
    status, time = episode.status[0], np.inf
    for device in range(episode.queues.size):
        time = min(time, episode.queues[device].until, episode.queues[device].turn)
    if status.num_arrived < status.num_arriving:
        time = min(time, problem.tasks[episode.runs[status.num_arrived].arriving].release)
    if episode.law[0].contention == FAIR:
        time = min(time, next_flow_end(episode, around))
    if episode.law[0].is_stream:
        time = min(time, stream.arrivals[0].time, episode.law[0].horizon)
    return time


@inner
def _advance_clock(episode: Episode, time: float) -> None:
    """Moves on to a later time; jobs in the system and idle devices cost."""
    status = episode.status[0]
    time = max(status.now, time)
    status.job_seconds += (status.jobs_arrived - status.jobs_ended) * (time - status.now)
    status.energy += status.idle_power * max(time - max(status.now, episode.law[0].warmup), 0.0)
    status.now = time


@inner
def _pass_time(problem: Problem, episode: Episode, around: Surroundings, stream: Stream) -> bool:
    """Lets time pass until something happens, with all that is due then.

    Returns whether it is an event; the end of a shared transfer is none.
    """
    status, queues = episode.status[0], episode.queues
    _advance_clock(episode, _next_event(problem, episode, around, stream))
    happened = status.now >= episode.law[0].horizon
    for device in range(queues.size):
        if queues[device].until <= status.now:
            _complete(problem, episode, stream, device)
            happened = True
    if status.num_flows > 0:
        end_flows(problem, episode, around)
        for device in range(queues.size):
            if queues[device].length > 0 and queues[device].until == np.inf:
                start_in_front(problem, episode, device)
    happened |= fail_or_repair(problem, episode, around)
    while status.num_arrived < status.num_arriving:
        task = episode.runs[status.num_arrived].arriving
        if problem.tasks[task].release > status.now:
            break
        status.num_arrived += 1
        _greet(problem, episode, task)
        happened = True
    if episode.law[0].is_stream:
        happened |= arrive_jobs(problem, episode, stream)
    return bool(happened)


@inner
def _is_over(problem: Problem, episode: Episode, stream: Stream) -> bool:
    status, law = episode.status[0], episode.law[0]
    if law.is_stream:
        return bool(status.now >= law.horizon or status.jobs_ended == stream.law[0].num_jobs)
    return bool(status.num_finished == problem.total[0].num_tasks)


@inner
def _run_on(problem: Problem, episode: Episode, around: Surroundings, stream: Stream, waits: bool) -> None:
    """Lets time pass until there is something to decide, or the episode is over.

    Args:
        problem: What is played.
        episode: Where it stands.
        around: What it meets.
        stream: Where its jobs come from.
        waits: Whether time passes until the next event in any case.
    """
    status = episode.status[0]
    while not _is_over(problem, episode, stream) and (
        waits or _next_event(problem, episode, around, stream) <= status.now or not is_any_allowed(problem, episode)
    ):
        if _pass_time(problem, episode, around, stream):
            waits = False
    arriving = status.num_arrived < status.num_arriving or (
        episode.law[0].is_stream and stream.arrivals[0].time < np.inf
    )
    status.can_wait = status.num_in_line > 0 or status.num_down > 0 or arriving
    expect_lines(problem, episode, around)
    if _is_over(problem, episode, stream):
        _finish(problem, episode)


@inner
def _finish(problem: Problem, episode: Episode) -> None:
    """Ends an episode; what runs at the horizon is cut off."""
    status = episode.status[0]
    for device in range(episode.queues.size):
        task = episode.queues[device].head
        if task >= 0:
            account_for_run(problem, episode, device, episode.runs[task].since, status.now)
    status.is_over = True
    status.makespan = status.now
    status.bound = status.makespan
    status.job_latency_mean = status.latency_sum / max(status.jobs_counted, 1)


@inner
def _act(
    problem: Problem, episode: Episode, around: Surroundings, outcome: Any, num_candidates: int, action: int
) -> bool:
    """Decides what an agent asks for, or else what is allowed; returns whether it waits."""
    if action == NOTHING:
        return False
    task, device, step = decode(problem, episode, num_candidates, action)
    waits = task < 0 and episode.status[0].can_wait
    outcome.invalid_action = task < 0 and not (waits and action == 0)
    if not waits:
        if task < 0:
            task, device, step = first_allowed(problem, episode)
        enqueue(problem, episode, around, task, device, step)
    return bool(waits)


@inner
def _begin(world: World, rows: IntArray) -> None:
    for i in range(rows.size):
        b = rows[i]
        episode = episode_at(world, b)
        status = episode.status[0]
        problem = problem_at(world.instances, status.slot)
        clear_episode(problem, episode, world.outcome[b : b + 1])
        status.now = 0.0
        status.num_finished = 0
        status.num_arriving = 0
        status.num_arrived = 0
        status.jobs_arrived = 0
        status.jobs_active = 0
        status.jobs_ended = 0
        status.jobs_counted = 0
        status.job_seconds = 0.0
        status.latency_sum = 0.0
        status.job_slowdown_sum = 0.0
        begin_lines(episode, surroundings_of(world, b))
        if episode.law[0].is_stream:
            begin_stream(problem, episode, stream_at(world, b))
        else:
            _begin_jobs(world, problem, episode)


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
        if not status.is_over:
            cost_before = cost(episode.status, world.weights)
            around, stream = surroundings_of(world, b), stream_at(world, b)
            waits = _act(problem, episode, around, outcome, world.shown.candidates.shape[1], actions[i])
            _run_on(problem, episode, around, stream, waits)
            if actions[i] != NOTHING:
                account(world, b, cost_before)
        if observe:
            view = view_at(world.shown, b)
            show(problem, episode, view)
            show_running(problem, episode, view)
        noteworthy += outcome.terminated or outcome.invalid_action
    return noteworthy


@handle_kernel
def begin(handle: Any, rows: IntArray) -> None:
    """Begins episodes on the instances that ``slot`` names, with the luck that is in ``actual``.

    Args:
        handle: Of a `World`.
        rows: int64, which episodes.
    """
    _begin(handle.value, rows)


@handle_kernel
def advance(handle: Any, rows: IntArray, actions: IntArray, observe: bool) -> int:
    """Takes one decision in each of some episodes that goes on, lets time pass, and shows the result.

    Args:
        handle: Of a `World`.
        rows: int64, which episodes.
        actions: int64, one for each of them; `NOTHING` only lets happen what is due and shows how it stands.
        observe: Whether anybody looks at the observation.

    Returns:
        How many of them have ended or were asked for what is not allowed.
    """
    return _advance(handle.value, rows, actions, observe)
