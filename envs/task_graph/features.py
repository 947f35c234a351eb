"""What an agent sees of a task graph: the features one by one, and the kernels that write them.

Times are divided by the instance's ``scale`` (mean duration of a task plus mean transfer time of an edge) or by
its HEFT makespan, so that they mean the same at any speed and size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...compilation import inner
from ...workloads.task_graph import IntArray
from ..core.simulator import CLIP, Feature, ObservationSchema
from .instance import Problem, Records
from .state import Episode, is_allowed, is_open

SCHEMA = ObservationSchema(
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
"""Nodes are the P devices, then the tasks; a candidate speaks of its task and its device."""


QUANTITY = np.dtype([(feature.name, np.float32) for feature in SCHEMA.candidates])
"""A number for each feature of a candidate, in the feature's unit; the feature is its distance from a reference."""

BEST = np.dtype(
    [
        ("start", np.float32),  # over scale, the least over the devices that can run the task
        ("finish", np.float32),  # likewise
        ("path", np.float32),  # likewise: finish + optimistic cost
        ("partial", np.bool_),  # whether some device cannot run the task
    ],
    align=True,
)
"""The best that a ready task can get."""

_WIDTH = len(SCHEMA.candidates)
_HIGH = np.float32(CLIP)


class Measures(NamedTuple):
    """What the features of the candidates are made of, kept from step to step. It follows from the state.

    A ready task's quantities are written by `measure`, and again by `measure_start` where its start has moved. The
    flat arrays are the records once more, row after row: the features of a task's candidates are one subtraction.
    """

    quantities: Records  # (B, T, P) of QUANTITY
    references: Records  # (P,) of QUANTITY, those of the task at hand
    best: Records  # (B, T) of BEST
    flat_quantities: NDArray[np.float32]  # (B, T, P * Fc)
    flat_references: NDArray[np.float32]  # (P * Fc,)
    lowest: NDArray[np.float32]  # (P * Fc,) least value of each feature

    @classmethod
    def empty(cls, num_envs: int, num_tasks: int, num_devices: int) -> Measures:
        """Returns room for B episodes."""
        quantities = np.zeros((num_envs, num_tasks, num_devices), QUANTITY)
        references = np.zeros(num_devices, QUANTITY)
        increase = [feature.name.endswith("_increase") for feature in SCHEMA.candidates]
        return cls(
            quantities=quantities,
            references=references,
            best=np.zeros((num_envs, num_tasks), BEST),
            flat_quantities=quantities.view(np.float32).reshape(num_envs, num_tasks, -1),
            flat_references=references.view(np.float32),
            lowest=np.tile(np.where(increase, 0.0, -CLIP).astype(np.float32), num_devices),
        )


@inner
def measures_at(measures: Measures, b: int) -> Any:
    """Returns one episode's rows."""
    return Measures(
        measures.quantities[b],
        measures.references,
        measures.best[b],
        measures.flat_quantities[b],
        measures.flat_references,
        measures.lowest,
    )


@inner
def measure(problem: Problem, episode: Episode, measures: Measures, task: int) -> None:
    """Writes the quantities of a task that has become ready."""
    per_scale = problem.total[0].per_scale
    per_bound = 1.0 / episode.status[0].bound_unit
    rank, least = problem.upward_rank[task], problem.tasks[task].min_duration
    measures.best[task].partial = False
    for device in range(problem.duration.shape[1]):
        quantity = measures.quantities[task, device]
        quantity.rank_gap = -rank * per_scale
        quantity.rank = rank / problem.total[0].largest_rank
        quantity.duration = problem.duration[task, device] * per_scale
        quantity.duration_gap = (problem.duration[task, device] - least) * per_scale
        quantity.transfer = episode.options[task, device].transfer * per_scale
        quantity.optimistic_cost = problem.tail[task, device] * per_bound
        if problem.duration[task, device] == np.inf:
            measures.best[task].partial = True
        measure_start(problem, episode, measures, task, device)
    find_best(problem, measures, task)


