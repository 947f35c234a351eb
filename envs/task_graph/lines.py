"""The devices of Dispatch and the tasks in their lines."""

from __future__ import annotations

import numpy as np

from ...compilation import inner, rare
from .instance import Problem
from .luck import draw_outage
from .state import Episode, Surroundings, touch
from .transfers import FAIR, NONE, drop_flows, send_inputs
from .world import find_inputs


@rare
def begin_lines(episode: Episode, around: Surroundings) -> None:
    """Empties all lines, and finds when devices fail first."""
    status = episode.status[0]
    status.num_in_line = 0
    status.num_decisions = 0
    status.num_down = 0
    status.num_flows = 0
    status.flows_at = 0.0
    status.committed = status.idle_power
    for channel in range(around.channels.size):
        around.channels[channel].free = 0.0
    for device in range(episode.queues.size):
        queue = episode.queues[device]
        queue.is_down = False
        queue.outages = 0
        queue.turn = 0.0
        queue.commitment = 0.0
        _empty(episode, device)
        _find_next_outage(episode, around, device)


@inner
def _empty(episode: Episode, device: int) -> None:
    queue = episode.queues[device]
    queue.head = -1
    queue.length = 0
    queue.until = np.inf
    queue.last_job = -1


@inner
def make_ready(problem: Problem, episode: Episode, task: int) -> None:
    """Adds a task to the ready ones."""
    find_inputs(problem, episode, task)
    episode.runs[task].ready_at = episode.status[0].now
    tasks, position = episode.plan.tasks, episode.status[0].num_ready
    while position > 0 and is_more_urgent(problem, episode, task, tasks[position - 1].ready):
        tasks[position].ready = tasks[position - 1].ready
        position -= 1
    tasks[position].ready = task
    episode.status[0].num_ready += 1


@inner
def is_more_urgent(problem: Problem, episode: Episode, task: int, other: int) -> bool:
    """Whether a task has the higher upward rank; of equals that of the earlier job, then the one of lower index."""
    one, two = problem.upward_rank[task], problem.upward_rank[other]
    return bool(one > two or (one == two and is_earlier(problem, episode, task, other)))


@inner
def is_earlier(problem: Problem, episode: Episode, task: int, other: int) -> bool:
    """Whether a task is of an earlier job than another, or of the same and has the lower index."""
    job, other_job = episode.jobs[problem.tasks[task].job].index, episode.jobs[problem.tasks[other].job].index
    return bool(job < other_job or (job == other_job and task < other))


@inner
def enqueue(problem: Problem, episode: Episode, around: Surroundings, task: int, device: int, step: int) -> None:
    """Gives a ready task to a device at a speed step."""
    status, plan, queue, run = episode.status[0], episode.plan, episode.queues[device], episode.runs[task]
    kept = 0
    for position in range(status.num_ready):
        if plan.tasks[position].ready != task:
            plan.tasks[kept].ready = plan.tasks[position].ready
            kept += 1
    status.num_ready = kept
    if not episode.law[0].is_stream:
        plan.tasks[status.num_placed].sequence = task
    touch(episode, task)
    status.num_placed += 1
    status.num_in_line += 1
    episode.jobs[problem.tasks[task].job].in_line += 1
    plan.tasks[task].device = device
    run.decided = status.now
    run.number = status.num_decisions
    status.num_decisions += 1
    run.step = step
    run.behind = -1
    send_inputs(problem, episode, around, task, device)
    queue.length += 1
    if queue.length > 1:
        episode.runs[queue.tail].behind = task
        queue.tail = task
    else:
        queue.head = queue.tail = task
        serve(problem, episode, device)
    commit(problem, episode, device)


@inner
def serve(problem: Problem, episode: Episode, device: int) -> None:
    """Prepares a device for the task that has just come to the front of its line."""
    queue = episode.queues[device]
    job = episode.jobs[problem.tasks[queue.head].job].index
    queue.prepared = episode.status[0].now
    if job != queue.last_job:
        queue.prepared += episode.law[0].moving_delay
    queue.last_job = job
    start_in_front(problem, episode, device)


