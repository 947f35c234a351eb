"""The exact solver of task graphs: a schedule of least makespan, or bounds on it, by OR-Tools CP-SAT.

Each task has an optional interval of fixed size on every device; what a device runs does not overlap; a task starts
when its job has arrived, and so long after the end of each predecessor as their devices require.

The solver counts in whole units of time, rounded down. What it proves is thus a lower bound on the makespan, and what
it finds is a schedule once its decisions, in the order of their starts, have been placed with the times as they are:
it takes longer by less than a unit for each task and each transfer on its longest path. Where all times are whole
numbers of less than `RESOLUTION` bits, the unit is a second, and nothing is rounded. Elsewhere there are 2**29 to 2**30
units in the makespan of the hint.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...envs.task_graph.bounds import fractional_lower_bound, heads_and_tails
from ...envs.task_graph.instance import Instance, Instances
from ...envs.task_graph.schedule import Schedule
from ...errors import HetgymError
from ...workloads import TaskGraph
from ...workloads.task_graph import IntArray
from ..heuristics.list_schedulers import decide_again, heft, lookahead, min_min, peft
from ..heuristics.replay import Planner
from ..search.best_of import BestOf

try:
    from ortools.sat.python import cp_model
except ImportError as error:
    raise HetgymError("policy 'cp-sat': OR-Tools is not installed; it comes with the extra hetgym[oracle]") from error

RESOLUTION = 30
"""Bits of a makespan in units."""

_WORKERS = range(1, 10_001)
_SEEDS = range(-(2**31), 2**31)
"""What OR-Tools takes."""

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
            HetgymError: If a limit is not positive, or OR-Tools takes no such number of workers or seed.
        """
        for field, value in (("time_limit", time_limit), ("deterministic_limit", deterministic_limit)):
            if not value > 0:
                raise HetgymError(f"policy 'cp-sat': {field}: must be positive (given: {value})")
        if not (isinstance(workers, int) and workers in _WORKERS):
            raise HetgymError(f"policy 'cp-sat': workers: there must be 1 to {_WORKERS[-1]} (given: {workers})")
        if not (isinstance(seed, int) and seed in _SEEDS):
            raise HetgymError(f"policy 'cp-sat': seed: must be a whole number of 32 bits, signed (given: {seed})")
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

        Raises:
            HetgymError: If CP-SAT calls the model invalid or infeasible, which it cannot be.
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
            # OR-Tools 9.15 can take a solution with idle time for one that cannot start earlier.
            proven = min(solver.best_objective_bound, *(model.makespan(schedule) for schedule in schedules))
            bound = max(bound, proven * model.times.unit)
        elif status != cp_model.UNKNOWN:
            raise HetgymError(
                f"policy 'cp-sat': task graph {instance.graph.name!r}: OR-Tools {metadata.version('ortools')} says "
                f"{solver.status_name(status)} {solver.solution_info()} of a model that it was shown a solution of: "
                "it is broken, choose another version"
            )
        best = min(schedules, key=lambda schedule: schedule.makespan)
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


class _Model:
    """A CP-SAT model: when each task starts and ends, and on which device.

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
        shortest = math.ceil(least) if times.exact else math.floor(least)
        self._makespan = self.cp.new_int_var(shortest, times.horizon, "")
        self._start = [self.cp.new_int_var(release, times.horizon, "") for release in times.release.tolist()]
        self._end = [self.cp.new_int_var(release, times.horizon, "") for release in times.release.tolist()]
        self._on = [self._choose_device(task) for task in range(instance.graph.num_tasks)]
        for device in range(instance.platform.num_devices):
            self._run_in_turn(device)
        for edge in range(instance.graph.num_edges):
            self._wait_for_data(edge)
        for end in self._end:
            self.cp.add(end <= self._makespan)
        self.cp.minimize(self._makespan)

    def _choose_device(self, task: int) -> dict[int, cp_model.IntVar]:
        """Returns a variable for each device that can run a task: whether it does."""
        durations = {device: time for device, time in enumerate(self.times.duration[task].tolist()) if time >= 0}
        on = {device: self.cp.new_bool_var("") for device in durations}
        self.cp.add_exactly_one(on.values())
        for device, duration in durations.items():
            self.cp.add(self._end[task] >= self._start[task] + duration).only_enforce_if(on[device])
        return on

    def _run_in_turn(self, device: int) -> None:
        durations = self.times.duration[:, device].tolist()
        # With a variable for the end, which intervals on several devices share, OR-Tools 9.15 proves what is not so.
        self.cp.add_no_overlap(
            self.cp.new_optional_fixed_size_interval_var(self._start[task], durations[task], on[device], "")
            for task, on in enumerate(self._on)
            if device in on
        )

    def _wait_for_data(self, edge: int) -> None:
        sender, receiver = self._instance.graph.edges[:, edge].tolist()
        start, end, on = self._start[receiver], self._end[sender], self._on[receiver]
        self.cp.add(start >= end)
        for source, sent in self._on[sender].items():
            delays = {target: int(self.times.transfer[edge, source, target]) for target in on if target != source}
            # Whoever leaves the device waits for the least of them: one constraint where the others are equal.
            least = min(delays.values(), default=0)
            waits = [(least, [sent, ~on[source]] if source in on else [sent])]
            waits += [(delay, [sent, on[target]]) for target, delay in delays.items() if delay > least]
            for delay, condition in waits:
                if delay > 0:
                    self.cp.add(start >= end + delay).only_enforce_if(condition)

    def hint(self, schedule: Schedule) -> None:
        """Shows the solver a schedule to begin with, whole: it is then its first solution.

        Args:
            schedule: Its sequence is in the order of its starts.
        """
        start, end = self._earliest(schedule)
        self.cp.add_hint(self._makespan, end.max(initial=0))
        for task, on in enumerate(self._on):
            self.cp.add_hint(self._start[task], start[task])
            self.cp.add_hint(self._end[task], end[task])
            for device, runs in on.items():
                self.cp.add_hint(runs, schedule.device[task] == device)

    def makespan(self, schedule: Schedule) -> int:
        """Returns the makespan of a schedule if all times are as they are in the model, units.

        Args:
            schedule: Its sequence is in the order of its starts.
        """
        _, end = self._earliest(schedule)
        return int(end.max(initial=0))

    def _earliest(self, schedule: Schedule) -> tuple[IntArray, IntArray]:
        """Returns when each task starts and ends if all start as soon as they can, int64 (T,) each, units."""
        graph, times, device = self._instance.graph, self.times, schedule.device
        duration = times.duration[np.arange(device.size), device]
        start, free = times.release.copy(), np.zeros_like(times.duration[0])
        for task in schedule.sequence:
            inputs = np.flatnonzero(graph.edges[1] == task)
            sender = graph.edges[0, inputs]
            arrival = start[sender] + duration[sender] + times.transfer[inputs, device[sender], device[task]]
            start[task] = max(start[task], free[device[task]], arrival.max(initial=0))
            free[device[task]] = start[task] + duration[task]
        return start, start + duration

    def schedule(self, solver: cp_model.CpSolver, sequence: IntArray) -> Schedule:
        """Returns what was found, with the instance's own times.

        Args:
            solver: It has found something.
            sequence: int64 (T,), the tasks, each after its predecessors.
        """
        start = np.array([solver.value(start) for start in self._start])
        chosen = [next(device for device in on if solver.boolean_value(on[device])) for on in self._on]
        device = np.array(chosen, dtype=np.int64)
        duration = self.times.duration[np.arange(device.size), device]
        order = _by_start(start, start + duration, sequence)
        return decide_again(Instances.holding(self._instance), order, device, insertion=False)
