"""Lower bounds on the makespan: what no schedule of an instance undercuts, if its tasks take what is expected.

They are right to the rounding of their sums.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from ...compilation import kernel
from ...workloads.task_graph import FloatArray, IntArray
from . import ranks
from .instance import Instance, Instances, problem_at
from .list_scheduling import Draft, derive

_PRECISION = 1e-6
"""Relative: what a linear program's solution may be off by."""


def heads_and_tails(instance: Instance) -> tuple[FloatArray, FloatArray]:
    """Returns the least time before each task can start on each device, and the least time that must follow it there.

    Args:
        instance: The problem.

    Returns:
        The heads and the tails, float64 (T, P) each, seconds.
    """
    instances = Instances.holding(instance)
    head = np.empty(instance.duration.shape)
    _fill_heads_and_tails(instances, Draft.empty(*instance.duration.shape), head)
    return head, instances.tail[0]


@kernel
def _fill_heads_and_tails(instances: Instances, draft: Draft, head: FloatArray) -> None:
    derive(instances, 0, draft)
    problem = problem_at(instances, 0)
    ranks.optimistic_start(problem, head)
    ranks.optimistic_cost(problem, False, problem.tail)


@kernel
def _fullest_window(work: FloatArray, head: FloatArray, tail: FloatArray, by_tail: IntArray) -> tuple[float, ...]:
    """Returns the head and tail between which there is too much work to fit, and what comes of it.

    Args:
        work: float64 (T,), seconds.
        head: float64 (T,), seconds.
        tail: float64 (T,), seconds.
        by_tail: int64 (T,), the tasks by falling tail.

    Returns:
        Seconds: a head, a tail, and the most that any of these makes with the work of the tasks that have no less.
    """
    before, after, most = 0.0, 0.0, 0.0
    for earliest in head:
        inside = 0.0
        for task in by_tail:
            if head[task] >= earliest:
                inside += work[task]
                if earliest + inside + tail[task] > most:
                    before, after, most = earliest, tail[task], earliest + inside + tail[task]
    return before, after, most


class _Outline(NamedTuple):
    """What the bounds are made of."""

    duration: FloatArray  # (T, P) seconds
    path: float  # seconds: the longest
    head: FloatArray  # (T,) seconds: the least of each task
    tail: FloatArray  # (T,) seconds: the least of each task

    @classmethod
    def of(cls, instance: Instance) -> _Outline:
        """Returns the outline of an instance."""
        duration, (head, tail) = instance.duration, heads_and_tails(instance)
        fits = np.isfinite(duration)
        least_head, least_tail = (np.where(fits, times, np.inf).min(axis=1) for times in (head, tail))
        return cls(duration, float((head + duration + tail).min(axis=1).max()), least_head, least_tail)

    def fullest_window(self, work: FloatArray) -> tuple[float, ...]:
        """Returns what `_fullest_window` does, for the work of each task on one device, float64 (T,), seconds."""
        return _fullest_window(work, self.head, self.tail, np.argsort(-self.tail, kind="stable"))

    def shared_evenly(self) -> float:
        """Returns the larger of the longest path and the fullest window, if all devices were the best for all tasks."""
        *_, most = self.fullest_window(self.duration.min(axis=1) / self.duration.shape[1])
        return max(self.path, most)


def lower_bound(instance: Instance) -> float:
    """Returns a lower bound on the makespan, seconds: the longest path, or work shared evenly.

    A path is taken at its best, from the releases before a task to the end of the graph, with the transfers that no
    choice of devices avoids. Work lies between a head and a tail: that of all tasks that have no shorter ones, each
    on its best device (Carlier 1982, doi:10.1016/S0377-2217(82)80007-6, for one machine).

    Args:
        instance: The problem.
    """
    return _Outline.of(instance).shared_evenly()


