"""What an agent sees of a task graph: the features one by one, and the kernels that write them.

Times are divided by the instance's ``scale`` (mean duration of a task plus mean transfer time of an edge) or by
its HEFT makespan, so that they mean the same at any speed and size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...compilation import inner, rare
from ..core.simulator import CLIP, Feature, ObservationSchema
from .instance import Problem, Records
from .state import Episode, is_allowed

PLAN_SCHEMA = ObservationSchema(
    candidates=(
        Feature("wait", "1 for candidate 0, which waits, where it is allowed (in Plan: after the end)"),
        Feature(
            "start_gap",
            "earliest start, s, above the least of all candidates; of wait, when the next task in service is expected "
            "to finish, above the same; / scale",
        ),
        Feature("finish_gap", "earliest finish, s, above the least of all candidates; / scale"),
        Feature("device_gap", "earliest finish, s, above that on the task's best device; / scale"),
        Feature("path_gap", "earliest finish + optimistic cost, s, above that on the task's best device; / scale"),
        Feature("bound_increase", "by how much it would raise the lower bound on the makespan, s; / scale"),
        Feature("makespan_increase", "by how much it would raise the makespan so far, s; / scale"),
        Feature("rank_gap", "upward rank, s, below the most urgent ready task's; / scale"),
        Feature("rank", "upward rank, s; / the graph's largest"),
        Feature("duration", "duration, s; / scale"),
        Feature("duration_gap", "duration, s, above that on the task's fastest device; / scale"),
        Feature("queue", "end of the device's last interval, s, above the least of all devices; / scale"),
        Feature("idle", "start minus the end of the device's last interval, s, negative in a gap; / scale"),
        Feature("transfer", "sum of the transfer times of its inputs to the device, s; / scale"),
        Feature("optimistic_cost", "least time from its end to the end of the graph, s; / lower bound at reset"),
    ),
    context=(
        Feature("progress", "decided tasks; / tasks"),
        Feature("ready", "ready tasks; / tasks"),
        Feature("unseen", "ready tasks beyond the window; / tasks"),
        Feature("makespan", "makespan so far, s; / HEFT makespan"),
        Feature("bound", "lower bound so far, s; / HEFT makespan"),
        Feature("spread", "largest minus least end of the devices' last intervals, s; / scale"),
        Feature("slack", "HEFT makespan minus lower bound at reset, s; / HEFT makespan"),
        Feature("communication", "mean transfer time of an edge, s; / scale"),
    ),
    nodes=(
        Feature("task", "1 for a task"),
        Feature("device", "1 for a device"),
        Feature("ready", "1 for a ready task"),
        Feature("placed", "1 for a decided task"),
        Feature("duration", "mean duration over the devices (of a device: over the tasks), s; / scale"),
        Feature("min_duration", "least duration over the devices (of a device: over the tasks), s; / scale"),
        Feature("rank", "upward rank, s; / the graph's largest"),
        Feature("pending", "undecided predecessors; / predecessors"),
        Feature("finish", "finish of a decided task, end of a device's last interval, s; / HEFT makespan"),
        Feature("busy", "time a device is busy, s; / HEFT makespan"),
        Feature("incoming", "sum of the mean transfer times of its inputs, s; / scale"),
        Feature("outgoing", "sum of the mean transfer times of its outputs, s; / scale"),
    ),
    edge_features=(Feature("transfer", "mean transfer time between distinct devices, s; / scale"),),
    nodes_per_candidate=2,
    settled="placed",
)
"""Nodes are the P devices, then the tasks; a candidate speaks of its task and its device.

