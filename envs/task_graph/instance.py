"""One episode of the task-graph family, fully realised, and many of them side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...compilation import inner
from ...errors import HetgymError
from ...hardware_models import Platform
from ...workloads.task_graph import FloatArray, GraphArrays, TaskGraph
from .rules import Information


@dataclass(frozen=True, eq=False)
class Instance:
    """A task graph on a platform, and the luck that it meets.

    Attributes:
        graph: What runs.
        platform: What it runs on.
        slowdown: float64 (T,) or (T, P), realised over expected duration of each task (on each device); by default all
            1. It is no business of who plans; at run time tasks take their realised durations.
        information: What everybody who decides takes for the durations: the expected ones, the realised ones
            (``exact``), or nothing (``blind``).
        outages: float64 (N, 3), when devices are down: index of the device, begin and end in seconds. By default none.

    Raises:
        HetgymError: If no device of the platform can run one of the tasks, a slowdown is not a finite number, zero or
            more, or an outage is of no device, ends before it begins, or overlaps another of its device.
    """

    graph: TaskGraph
    platform: Platform
    slowdown: FloatArray | None = None
    information: Information = "expected"
    outages: FloatArray = field(default_factory=lambda: np.empty((0, 3)))

    def __post_init__(self) -> None:
        """Checks that every task can run somewhere, the slowdowns and the outages."""
        if self.slowdown is not None:
            self._check_slowdown(np.asarray(self.slowdown))
        self._check_outages(np.asarray(self.outages))
        nowhere = ~np.isfinite(self.expected_duration).any(axis=1)
        if nowhere.any():
            task = self.graph.task_names[np.flatnonzero(nowhere)[0]]
            raise HetgymError(
                f"task graph {self.graph.name!r}: no device of platform {self.platform.name!r} can run task {task!r}: "
                f"the graph has durations for the kinds {self.graph.kinds}, the platform has {self.platform.kinds}"
            )

    @property
    def _where(self) -> str:
        return f"instance of task graph {self.graph.name!r}"

    def _check_slowdown(self, slowdown: NDArray[Any]) -> None:
        tasks, devices = self.graph.num_tasks, self.platform.num_devices
        if slowdown.shape not in ((tasks,), (tasks, devices)) or slowdown.dtype.kind not in "fiu":
            raise HetgymError(
                f"{self._where}: slowdown: must be {tasks} numbers, or {tasks} x {devices}, "
                f"not {slowdown.dtype} {slowdown.shape}"
            )
        wrong = ~np.isfinite(slowdown) | (slowdown < 0)
        if wrong.any():
            task = np.argwhere(wrong)[0, 0]
            raise HetgymError(
                f"{self._where}: slowdown of task {self.graph.task_names[task]!r} is {slowdown[wrong][0]}: "
                "must be finite and zero or more"
            )

    def _check_outages(self, outages: NDArray[Any]) -> None:
        if outages.ndim != 2 or outages.shape[1] != 3 or outages.dtype.kind not in "fiu":
            raise HetgymError(
                f"{self._where}: outages: must be numbers of the shape (N, 3), not {outages.dtype} {outages.shape}"
            )
        last_end: dict[int, float] = {}
        for device, begin, end in sorted(outages.tolist()):
            if device not in range(self.platform.num_devices):
                raise HetgymError(
                    f"{self._where}: outages: there is no device {device:g}; devices are 0 to "
                    f"{self.platform.num_devices - 1}"
                )
            if not last_end.get(int(device), 0.0) <= begin < end < np.inf:
                raise HetgymError(
                    f"{self._where}: outages: device {device:g} is down from {begin:g} to {end:g} s: outages must end "
                    "after they begin, at 0 or later, and not overlap"
                )
            last_end[int(device)] = end

    @classmethod
    def of(cls, problem: Instance | TaskGraph) -> Instance:
        """Returns an instance as it is, and a task graph with one device of each of its kinds."""
        return problem if isinstance(problem, Instance) else cls(problem, problem.default_platform())

    @cached_property
    def duration(self) -> FloatArray:
        """What is taken for the durations, seconds, float64 (T, P); inf where a device cannot run a task."""
        duration = {"expected": self.expected_duration, "exact": self.realised_duration}.get(self.information)
        if duration is None:
            known = np.isfinite(self.expected_duration)
            duration = np.where(known, self.expected_duration[known].mean(), np.inf)
        duration.flags.writeable = False
        return duration

    @cached_property
    def expected_duration(self) -> FloatArray:
        """Seconds, float64 (T, P); inf where a device cannot run a task."""
        column = {kind: index for index, kind in enumerate(self.graph.kinds)}
        duration = np.full((self.graph.num_tasks, self.platform.num_devices), np.inf)
        for index, device in enumerate(self.platform.devices):
            if device.kind in column:
                duration[:, index] = self.graph.duration[:, column[device.kind]] / device.speed
        duration.flags.writeable = False
        return duration

    @property
    def realised_duration(self) -> FloatArray:
        """Seconds that tasks take when they run, float64 (T, P); inf where a device cannot run a task."""
        if self.slowdown is None:
            return self.expected_duration
        expected = self.expected_duration
        slowdown = np.asarray(self.slowdown).reshape(len(expected), -1)
        slowdown = np.broadcast_to(slowdown, expected.shape)
        return np.multiply(expected, slowdown, where=np.isfinite(expected), out=expected.copy())


TASK = np.dtype(
    [
        ("in_begin", np.int64),  # first entry in EDGE_COST.incoming; the next task's is the end
        ("out_begin", np.int64),  # first edge that leaves it; the next task's is the end
        ("order", np.int64),  # the task at this place of the breadth-first topological order
        ("per_predecessor", np.float64),  # 1 / predecessors; 0 where there are none
        ("release", np.float64),  # seconds; it starts no earlier
        ("mean_duration", np.float64),  # seconds, over the devices that can run it
        ("min_duration", np.float64),  # seconds
        ("job", np.int64),
    ],
    align=True,
)
"""What is derived for each task."""

EDGE_COST = np.dtype([("incoming", np.int64), ("mean_transfer", np.float64)], align=True)
"""Edges by receiver, ascending; and seconds that an edge takes between distinct devices, on average."""

LINK = np.dtype([("latency", np.float64), ("seconds_per_byte", np.float64)], align=True)
"""From device to device: seconds, and seconds per byte."""

STEP = np.dtype(
    [
        ("stretch", np.float64),  # 1 / speed; inf where the device has no such step
        ("power", np.float64),  # W that a run draws above idle_power
        ("idle_power", np.float64),  # W, of the device
    ],
    align=True,
)
"""A speed step of a device."""

TOTAL = np.dtype(
    [
        ("num_tasks", np.int64),
        ("num_edges", np.int64),
        ("mean_transfer", np.float64),  # seconds, over the edges
        ("scale", np.float64),  # seconds: mean duration of a task plus mean transfer, the unit of the features
        ("per_scale", np.float64),  # 1 / scale
        ("largest_rank", np.float64),  # seconds; 1 where that is 0
        ("lower_bound", np.float64),  # seconds: on the makespan of any schedule
        ("heft_makespan", np.float64),  # seconds
    ],
    align=True,
)
"""What is derived for a whole instance."""

Records = NDArray[np.void]


class Instances(NamedTuple):
    """N instances padded to common bounds of T tasks, E edges, J jobs and P devices, with what `prepare` derives."""

    graph: GraphArrays  # duration (N, T, P): one column a device
    links: Records  # (N, P, P) of LINK
    steps: Records  # (N, P, M) of STEP
    tasks: Records  # (N, T + 1) of TASK
    edge_costs: Records  # (N, E) of EDGE_COST
    upward_rank: FloatArray  # (N, T) seconds
    tail: FloatArray  # (N, T, P) seconds that must pass after a task ends on a device
    totals: Records  # (N,) of TOTAL

    @classmethod
    def empty(
        cls,
        num_instances: int,
        num_tasks: int,
        num_devices: int,
        num_edges: int,
        num_jobs: int = 1,
        num_steps: int = 1,
    ) -> Instances:
        """Returns room for N instances, not initialised."""
        return cls(
            graph=GraphArrays.empty(num_instances, num_tasks, num_devices, num_edges, num_jobs),
            links=np.empty((num_instances, num_devices, num_devices), LINK),
            steps=np.empty((num_instances, num_devices, num_steps), STEP),
            tasks=np.empty((num_instances, num_tasks + 1), TASK),
            edge_costs=np.empty((num_instances, num_edges), EDGE_COST),
            upward_rank=np.empty((num_instances, num_tasks)),
            tail=np.empty((num_instances, num_tasks, num_devices)),
            totals=np.empty(num_instances, TOTAL),
        )

    @classmethod
    def holding(cls, instance: Instance) -> Instances:
        """Returns room that fits one instance, with the instance in it."""
        graph = instance.graph
        room = cls.empty(1, graph.num_tasks, instance.platform.num_devices, graph.num_edges, graph.num_jobs)
        room.put(0, instance)
        return room

    def check_fits(self, instance: Instance) -> None:
        """Checks that there is room for an instance.

        Raises:
            HetgymError: If it has more tasks, edges or jobs than the bounds, or not as many devices.
        """
        graph = instance.graph
        max_tasks, num_devices = self.graph.duration.shape[1:]
        for what, given, most in (
            ("tasks", graph.num_tasks, max_tasks),
            ("edges", graph.num_edges, self.graph.edges.shape[1]),
            ("jobs", graph.num_jobs, self.graph.jobs.shape[1]),
        ):
            if given > most:
                raise HetgymError(f"task graph {graph.name!r} has {given} {what}; the scenario has room for {most}")
        if instance.platform.num_devices != num_devices:
            raise HetgymError(
                f"platform {instance.platform.name!r} has {instance.platform.num_devices} devices; "
                f"the scenario has {num_devices}"
            )

    def put(self, row: int, instance: Instance) -> None:
        """Writes one instance, which must fit, into a row."""
        self.graph.put(row, instance.graph, instance.duration)
        self.put_platform(row, instance.platform)

    def put_platform(self, rows: int | slice, platform: Platform) -> None:
        """Writes a platform's latencies, bandwidths, speed steps and powers into rows."""
        self.links["latency"][rows] = platform.latency
        self.links["seconds_per_byte"][rows] = platform.seconds_per_byte
        self.steps[rows] = speed_steps(platform, self.steps.shape[2])