def fractional_lower_bound(instance: Instance) -> float:
    """Returns a bound that is no less than `lower_bound`, seconds: work shared as well as it can be.

    It is the linear program of unrelated machines (Lawler, Labetoulle 1978, doi:10.1145/322092.322101): devices share
    each task as they like, and what a device does of tasks with a common head and tail lies between these. The bound
    is computed from the program's multipliers, so that it is one whatever the precision of the solver.

    Args:
        instance: The problem.
    """
    outline = _Outline.of(instance)
    unit = outline.shared_evenly()
    if unit == 0.0:
        return 0.0
    # The solver's tolerances are absolute.
    scaled = _Outline(outline.duration / unit, outline.path / unit, outline.head / unit, outline.tail / unit)
    return unit * max(1.0, _shared_well(scaled))


class _Window(NamedTuple):
    """A constraint: what a device does of the tasks with no shorter head and tail lies between these."""

    device: int
    head: float  # seconds
    tail: float  # seconds


def _shared_well(outline: _Outline) -> float:
    """Returns the bound of the linear program, to which windows are added until none is too full."""
    fits = np.isfinite(outline.duration)
    # The solver cannot take numbers of very unlike sizes.
    work = np.minimum(np.where(fits, outline.duration, 0.0), 1.0 / _PRECISION)
    windows = [_Window(device, 0.0, 0.0) for device in range(work.shape[1])]
    while True:
        inside = np.array([(outline.head >= window.head) & (outline.tail >= window.tail) for window in windows])
        share, makespan, price = _solve(fits, work, windows, inside)
        too_full = []
        for device in range(work.shape[1]):
            head, tail, most = outline.fullest_window(work[:, device] * share[:, device])
            window = _Window(device, head, tail)
            if most > max(1.0, makespan) * (1 + _PRECISION) and window not in windows:
                too_full.append(window)
        if not too_full:
            return _value(outline.duration, windows, inside, price)
        windows += too_full


def _solve(
    fits: NDArray[np.bool_], work: FloatArray, windows: list[_Window], inside: NDArray[np.bool_]
) -> tuple[FloatArray, float, FloatArray]:
    """Solves the linear program.

    Args:
        fits: bool (T, P), whether a device can run a task.
        work: float64 (T, P), seconds.
        windows: W of them.
        inside: bool (W, T), which tasks each is about.

    Returns:
        The share of each task on each device, float64 (T, P), the makespan, seconds, and the multiplier of each
        window, float64 (W,); 0, inf and 0 where the solver fails.
    """
    num_tasks, num_devices = fits.shape
    loads = np.zeros((len(windows), num_tasks, num_devices))
    for load, window, members in zip(loads, windows, inside, strict=True):
        load[members, window.device] = work[members, window.device]
    whole: list[Any] = [
        sparse.kron(sparse.eye_array(num_tasks), np.ones((1, num_devices))) @ sparse.diags_array(1.0 * fits.ravel()),
        sparse.csr_array((num_tasks, 1)),
    ]
    in_time: list[Any] = [sparse.csr_array(loads.reshape(len(windows), -1)), np.full((len(windows), 1), -1.0)]
    # The types of linprog leave out that matrices may be sparse.
    stack: Any = sparse.hstack
    result = linprog(
        c=np.append(np.zeros(fits.size), 1.0),
        A_ub=stack(in_time),
        b_ub=np.array([-window.head - window.tail for window in windows]),
        A_eq=stack(whole),
        b_eq=np.ones(num_tasks),
    )
    if result.x is None or result.fun is None:
        return np.zeros_like(work), np.inf, np.zeros(len(windows))
    return result.x[:-1].reshape(fits.shape), float(result.fun), -result.ineqlin.marginals


def _value(duration: FloatArray, windows: list[_Window], inside: NDArray[np.bool_], price: FloatArray) -> float:
    """Returns the bound that multipliers prove: non-negative and of sum 1, they make a mean of constraints."""
    weight = np.maximum(price, 0.0) / max(1.0, np.maximum(price, 0.0).sum())
    cost = np.zeros_like(duration)
    for window, members, one in zip(windows, inside, weight, strict=True):
        cost[members, window.device] += one
    least = np.multiply(cost, duration, where=np.isfinite(duration), out=duration.copy()).min(axis=1)
    return float(weight @ [window.head + window.tail for window in windows] + least.sum())
