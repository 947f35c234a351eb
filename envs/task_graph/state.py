"""Where the episodes of a batch stand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...compilation import inner
from .instance import Records
from .list_scheduling import DECISION, INTERVAL, LANE, Plan

STATUS = np.dtype(
    [
        ("slot", np.int64),  # the row of Instances that is played
        ("serial", np.int64),  # counts the episodes begun, so that views know what they show
        ("insertion", np.bool_),  # whether tasks may go into gaps
        ("num_placed", np.int64),  # decided tasks
        ("num_ready", np.int64),  # tasks without undecided predecessors
        ("makespan", np.float64),  # seconds, so far
        ("bound", np.float64),  # seconds; lower bound on the final makespan
        ("makespan_unit", np.float64),  # seconds; the HEFT makespan, 1 where that is 0
        ("bound_unit", np.float64),  # seconds; the lower bound at reset, 1 where that is 0
    ],
    align=True,
)
"""One episode's numbers."""

OPTION = np.dtype([("data_ready", np.float64), ("transfer", np.float64), ("start", np.float64)], align=True)
"""A ready task on a device, seconds: its inputs are there; sum of their transfer times; earliest start."""


class State(NamedTuple):
    """B episodes. Ready tasks are listed by upward rank, ties by index."""

    status: Records  # (B,) of STATUS
    tasks: Records  # (B, T) of DECISION
    intervals: Records  # (B, P, T) of INTERVAL
    lanes: Records  # (B, P) of LANE
    options: Records  # (B, T, P) of OPTION

    @classmethod
    def empty(cls, num_envs: int, num_tasks: int, num_devices: int) -> State:
        """Returns room for B episodes."""
        return cls(
            status=np.zeros(num_envs, STATUS),
            tasks=np.zeros((num_envs, num_tasks), DECISION),
            intervals=np.zeros((num_envs, num_devices, num_tasks), INTERVAL),
            lanes=np.zeros((num_envs, num_devices), LANE),
            options=np.zeros((num_envs, num_tasks, num_devices), OPTION),
        )


class Episode(NamedTuple):
    """One row of `State`, as kernels pass it on."""

    status: Records  # (1,)
    plan: Plan
    options: Records  # (T, P)


@inner
def episode_at(state: State, b: int) -> Any:
    """Returns one row as an `Episode`."""
    return Episode(state.status[b : b + 1], Plan(state.tasks[b], state.intervals[b], state.lanes[b]), state.options[b])
