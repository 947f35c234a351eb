"""Where the episodes of a batch stand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...compilation import inner
from ...workloads.task_graph import FloatArray, IntArray
from .instance import Problem, Records
from .list_scheduling import DECISION, INTERVAL, LANE, Plan

STATUS = np.dtype(
    [
        ("slot", np.int64),  # the row of Instances that is played
        ("serial", np.int64),  # counts the episodes begun, so that views know what they show
        ("insertion", np.bool_),  # whether tasks may go into gaps
        ("num_placed", np.int64),  # decided tasks
        ("num_ready", np.int64),  # tasks that can be decided
        ("num_touched", np.int64),  # changes so far, see touched
        ("num_finished", np.int64),  # Dispatch: tasks that have run
        ("num_arriving", np.int64),  # Dispatch: tasks without predecessors that are not released at 0
        ("num_arrived", np.int64),  # Dispatch: how many of them are released
        ("queue_limit", np.int64),  # Dispatch: tasks that may wait on a device behind the one in service
        ("can_wait", np.bool_),  # Dispatch: whether something will happen if nothing is decided
        ("now", np.float64),  # Dispatch: seconds
        ("makespan", np.float64),  # seconds, so far
        ("bound", np.float64),  # seconds; lower bound on the final makespan
        ("makespan_unit", np.float64),  # seconds; the HEFT makespan, 1 where that is 0
        ("bound_unit", np.float64),  # seconds; the lower bound at reset, 1 where that is 0
        ("job_latency_mean", np.float64),  # seconds from arrival to end; known at the end
        ("deadlines_missed", np.int64),  # known at the end
    ],
    align=True,
)
"""One episode's numbers."""

OPTION = np.dtype([("data_ready", np.float64), ("transfer", np.float64), ("start", np.float64)], align=True)
"""A ready task on a device, seconds: its inputs are there; sum of their transfer times; earliest start."""


RUN = np.dtype(
    [
        ("slowdown", np.float64),  # realised over expected duration
        ("decided", np.float64),  # seconds; when its device was chosen
        ("ready_at", np.float64),  # seconds
        ("behind", np.int64),  # the task that waits behind it on its device, -1 for none
        ("arriving", np.int64),  # the task at this place of the list of those that arrive, earliest first
    ],
    align=True,
)
"""What Dispatch knows of a task besides its `DECISION`, and a list beside it."""

QUEUE = np.dtype(
    [
        ("head", np.int64),  # the task in service, -1 for none
        ("tail", np.int64),  # the last task in line
        ("length", np.int64),  # tasks in line, the one in service included
        ("until", np.float64),  # seconds; when the one in service will have finished, inf for none
    ],
    align=True,
)
"""A device in Dispatch."""


class State(NamedTuple):
    """B episodes. Ready tasks are listed by upward rank, ties by index."""

    status: Records  # (B,) of STATUS
    tasks: Records  # (B, T) of DECISION
    intervals: Records  # (B, P, T) of INTERVAL
    lanes: Records  # (B, P) of LANE
    options: Records  # (B, T, P) of OPTION
    runs: Records  # (B, T) of RUN
    queues: Records  # (B, P) of QUEUE
    touched: IntArray  # (B, 2 T) tasks in the order in which they were decided or finished
    job_finish: FloatArray  # (B, J) seconds, known at the end

    @classmethod
    def empty(cls, num_envs: int, num_tasks: int, num_devices: int, num_jobs: int) -> State:
        """Returns room for B episodes."""
        queues = np.zeros((num_envs, num_devices), QUEUE)
        queues["head"] = -1
        return cls(
            status=np.zeros(num_envs, STATUS),
            tasks=np.zeros((num_envs, num_tasks), DECISION),
            intervals=np.zeros((num_envs, num_devices, num_tasks), INTERVAL),
            lanes=np.zeros((num_envs, num_devices), LANE),
            options=np.zeros((num_envs, num_tasks, num_devices), OPTION),
            runs=np.zeros((num_envs, num_tasks), RUN),
            queues=queues,
            touched=np.zeros((num_envs, 2 * num_tasks), np.int64),
            job_finish=np.zeros((num_envs, num_jobs)),
        )


class Episode(NamedTuple):
    """One row of `State`, as kernels pass it on."""

    status: Records  # (1,)
    plan: Plan
    options: Records  # (T, P)
    runs: Records  # (T,)
    queues: Records  # (P,)
    touched: IntArray  # (2 T,)


@inner
def episode_at(state: State, b: int) -> Any:
    """Returns one row as an `Episode`."""
    return Episode(
        state.status[b : b + 1],
        Plan(state.tasks[b], state.intervals[b], state.lanes[b]),
        state.options[b],
        state.runs[b],
        state.queues[b],
        state.touched[b],
    )


@inner
def is_open(episode: Episode, device: int) -> bool:
    """Whether a device takes one more task."""
    return bool(episode.queues[device].length <= episode.status[0].queue_limit)


@inner
def is_allowed(problem: Problem, episode: Episode, task: int, device: int) -> bool:
    """Whether a ready task may be given to a device."""
    return bool(problem.duration[task, device] < np.inf and is_open(episode, device))


@inner
def touch(episode: Episode, task: int) -> None:
    """Notes that a task has been decided or has finished."""
    episode.touched[episode.status[0].num_touched] = task
    episode.status[0].num_touched += 1