@inner
def start_in_front(problem: Problem, episode: Episode, device: int) -> None:
    """Finds when the task in front of a line starts and finishes, if it is known when its inputs will be there."""
    queue = episode.queues[device]
    run = episode.runs[queue.head]
    run.done = 0.0
    run.since = np.inf
    if run.flows == 0:
        start = max(queue.prepared, run.inputs)
        if queue.is_down:
            start = max(start, queue.turn)
        _run_from(problem, episode, device, start)


@inner
def _run_from(problem: Problem, episode: Episode, device: int, start: float) -> None:
    queue = episode.queues[device]
    run = episode.runs[queue.head]
    episode.plan.tasks[queue.head].start = start
    run.since = start
    queue.until = start + _run_time(problem, episode, queue.head, device)


@inner
def _run_time(problem: Problem, episode: Episode, task: int, device: int) -> float:
    return float(episode.actual[task, device] * problem.steps[device, episode.runs[task].step].stretch)


@inner
def account_for_run(problem: Problem, episode: Episode, device: int, begin: float, end: float) -> None:
    """Adds the time and energy that the task in front of a line has taken, as far as they are after the warm-up."""
    seconds = max(end - max(begin, episode.law[0].warmup), 0.0)
    step = episode.runs[episode.queues[device].head].step
    episode.plan.lanes[device].busy += seconds
    episode.status[0].energy += problem.steps[device, step].power * seconds


@inner
def commit(problem: Problem, episode: Episode, device: int) -> None:
    """Finds what a device, and all together, may come to draw."""
    if episode.law[0].power_cap == np.inf:
        return
    queue, status = episode.queues[device], episode.status[0]
    queue.commitment = 0.0
    task = queue.head if queue.length > 0 else -1
    while task >= 0:
        queue.commitment = max(queue.commitment, problem.steps[device, episode.runs[task].step].power)
        task = episode.runs[task].behind
    status.committed = 0.0
    for other in range(episode.queues.size):
        status.committed += problem.steps[other, 0].idle_power + episode.queues[other].commitment


@inner
def _find_next_outage(episode: Episode, around: Surroundings, device: int) -> None:
    """Finds when a device that is up, from ``turn`` on, fails next."""
    queue = episode.queues[device]
    if around.luck[0].mean_uptime < np.inf:
        seed, number = episode.status[0].seed, episode.status[0].episode
        queue.turn += draw_outage(around.luck, seed, number, device, queue.outages)[0]
    else:
        queue.turn = _recorded_outage(around, device, queue.outages)[0]


@inner
def _recorded_outage(around: Surroundings, device: int, count: int) -> tuple[float, float]:
    """Returns begin and end of a device's outage of this number, seconds; (inf, inf) if there is none."""
    for place in range(around.outages.size):
        outage = around.outages[place]
        if outage.device == device:
            if count == 0:
                return float(outage.begin), float(outage.end)
            count -= 1
    return np.inf, np.inf


@inner
def fail_or_repair(problem: Problem, episode: Episode, around: Surroundings) -> bool:
    """Lets devices fail, then be repaired, that are due; returns whether any is."""
    happened, now = False, episode.status[0].now
    for device in range(episode.queues.size):
        if episode.queues[device].turn <= now and not episode.queues[device].is_down:
            _fail(problem, episode, around, device)
            happened = True
    for device in range(episode.queues.size):
        queue = episode.queues[device]
        if queue.turn <= now and queue.is_down:
            queue.is_down = False
            queue.outages += 1
            episode.status[0].num_down -= 1
            _find_next_outage(episode, around, device)
            happened = True
    return happened


@rare
def _fail(problem: Problem, episode: Episode, around: Surroundings, device: int) -> None:
    status, queue = episode.status[0], episode.queues[device]
    if around.luck[0].mean_uptime < np.inf:
        queue.turn += draw_outage(around.luck, status.seed, status.episode, device, queue.outages)[1]
    else:
        queue.turn = _recorded_outage(around, device, queue.outages)[1]
    queue.is_down = True
    status.num_down += 1
    if queue.length == 0:
        if not episode.law[0].resumes:
            queue.last_job = -1
    elif episode.law[0].resumes:
        _pause(problem, episode, device)
    else:
        _take_back_line(problem, episode, around, device)


