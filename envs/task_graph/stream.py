"""Jobs that keep arriving: when, of what kind, and their turns in the places for active jobs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...compilation import inner, rare
from ...hardware_models import Platform
from ...workloads.arrivals import ARRIVAL, PROCESS, first_arrival, next_arrival, template_of
from ...workloads.stream import JobStream
from ...workloads.task_graph import FloatArray, IntArray
from .instance import Instance, Instances, Problem
from .lines import make_ready
from .list_scheduling import Draft, prepare
from .luck import EXPOSURE, LUCK, draw_device_factors, draw_factors, task_stream
from .rules import Information
from .state import BINS, BINS_PER_OCTAVE, LOGGED, Episode, touch
from .world import Stream, Templates

LOG_ROOM = 2048
"""Runs of a stream that are remembered."""

STREAM = np.dtype(
    [
        ("num_jobs", np.int64),  # -1: as many as arrive before the horizon
        ("deadline_factor", np.float64),  # deadline after arrival, over the job's critical path; inf: none
        ("latency_unit", np.float64),  # seconds, of the histogram
        ("tasks_per_place", np.int64),  # one more than the largest job has
        ("edges_per_place", np.int64),
        ("is_exact", np.bool_),  # whether realised durations are known
    ],
    align=True,
)
"""The numbers of a stream."""


def no_stream(num_envs: int, num_devices: int) -> Stream:
    """Returns what stands in the place of a stream where there is none.

    Args:
        num_envs: B.
        num_devices: P.
    """
    templates = Instances.empty(0, 0, num_devices, 0)
    nothing = np.empty(0)
    return _room(_templates(templates, templates, nothing, nothing), num_envs, num_devices, 0)


def stream_of(workload: JobStream, platform: Platform, information: Information, num_envs: int) -> Stream:
    """Returns a stream as kernels read it.

    Args:
        workload: Its jobs.
        platform: What they run on.
        information: What everybody who decides takes for the durations; ranks are those of expected durations also
            where realised ones are known.
        num_envs: B.
    """
    expected = _prepared(workload, platform)
    known = expected
    if information == "blind":
        known = _prepared(workload, platform)
        finite = np.concatenate([_finite(known, row) for row in range(len(known.totals))])
        for row in range(len(known.totals)):
            duration = known.graph.duration[row, : known.graph.num_tasks[row]]
            duration[np.isfinite(duration)] = finite.mean()
        _prepare(known, platform)
    critical_path = expected.totals["lower_bound"].copy()
    mean = float(np.average(critical_path, weights=np.diff(workload.shares, prepend=0.0)))
    law = np.zeros(1, STREAM)
    law["num_jobs"] = -1 if workload.num_jobs is None else workload.num_jobs
    law["deadline_factor"] = workload.deadline_factor or np.inf
    law["tasks_per_place"], law["edges_per_place"] = workload.tasks_per_job, workload.edges_per_job
    law["is_exact"] = information == "exact"
    law["latency_unit"] = mean if mean > 0 else 1.0
    templates = _templates(known, expected, workload.shares, np.where(critical_path > 0, critical_path, 1.0))
    return _room(templates, num_envs, platform.num_devices, LOG_ROOM)._replace(
        law=law, process=workload.arrivals.law(workload.num_jobs), recorded=workload.arrivals.times()
    )


def _room(templates: Templates, num_envs: int, num_devices: int, log_room: int) -> Stream:
    return Stream(
        law=np.empty(0, STREAM),
        process=np.empty(0, PROCESS),
        recorded=np.empty(0),
        templates=templates,
        luck=np.zeros(1, LUCK),
        exposure=np.zeros(num_devices, EXPOSURE),
        device_factors=np.ones((num_envs, num_devices)),
        arrivals=np.zeros((num_envs, 2), ARRIVAL),
        histogram=np.zeros((num_envs, BINS if log_room else 0), np.int64),
        log=np.zeros((num_envs, log_room), LOGGED),
    )


def _templates(known: Instances, expected: Instances, share: FloatArray, critical_path: FloatArray) -> Templates:
    return Templates(
        totals=known.totals,
        duration=known.graph.duration,
        expected=expected.graph.duration.copy(),
        upward_rank=known.upward_rank,
        tail=known.tail,
        tasks=known.tasks,
        edges=known.graph.edges,
        edge_costs=known.edge_costs,
        share=share,
        critical_path=critical_path,
    )


def _finite(instances: Instances, row: int) -> FloatArray:
    duration = instances.graph.duration[row, : instances.graph.num_tasks[row]]
    return np.asarray(duration[np.isfinite(duration)], np.float64)


def _prepared(workload: JobStream, platform: Platform) -> Instances:
    graphs = workload.templates
    templates = Instances.empty(
        len(graphs), workload.tasks_per_job, platform.num_devices, max(workload.edges_per_job, 1), num_steps=1
    )
    for row, graph in enumerate(graphs):
        templates.put(row, Instance(graph, platform))
    _prepare(templates, platform)
    return templates


def _prepare(templates: Instances, platform: Platform) -> None:
    num_rows, num_tasks = templates.upward_rank.shape
    prepare(templates, Draft.empty(num_tasks, platform.num_devices), np.arange(num_rows))


def put_averages(instances: Instances, workload: JobStream, stream: Stream) -> None:
    """Writes into all rows what features are divided by: means over the jobs.

    Args:
        instances: Room for the active jobs of each environment.
        workload: The stream.
        stream: The same as `stream_of` gave it.
    """
    share = np.diff(workload.shares, prepend=0.0)
    totals = stream.templates.totals
    for name in ("mean_transfer", "scale", "lower_bound", "heft_makespan"):
        instances.totals[name] = np.average(totals[name], weights=share)
    instances.totals["per_scale"] = 1.0 / instances.totals["scale"]
    instances.totals["largest_rank"] = totals["largest_rank"].max()
    instances.totals["num_tasks"] = instances.graph.num_tasks[:] = workload.max_tasks
    instances.totals["num_edges"] = instances.graph.num_edges[:] = workload.active_jobs * workload.edges_per_job
    instances.graph.num_jobs[:] = workload.active_jobs
    sentinel = instances.tasks[:, workload.max_tasks]
    sentinel["in_begin"] = sentinel["out_begin"] = workload.active_jobs * workload.edges_per_job


def latency_quantiles(histogram: IntArray, unit: float, quantiles: Sequence[float]) -> FloatArray:
    """Returns quantiles of latencies from how many fell into each bin, float64 (rows, quantiles); NaN without any.

    They are right within 0.6 %, half the width of a bin.

    Args:
        histogram: int64 (rows, BINS).
        unit: Seconds; the mean critical path.
        quantiles: From 0 to 1.
    """
    totals = histogram.cumsum(axis=1)
    places = [(totals < np.ceil(q * totals[:, -1:])).sum(axis=1) for q in quantiles]
    values = unit * 2.0 ** ((np.stack(places, axis=1) + 0.5) / BINS_PER_OCTAVE - 10.0)
    return np.where(totals[:, -1:] > 0, values, np.nan)


@rare
def begin_stream(problem: Problem, episode: Episode, stream: Stream) -> None:
    """Empties all places, and finds the first job."""
    status = episode.status[0]
    status.log_length = 0
    stream.histogram[:] = 0
    draw_device_factors(stream.luck, stream.exposure, status.seed, status.episode, stream.device_factors)
    for place in range(episode.jobs.size):
        _vacate(problem, episode, stream, place)
    for cursor in range(2):
        first_arrival(stream.process, stream.recorded, status.seed, status.episode, stream.arrivals[cursor])


@inner
def _find_next(episode: Episode, stream: Stream, cursor: int) -> None:
    """Moves on to the next job of the stream."""
    status = episode.status[0]
    next_arrival(stream.process, stream.recorded, status.seed, status.episode, stream.arrivals[cursor])


@rare
def arrive_jobs(problem: Problem, episode: Episode, stream: Stream) -> bool:
    """Lets jobs arrive that are due, and become active while there is room; returns whether any has arrived."""
    status, happened = episode.status[0], False
    while stream.arrivals[0].time <= status.now:
        status.jobs_arrived += 1
        _find_next(episode, stream, 0)
        happened = True
    while stream.arrivals[1].index < status.jobs_arrived and status.jobs_active < episode.jobs.size:
        place = 0
        while episode.jobs[place].index >= 0:
            place += 1
        _fill(problem, episode, stream, place)
        status.jobs_active += 1
        _find_next(episode, stream, 1)
    return happened


@inner
def _fill(problem: Problem, episode: Episode, stream: Stream, place: int) -> None:
    """Puts the next job into a free place."""
    templates, status, arrival, job = stream.templates, episode.status[0], stream.arrivals[1], episode.jobs[place]
    kind = template_of(templates.share, status.seed, status.episode, arrival.index)
    job.index = arrival.index
    job.template = kind
    job.arrival = arrival.time
    job.deadline = arrival.time + stream.law[0].deadline_factor * templates.critical_path[kind]
    job.has_arrived = True
    job.remaining = templates.totals[kind].num_tasks
    job.in_line = 0
    job.work = 0.0
    job.critical_path = templates.critical_path[kind]
    _copy_tasks(problem, episode, stream, place)
    _copy_edges(problem, stream, kind, place)
    touch(episode, -1 - place)
    first = place * stream.law[0].tasks_per_place
    for task in range(first, first + job.remaining):
        if episode.plan.tasks[task].pending == 0:
            make_ready(problem, episode, task)


@inner
def _copy_tasks(problem: Problem, episode: Episode, stream: Stream, place: int) -> None:
    templates, job = stream.templates, episode.jobs[place]
    kind = job.template
    first = place * stream.law[0].tasks_per_place
    first_edge = place * stream.law[0].edges_per_place
    luck = task_stream(episode.status[0].seed, episode.status[0].episode, job.index)
    for t in range(job.remaining):
        task = first + t
        draw_factors(stream.luck, stream.exposure, stream.device_factors, luck, t, episode.actual[task])
        for device in range(problem.duration.shape[1]):
            expected = templates.expected[kind, t, device]
            episode.actual[task, device] = episode.actual[task, device] * expected if expected < np.inf else np.inf
            known = episode.actual[task, device] if stream.law[0].is_exact else templates.duration[kind, t, device]
            problem.duration[task, device] = known
            problem.tail[task, device] = templates.tail[kind, t, device]
        problem.upward_rank[task] = templates.upward_rank[kind, t]
        record, template = problem.tasks[task], templates.tasks[kind, t]
        record.in_begin = first_edge + template.in_begin
        record.out_begin = first_edge + template.out_begin
        record.per_predecessor = template.per_predecessor
        record.mean_duration = template.mean_duration
        record.min_duration = template.min_duration
        record.release = job.arrival
        job.work += record.mean_duration
        episode.plan.tasks[task].device = -1
        episode.plan.tasks[task].pending = templates.tasks[kind, t + 1].in_begin - template.in_begin
    # The task after the last one tells where its edges end.
    problem.tasks[first + job.remaining].in_begin = first_edge + templates.tasks[kind, job.remaining].in_begin
    problem.tasks[first + job.remaining].out_begin = first_edge + templates.tasks[kind, job.remaining].out_begin


@inner
def _copy_edges(problem: Problem, stream: Stream, kind: int, place: int) -> None:
    templates, law = stream.templates, stream.law[0]
    first, first_edge = place * law.tasks_per_place, place * law.edges_per_place
    num_edges = templates.totals[kind].num_edges
    for e in range(num_edges):
        edge, cost = problem.edges[first_edge + e], problem.edge_costs[first_edge + e]
        edge.source = first + templates.edges[kind, e].source
        edge.target = first + templates.edges[kind, e].target
        edge.bytes = templates.edges[kind, e].bytes
        cost.incoming = first_edge + templates.edge_costs[kind, e].incoming
        cost.mean_transfer = templates.edge_costs[kind, e].mean_transfer
    for e in range(num_edges, law.edges_per_place):
        _clear_edge(problem, stream, place, e)


@inner
def _clear_edge(problem: Problem, stream: Stream, place: int, e: int) -> None:
    """Lets an edge that is not there join the place's last task, which is never part of a job, with itself."""
    number = place * stream.law[0].edges_per_place + e
    edge, last = problem.edges[number], (place + 1) * stream.law[0].tasks_per_place - 1
    edge.source = last
    edge.target = last
    edge.bytes = 0.0
    problem.edge_costs[number].incoming = number
    problem.edge_costs[number].mean_transfer = 0.0