@inner
def measure_start(problem: Problem, episode: Episode, measures: Measures, task: int, device: int) -> None:
    """Writes what depends on the start of a ready task on a device; `find_best` is to follow."""
    quantity = measures.quantities[task, device]
    per_scale = problem.total[0].per_scale
    start = episode.options[task, device].start
    finish = start + problem.duration[task, device]
    path = (finish + problem.tail[task, device]) * per_scale
    quantity.start_gap = start * per_scale
    quantity.idle = start * per_scale
    quantity.finish_gap = finish * per_scale
    quantity.device_gap = finish * per_scale
    quantity.makespan_increase = finish * per_scale
    quantity.path_gap = path
    quantity.bound_increase = path


@inner
def find_best(problem: Problem, measures: Measures, task: int) -> None:
    """Finds the best that a ready task can get."""
    start, finish, path = np.float32(np.inf), np.float32(np.inf), np.float32(np.inf)
    for device in range(problem.duration.shape[1]):
        quantity = measures.quantities[task, device]
        if problem.duration[task, device] < np.inf:
            start = min(start, quantity.start_gap)
            finish = min(finish, quantity.finish_gap)
            path = min(path, quantity.path_gap)
    measures.best[task].start = start
    measures.best[task].finish = finish
    measures.best[task].path = path


MARK = np.dtype([("episode", np.int64), ("touched", np.int64), ("all_open", np.bool_)], align=True)
"""What a view shows: the serial number of the episode (-1 for none), how many of its changes, whether all devices
took tasks."""


class View(NamedTuple):
    """One of the two sets of observation arrays; in kernels, one episode's rows of it."""

    candidates: NDArray[np.float32]  # (B, A, Fc)
    action_mask: NDArray[np.int8]  # (B, A)
    context: NDArray[np.float32]  # (B, Fg)
    nodes: NDArray[np.float32]  # (B, N, Fn)
    edges: NDArray[np.int32]  # (B, 2, E)
    edge_features: NDArray[np.float32]  # (B, E, Fe)
    counts: NDArray[np.int32]  # (B, 2)
    candidate_nodes: NDArray[np.int32]  # (B, A, 2)
    flat: NDArray[np.float32]  # (B, A * Fc) the candidates once more, row after row
    slots: IntArray  # (B, W) the task that each place of the window shows, -1 for none
    mark: Records  # (B,) of MARK