def speed_steps(platform: Platform, count: int) -> Records:
    """Returns the speed steps of a platform's devices, (P, M) of `STEP`.

    Args:
        platform: Of P devices.
        count: M, as `Device.steps` takes it.
    """
    steps = np.zeros((platform.num_devices, count), STEP)
    steps["stretch"] = np.inf
    for row, device in zip(steps, platform.devices, strict=True):
        for place, (speed, power) in enumerate(device.steps(count)):
            row[place] = 1.0 / speed, power - device.idle_power, device.idle_power
    return steps


class Problem(NamedTuple):
    """One row of `Instances`, as kernels pass it on."""

    total: Records  # (1,)
    duration: FloatArray  # (T, P)
    steps: Records  # (P, M)
    upward_rank: FloatArray  # (T,)
    tail: FloatArray  # (T, P)
    tasks: Records  # (T + 1,)
    edges: Records  # (E,)
    edge_costs: Records  # (E,)
    links: Records  # (P, P)


@inner
def problem_at(instances: Instances, n: int) -> Any:
    """Returns one row as a `Problem`."""
    return Problem(
        instances.totals[n : n + 1],
        instances.graph.duration[n],
        instances.steps[n],
        instances.upward_rank[n],
        instances.tail[n],
        instances.tasks[n],
        instances.graph.edges[n],
        instances.edge_costs[n],
        instances.links[n],
    )
