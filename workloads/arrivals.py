"""When the jobs of a stream arrive, and of what kind they are: functions of (seed, episode, job)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from ..compilation import inner, kernel
from ..errors import HetgymError
from .counter_random import random_stream, random_uniform
from .task_graph import FloatArray, IntArray

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Arrivals(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def times(self) -> FloatArray:
        """Returns the recorded arrivals, seconds, float64 (A,); none where they are drawn."""
        return np.empty(0)

    def law(self, num_jobs: int | None) -> NDArray[Any]:
        """Returns it as kernels read it, (1,) of `PROCESS`.

        Args:
            num_jobs: Jobs after which no more arrive; None: they go on for ever.
        """
        law = np.zeros(1, PROCESS)
        for name, value in self.model_dump().items():
            if name in (PROCESS.names or ()) and name != "kind":
                law[name] = value
        law["kind"] = KINDS.index(self.kind)  # type: ignore[attr-defined]
        law["num_jobs"] = -1 if num_jobs is None else num_jobs
        return law


class PoissonArrivals(_Arrivals):
    """A Poisson process.

    Attributes:
        mean_interarrival: Seconds between two jobs on average.
    """

    kind: Literal["poisson"] = "poisson"
    mean_interarrival: _Positive


class PeriodicArrivals(_Arrivals):
    """A job at 0, and then one after every period.

    Attributes:
        mean_interarrival: The period, seconds.
    """

    kind: Literal["periodic"] = "periodic"
    mean_interarrival: _Positive


class AtOnceArrivals(_Arrivals):
    """All at time 0: a batch, for requests of a given number."""

    kind: Literal["at-once"] = "at-once"

    def law(self, num_jobs: int | None) -> NDArray[Any]:
        """Returns it as kernels read it, (1,) of `PROCESS`: a period of no length."""
        law = np.zeros(1, PROCESS)
        law["kind"], law["num_jobs"] = _PERIODIC, -1 if num_jobs is None else num_jobs
        return law


class BurstyArrivals(_Arrivals):
    """A Markov-modulated Poisson process of two states, calms and bursts; it begins with a calm.

    Fischer and Meier-Hellstern 1993, doi:10.1016/0166-5316(93)90035-S.

    Attributes:
        mean_interarrival: Seconds between two jobs in a calm, on average.
        burst_interarrival: Seconds between two jobs in a burst, on average.
        mean_calm: Seconds that a calm lasts on average, exponential.
        mean_burst: Seconds that a burst lasts on average, exponential.
    """

    kind: Literal["bursty"] = "bursty"
    mean_interarrival: _Positive
    burst_interarrival: _Positive
    mean_calm: _Positive
    mean_burst: _Positive


class RecordedArrivals(_Arrivals):
    """Arrivals from a table.

    Attributes:
        path: A CSV file with a row for each job; in a YAML scenario, relative to that file.
        column: Of the arrivals: seconds, or timestamps in ISO 8601. The first arrival counts as 0.
        scale: Times are multiplied by this.
    """

    kind: Literal["recorded"] = "recorded"
    path: Path
    column: str = "arrival"
    scale: _Positive = 1.0

    @field_validator("path")
    @classmethod
    def _beside_scenario(cls, path: Path, info: ValidationInfo) -> Path:
        return info.context["folder"] / path if info.context else path

    def times(self) -> FloatArray:
        """Returns the recorded arrivals, seconds from the first, float64 (A,).

        Raises:
            HetgymError: If there is no such file or column, or it does not hold rising times.
        """
        try:
            table = pd.read_csv(self.path)
        except (OSError, ValueError) as error:
            raise HetgymError(f"{self.path}: cannot read arrivals: {' '.join(str(error).split())}") from error
        if self.column not in table:
            raise HetgymError(f"{self.path}: there is no column {self.column!r}; there are {', '.join(table.columns)}")
        column = table[self.column]
        if column.empty:
            raise HetgymError(f"{self.path}: {self.column}: there must be at least one arrival")
        if not pd.api.types.is_numeric_dtype(column):
            try:
                stamps = pd.to_datetime(column, format="ISO8601")
            except (ValueError, TypeError) as error:
                raise HetgymError(f"{self.path}: {self.column}: neither seconds nor timestamps: {error}") from error
            column = (stamps - stamps.iloc[0]).dt.total_seconds()
        times = column.to_numpy(np.float64)
        wrong = np.flatnonzero(~np.isfinite(times) | (np.diff(times, prepend=times[:1]) < 0))
        if wrong.size:
            raise HetgymError(
                f"{self.path}: {self.column}: row {wrong[0]} must be a finite time, not before the one above"
            )
        return np.asarray((times - times[0]) * self.scale)


Arrivals = Annotated[
    PoissonArrivals | PeriodicArrivals | BurstyArrivals | RecordedArrivals, Field(discriminator="kind")
]

KINDS = ("poisson", "periodic", "bursty", "recorded")
"""In the order of the codes that kernels take."""

_POISSON, _PERIODIC, _BURSTY, _RECORDED = range(4)

PROCESS = np.dtype(
    [
        ("kind", np.int64),  # place in KINDS
        ("num_jobs", np.int64),  # -1: without end
        ("mean_interarrival", np.float64),  # seconds
        ("burst_interarrival", np.float64),  # seconds
        ("mean_calm", np.float64),  # seconds
        ("mean_burst", np.float64),  # seconds
    ],
    align=True,
)
"""The numbers of a source of arrivals."""

ARRIVAL = np.dtype(
    [
        ("index", np.int64),  # of the job
        ("time", np.float64),  # seconds; inf if there is no such job
        ("draws", np.int64),  # random numbers drawn so far
        ("in_burst", np.bool_),
        ("switch", np.float64),  # seconds; when the next burst or calm begins
    ],
    align=True,
)
"""A place in the order of a stream's arrivals."""