@inner
def _vacate(problem: Problem, episode: Episode, stream: Stream, place: int) -> None:
    """Empties a place."""
    law = stream.law[0]
    episode.jobs[place].index = -1
    for task in range(place * law.tasks_per_place, (place + 1) * law.tasks_per_place):
        episode.plan.tasks[task].device = -1
        # Never ready.
        episode.plan.tasks[task].pending = 1
        problem.upward_rank[task] = 0.0
        record = problem.tasks[task]
        record.job = place
        record.in_begin = place * law.edges_per_place
        record.out_begin = place * law.edges_per_place
        record.per_predecessor = 0.0
        record.mean_duration = 0.0
        record.min_duration = 0.0
        record.release = np.inf
        for device in range(problem.duration.shape[1]):
            problem.duration[task, device] = np.inf
    for e in range(law.edges_per_place):
        _clear_edge(problem, stream, place, e)
    touch(episode, -1 - place)


@rare
def end_stream_job(problem: Problem, episode: Episode, stream: Stream, place: int) -> None:
    """Counts a job that has ended, and empties its place."""
    status, job = episode.status[0], episode.jobs[place]
    status.num_placed -= stream.templates.totals[job.template].num_tasks
    if job.arrival >= episode.law[0].warmup:
        latency = (status.now - job.arrival) / stream.law[0].latency_unit
        octaves = np.log2(max(latency, 2.0**-10)) + 10.0
        stream.histogram[min(int(octaves * BINS_PER_OCTAVE), stream.histogram.size - 1)] += 1
    _vacate(problem, episode, stream, place)


@inner
def log_run(problem: Problem, episode: Episode, stream: Stream, task: int) -> None:
    """Notes a run that has ended, in place of the oldest one."""
    status, place, run = episode.status[0], problem.tasks[task].job, episode.runs[task]
    entry, job = stream.log[status.log_length % stream.log.size], episode.jobs[place]
    entry.job = job.index
    entry.template = job.template
    entry.arrival = job.arrival
    entry.task = task - place * stream.law[0].tasks_per_place
    entry.number = run.number
    entry.device = episode.plan.tasks[task].device
    entry.step = run.step
    entry.decided = run.decided
    entry.start = episode.plan.tasks[task].start
    entry.finish = episode.plan.tasks[task].finish
    status.log_length += 1