In Dispatch a device's last interval is that of the last task in line, and what has not finished is shown as expected.
In a stream times count from now, a place without a job has tasks that are ``placed`` and blank, and devices have no
durations.
"""

DISPATCH_SCHEMA = ObservationSchema(
    candidates=(
        *PLAN_SCHEMA.candidates,
        Feature("energy", "what the run would draw above idle, J; / scale and the largest such power of a device"),
        Feature("stretch", "how much longer it would take at this speed step; / at step 0, minus 1"),
        Feature("moving", "1 where the device's last task is of another job"),
        Feature("age", "time since the arrival of the task's job, s; / HEFT makespan"),
        Feature("slack", "deadline of the job minus the earliest end of the path, s; / HEFT makespan; 10 without one"),
        Feature("job_work", "mean durations of the job's unfinished tasks, s; / HEFT makespan"),
        Feature("job_share", "the job's tasks in line; / devices"),
    ),
    context=(
        *PLAN_SCHEMA.context,
        Feature("jobs", "active jobs; / room for jobs"),
        Feature("backlog", "jobs that have arrived and found no room; / room for jobs"),
        Feature("down", "devices that are down; / devices"),
        Feature("committed", "power that the devices may come to draw, W; / cap, 0 without one"),
        Feature("elapsed", "time, s; / horizon, 0 without one"),
    ),
    nodes=(
        *PLAN_SCHEMA.nodes,
        Feature("down", "1 for a device that is down"),
    ),
    edge_features=PLAN_SCHEMA.edge_features,
    nodes_per_candidate=PLAN_SCHEMA.nodes_per_candidate,
    settled=PLAN_SCHEMA.settled,
)
"""The features of Plan, and what matters besides while tasks run."""

_PLAN_CANDIDATES, _PLAN_CONTEXT, _PLAN_NODES = (
    len(PLAN_SCHEMA.candidates),
    len(PLAN_SCHEMA.context),
    len(PLAN_SCHEMA.nodes),
)


_LOW, _HIGH = np.float32(-CLIP), np.float32(CLIP)

MARK = np.dtype([("episode", np.int64), ("touched", np.int64), ("slots", np.int64)], align=True)
"""What a view shows: the serial number of the episode (-1 for none), how many of its changes, how many ready tasks."""


class View(NamedTuple):
    """One of the two sets of observation arrays; in kernels, one episode's rows of it."""

    candidates: NDArray[np.float32]  # (B, A, Fc)
    action_mask: NDArray[np.int8]  # (B, A)
    context: NDArray[np.float32]  # (B, Fg)
    nodes: NDArray[np.float32]  # (B, N, Fn)
    node_jobs: NDArray[np.int32]  # (B, N)
    edges: NDArray[np.int32]  # (B, 2, E)
    edge_features: NDArray[np.float32]  # (B, E, Fe)
    counts: NDArray[np.int32]  # (B, 2)
    candidate_nodes: NDArray[np.int32]  # (B, A, 2)
    flat: NDArray[np.float32]  # (B, A * Fc) the candidates once more, row after row
    mark: Records  # (B,) of MARK


@inner
def view_at(view: View, b: int) -> Any:
    """Returns one episode's rows."""
    return View(
        view.candidates[b],
        view.action_mask[b],
        view.context[b],
        view.nodes[b],
        view.node_jobs[b],
        view.edges[b],
        view.edge_features[b],
        view.counts[b],
        view.candidate_nodes[b],
        view.flat[b],
        view.mark[b : b + 1],
    )


@inner
def _clip(value: float) -> float:
    if value > CLIP:
        return CLIP
    if value < -CLIP:
        return -CLIP
    return value


