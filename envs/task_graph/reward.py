"""The rewards of the task-graph family: by how much what an episode has cost so far grows with a decision."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...compilation import inner
from ...errors import unknown_name
from ...workloads.task_graph import FloatArray
from .instance import Records

REWARDS = ("lower-bound", "makespan", "jobs-in-system", "energy", "deadlines", "elapsed")
"""Names, in the order of the weights that `cost` takes."""


def reward_weights(weights: Mapping[str, float]) -> FloatArray:
    """Returns the weights of a sum of rewards, float64 (6,).

    Args:
        weights: By name.

    Raises:
        HetgymError: If there is no such reward.
    """
    for name in weights:
        if name not in REWARDS:
            raise unknown_name("reward", name, list(REWARDS))
    return np.array([weights.get(name, 0.0) for name in REWARDS])


@inner
def bound_cost(status: Records) -> float:
    """The lower bound on the makespan; / HEFT makespan.

    The bound of a finished schedule is its makespan, so without discount an episode returns
    -(makespan - lower bound at reset) / HEFT makespan.
    """
    return float(status[0].bound / status[0].makespan_unit)


@inner
def makespan_cost(status: Records) -> float:
    """The makespan, once the episode is over; / HEFT makespan."""
    return float(status[0].makespan / status[0].makespan_unit) if status[0].is_over else 0.0


@inner
def waiting_cost(status: Records) -> float:
    """The integral of the jobs in the system over time; / HEFT makespan. Its total is the sum of job latencies."""
    return float(status[0].job_seconds / status[0].makespan_unit)


@inner
def energy_cost(status: Records) -> float:
    """The energy; / what all devices draw when busy, times the HEFT makespan. A run counts when it ends."""
    return float(status[0].energy / status[0].energy_unit)


@inner
def deadline_cost(status: Records) -> float:
    """The number of jobs that have ended after their deadlines."""
    return float(status[0].deadlines_missed)


@inner
def elapsed_cost(status: Records) -> float:
    """The time that has passed in Dispatch; / HEFT makespan.

    In a stream, a weight of minus the usual number of jobs in the system makes of ``jobs-in-system`` its excess over
    that (the differential reward of Decima; Mao et al. 2019, doi:10.1145/3341302.3342080). Without it, what is put off
    is discounted: agents learn to wait.
    """
    return float(status[0].now / status[0].makespan_unit)


@inner
def cost(status: Records, weights: FloatArray) -> float:
    """Returns what an episode has cost so far.

    Args:
        status: (1,) of STATUS.
        weights: (6,), as `reward_weights` gives them.
    """
    total = 0.0
    if weights[0] != 0.0:
        total += weights[0] * bound_cost(status)
    if weights[1] != 0.0:
        total += weights[1] * makespan_cost(status)
    if weights[2] != 0.0:
        total += weights[2] * waiting_cost(status)
    if weights[3] != 0.0:
        total += weights[3] * energy_cost(status)
    if weights[4] != 0.0:
        total += weights[4] * deadline_cost(status)
    if weights[5] != 0.0:
        total += weights[5] * elapsed_cost(status)
    return total
