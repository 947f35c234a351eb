"""Jobs of many equal tasks, as a data-processing cluster runs them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..compilation import inner, kernel
from .counter_random import random_integer, random_stream, random_uniform
from .generators import DrawnGraphs, Law, draw_volumes, graph_from
from .task_graph import GraphArrays, IntArray, TaskGraph


class SparkJobs(DrawnGraphs):
    """Jobs that arrive together, made of stages of equal tasks, on executors that are all alike.

    It is the setting of Decima (Mao et al. 2019, arXiv:1810.01963, doi:10.1145/3341302.3342080), whose jobs are the
    queries of TPC-H on Spark; these are drawn, with no number of theirs. As the plan of a query is a tree, every stage
    but the last sends its results to one later stage, all of whose tasks wait for all of its tasks. The number of
    stages of a job is uniform on 1 ... ``stages``; the receiver of each is uniform among the later ones.

    Tasks a stage and seconds a task have heavy tails. A stage has k tasks or more with the probability
    k^-``width_tail``, and at most ``width``. All its tasks take equally long; over the stages that is a Pareto
    distribution of shape ``duration_tail`` and mean ``mean_duration``. Volumes are those of `DrawnGraphs`, which also
    has executors as settings: ``num_devices``, alike unless ``heterogeneity`` is above 0.

    Attributes:
        jobs: How many, all at time 0.
        stages: At most, of each job.
        width: Tasks of a stage, at most.
        width_tail: The lower, the more tasks.
        duration_tail: The lower, the less alike are the stages.
        ccr: As in `DrawnGraphs`.
        heterogeneity: As in `DrawnGraphs`.
    """

    kind: Literal["spark"] = "spark"
    jobs: Annotated[int, Field(ge=1, le=1_000)] = 3
    stages: Annotated[int, Field(ge=1, le=100)] = 6
    width: Annotated[int, Field(ge=1, le=500)] = 12
    width_tail: Annotated[float, Field(gt=0, le=10)] = 0.5
    duration_tail: Annotated[float, Field(gt=1, le=10)] = 1.5
    ccr: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    heterogeneity: Annotated[float, Field(ge=0, le=2)] = 0.0

    @property
    def max_jobs(self) -> int:
        """Every graph has exactly this many jobs."""
        return self.jobs

    @property
    def max_tasks(self) -> int:
        """All stages of all jobs, at their widest."""
        return self.jobs * self.stages * self.width

    @property
    def max_edges(self) -> int:
        """From each task of a stage to each of another, for all stages but the last of each job."""
        return self.jobs * (self.stages - 1) * self.width**2

    def join(self, arrays: GraphArrays, rows: IntArray, seeds: IntArray, episodes: IntArray) -> None:
        """Draws what the edges join."""
        begin = np.empty(self.stages + 1, np.int64)
        _draw_stages(arrays, rows, seeds, episodes, begin, self.jobs, self.width, self.width_tail)

    def price(self, arrays: GraphArrays, rows: IntArray, seeds: IntArray, episodes: IntArray, law: Law) -> None:
        """Draws one duration a stage, and volumes, and writes the jobs."""
        _draw_durations(
            arrays, rows, seeds, episodes, law, self.jobs, self.stages, self.width, self.width_tail, self.duration_tail
        )


def spark_jobs(jobs: int = 3, stages: int = 6, width: int = 12, seed: int = 0, **settings: Any) -> TaskGraph:
    """Returns one graph of `SparkJobs`.

    Args:
        jobs: As in `SparkJobs`.
        stages: As in `SparkJobs`.
        width: As in `SparkJobs`.
        seed: As in `random_task_graph`.
        settings: Other attributes of `SparkJobs`.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(SparkJobs, "spark_jobs", seed, jobs=jobs, stages=stages, width=width, **settings)


@inner
def _num_stages(seed: int, episode: int, job: int, stages: int) -> int:
    return 1 + random_integer(random_stream(seed, episode, 0), job, stages)


@inner
def _num_tasks(seed: int, episode: int, stage: int, width: int, width_tail: float) -> int:
    """Returns how many tasks a stage, counted over all jobs, has."""
    drawn = random_uniform(random_stream(seed, episode, 1), stage) ** (-1.0 / width_tail)
    return int(min(drawn, float(width)))


@kernel
def _draw_stages(
    arrays: GraphArrays,
    rows: IntArray,
    seeds: IntArray,
    episodes: IntArray,
    begin: IntArray,
    jobs: int,
    width: int,
    width_tail: float,
) -> None:
    """Writes tasks and edges; ``begin`` is room for the first task of each stage of a job, and the one after."""
    stages = begin.size - 1
    for i in range(rows.size):
        row, seed, episode = rows[i], seeds[i], episodes[i]
        receivers = random_stream(seed, episode, 5)
        num_tasks = num_edges = 0
        for job in range(jobs):
            num_stages = _num_stages(seed, episode, job, stages)
            for stage in range(num_stages):
                begin[stage] = num_tasks
                num_tasks += _num_tasks(seed, episode, job * stages + stage, width, width_tail)
            begin[num_stages] = num_tasks
            for stage in range(num_stages - 1):
                receiver = stage + 1 + random_integer(receivers, job * stages + stage, num_stages - 1 - stage)
                for source in range(begin[stage], begin[stage + 1]):
                    for target in range(begin[receiver], begin[receiver + 1]):
                        arrays.edges[row, num_edges].source = source
                        arrays.edges[row, num_edges].target = target
                        num_edges += 1
        arrays.num_tasks[row] = num_tasks
        arrays.num_edges[row] = num_edges


@kernel
def _draw_durations(
    arrays: GraphArrays,
    rows: IntArray,
    seeds: IntArray,
    episodes: IntArray,
    law: Law,
    jobs: int,
    stages: int,
    width: int,
    width_tail: float,
    duration_tail: float,
) -> None:
    shortest = law.mean_duration * (duration_tail - 1.0) / duration_tail
    for i in range(rows.size):
        row, seed, episode = rows[i], seeds[i], episodes[i]
        draw_volumes(arrays, row, seed, episode, law)
        lengths = random_stream(seed, episode, 3)
        spreads = random_stream(seed, episode, 4)
        arrays.num_jobs[row] = jobs
        task = 0
        for job in range(jobs):
            arrays.jobs[row, job].arrival = 0.0
            arrays.jobs[row, job].deadline = np.inf
            for stage in range(_num_stages(seed, episode, job, stages)):
                number = job * stages + stage
                length = shortest * random_uniform(lengths, number) ** (-1.0 / duration_tail)
                end = task + _num_tasks(seed, episode, number, width, width_tail)
                for column in range(law.kind.size):
                    spread = random_uniform(spreads, number * law.num_kinds + law.kind[column]) - 0.5
                    duration = length * (1.0 + law.heterogeneity * spread) / law.speed[column]
                    arrays.duration[row, task:end, column] = duration
                arrays.job[row, task:end] = job
                arrays.release[row, task:end] = 0.0
                task = end
