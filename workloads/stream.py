"""Jobs that keep arriving."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..errors import HetgymError
from ..hardware_models import Platform
from .arrivals import ARRIVAL, Arrivals, draw_jobs
from .generators import GraphSource
from .sources import AnyGraphs
from .task_graph import FloatArray, IntArray, TaskGraph, join_jobs

MOST_TASKS = 200_000
"""Streams with more tasks are not written out as one graph."""


class JobMix(BaseModel):
    """A share of a stream's jobs.

    Attributes:
        workload: Where their graphs come from.
        share: In proportion to those of the other mixes.
        variants: Of drawn graphs, how many there are: those of seed 0, episodes 0, 1, ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workload: AnyGraphs
    share: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    variants: Annotated[int, Field(ge=1, le=1_000)] = 1


class JobStream(GraphSource):
    """Jobs that keep arriving, for Dispatch.

    Attributes:
        jobs: What they are.
        arrivals: When they arrive.
        num_jobs: So many arrive, and the episode ends with the last of them.
        horizon: Or it ends then, seconds.
        warmup: Seconds; metrics count jobs that arrive later, and what devices do later.
        active_jobs: Room for jobs that are worked on at once; others wait. It bounds the size of an observation.
        deadline_factor: A job's deadline is its arrival plus so many times its critical path (of least durations).
    """

    kind: Literal["stream"] = "stream"
    varies: ClassVar[bool] = True

    jobs: Annotated[tuple[JobMix, ...], Field(min_length=1)]
    arrivals: Arrivals
    num_jobs: Annotated[int, Field(ge=1)] | None = None
    horizon: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    warmup: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    active_jobs: Annotated[int, Field(ge=1, le=10_000)] = 16
    deadline_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _check(self) -> JobStream:
        if self.num_jobs is None and self.horizon is None:
            raise ValueError("a stream needs num_jobs or a horizon to end with")
        if self.horizon is not None and not self.warmup < self.horizon:
            raise ValueError(f"warmup: must be before the horizon at {self.horizon:g} s (given: {self.warmup:g})")
        return self

    @cached_property
    def templates(self) -> tuple[TaskGraph, ...]:
        """The kinds of job, one after another.

        Raises:
            HetgymError: If they have not the same device kinds, or one has several jobs or an arrival itself.
        """
        graphs = tuple(mix.workload.sample(0, episode) for mix in self.jobs for episode in range(mix.variants))
        join_jobs(graphs, [0.0] * len(graphs), name="stream")
        return graphs

    @cached_property
    def shares(self) -> FloatArray:
        """Of the jobs that are of each kind or one before it, float64 (N,)."""
        shares = np.array([mix.share / mix.variants for mix in self.jobs for _ in range(mix.variants)])
        return np.asarray(np.cumsum(shares) / shares.sum(), np.float64)

    def on(self, platform: Platform) -> JobStream:
        """Returns the stream with its jobs as they are on a platform."""
        jobs = tuple(mix.model_copy(update={"workload": mix.workload.on(platform)}) for mix in self.jobs)
        return self.model_copy(update={"jobs": jobs})

    @property
    def kinds(self) -> tuple[str, ...]:
        """The device kinds of all jobs."""
        return self.templates[0].kinds

    @property
    def tasks_per_job(self) -> int:
        """One more than the largest job has: the last task of a place is never part of a job."""
        return max(graph.num_tasks for graph in self.templates) + 1

    @property
    def edges_per_job(self) -> int:
        """What the job with most edges has."""
        return max(graph.num_edges for graph in self.templates)

    @property
    def max_tasks(self) -> int:
        """Room for the tasks of active jobs."""
        return self.active_jobs * self.tasks_per_job

    @property
    def max_edges(self) -> int:
        """Room for the edges of active jobs."""
        return self.active_jobs * self.edges_per_job

    @property
    def max_jobs(self) -> int:
        """Active jobs."""
        return self.active_jobs

    def arriving(self, seed: int, episode: int, count: int) -> tuple[FloatArray, IntArray]:
        """Returns when the first jobs of an episode arrive, seconds, and of what kind they are.

        Args:
            seed: Of the environment.
            episode: Its number.
            count: How many jobs; those that never arrive do so at inf.
        """
        times, templates = np.empty(count), np.empty(count, np.int64)
        law, recorded = self.arrivals.law(self.num_jobs), self.arrivals.times()
        draw_jobs(law, recorded, self.shares, seed, episode, np.zeros(1, ARRIVAL), times, templates)
        return times, templates

    def deadlines(self, templates: IntArray, arrivals: FloatArray, critical_path: FloatArray) -> FloatArray:
        """Returns the deadlines of jobs, seconds; inf where there are none.

        Args:
            templates: int64 (J,), their kinds.
            arrivals: float64 (J,), seconds.
            critical_path: float64 (N,), seconds, of each kind.
        """
        return np.asarray(arrivals + (self.deadline_factor or np.inf) * critical_path[templates], np.float64)

    def all_jobs(self, seed: int, episode: int) -> tuple[FloatArray, IntArray]:
        """Returns when all jobs of an episode arrive, and of what kind they are, as `arriving` does.

        Where a horizon ends the episode, they are those that arrive before.

        Raises:
            HetgymError: If there is none, or they have more than 200,000 tasks.
        """
        most = MOST_TASKS // min(graph.num_tasks for graph in self.templates) + 1
        times, templates = self.arriving(seed, episode, min(self.num_jobs or most, most))
        count = int((times < (self.horizon or np.inf)).sum())
        num_tasks = sum(self.templates[template].num_tasks for template in templates[:count])
        if num_tasks > MOST_TASKS or count == 0:
            raise HetgymError(
                f"stream: {'no job' if count == 0 else f'more than {MOST_TASKS} tasks'} before its end: "
                "cannot be written out as one graph"
            )
        return times[:count], templates[:count]

    def sample(self, seed: int, episode: int) -> TaskGraph:
        """Returns the jobs of an episode as one graph without deadlines; it raises what `all_jobs` raises."""
        times, templates = self.all_jobs(seed, episode)
        return join_jobs([self.templates[template] for template in templates], times, name="stream")
