"""Where the episodes of a batch stand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...compilation import inner
from ...workloads.task_graph import FloatArray, IntArray
from .instance import Problem, Records
from .list_scheduling import DECISION, INTERVAL, LANE, Plan

STATUS = np.dtype(
    [
        ("slot", np.int64),  # the row of Instances that is played
        ("serial", np.int64),  # counts the episodes begun, so that views know what they show
        ("insertion", np.bool_),  # Plan: whether tasks may go into gaps
        ("num_placed", np.int64),  # decided tasks; in a stream, of active jobs
        ("num_ready", np.int64),  # tasks that can be decided
        ("num_touched", np.int64),  # changes so far, see touched
        ("makespan", np.float64),  # seconds, so far
        ("bound", np.float64),  # seconds; lower bound on the final makespan
        ("makespan_unit", np.float64),  # seconds; the HEFT makespan, 1 where that is 0
        ("bound_unit", np.float64),  # seconds; the lower bound at reset, 1 where that is 0
        ("job_latency_mean", np.float64),  # seconds from arrival to end; known at the end
        ("deadlines_missed", np.int64),  # of jobs that have ended
        # What follows concerns Dispatch.
        ("seed", np.int64),
        ("episode", np.int64),
        ("is_over", np.bool_),
        ("now", np.float64),  # seconds
        ("origin", np.float64),  # seconds; features count times from here: 0, in a stream now
        ("can_wait", np.bool_),  # whether waiting is allowed
        ("num_finished", np.int64),  # tasks that have run
        ("num_in_line", np.int64),  # tasks that are in some device's line
        ("num_arriving", np.int64),  # tasks without predecessors that are not released at 0
        ("num_arrived", np.int64),  # how many of them are released
        ("num_down", np.int64),  # devices
        ("num_flows", np.int64),  # shared transfers under way
        ("flows_at", np.float64),  # seconds; what is left of them is as of then
        ("committed", np.float64),  # W that the devices may come to draw
        ("idle_power", np.float64),  # W of all devices together
        ("energy", np.float64),  # J, without what is running
        ("energy_unit", np.float64),  # J; what all devices draw when busy, times makespan_unit; 1 where that is 0
        ("jobs_arrived", np.int64),
        ("jobs_active", np.int64),
        ("jobs_ended", np.int64),
        ("jobs_counted", np.int64),  # ended jobs that arrived after the warm-up
        ("job_seconds", np.float64),  # integral of the jobs in the system over time
        ("latency_sum", np.float64),  # seconds, of counted jobs
        ("job_slowdown_sum", np.float64),  # latency over the job's critical path, of counted jobs
        ("num_decisions", np.int64),
        ("log_length", np.int64),  # runs logged so far, of a stream
    ],
    align=True,
)
"""One episode's numbers."""

OPTION = np.dtype([("data_ready", np.float64), ("transfer", np.float64), ("start", np.float64)], align=True)
"""A ready task on a device, seconds: its inputs are there; sum of their transfer times; earliest start.

Where transfers share links, nobody knows when inputs will be there; ``start`` then expects them after the sum.
"""

RUN = np.dtype(
    [
        ("decided", np.float64),  # seconds; when its device was chosen
        ("number", np.int64),  # of the decision
        ("ready_at", np.float64),  # seconds
        ("behind", np.int64),  # the task that waits behind it on its device, -1 for none
        ("arriving", np.int64),  # the task at this place of the list of those that arrive, earliest first
        ("step", np.int64),  # speed step
        ("inputs", np.float64),  # seconds; when its inputs are there, as far as known
        ("flows", np.int64),  # shared transfers to it under way
        ("since", np.float64),  # seconds; it has been running since then, or will be from then on; inf: not known
        ("done", np.float64),  # seconds that it had run before
    ],
    align=True,
)
"""What Dispatch knows of a task besides its `DECISION`, and a list beside it."""

QUEUE = np.dtype(
    [
        ("head", np.int64),  # the task in front, -1 for none
        ("tail", np.int64),  # the last task in line
        ("length", np.int64),  # tasks in line, the one in front included
        ("until", np.float64),  # seconds; when the one in front will have finished, inf for none or where not known
        ("prepared", np.float64),  # seconds; from then on the one in front can start
        ("last_job", np.int64),  # the job of the task that was in front last, -1 for none
        ("final_job", np.int64),  # the job of the last task in line; of last_job where there is none
        ("commitment", np.float64),  # W above idle that its line may come to draw
        ("is_down", np.bool_),
        ("turn", np.float64),  # seconds; when it fails next, or while it is down, is repaired
        ("outages", np.int64),  # failures so far
    ],
    align=True,
)
"""A device in Dispatch."""

CHANNEL = np.dtype(
    [
        ("free", np.float64),  # seconds; it is booked until then
        ("rest", np.float64),  # byte/s that are not given to a flow yet
        ("flows", np.int64),  # flows over it that have no rate yet
    ],
    align=True,
)
"""What transfers share: a link, or a device's port."""

FLOW = np.dtype(
    [
        ("task", np.int64),  # the receiver
        ("source", np.int64),  # device
        ("target", np.int64),  # device
        ("left", np.float64),  # bytes
        ("rate", np.float64),  # byte/s, negative while it is sought
        ("end", np.float64),  # seconds
    ],
    align=True,
)
"""A transfer that shares its links."""

OUTAGE = np.dtype([("device", np.int64), ("begin", np.float64), ("end", np.float64)], align=True)
"""A recorded time in which a device is down, seconds; a device of -1 ends the list."""