_TIMES, _TEMPLATES = 103, 104


@inner
def first_arrival(law: NDArray[np.void], recorded: FloatArray, seed: int, episode: int, arrival: Any) -> None:
    """Moves to the first job of an episode.

    Args:
        law: (1,) of `PROCESS`.
        recorded: float64 (A,), seconds.
        seed: Of the environment.
        episode: Its number.
        arrival: One of `ARRIVAL`.
    """
    arrival.index = -1
    arrival.time = 0.0
    arrival.draws = 0
    arrival.in_burst = True
    arrival.switch = 0.0
    next_arrival(law, recorded, seed, episode, arrival)


@inner
def next_arrival(law: NDArray[np.void], recorded: FloatArray, seed: int, episode: int, arrival: Any) -> None:
    """Moves on to the next job; the arguments are those of `first_arrival`."""
    arrival.index += 1
    draws = random_stream(seed, episode, _TIMES)
    if law[0].num_jobs >= 0 and arrival.index >= law[0].num_jobs:
        arrival.time = np.inf
    elif law[0].kind == _POISSON:
        arrival.time += _exponential(draws, arrival, law[0].mean_interarrival)
    elif law[0].kind == _PERIODIC:
        arrival.time = arrival.index * law[0].mean_interarrival
    elif law[0].kind == _BURSTY:
        arrival.time = _next_bursty(law, draws, arrival)
    else:
        arrival.time = recorded[arrival.index] if arrival.index < recorded.size else np.inf


@inner
def _exponential(draws: np.uint64, arrival: Any, mean: float) -> float:
    arrival.draws += 1
    return float(-mean * np.log(random_uniform(draws, arrival.draws)))


@inner
def _next_bursty(law: NDArray[np.void], draws: np.uint64, arrival: Any) -> float:
    time = float(arrival.time)
    while True:
        mean = law[0].burst_interarrival if arrival.in_burst else law[0].mean_interarrival
        following = time + _exponential(draws, arrival, mean)
        if following <= arrival.switch:
            return following
        # What is left of an exponential time is exponential again.
        time = arrival.switch
        arrival.in_burst = not arrival.in_burst
        arrival.switch = time + _exponential(
            draws, arrival, law[0].mean_burst if arrival.in_burst else law[0].mean_calm
        )


@inner
def template_of(share: FloatArray, seed: int, episode: int, job: int) -> int:
    """Returns of what kind a job is.

    Args:
        share: float64 (N,), of the jobs that are of this kind or one before it.
        seed: Of the environment.
        episode: Its number.
        job: Its index.
    """
    u, template = random_uniform(random_stream(seed, episode, _TEMPLATES), job), 0
    while template < share.size - 1 and u > share[template]:
        template += 1
    return template


@kernel
def draw_jobs(
    law: NDArray[np.void],
    recorded: FloatArray,
    share: FloatArray,
    seed: int,
    episode: int,
    room: NDArray[np.void],
    times: FloatArray,
    templates: IntArray,
) -> None:
    """Writes arrivals and kinds of the first jobs of an episode.

    Args:
        law: (1,) of `PROCESS`.
        recorded: float64 (A,), seconds.
        share: float64 (N,), as `template_of` takes it.
        seed: Of the environment.
        episode: Its number.
        room: (1,) of `ARRIVAL`, to work in.
        times: float64 (jobs,), seconds; the result.
        templates: int64 (jobs,), the result.
    """
    first_arrival(law, recorded, seed, episode, room[0])
    for job in range(times.size):
        times[job] = room[0].time
        templates[job] = template_of(share, seed, episode, job)
        next_arrival(law, recorded, seed, episode, room[0])
