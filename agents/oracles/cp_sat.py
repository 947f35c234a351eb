"""The exact solver of task graphs: a schedule of least makespan, or bounds on it, by OR-Tools CP-SAT.

Each task has an optional interval on every device; what a device runs does not overlap; a task starts when its job
has arrived, and so long after the end of each predecessor as their devices require. Devices that are equal, and
between which data take no time, are one resource that runs as many tasks at a time.

The solver counts in whole units of time, rounded down. What it proves is thus a lower bound on the makespan, and what
it finds is a schedule once its decisions, in the order of their starts, have been placed with the durations as they
are. Where all times are whole numbers of less than `RESOLUTION` bits, the unit is a second, and nothing is rounded.
Elsewhere there are 2**29 to 2**30 units in the makespan of the hint.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...envs.task_graph.bounds import fractional_lower_bound, heads_and_tails
from ...envs.task_graph.instance import Instance, Instances
from ...envs.task_graph.schedule import Schedule
from ...errors import HetgymError
from ...workloads import TaskGraph
from ...workloads.task_graph import IntArray
from ..heuristics.best_of import BestOf
from ..heuristics.list_schedulers import decide_again, heft, lookahead, min_min, peft
from ..heuristics.replay import Planner

try:
    from ortools.sat.python import cp_model
except ImportError as error:
    raise HetgymError("policy 'cp-sat': OR-Tools is not installed; it comes with the extra hetgym[oracle]") from error

RESOLUTION = 30
"""Bits of a makespan in units."""

_ROUNDING = 1e-9
"""Relative: what sums of floats may be off by."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What CP-SAT knows of an instance when it stops.

    Attributes:
        schedule: The best that was found.
        status: ``optimal`` if no schedule is better (by more than `RESOLUTION` bits show), otherwise ``feasible``.
        lower_bound: No schedule has a smaller makespan, seconds.
        upper_bound: Makespan of the schedule, seconds.
        seconds: Wall time, with hints and bounds.
    """

    schedule: Schedule
    status: Literal["optimal", "feasible"]
    lower_bound: float
    upper_bound: float
    seconds: float


class CpSat(Planner):
    """CP-SAT as a policy: it plays the best schedule that it finds.

    What it finds is a function of the instance and the seed, for any number of workers, if it ends before the time
    limit.
    """

    name = "cp-sat"
    insertion = False

    def __init__(
        self, time_limit: float = 60.0, deterministic_limit: float = math.inf, workers: int = 1, seed: int = 0
    ) -> None:
        """Chooses how long it searches.

        Args:
            time_limit: Wall time of the search, seconds; hints and bounds come on top.
            deterministic_limit: The same in CP-SAT's deterministic time, which counts its steps, in units of very
                roughly ten seconds. If this ends the search, other runs and machines find the same.
            workers: Threads.
            seed: Of the search.

        Raises:
            HetgymError: If a limit is not positive, or there is no worker.
        """
        for field, value in (("time_limit", time_limit), ("deterministic_limit", deterministic_limit)):
            if not value > 0:
                raise HetgymError(f"policy 'cp-sat': {field}: must be positive (given: {value})")
        if workers < 1:
            raise HetgymError(f"policy 'cp-sat': workers: there must be at least one (given: {workers})")
        self._settings: dict[str, int | float] = {
            "max_time_in_seconds": time_limit,
            "max_deterministic_time": deterministic_limit,
            "num_workers": workers,
            "random_seed": seed,
        }

    def schedule(self, problem: Instance | TaskGraph) -> Schedule:
        """Returns the best schedule that is found (`Planner.schedule`)."""
        return self.solve(problem).schedule

    def solve(self, problem: Instance | TaskGraph) -> Solution:
        """Returns the best schedule that is found, and bounds on the makespan.

        Args:
            problem: As in `Planner.schedule`.
        """
        begin = time.perf_counter()
        instance = Instance.of(problem)
        hinted = _hinted(instance)
        bound = fractional_lower_bound(instance)
        model = _Model(instance, _Times.of(instance, hinted.makespan), bound)
        model.hint(hinted)
        solver = self._solver()
        status = solver.solve(model.cp)
        schedules = [hinted]
        if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            schedules.append(model.schedule(solver, hinted.sequence))
        best = min(schedules, key=lambda schedule: schedule.makespan)
        bound = max(bound, solver.best_objective_bound * model.times.unit)
        return Solution(
            schedule=best,
            status="optimal" if status == cp_model.OPTIMAL else "feasible",
            lower_bound=min(bound, best.makespan),
            upper_bound=best.makespan,
            seconds=time.perf_counter() - begin,
        )

    def _solver(self) -> cp_model.CpSolver:
        solver = cp_model.CpSolver()
        for name, value in self._settings.items():
            setattr(solver.parameters, name, value)
        # All strategies take turns, in an order that is always the same: a single one gets stuck on large graphs.
        solver.parameters.interleave_search = True
        return solver


def _hinted(instance: Instance) -> Schedule:
    """Returns the best schedule of some heuristics, appended in the order of its starts."""
    schedulers = (heft(), peft(), lookahead(), min_min(), BestOf(lookahead(), 32))
    best = min((scheduler.schedule(instance) for scheduler in schedulers), key=lambda schedule: schedule.makespan)
    order = _by_start(best.start, best.finish, best.sequence)
    return decide_again(Instances.holding(instance), order, best.device, insertion=False)


def _by_start(start: NDArray[Any], finish: NDArray[Any], sequence: IntArray) -> IntArray:
    """Returns the tasks in the order of their starts; of those that take no time the first in a sequence is first."""
    order: IntArray = np.lexsort((np.argsort(sequence), finish, start))
    return order


@dataclass(frozen=True, eq=False)
class _Times:
    """The times of an instance in whole units, rounded down.

    Attributes:
        unit: Seconds.
        exact: Whether nothing was rounded.
        duration: int64 (T, P); -1 where a task cannot run, or would make the graph end after the horizon.
        transfer: int64 (E, P, P); the horizon and one where it is longer.
        release: int64 (T,).
        horizon: Makespan of a schedule, rounded up.
    """

    unit: float
    exact: bool
    duration: IntArray
    transfer: IntArray
    release: IntArray
    horizon: int

    @classmethod
    def of(cls, instance: Instance, makespan: float) -> _Times:
        """Returns the times of an instance that has a schedule of some makespan, seconds."""
        head, tail = heads_and_tails(instance)
        duration, release, size = instance.duration, instance.graph.release, instance.graph.edge_bytes
        useful = head + duration + tail <= makespan * (1 + _ROUNDING)
        transfer = instance.platform.latency + size[:, None, None] * instance.platform.seconds_per_byte
        given = np.concatenate([duration[useful], transfer.ravel(), release])
        exact = bool((given % 1 == 0).all()) and makespan < 2.0**RESOLUTION
        unit = 1.0 if exact else 2.0 ** (math.frexp(makespan)[1] - RESOLUTION)
        horizon = math.ceil(makespan / unit)
        return cls(
            unit=unit,
            exact=exact,
            duration=(np.where(useful, duration, -unit) // unit).astype(np.int64),
            transfer=np.minimum(transfer // unit, horizon + 1).astype(np.int64),
            release=(release // unit).astype(np.int64),
            horizon=horizon,
        )

    @cached_property
    def pools(self) -> list[list[int]]:
        """The devices; those are together that are equal and exchange data in no time."""
        pools: list[list[int]] = []
        for device in range(self.duration.shape[1]):
            pool = next((pool for pool in pools if self._are_equal(pool[0], device)), None)
            if pool is None:
                pools.append([device])
            else:
                pool.append(device)
        return pools

    def _are_equal(self, one: int, other: int) -> bool:
        # In a pool, the solver would let a task that takes no time run beside others.
        return (
            bool((self.duration[:, one] != 0).all())
            and np.array_equal(self.duration[:, one], self.duration[:, other])
            and np.array_equal(self.transfer[:, one], self.transfer[:, other])
            and np.array_equal(self.transfer[:, :, one], self.transfer[:, :, other])
        )


class _Model:
    """A CP-SAT model: when each task starts and ends, and in which pool of devices.

    Attributes:
        cp: The model.
        times: The times in it.
    """

    def __init__(self, instance: Instance, times: _Times, bound: float) -> None:
        """Makes the variables and constraints.

        Args:
            instance: The problem.
            times: Its times.
            bound: Lower bound on its makespan, seconds.
        """
        self.cp = cp_model.CpModel()
        self.times = times
        self._instance = instance
        least = bound * (1 - _ROUNDING) / times.unit
        makespan = self.cp.new_int_var(math.ceil(least) if times.exact else math.floor(least), times.horizon, "")
        self._start = [self.cp.new_int_var(release, times.horizon, "") for release in times.release.tolist()]
        self._end = [self.cp.new_int_var(release, times.horizon, "") for release in times.release.tolist()]
        self._inside = [self._choose_pool(task) for task in range(instance.graph.num_tasks)]
        for pool in range(len(times.pools)):
            self._run_in_turn(pool)
        for edge in range(instance.graph.num_edges):
            self._wait_for_data(edge)
        for end in self._end:
            self.cp.add(end <= makespan)
        self.cp.minimize(makespan)

    def _choose_pool(self, task: int) -> dict[int, cp_model.IntVar]:
        """Returns a variable for each pool where a task can run: whether it does."""
        pools = [pool for pool, devices in enumerate(self.times.pools) if self.times.duration[task, devices[0]] >= 0]
        inside = {pool: self.cp.new_bool_var("") for pool in pools}
        self.cp.add_exactly_one(inside.values())
        return inside

    def _run_in_turn(self, pool: int) -> None:
        devices = self.times.pools[pool]
        durations = self.times.duration[:, devices[0]].tolist()
        intervals = [
            self.cp.new_optional_interval_var(self._start[task], durations[task], self._end[task], inside[pool], "")
            for task, inside in enumerate(self._inside)
            if pool in inside
        ]
        if len(devices) == 1:
            self.cp.add_no_overlap(intervals)
        else:
            self.cp.add_cumulative(intervals, [1] * len(intervals), len(devices))

    def _wait_for_data(self, edge: int) -> None:
        sender, receiver = self._instance.graph.edges[:, edge].tolist()
        start, end, inside = self._start[receiver], self._end[sender], self._inside[receiver]
        self.cp.add(start >= end)
        for source, sent in self._inside[sender].items():
            delays = {target: self._delay(edge, source, target) for target in inside if target != source}
            # Whoever leaves the pool waits for the least of them: one constraint where the others are equal.
            least = min(delays.values(), default=0)
            waits = [(least, [sent, ~inside[source]] if source in inside else [sent])]
            waits += [(delay, [sent, inside[target]]) for target, delay in delays.items() if delay > least]
            for delay, condition in waits:
                if delay > 0:
                    self.cp.add(start >= end + delay).only_enforce_if(condition)

    def _delay(self, edge: int, source: int, target: int) -> int:
        pools = self.times.pools
        return int(self.times.transfer[edge, pools[source][0], pools[target][0]])

    def hint(self, schedule: Schedule) -> None:
        """Shows the solver a schedule to begin with."""
        for task, start in enumerate((schedule.start // self.times.unit).astype(np.int64).tolist()):
            self.cp.add_hint(self._start[task], start)
            for pool, inside in self._inside[task].items():
                self.cp.add_hint(inside, schedule.device[task] in self.times.pools[pool])

    def schedule(self, solver: cp_model.CpSolver, sequence: IntArray) -> Schedule:
        """Returns what was found, with the instance's own times.

        Args:
            solver: It has found something.
            sequence: int64 (T,), the tasks, each after its predecessors.
        """
        start, end = (np.array([solver.value(time) for time in times]) for times in (self._start, self._end))
        order = _by_start(start, end, sequence)
        device, free = np.empty_like(order), [0] * self.times.duration.shape[1]
        for task in order:
            pool = next(pool for pool, inside in self._inside[task].items() if solver.boolean_value(inside))
            device[task] = next(device for device in self.times.pools[pool] if free[device] <= start[task])
            free[device[task]] = end[task]
        return decide_again(Instances.holding(self._instance), order, device, insertion=False)
