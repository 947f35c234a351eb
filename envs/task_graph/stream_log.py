"""The last runs of a stream as an instance and its schedule, to look at and to check."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hardware_models import Platform
from ...workloads.stream import JobStream
from ...workloads.task_graph import FloatArray, IntArray, TaskGraph, join_jobs
from .luck import Luck, fill_slowdowns
from .schedule import Schedule
from .state import State
from .stream import stream_of


def _remembered(state: State, log: NDArray[Any], row: int) -> tuple[NDArray[Any], NDArray[Any], IntArray]:
    """Returns the runs by decision, one run of each job by index of the job, and the place of each run's job."""
    length = int(state.status["log_length"][row])
    runs = log[row, : min(length, log.shape[1])]
    runs = runs[np.argsort(runs["number"], kind="stable")]
    _, first, place = np.unique(runs["job"], return_index=True, return_inverse=True)
    return runs, runs[first], place


def _first_tasks(workload: JobStream, jobs: NDArray[Any]) -> IntArray:
    sizes = [workload.templates[template].num_tasks for template in jobs["template"]]
    return np.cumsum([0, *sizes])


def remembered_schedule(workload: JobStream, state: State, log: NDArray[Any], row: int) -> Schedule:
    """Returns the runs that have ended and are remembered.

    Args:
        workload: The stream.
        state: Where its episodes stand.
        log: (B, R) of `LOGGED`.
        row: Which episode.
    """
    runs, jobs, place = _remembered(state, log, row)
    first = _first_tasks(workload, jobs)
    task = first[place] + runs["task"]
    fields: dict[str, FloatArray] = {}
    for name in ("start", "finish", "decided"):
        fields[name] = np.zeros(first[-1])
        fields[name][task] = runs[name]
    device, step = np.full(first[-1], -1), np.zeros(first[-1], np.int64)
    device[task], step[task] = runs["device"], runs["step"]
    return Schedule(device=device, sequence=task, step=step, **fields)


def remembered_jobs(
    workload: JobStream, state: State, log: NDArray[Any], row: int
) -> tuple[IntArray, IntArray, FloatArray]:
    """Returns index, kind and arrival of the jobs whose runs are remembered; of the first to come if there is none.

    Args:
        workload: The stream.
        state: Where its episodes stand.
        log: (B, R) of `LOGGED`.
        row: Which episode.
    """
    _, jobs, _ = _remembered(state, log, row)
    if len(jobs):
        return jobs["job"].copy(), jobs["template"].copy(), jobs["arrival"].copy()
    status = state.status[row]
    arrival, template = workload.arriving(int(status["seed"]), int(status["episode"]), 1)
    return np.zeros(1, np.int64), template, arrival


def jobs_as_graph(workload: JobStream, platform: Platform, templates: IntArray, arrival: FloatArray) -> TaskGraph:
    """Returns some of a stream's jobs as one graph.

    Args:
        workload: The stream.
        platform: What it runs on.
        templates: int64 (J,), their kinds.
        arrival: float64 (J,), seconds.
    """
    critical_path = stream_of(workload, platform, "expected", 0).templates.critical_path
    deadlines = workload.deadlines(templates, arrival, critical_path)
    return join_jobs([workload.templates[template] for template in templates], arrival, deadlines, name="stream")


def slowdowns_of_jobs(
    workload: JobStream, platform: Platform, luck: Luck, seed: int, episode: int, jobs: IntArray, templates: IntArray
) -> FloatArray:
    """Returns realised over expected durations of the tasks of some jobs, float64 (T, P).

    Args:
        workload: The stream.
        platform: Of P devices.
        luck: What may befall the tasks.
        seed: Of the environment.
        episode: Its number.
        jobs: int64 (J,), their indices.
        templates: int64 (J,), their kinds.
    """
    room = np.empty((len(jobs), workload.tasks_per_job, platform.num_devices))
    fill_slowdowns(*luck.law(platform), np.full(len(jobs), seed), np.full(len(jobs), episode), jobs, room)
    sizes = [workload.templates[template].num_tasks for template in templates]
    return np.concatenate([factors[:size] for factors, size in zip(room, sizes, strict=True)])
