"""Task graphs: what has to run, in what order, and how much data flows between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..compilation import kernel
from ..errors import HetgymError
from ..hardware_models import Platform

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


EDGE = np.dtype([("source", np.int64), ("target", np.int64), ("bytes", np.float64)], align=True)
"""An edge: the task that sends, the task that receives, and how much."""


JOB = np.dtype([("arrival", np.float64), ("deadline", np.float64)], align=True)
"""A job, in seconds on the clock of the schedule; a deadline of inf is none."""


class GraphArrays(NamedTuple):
    """Task graphs side by side, padded to common bounds of T tasks, K device kinds, E edges and J jobs."""

    num_tasks: IntArray  # (N,)
    num_edges: IntArray  # (N,)
    num_jobs: IntArray  # (N,)
    duration: FloatArray  # (N, T, K) seconds, inf where a kind cannot run a task
    job: IntArray  # (N, T) each task's job
    release: FloatArray  # (N, T) seconds, when each task's job arrives
    edges: NDArray[np.void]  # (N, E) of EDGE, sorted by source, then target
    jobs: NDArray[np.void]  # (N, J) of JOB

    @classmethod
    def empty(cls, num_graphs: int, num_tasks: int, num_kinds: int, num_edges: int, num_jobs: int = 1) -> GraphArrays:
        """Returns room for N graphs, not initialised."""
        return cls(
            num_tasks=np.empty(num_graphs, np.int64),
            num_edges=np.empty(num_graphs, np.int64),
            num_jobs=np.empty(num_graphs, np.int64),
            duration=np.empty((num_graphs, num_tasks, num_kinds)),
            job=np.empty((num_graphs, num_tasks), np.int64),
            release=np.empty((num_graphs, num_tasks)),
            edges=np.empty((num_graphs, num_edges), EDGE),
            jobs=np.empty((num_graphs, num_jobs), JOB),
        )

    def put(self, row: int, graph: TaskGraph, duration: FloatArray) -> None:
        """Writes a graph, which must fit, into a row.

        Args:
            row: Which.
            graph: What it gets.
            duration: (T, K) seconds, instead of the graph's own: the columns may be devices.
        """
        self.num_tasks[row] = graph.num_tasks
        self.num_edges[row] = graph.num_edges
        self.num_jobs[row] = graph.num_jobs
        self.duration[row, : graph.num_tasks] = duration
        self.job[row, : graph.num_tasks] = graph.job
        self.release[row, : graph.num_tasks] = graph.release
        edges = self.edges[row, : graph.num_edges]
        edges["source"], edges["target"] = graph.edges
        edges["bytes"] = graph.edge_bytes
        jobs = self.jobs[row, : graph.num_jobs]
        jobs["arrival"], jobs["deadline"] = graph.arrival, graph.deadline


@kernel
def _count_removable(source: IntArray, target: IntArray, pending: IntArray, begin: IntArray, stack: IntArray) -> int:
    """Returns how many tasks can be removed one by one, each without predecessors (Kahn's algorithm).

    The edges are sorted by source; ``pending`` (T,) and ``begin`` (T + 1,) are zeros, ``stack`` is room for T.
    """
    num_tasks = pending.size
    for edge in range(source.size):
        pending[target[edge]] += 1
        begin[source[edge] + 1] += 1
    for task in range(num_tasks):
        begin[task + 1] += begin[task]
    height = 0
    for task in range(num_tasks):
        if pending[task] == 0:
            stack[height] = task
            height += 1
    removed = 0
    while height > 0:
        height -= 1
        task = stack[height]
        removed += 1
        for edge in range(begin[task], begin[task + 1]):
            pending[target[edge]] -= 1
            if pending[target[edge]] == 0:
                stack[height] = target[edge]
                height += 1
    return removed


def has_cycle(num_tasks: int, source: IntArray, target: IntArray) -> bool:
    """Whether edges sorted by source form a cycle."""
    pending, begin, stack = np.zeros((3, num_tasks + 1), np.int64)
    return bool(_count_removable(source, target, pending[:-1], begin, stack) < num_tasks)


@lru_cache
def _one_of_each(kinds: tuple[str, ...]) -> Platform:
    return Platform.fully_connected("one-of-each-kind", kinds)


@dataclass(frozen=True, eq=False)
class TaskGraph:
    """A directed acyclic graph of tasks. Construction validates it, and makes the arrays read-only.

    Attributes:
        name: What it is called in messages and tables.
        kinds: The K device kinds that durations are known for.
        duration: float64 (T, K), seconds a task takes on a device of each kind at speed 1; inf where that kind
            cannot run it.
        edges: int64 (2, E), tasks that send and tasks that receive; stored sorted by (sender, receiver).
        edge_bytes: float64 (E,), bytes that flow along each edge.
        task_names: One for each task; ``t0``, ``t1``, ... by default.
        job: int64 (T,), which of the J jobs each task is part of; all of job 0 by default. An edge joins tasks of
            one job.
        arrival: float64 (J,), seconds at which each job arrives: its tasks start no earlier. 0 by default.
        deadline: float64 (J,), seconds on the same clock by which each job should have ended; inf, the default,
            where there is no deadline.

    Raises:
        HetgymError: If shapes do not match, a number is NaN, negative or infinite, an edge leads to a task that
            is not there or of another job, or is given twice, a task can run nowhere, there is a cycle, a job has no
            task, or a deadline is not after the arrival.
    """

    name: str
    kinds: tuple[str, ...]
    duration: FloatArray
    edges: IntArray
    edge_bytes: FloatArray
    task_names: tuple[str, ...] = ()
    job: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    arrival: FloatArray = field(default_factory=lambda: np.empty(0))
    deadline: FloatArray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        """Converts, validates and freezes the arrays."""
        duration = self._array("duration", self.duration, np.float64, ("T", len(self.kinds)))
        edges = self._array("edges", self.edges, np.int64, (2, "E"))
        edge_bytes = self._array("edge_bytes", self.edge_bytes, np.float64, (edges.shape[1],))
        job = self._array("job", self.job, np.int64, (len(duration),), default=0)
        num_jobs = self._count_jobs(job)
        order = np.lexsort((edges[1], edges[0]))
        self._set("kinds", tuple(self.kinds))
        self._set("duration", duration)
        self._set("edges", np.ascontiguousarray(edges[:, order]))
        self._set("edge_bytes", edge_bytes[order])
        self._set("task_names", tuple(self.task_names) or tuple(f"t{task}" for task in range(len(duration))))
        self._set("job", job)
        self._set("arrival", self._array("arrival", self.arrival, np.float64, (num_jobs,), default=0.0))
        self._set("deadline", self._array("deadline", self.deadline, np.float64, (num_jobs,), default=np.inf))
        self._check_names()
        self._check_numbers()
        self._check_edges()
        self._check_jobs()

    @property
    def num_tasks(self) -> int:
        """How many tasks there are, T."""
        return len(self.duration)

    @property
    def num_edges(self) -> int:
        """How many edges there are, E."""
        return len(self.edge_bytes)

    @property
    def num_jobs(self) -> int:
        """How many jobs there are, J."""
        return len(self.arrival)

    @property
    def is_plain(self) -> bool:
        """Whether there is only one job, which arrives at 0 and has no deadline."""
        return self.num_jobs == 1 and bool(self.arrival[0] == 0 and self.deadline[0] == np.inf)

    @property
    def release(self) -> FloatArray:
        """Seconds at which each task's job arrives, float64 (T,)."""
        release: FloatArray = self.arrival[self.job]
        return release

    def default_platform(self) -> Platform:
        """Returns one device of each kind, joined at 1 byte/s: data volumes read as transfer times."""
        return _one_of_each(self.kinds)

    def _set(self, field: str, value: Any) -> None:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        object.__setattr__(self, field, value)

    def _fail(self, message: str) -> HetgymError:
        return HetgymError(f"task graph {self.name!r}: {message}")

    def _array(
        self,
        field: str,
        value: ArrayLike,
        dtype: type,
        shape: tuple[int | str, ...],
        default: float | None = None,
    ) -> NDArray[Any]:
        """Returns a copy of the right type; where nothing is given, it is filled with the default."""
        try:
            array = np.array(value)
            if array.size == 0 and default is not None:
                array = np.full([int(size) for size in shape], default)
            if array.size == 0 and array.ndim <= len(shape):
                array = array.reshape([size if isinstance(size, int) else 0 for size in shape])
            if array.dtype.kind == "c":
                raise self._fail(f"{field}: must be real numbers")
            if dtype is np.int64 and array.size and array.dtype.kind not in "iu":
                raise self._fail(f"{field}: must be integers, not {array.dtype}")
            array = array.astype(dtype)
        except (OverflowError, TypeError, ValueError) as error:
            if isinstance(error, HetgymError):
                raise
            raise self._fail(f"{field}: not an array of numbers ({error})") from error
        matches = array.ndim == len(shape) and all(
            not isinstance(size, int) or size == actual for size, actual in zip(shape, array.shape, strict=True)
        )
        if not matches:
            wanted = ", ".join(str(size) for size in shape)
            raise self._fail(f"{field}: must have the shape ({wanted}), not {array.shape}")
        return array

    def _count_jobs(self, job: IntArray) -> int:
        """Returns how many jobs there are; they must be 0, 1, ..., each with a task."""
        if job.size == 0:
            return 0
        if job.min() < 0:
            raise self._fail(f"job: {job.min()} is no job; jobs must be 0, 1, ... with a task each")
        # A number of T or more leaves a smaller one without a task, and is as good as T.
        tasks = np.bincount(np.minimum(job, job.size))
        if not tasks.all():
            raise self._fail(f"job: job {tasks.argmin()} has no task; jobs must be 0, 1, ... with a task each")
        return tasks.size

    def _check_names(self) -> None:
        if len(self.task_names) != self.num_tasks:
            raise self._fail(f"task_names: {len(self.task_names)} names for {self.num_tasks} tasks")
        for name in self.task_names:
            if not isinstance(name, str) or not name:
                raise self._fail(f"task_names: {name!r} is not a name")
        if len(set(self.task_names)) < self.num_tasks:
            twice = next(name for name in self.task_names if self.task_names.count(name) > 1)
            raise self._fail(f"task_names: {twice!r} is given twice")
        if len(set(self.kinds)) != len(self.kinds):
            raise self._fail(f"kinds: a kind is named twice in {self.kinds}")

    def _check_numbers(self) -> None:
        if self.num_tasks == 0:
            raise self._fail("duration: there must be at least one task")
        wrong = np.isnan(self.duration) | (self.duration < 0)
        if wrong.any():
            task, kind = np.argwhere(wrong)[0]
            raise self._fail(
                f"duration of task {self.task_names[task]!r} on {self.kinds[kind]!r} is {self.duration[task, kind]}: "
                "must be zero or more seconds (inf where it cannot run)"
            )
        nowhere = ~np.isfinite(self.duration).any(axis=1)
        if nowhere.any():
            raise self._fail(f"no device kind can run task {self.task_names[np.flatnonzero(nowhere)[0]]!r}")
        wrong = ~np.isfinite(self.edge_bytes) | (self.edge_bytes < 0)
        if wrong.any():
            edge = np.flatnonzero(wrong)[0]
            raise self._fail(
                f"edge_bytes of edge {self._edge(edge)} is {self.edge_bytes[edge]}: must be finite and zero or more"
            )

    def _check_edges(self) -> None:
        source, target = self.edges
        wrong = (self.edges < 0) | (self.edges >= self.num_tasks)
        if wrong.any():
            edge = np.argwhere(wrong.any(axis=0))[0, 0]
            raise self._fail(
                f"edges: ({source[edge]}, {target[edge]}) names a task that is not there; tasks are 0 to "
                f"{self.num_tasks - 1}"
            )
        twice = (np.diff(source) == 0) & (np.diff(target) == 0)
        if twice.any():
            raise self._fail(f"edges: {self._edge(np.flatnonzero(twice)[0])} is given twice")
        if has_cycle(self.num_tasks, source, target):
            import networkx as nx

            cycle = nx.find_cycle(nx.DiGraph(list(zip(source.tolist(), target.tolist(), strict=True))))
            names = [self.task_names[task] for task, _ in cycle]
            shown = [name if name.isprintable() else repr(name) for name in (*names, names[0])]
            raise self._fail(f"edges: there is a cycle: {' -> '.join(shown)}")

    def _check_jobs(self) -> None:
        source, target = self.job[self.edges]
        if (source != target).any():
            edge = np.flatnonzero(source != target)[0]
            raise self._fail(
                f"edges: {self._edge(edge)} joins jobs {source[edge]} and {target[edge]}: must stay within one job"
            )
        wrong = ~np.isfinite(self.arrival) | (self.arrival < 0)
        if wrong.any():
            job = np.flatnonzero(wrong)[0]
            raise self._fail(f"arrival of job {job} is {self.arrival[job]}: must be finite and zero or more seconds")
        wrong = ~(self.deadline > self.arrival)
        if wrong.any():
            job = np.flatnonzero(wrong)[0]
            raise self._fail(
                f"deadline of job {job} is {self.deadline[job]}: must be after its arrival at {self.arrival[job]} s "
                "(inf where there is none)"
            )

    def _edge(self, edge: int) -> str:
        source, target = self.edges[:, edge]
        return f"{self.task_names[source]!r} -> {self.task_names[target]!r}"


def edges_from(triples: Sequence[tuple[int, int, float]]) -> tuple[IntArray, FloatArray]:
    """Returns edges (2, E) and their bytes (E,) from triples (sender, receiver, bytes)."""
    source, target, size = zip(*triples, strict=True)
    return np.array([source, target], np.int64), np.array(size, np.float64)


def join_jobs(
    graphs: Sequence[TaskGraph],
    arrivals: ArrayLike,
    deadlines: ArrayLike | None = None,
    name: str = "jobs",
) -> TaskGraph:
    """Returns several graphs as the jobs of one.

    Args:
        graphs: One for each job, with the same device kinds. Task ``t`` of the first is called ``j0.t`` in the
            result, and so on.
        arrivals: float64 (J,), as in `TaskGraph`.
        deadlines: float64 (J,), as in `TaskGraph`; none by default.
        name: The name of the result.

    Raises:
        HetgymError: If there is no graph, kinds differ, a graph already has several jobs, an arrival or a deadline of
            its own, or the arguments are not right for `TaskGraph`.
    """
    if not graphs:
        raise HetgymError(f"task graph {name!r}: graphs: there must be at least one")
    for graph in graphs:
        if graph.kinds != graphs[0].kinds:
            raise HetgymError(
                f"task graph {name!r}: graphs: {graph.name!r} has the kinds {graph.kinds}, "
                f"{graphs[0].name!r} has {graphs[0].kinds}; they must be the same"
            )
        if not graph.is_plain:
            raise HetgymError(
                f"task graph {name!r}: graphs: {graph.name!r} must be one job that arrives at 0 without a deadline"
            )
    sizes = [graph.num_tasks for graph in graphs]
    first = np.cumsum([0, *sizes[:-1]])
    return TaskGraph(
        name=name,
        kinds=graphs[0].kinds,
        duration=np.concatenate([graph.duration for graph in graphs]),
        edges=np.concatenate([graph.edges + shift for graph, shift in zip(graphs, first, strict=True)], axis=1),
        edge_bytes=np.concatenate([graph.edge_bytes for graph in graphs]),
        task_names=tuple(f"j{job}.{task}" for job, graph in enumerate(graphs) for task in graph.task_names),
        job=np.repeat(np.arange(len(graphs)), sizes),
        arrival=cast("FloatArray", arrivals),
        deadline=cast("FloatArray", () if deadlines is None else deadlines),
    )