@rare
def _pause(problem: Problem, episode: Episode, device: int) -> None:
    """Lets the task in front of a line go on, or start, when its device has been repaired."""
    queue, now = episode.queues[device], episode.status[0].now
    run = episode.runs[queue.head]
    if run.since < now:
        account_for_run(problem, episode, device, run.since, now)
        run.done += now - run.since
        run.since = queue.turn
        queue.until = queue.turn + (_run_time(problem, episode, queue.head, device) - run.done)
    elif run.since < queue.turn:
        _run_from(problem, episode, device, queue.turn)


@rare
def _take_back_line(problem: Problem, episode: Episode, around: Surroundings, device: int) -> None:
    """Makes all tasks in a line ready again; what was run of them is lost."""
    status, queue, tasks = episode.status[0], episode.queues[device], episode.plan.tasks
    if episode.runs[queue.head].since < status.now:
        account_for_run(problem, episode, device, episode.runs[queue.head].since, status.now)
    task = queue.head
    while task >= 0:
        if episode.law[0].contention == FAIR:
            drop_flows(episode, around, task)
        tasks[task].device = -1
        status.num_placed -= 1
        status.num_in_line -= 1
        episode.jobs[problem.tasks[task].job].in_line -= 1
        if not episode.law[0].is_stream:
            _strike(episode, task)
        make_ready(problem, episode, task)
        touch(episode, task)
        task = episode.runs[task].behind
    _empty(episode, device)
    commit(problem, episode, device)


@inner
def _strike(episode: Episode, task: int) -> None:
    """Takes a task out of the list of those that are decided, which is already one shorter."""
    tasks, place = episode.plan.tasks, 0
    while tasks[place].sequence != task:
        place += 1
    for later in range(place, episode.status[0].num_placed):
        tasks[later].sequence = tasks[later + 1].sequence


@inner
def expect_lines(problem: Problem, episode: Episode, around: Surroundings) -> None:
    """Finds what is to be expected: when tasks in line will run, when ready ones could start.

    Until a task has finished, the state shows its expected finish; only ``until`` knows the true one.
    """
    status, plan, law = episode.status[0], episode.plan, episode.law[0]
    status.origin = status.now if law.is_stream else 0.0
    status.makespan = status.now
    for device in range(problem.duration.shape[1]):
        _expect_line(problem, episode, around, device)
        status.makespan = max(status.makespan, plan.lanes[device].available)
    for position in range(status.num_ready):
        task = plan.tasks[position].ready
        job = episode.jobs[problem.tasks[task].job].index
        path = np.inf
        for device in range(problem.duration.shape[1]):
            if problem.duration[task, device] == np.inf:
                continue
            option = episode.options[task, device]
            available = plan.lanes[device].available
            if law.moving_delay > 0.0 and episode.queues[device].final_job != job:
                available += law.moving_delay
            inputs = option.data_ready if law.contention == NONE else status.now + option.transfer
            option.start = max(inputs, available)
            if not law.is_stream:
                path = min(path, option.start + problem.duration[task, device] + problem.tail[task, device])
        if not law.is_stream:
            # A stream has no makespan to bound.
            status.bound = max(status.bound, path)


@inner
def _expect_line(problem: Problem, episode: Episode, around: Surroundings, device: int) -> None:
    """Finds when the tasks in line on a device will run, and when it will be free."""
    lane, tasks, queue = episode.plan.lanes[device], episode.plan.tasks, episode.queues[device]
    now = episode.status[0].now
    lane.available = now + (around.luck[0].mean_downtime if queue.is_down else 0.0)
    queue.final_job = queue.last_job
    task = queue.head
    while task >= 0:
        run = episode.runs[task]
        begin = lane.available
        if run.flows > 0:
            begin = max(begin, run.decided + episode.options[task, device].transfer)
        elif task != queue.head:
            begin = max(begin, run.inputs)
        if task == queue.head:
            begin = max(begin, queue.prepared)
            if run.since < np.inf and not queue.is_down:
                begin = run.since
        elif episode.jobs[problem.tasks[task].job].index != queue.final_job:
            begin += episode.law[0].moving_delay
        if task != queue.head or run.since == np.inf:
            tasks[task].start = begin
        seconds = problem.duration[task, device] * problem.steps[device, run.step].stretch
        done = run.done if task == queue.head else 0.0
        lane.available = max(lane.available, begin + seconds - done)
        tasks[task].finish = lane.available
        queue.final_job = episode.jobs[problem.tasks[task].job].index
        task = run.behind