@inner
def show(problem: Problem, episode: Episode, view: View) -> None:
    """Brings one episode's observation up to date: the view was last written two steps ago."""
    status = episode.status[0]
    if view.mark[0].episode != status.serial or status.num_touched - view.mark[0].touched > episode.touched.size:
        _show_graph(problem, view)
        for task in range(problem.total[0].num_tasks):
            _show_task(problem, episode, view, task)
        view.mark[0].episode = status.serial
    else:
        for position in range(view.mark[0].touched, status.num_touched):
            _show_change(problem, episode, view, episode.touched[position % episode.touched.size])
    view.mark[0].touched = status.num_touched
    slots = min(status.num_ready, (view.candidates.shape[0] - 1) // problem.steps.size)
    _show_devices(problem, episode, view)
    _show_candidates(problem, episode, view, slots)
    _show_context(problem, episode, view, slots)


@inner
def _show_change(problem: Problem, episode: Episode, view: View, change: int) -> None:
    """Brings a task and its successors up to date, or all tasks of a place that has another job."""
    if change < 0:
        num_tasks = problem.total[0].num_tasks // episode.jobs.size
        num_edges = problem.total[0].num_edges // episode.jobs.size
        place = -1 - change
        for task in range(place * num_tasks, (place + 1) * num_tasks):
            _show_new_task(problem, view, task)
        for edge in range(place * num_edges, (place + 1) * num_edges):
            _show_edge(problem, view, edge)
        for task in range(place * num_tasks, (place + 1) * num_tasks):
            _show_task(problem, episode, view, task)
    else:
        _show_task(problem, episode, view, change)
        for edge in range(problem.tasks[change].out_begin, problem.tasks[change + 1].out_begin):
            _show_task(problem, episode, view, problem.edges[edge].target)


@inner
def _show_edge(problem: Problem, view: View, edge: int) -> None:
    """Writes an edge, and adds its transfer to its ends."""
    num_devices = problem.duration.shape[1]
    source, target = num_devices + problem.edges[edge].source, num_devices + problem.edges[edge].target
    transfer = problem.edge_costs[edge].mean_transfer * problem.total[0].per_scale
    view.edges[0, edge] = source
    view.edges[1, edge] = target
    view.edge_features[edge, 0] = _clip(transfer)
    view.nodes[target, 10] = _clip(view.nodes[target, 10] + transfer)
    view.nodes[source, 11] = _clip(view.nodes[source, 11] + transfer)


@inner
def _show_new_task(problem: Problem, view: View, task: int) -> None:
    """Writes what of a task stays the same, before its edges are written."""
    node = problem.duration.shape[1] + task
    view.nodes[node, 0] = 1.0
    view.node_jobs[node] = problem.tasks[task].job
    view.nodes[node, 4] = _clip(problem.tasks[task].mean_duration * problem.total[0].per_scale)
    view.nodes[node, 5] = _clip(problem.tasks[task].min_duration * problem.total[0].per_scale)
    view.nodes[node, 6] = problem.upward_rank[task] / problem.total[0].largest_rank
    view.nodes[node, 10] = 0.0
    view.nodes[node, 11] = 0.0


@rare
def _show_graph(problem: Problem, view: View) -> None:
    """Writes what stays the same during an episode, and masks all candidates."""
    num_tasks, num_edges = problem.total[0].num_tasks, problem.total[0].num_edges
    num_devices = problem.duration.shape[1]
    per_scale = problem.total[0].per_scale
    view.counts[0] = num_devices + num_tasks
    view.counts[1] = num_edges
    view.nodes[:] = 0.0
    view.node_jobs[:] = view.nodes.shape[0]
    view.edges[:] = 0
    view.edge_features[:] = 0.0
    view.candidates[:] = 0.0
    view.candidate_nodes[:] = view.nodes.shape[0]
    view.action_mask[:] = 0
    view.mark[0].slots = 0
    for task in range(num_tasks):
        _show_new_task(problem, view, task)
    for edge in range(num_edges):
        _show_edge(problem, view, edge)
    for device in range(num_devices):
        total, count, least = 0.0, 0, np.inf
        for task in range(num_tasks):
            if problem.duration[task, device] < np.inf:
                total += problem.duration[task, device]
                count += 1
                least = min(least, problem.duration[task, device])
        view.nodes[device, 1] = 1.0
        view.nodes[device, 4] = _clip(total / max(count, 1) * per_scale)
        view.nodes[device, 5] = _clip(least * per_scale) if count > 0 else 0.0


@inner
def _show_task(problem: Problem, episode: Episode, view: View, task: int) -> None:
    decision = episode.plan.tasks[task]
    node = problem.duration.shape[1] + task
    placed, origin = decision.device >= 0, episode.status[0].origin
    view.nodes[node, 2] = 1.0 if decision.pending == 0 and not placed else 0.0
    view.nodes[node, 3] = 1.0 if placed or problem.tasks[task].release == np.inf else 0.0
    view.nodes[node, 7] = decision.pending * problem.tasks[task].per_predecessor
    finish = _clip(max(decision.finish - origin, 0.0) / episode.status[0].makespan_unit)
    view.nodes[node, 8] = finish if placed else 0.0


@inner
def _show_devices(problem: Problem, episode: Episode, view: View) -> None:
    """Writes the devices, and the tasks in line there: when they are expected to finish changes with time."""
    per_unit = 1.0 / episode.status[0].makespan_unit
    for device in range(episode.plan.lanes.size):
        view.nodes[device, 8] = _clip((episode.plan.lanes[device].available - episode.status[0].origin) * per_unit)
        view.nodes[device, 9] = _clip(episode.plan.lanes[device].busy * per_unit)
        task = episode.queues[device].head
        while task >= 0:
            _show_task(problem, episode, view, task)
            task = episode.runs[task].behind


@inner
def _hide(view: View, row: int) -> None:
    """Masks a candidate."""
    for feature in range(view.candidates.shape[1]):
        view.candidates[row, feature] = 0.0
    view.candidate_nodes[row, 0] = view.nodes.shape[0]
    view.candidate_nodes[row, 1] = view.nodes.shape[0]
    view.action_mask[row] = 0


@inner
def _next_finish(episode: Episode) -> float:
    """Returns when the first of the tasks in service is expected to finish, seconds; now if there is none."""
    time = np.inf
    for device in range(episode.queues.size):
        task = episode.queues[device].head
        if task >= 0:
            time = min(time, episode.plan.tasks[task].finish)
    return time if time < np.inf else float(episode.status[0].now)


@inner
def _show_candidates(  # noqa: PLR0915 (a line a feature)
    problem: Problem, episode: Episode, view: View, slots: int
) -> None:
    duration, tail, options, lanes = problem.duration, problem.tail, episode.options, episode.plan.lanes
    candidates, ready = view.candidates, episode.plan.tasks
    num_devices, num_steps = problem.steps.shape

    least_start, least_finish, least_available = np.inf, np.inf, np.inf
    for slot in range(slots):
        task = ready[slot].ready
        for device in range(num_devices):
            if duration[task, device] < np.inf:
                start = options[task, device].start
                least_start = min(least_start, start)
                least_finish = min(least_finish, start + duration[task, device])
    for device in range(num_devices):
        least_available = min(least_available, lanes[device].available)

    per_scale = problem.total[0].per_scale
    per_rank = 1.0 / problem.total[0].largest_rank
    per_bound = 1.0 / episode.status[0].bound_unit
    bound, makespan = episode.status[0].bound, episode.status[0].makespan
    most_urgent = problem.upward_rank[ready[0].ready] if slots > 0 else 0.0
    for slot in range(slots):
        task = ready[slot].ready
        rank, min_duration = problem.upward_rank[task], problem.tasks[task].min_duration
        best_finish, best_path = np.inf, np.inf
        for device in range(num_devices):
            finish = options[task, device].start + duration[task, device]
            best_finish = min(best_finish, finish)
            best_path = min(best_path, finish + tail[task, device])
        for pair in range(num_devices * num_steps):
            device, step = (pair, 0) if num_steps == 1 else divmod(pair, num_steps)
            row = 1 + slot * num_devices * num_steps + pair
            if not is_allowed(problem, episode, task, device, step):
                _hide(view, row)
                continue
            start, transfer = options[task, device].start, options[task, device].transfer
            seconds, after = duration[task, device] * problem.steps[device, step].stretch, tail[task, device]
            available = lanes[device].available
            finish, path = start + seconds, start + seconds + after
            candidates[row, 1] = (start - least_start) * per_scale
            candidates[row, 2] = (finish - least_finish) * per_scale
            candidates[row, 3] = (finish - best_finish) * per_scale
            candidates[row, 4] = (path - best_path) * per_scale
            candidates[row, 5] = max(path - bound, 0.0) * per_scale
            candidates[row, 6] = max(finish - makespan, 0.0) * per_scale
            candidates[row, 7] = (most_urgent - rank) * per_scale
            candidates[row, 8] = rank * per_rank
            candidates[row, 9] = seconds * per_scale
            candidates[row, 10] = (seconds - min_duration) * per_scale
            candidates[row, 11] = (available - least_available) * per_scale
            candidates[row, 12] = (start - available) * per_scale
            candidates[row, 13] = transfer * per_scale
            candidates[row, 14] = after * per_bound
            view.candidate_nodes[row, 0] = num_devices + task
            view.candidate_nodes[row, 1] = device
            view.action_mask[row] = 1
    for row in range(1 + slots * problem.steps.size, 1 + view.mark[0].slots * problem.steps.size):
        _hide(view, row)
    view.mark[0].slots = slots
    _clip_all(view.flat[candidates.shape[1] : candidates.shape[1] * (1 + slots * problem.steps.size)])

    can_wait = episode.status[0].can_wait
    view.action_mask[0] = 1 if slots == 0 or can_wait else 0
    candidates[0, 0] = view.action_mask[0]
    candidates[0, 1] = _clip((_next_finish(episode) - least_start) * per_scale) if can_wait else 0.0


@inner
def _clip_all(features: NDArray[np.float32]) -> None:
    """Clips in a form that compiles to vector instructions."""
    for i in range(features.size):
        value = _HIGH if features[i] > _HIGH else features[i]
        features[i] = _LOW if value < _LOW else value


@inner
def _show_context(problem: Problem, episode: Episode, view: View, slots: int) -> None:
    status, total = episode.status[0], problem.total[0]
    unit = status.makespan_unit
    least, largest = np.inf, 0.0
    for device in range(episode.plan.lanes.size):
        least = min(least, episode.plan.lanes[device].available)
        largest = max(largest, episode.plan.lanes[device].available)
    view.context[0] = status.num_placed / total.num_tasks
    view.context[1] = status.num_ready / total.num_tasks
    view.context[2] = (status.num_ready - slots) / total.num_tasks
    view.context[3] = _clip((status.makespan - status.origin) / unit)
    view.context[4] = _clip((status.bound - status.origin) / unit)
    view.context[5] = _clip((largest - least) * total.per_scale)
    view.context[6] = _clip((unit - total.lower_bound) / unit)
    view.context[7] = _clip(total.mean_transfer * total.per_scale)


@inner
def show_running(problem: Problem, episode: Episode, view: View) -> None:
    """Brings up to date what Dispatch shows besides: of candidates, the situation and the devices."""
    status, law, queues = episode.status[0], episode.law[0], episode.queues
    num_devices = queues.size
    room = episode.jobs.size
    view.context[_PLAN_CONTEXT] = status.jobs_active / room
    view.context[_PLAN_CONTEXT + 1] = _clip((status.jobs_arrived - status.jobs_ended - status.jobs_active) / room)
    view.context[_PLAN_CONTEXT + 2] = status.num_down / num_devices
    view.context[_PLAN_CONTEXT + 3] = status.committed / law.power_cap
    view.context[_PLAN_CONTEXT + 4] = status.now / law.horizon
    power = 0.0
    for device in range(num_devices):
        view.nodes[device, _PLAN_NODES] = 1.0 if queues[device].is_down else 0.0
        power = max(power, problem.steps[device, 0].power)
    per_joule = problem.total[0].per_scale / power if power > 0.0 else 0.0
    for slot in range(view.mark[0].slots):
        _show_job(problem, episode, view, slot, per_joule)


@inner
def _show_job(problem: Problem, episode: Episode, view: View, slot: int, per_joule: float) -> None:
    """Writes what the candidates of a ready task say of its job, and of energy."""
    status, candidates = episode.status[0], view.candidates
    task = episode.plan.tasks[slot].ready
    job = episode.jobs[problem.tasks[task].job]
    per_unit = 1.0 / status.makespan_unit
    age, work = _clip((status.now - job.arrival) * per_unit), _clip(job.work * per_unit)
    share = _clip(job.in_line / episode.queues.size)
    num_steps = problem.steps.shape[1]
    for pair in range(problem.steps.size):
        row = 1 + slot * problem.steps.size + pair
        if view.action_mask[row] == 0:
            continue
        device, step = (pair, 0) if num_steps == 1 else divmod(pair, num_steps)
        chosen = problem.steps[device, step]
        seconds = problem.duration[task, device] * chosen.stretch
        end = episode.options[task, device].start + seconds + problem.tail[task, device]
        candidates[row, _PLAN_CANDIDATES] = _clip(chosen.power * seconds * per_joule)
        candidates[row, _PLAN_CANDIDATES + 1] = _clip(chosen.stretch - 1.0)
        candidates[row, _PLAN_CANDIDATES + 2] = 1.0 if episode.queues[device].final_job != job.index else 0.0
        candidates[row, _PLAN_CANDIDATES + 3] = age
        candidates[row, _PLAN_CANDIDATES + 4] = _clip((job.deadline - end) * per_unit)
        candidates[row, _PLAN_CANDIDATES + 5] = work
        candidates[row, _PLAN_CANDIDATES + 6] = share