ACTIVE = np.dtype(
    [
        ("index", np.int64),  # of the job, -1 for a place without one
        ("template", np.int64),  # of a stream's job
        ("arrival", np.float64),  # seconds
        ("deadline", np.float64),  # seconds
        ("has_arrived", np.bool_),
        ("remaining", np.int64),  # tasks that have not finished
        ("in_line", np.int64),  # tasks in some device's line
        ("work", np.float64),  # seconds; mean durations of the tasks that have not finished
        ("critical_path", np.float64),  # seconds, of least durations
    ],
    align=True,
)
"""A job; in a stream, a place for active jobs."""

LOGGED = np.dtype(
    [
        ("job", np.int64),
        ("template", np.int64),
        ("arrival", np.float64),
        ("task", np.int64),  # index in its job
        ("number", np.int64),  # of the decision
        ("device", np.int64),
        ("step", np.int64),
        ("decided", np.float64),
        ("start", np.float64),
        ("finish", np.float64),
    ],
    align=True,
)
"""A finished run of a stream."""


BINS = 2560
BINS_PER_OCTAVE = 64
"""Latencies are counted in bins of equal ratio, from 2^-10 times the stream's mean critical path up: 1.1 % wide."""


class Room(NamedTuple):
    """The bounds of a `State`."""

    num_envs: int
    num_tasks: int
    num_devices: int
    num_jobs: int
    num_edges: int = 0  # Dispatch with shared transfers
    num_channels: int = 0  # Dispatch with contention
    num_outages: int = 0  # Dispatch with failures
    is_plan: bool = True


class State(NamedTuple):
    """B episodes. Ready tasks are listed by upward rank, ties by job, then by index."""

    status: Records  # (B,) of STATUS
    tasks: Records  # (B, T) of DECISION
    intervals: Records  # (B, P, T) of INTERVAL; in Dispatch (B, P, 0)
    lanes: Records  # (B, P) of LANE
    options: Records  # (B, T, P) of OPTION
    runs: Records  # (B, T) of RUN
    queues: Records  # (B, P) of QUEUE
    touched: IntArray  # (B, 2 T) what has changed: tasks, and -1 - place where a stream's job has; goes round
    job_finish: FloatArray  # (B, J) seconds, known at the end of Plan
    actual: FloatArray  # (B, T, P) seconds; what tasks take when they run; in Plan (B, 0, P)
    jobs: Records  # (B, J) of ACTIVE
    channels: Records  # (B, C) of CHANNEL
    flows: Records  # (B, E) of FLOW
    outages: Records  # (B, O) of OUTAGE, by device and time

    @classmethod
    def empty(cls, room: Room) -> State:
        """Returns room for B episodes."""
        num_envs, num_tasks, num_devices, num_jobs = room[:4]
        queues = np.zeros((num_envs, num_devices), QUEUE)
        queues["head"] = -1
        outages = np.zeros((num_envs, room.num_outages), OUTAGE)
        outages["device"] = -1
        return cls(
            status=np.zeros(num_envs, STATUS),
            tasks=np.zeros((num_envs, num_tasks), DECISION),
            intervals=np.zeros((num_envs, num_devices, num_tasks if room.is_plan else 0), INTERVAL),
            lanes=np.zeros((num_envs, num_devices), LANE),
            options=np.zeros((num_envs, num_tasks, num_devices), OPTION),
            runs=np.zeros((num_envs, num_tasks), RUN),
            queues=queues,
            touched=np.zeros((num_envs, 2 * num_tasks), np.int64),
            job_finish=np.zeros((num_envs, num_jobs)),
            actual=np.zeros((num_envs, 0 if room.is_plan else num_tasks, num_devices)),
            jobs=np.zeros((num_envs, num_jobs), ACTIVE),
            channels=np.zeros((num_envs, room.num_channels), CHANNEL),
            flows=np.zeros((num_envs, room.num_edges), FLOW),
            outages=outages,
        )


class Episode(NamedTuple):
    """One row of `State`, as kernels pass it on."""

    status: Records  # (1,)
    plan: Plan
    options: Records  # (T, P)
    runs: Records  # (T,)
    queues: Records  # (P,)
    touched: IntArray  # (2 T,)
    actual: FloatArray  # (T, P)
    jobs: Records  # (J,)
    law: Records  # (1,) of LAW


class Surroundings(NamedTuple):
    """What tasks and devices of one episode meet: links and outages."""

    channels: Records  # (C,) of CHANNEL
    flows: Records  # (E,) of FLOW
    route: IntArray  # (P, P, H) the channels that data pass from device to device, then -1
    bandwidth: FloatArray  # (C,) byte/s of each channel
    outages: Records  # (O,) of OUTAGE
    luck: Records  # (1,) of LUCK


@inner
def is_open(episode: Episode, device: int) -> bool:
    """Whether a device takes one more task."""
    queue = episode.queues[device]
    return bool(queue.length <= episode.law[0].queue_limit and not queue.is_down)


@inner
def is_allowed(problem: Problem, episode: Episode, task: int, device: int, step: int) -> bool:
    """Whether a ready task may be given to a device at a speed step."""
    if not (problem.duration[task, device] < np.inf and is_open(episode, device)):
        return False
    if step == 0 and episode.law[0].power_cap == np.inf:
        return True
    added = max(problem.steps[device, step].power - episode.queues[device].commitment, 0.0)
    in_time = problem.steps[device, step].stretch < np.inf
    return bool(in_time and episode.status[0].committed + added <= episode.law[0].power_cap)


@inner
def touch(episode: Episode, change: int) -> None:
    """Notes that a task has been decided or has finished, or (-1 - place) that a place has another job."""
    episode.touched[episode.status[0].num_touched % episode.touched.size] = change
    episode.status[0].num_touched += 1
