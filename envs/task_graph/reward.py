"""The rewards of the task-graph family. All are divided by the instance's HEFT makespan."""

from __future__ import annotations

from ...compilation import inner

REWARDS = ("lower-bound", "makespan")
"""Names, in the order of the codes that `reward` takes."""


@inner
def lower_bound_increase(bound_before: float, bound_after: float, heft_makespan: float) -> float:
    """Minus the increase of the lower bound on the makespan.

    The bound of a finished schedule is its makespan, so without discount an episode returns
    -(makespan - lower bound at reset) / HEFT makespan.
    """
    return -(bound_after - bound_before) / heft_makespan


@inner
def final_makespan(makespan: float, finished: bool, heft_makespan: float) -> float:
    """Minus the makespan, at the end of the episode."""
    return -makespan / heft_makespan if finished else 0.0


@inner
def reward(
    code: int, bound_before: float, bound_after: float, makespan: float, finished: bool, heft_makespan: float
) -> float:
    """Returns the reward at a place in `REWARDS`."""
    if code == 0:
        return lower_bound_increase(bound_before, bound_after, heft_makespan)
    return final_makespan(makespan, finished, heft_makespan)