@inner
def view_at(view: View, b: int) -> Any:
    """Returns one episode's rows."""
    return View(
        view.candidates[b],
        view.action_mask[b],
        view.context[b],
        view.nodes[b],
        view.edges[b],
        view.edge_features[b],
        view.counts[b],
        view.candidate_nodes[b],
        view.flat[b],
        view.slots[b],
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
def show(problem: Problem, episode: Episode, measures: Measures, view: View) -> None:
    """Brings one episode's observation up to date: the view was last written two steps ago."""
    status = episode.status[0]
    if view.mark[0].episode != status.serial:
        _show_graph(problem, view)
        for task in range(problem.total[0].num_tasks):
            _show_task(problem, episode, view, task)
        view.mark[0].episode = status.serial
    else:
        for position in range(view.mark[0].touched, status.num_touched):
            task = episode.touched[position]
            _show_task(problem, episode, view, task)
            for edge in range(problem.tasks[task].out_begin, problem.tasks[task + 1].out_begin):
                _show_task(problem, episode, view, problem.edges[edge].target)
    view.mark[0].touched = status.num_touched
    slots = min(status.num_ready, view.slots.size)
    _show_devices(problem, episode, view)
    _set_references(problem, episode, measures, slots)
    _show_candidates(problem, episode, measures, view, slots)
    _show_context(problem, episode, view, slots)


@inner
def _show_graph(problem: Problem, view: View) -> None:
    """Writes what stays the same during an episode, and masks all candidates."""
    num_tasks, num_edges = problem.total[0].num_tasks, problem.total[0].num_edges
    num_devices = problem.duration.shape[1]
    per_scale = problem.total[0].per_scale
    view.counts[0] = num_devices + num_tasks
    view.counts[1] = num_edges
    view.nodes[:] = 0.0
    view.edges[:] = 0
    view.edge_features[:] = 0.0
    view.candidates[:] = 0.0
    view.candidate_nodes[:] = view.nodes.shape[0]
    view.action_mask[:] = 0
    view.slots[:] = -1
    for edge in range(num_edges):
        source, target = num_devices + problem.edges[edge].source, num_devices + problem.edges[edge].target
        transfer = problem.edge_costs[edge].mean_transfer * per_scale
        view.edges[0, edge] = source
        view.edges[1, edge] = target
        view.edge_features[edge, 0] = _clip(transfer)
        view.nodes[target, 10] = _clip(view.nodes[target, 10] + transfer)
        view.nodes[source, 11] = _clip(view.nodes[source, 11] + transfer)
    for task in range(num_tasks):
        node = num_devices + task
        view.nodes[node, 0] = 1.0
        view.nodes[node, 4] = _clip(problem.tasks[task].mean_duration * per_scale)
        view.nodes[node, 5] = _clip(problem.tasks[task].min_duration * per_scale)
        view.nodes[node, 6] = problem.upward_rank[task] / problem.total[0].largest_rank
    for device in range(num_devices):
        total, count, least = 0.0, 0, np.inf
        for task in range(num_tasks):
            if problem.duration[task, device] < np.inf:
                total += problem.duration[task, device]
                count += 1
                least = min(least, problem.duration[task, device])
        view.nodes[device, 1] = 1.0
        view.nodes[device, 4] = _clip(total / max(count, 1) * per_scale)
        view.nodes[device, 5] = _clip(least * per_scale)


@inner
def _show_task(problem: Problem, episode: Episode, view: View, task: int) -> None:
    decision = episode.plan.tasks[task]
    node = problem.duration.shape[1] + task
    placed = decision.device >= 0
    view.nodes[node, 2] = 1.0 if decision.pending == 0 and not placed else 0.0
    view.nodes[node, 3] = 1.0 if placed else 0.0
    view.nodes[node, 7] = decision.pending * problem.tasks[task].per_predecessor
    view.nodes[node, 8] = _clip(decision.finish / episode.status[0].makespan_unit) if placed else 0.0


@inner
def _show_devices(problem: Problem, episode: Episode, view: View) -> None:
    """Writes the devices, and the tasks in line there: when they are expected to finish changes with time."""
    per_unit = 1.0 / episode.status[0].makespan_unit
    for device in range(episode.plan.lanes.size):
        view.nodes[device, 8] = _clip(episode.plan.lanes[device].available * per_unit)
        view.nodes[device, 9] = _clip(episode.plan.lanes[device].busy * per_unit)
        task = episode.queues[device].head
        while task >= 0:
            _show_task(problem, episode, view, task)
            task = episode.runs[task].behind


@inner
def _set_references(problem: Problem, episode: Episode, measures: Measures, slots: int) -> None:
    """Sets what is subtracted from the quantities of all ready tasks in the window."""
    status, lanes, ready = episode.status[0], episode.plan.lanes, episode.plan.tasks
    per_scale = problem.total[0].per_scale
    least_start, least_finish, least_available = np.float32(np.inf), np.float32(np.inf), np.inf
    for slot in range(slots):
        best = measures.best[ready[slot].ready]
        least_start = min(least_start, best.start)
        least_finish = min(least_finish, best.finish)
    for device in range(lanes.size):
        least_available = min(least_available, lanes[device].available)
    most_urgent = problem.upward_rank[ready[0].ready] if slots > 0 else 0.0
    for device in range(lanes.size):
        reference = measures.references[device]
        reference.start_gap = least_start
        reference.finish_gap = least_finish
        reference.bound_increase = status.bound * per_scale
        reference.makespan_increase = status.makespan * per_scale
        reference.rank_gap = -most_urgent * per_scale
        reference.queue = (least_available - lanes[device].available) * per_scale
        reference.idle = lanes[device].available * per_scale


@inner
def _show_candidates(problem: Problem, episode: Episode, measures: Measures, view: View, slots: int) -> None:
    num_devices = problem.duration.shape[1]
    width = num_devices * _WIDTH
    all_open = _all_open(episode)
    same_open = all_open and view.mark[0].all_open
    for slot in range(slots):
        task = episode.plan.tasks[slot].ready
        if view.slots[slot] != task or not same_open:
            _name_candidates(problem, episode, view, slot, task)
        best = measures.best[task]
        for device in range(num_devices):
            measures.references[device].device_gap = best.finish
            measures.references[device].path_gap = best.path
        begin = _WIDTH + slot * width
        _write_features(measures, measures.flat_quantities[task], view.flat[begin : begin + width])
        if best.partial or not all_open:
            _clear_masked(problem, view, slot)
    view.mark[0].all_open = all_open
    for slot in range(slots, view.slots.size):
        if view.slots[slot] < 0:
            break
        _hide(problem, view, slot)
    _show_wait(problem, episode, measures, view, slots)


@inner
def _all_open(episode: Episode) -> bool:
    count = 0
    for device in range(episode.queues.size):
        count += is_open(episode, device)
    return bool(count == episode.queues.size)


@inner
def _show_wait(problem: Problem, episode: Episode, measures: Measures, view: View, slots: int) -> None:
    """Writes candidate 0."""
    view.action_mask[0] = 1 if slots == 0 or episode.status[0].can_wait else 0
    view.candidates[0, 0] = view.action_mask[0]
    view.candidates[0, 1] = 0.0
    if episode.status[0].can_wait:
        next_finish = _next_finish(episode) * problem.total[0].per_scale
        view.candidates[0, 1] = _clip(next_finish - measures.references[0].start_gap)


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
def _write_features(measures: Measures, quantities: NDArray[np.float32], features: NDArray[np.float32]) -> None:
    """Writes the candidates of one task, in a form that compiles to vector instructions."""
    references, lowest = measures.flat_references, measures.lowest
    for i in range(features.size):
        value = quantities[i] - references[i]
        value = lowest[i] if value < lowest[i] else value
        features[i] = _HIGH if value > _HIGH else value


@inner
def _name_candidates(problem: Problem, episode: Episode, view: View, slot: int, task: int) -> None:
    """Writes which task and devices a place of the window stands for."""
    num_devices = problem.duration.shape[1]
    view.slots[slot] = task
    for device in range(num_devices):
        row = 1 + slot * num_devices + device
        allowed = is_allowed(problem, episode, task, device)
        view.candidate_nodes[row, 0] = num_devices + task if allowed else view.nodes.shape[0]
        view.candidate_nodes[row, 1] = device if allowed else view.nodes.shape[0]
        view.action_mask[row] = 1 if allowed else 0


@inner
def _clear_masked(problem: Problem, view: View, slot: int) -> None:
    """Takes back the features of candidates that are not allowed."""
    num_devices = problem.duration.shape[1]
    for row in range(1 + slot * num_devices, 1 + (slot + 1) * num_devices):
        if not view.action_mask[row]:
            view.candidates[row, :] = 0.0


@inner
def _hide(problem: Problem, view: View, slot: int) -> None:
    """Masks the candidates of a place of the window."""
    num_devices = problem.duration.shape[1]
    view.slots[slot] = -1
    for row in range(1 + slot * num_devices, 1 + (slot + 1) * num_devices):
        for feature in range(_WIDTH):
            view.candidates[row, feature] = 0.0
        view.candidate_nodes[row, 0] = view.nodes.shape[0]
        view.candidate_nodes[row, 1] = view.nodes.shape[0]
        view.action_mask[row] = 0


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
    view.context[3] = _clip(status.makespan / unit)
    view.context[4] = _clip(status.bound / unit)
    view.context[5] = _clip((largest - least) * total.per_scale)
    view.context[6] = _clip((unit - total.lower_bound) / unit)
    view.context[7] = _clip(total.mean_transfer * total.per_scale)
