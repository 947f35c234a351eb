"""What befalls tasks and devices: a function of (seed, episode, and the job, task or device), never of decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...compilation import inner, kernel
from ...hardware_models import Platform
from ...workloads.counter_random import random_normal, random_stream, random_uniform, substream
from ...workloads.task_graph import FloatArray, IntArray
from .instance import Records

Noise = Literal["none", "lognormal", "gamma", "normal"]
NOISES = ("none", "lognormal", "gamma", "normal")
"""In the order of the codes that kernels take."""

_TASKS, _DEVICES, _OUTAGES = 100, 101, 102
_DRAWS = 256  # numbers set aside for each task; 84 attempts at a gamma number all fail once in 10^100 times


@dataclass(frozen=True)
class Luck:
    """How realised durations deviate from expected ones, and when devices fail.

    A task's factor is the product of noise, straggling, and its device's mis-estimation.

    Attributes:
        noise: ``none``; ``lognormal`` and ``gamma``, both of mean 1; or ``normal`` of mean 1, drawn anew where it
            is below ``noise_floor``.
        noise_sigma: Standard deviation: of the logarithm (``lognormal``), of the factor (``gamma``), of the factor
            before truncation (``normal``).
        noise_floor: Least factor of ``normal`` noise.
        noisy: Kinds of device whose runs are noisy; None means all.
        straggler_probability: That a task straggles.
        straggler_factor: How many times longer it then takes.
        misestimation: By name or kind of a device: how many times longer everything takes there than expected.
        misestimation_sigma: Standard deviation of the logarithm of a further factor of mean 1, drawn for each device
            and episode.
        mean_uptime: Seconds between a repair of a device and its next failure, on average, exponential; inf: devices do
            not fail.
        mean_downtime: Seconds that it is down, on average, exponential.
        outages: (device, begin, end) in seconds: recorded ones, instead of drawn ones.
    """

    noise: Noise = "none"
    noise_sigma: float = 0.3
    noise_floor: float = 0.0
    noisy: Sequence[str] | None = None
    straggler_probability: float = 0.0
    straggler_factor: float = 1.0
    misestimation: tuple[tuple[str, float], ...] = ()
    misestimation_sigma: float = 0.0
    mean_uptime: float = float("inf")
    mean_downtime: float = 0.0
    outages: tuple[tuple[int, float, float], ...] = ()

    def law(self, platform: Platform) -> tuple[Records, Records]:
        """Returns it as kernels read it: (1,) of `LUCK`, and (P,) of `EXPOSURE`."""
        law = np.zeros(1, LUCK)
        law["noise"] = NOISES.index(self.noise)
        for name in LUCK.names or ():
            if name != "noise":
                law[name] = getattr(self, name)
        if self.outages:
            law["mean_uptime"] = np.inf
            law["mean_downtime"] = np.mean([end - begin for _, begin, end in self.outages])
        exposure = np.zeros(platform.num_devices, EXPOSURE)
        factors = dict(self.misestimation)
        for index, device in enumerate(platform.devices):
            exposure["is_noisy"][index] = self.noisy is None or device.kind in self.noisy
            exposure["factor"][index] = factors.get(device.name, factors.get(device.kind, 1.0))
        return law, exposure


LUCK = np.dtype(
    [
        ("noise", np.int64),
        ("noise_sigma", np.float64),
        ("noise_floor", np.float64),
        ("straggler_probability", np.float64),
        ("straggler_factor", np.float64),
        ("misestimation_sigma", np.float64),
        ("mean_uptime", np.float64),  # seconds
        ("mean_downtime", np.float64),  # seconds
    ],
    align=True,
)
"""The numbers of `Luck`."""

EXPOSURE = np.dtype([("is_noisy", np.bool_), ("factor", np.float64)], align=True)
"""What `Luck` has in store for a device."""


@inner
def _exponential(stream: np.uint64, index: int, mean: float) -> float:
    return float(-mean * np.log(random_uniform(stream, index)))


@inner
def _gamma(stream: np.uint64, first: int, shape: float) -> float:
    """Returns a gamma number of scale 1 (Marsaglia and Tsang 2000, doi:10.1145/358407.358414)."""
    d = (shape if shape >= 1.0 else shape + 1.0) - 1.0 / 3.0
    value = d
    for attempt in range(84):
        x = random_normal(stream, first + 3 * attempt)
        v = (1.0 + x / np.sqrt(9.0 * d)) ** 3
        if v > 0.0 and np.log(random_uniform(stream, first + 3 * attempt + 2)) < 0.5 * x * x + d - d * v + d * np.log(
            v
        ):
            value = d * v
            break
    if shape < 1.0:
        value *= random_uniform(stream, first + 252) ** (1.0 / shape)
    return float(value)


@inner
def _truncated_normal(stream: np.uint64, first: int, sigma: float, floor: float) -> float:
    for attempt in range(126):
        value = 1.0 + sigma * random_normal(stream, first + 2 * attempt)
        if value >= floor:
            return float(value)
    return max(1.0, floor)


@inner
def _noise_factor(law: Records, stream: np.uint64, first: int) -> float:
    sigma = law[0].noise_sigma
    if law[0].noise == 1:
        return float(np.exp(sigma * random_normal(stream, first) - 0.5 * sigma * sigma))
    if law[0].noise == 2:
        return float(_gamma(stream, first, sigma**-2) * sigma * sigma)
    if law[0].noise == 3:
        return _truncated_normal(stream, first, sigma, law[0].noise_floor)
    return 1.0


@inner
def draw_factors(
    law: Records, exposure: Records, devices: FloatArray, stream: np.uint64, task: int, out: FloatArray
) -> None:
    """Writes realised over expected duration of a task on each device.

    Args:
        law: (1,) of `LUCK`.
        exposure: (P,) of `EXPOSURE`.
        devices: (P,) what `draw_device_factors` gave for the episode.
        stream: Of the task's job.
        task: Its index in the job.
        out: (P,).
    """
    first = task * _DRAWS
    noise = _noise_factor(law, stream, first)
    straggles = random_uniform(stream, first + _DRAWS - 1) <= law[0].straggler_probability
    straggling = law[0].straggler_factor if straggles else 1.0
    for device in range(out.size):
        out[device] = devices[device] * straggling * (noise if exposure[device].is_noisy else 1.0)


@inner
def draw_device_factors(law: Records, exposure: Records, seed: int, episode: int, out: FloatArray) -> None:
    """Writes how far off expected durations are on each device in an episode, (P,)."""
    stream, sigma = random_stream(seed, episode, _DEVICES), law[0].misestimation_sigma
    for device in range(out.size):
        out[device] = exposure[device].factor
        if sigma > 0.0:
            out[device] *= np.exp(sigma * random_normal(stream, 2 * device) - 0.5 * sigma * sigma)


@inner
def task_stream(seed: int, episode: int, job: int) -> np.uint64:
    """Returns the stream that the luck of a job's tasks is drawn from."""
    return substream(random_stream(seed, episode, _TASKS), job)


@inner
def draw_outage(law: Records, seed: int, episode: int, device: int, count: int) -> tuple[float, float]:
    """Returns how long a device is up before its next failure, and then down, seconds.

    Args:
        law: (1,) of `LUCK`.
        seed: Of the environment.
        episode: Its number.
        device: Which.
        count: How often it has failed before.
    """
    if law[0].mean_uptime == np.inf:
        return np.inf, 0.0
    stream = substream(random_stream(seed, episode, _OUTAGES), device)
    return _exponential(stream, 2 * count, law[0].mean_uptime), _exponential(
        stream, 2 * count + 1, law[0].mean_downtime
    )


@kernel
def realise(
    law: Records,
    exposure: Records,
    seeds: IntArray,
    episodes: IntArray,
    expected: FloatArray,
    num_tasks: IntArray,
    slots: IntArray,
    actual: FloatArray,
    rows: IntArray,
) -> None:
    """Writes how long the tasks of some episodes will take.

    Args:
        law: (1,) of `LUCK`.
        exposure: (P,) of `EXPOSURE`.
        seeds: int64 (B,), of all environments.
        episodes: int64 (B,), their numbers.
        expected: float64 (N, T, P), seconds.
        num_tasks: int64 (N,).
        slots: int64 (rows,), which of the N each episode plays.
        actual: float64 (B, T, P), seconds; the result.
        rows: int64, which episodes.
    """
    for i in range(rows.size):
        b, n = rows[i], slots[i]
        stream, devices = task_stream(seeds[b], episodes[b], 0), actual[b, 0]
        draw_device_factors(law, exposure, seeds[b], episodes[b], devices)
        # The first task's row holds the factors of the devices until its turn, which is last.
        for task in range(num_tasks[n] - 1, -1, -1):
            draw_factors(law, exposure, devices, stream, task, actual[b, task])
            for device in range(actual.shape[2]):
                seconds = expected[n, task, device]
                actual[b, task, device] = actual[b, task, device] * seconds if seconds < np.inf else np.inf


def draw_slowdowns(luck: Luck, platform: Platform, seed: int, episode: int, num_tasks: int) -> FloatArray:
    """Returns realised over expected durations of the tasks of an episode, float64 (T, P).

    Args:
        luck: What may befall them.
        platform: Of P devices.
        seed: Of the environment.
        episode: Its number.
        num_tasks: T.
    """
    slowdowns = np.empty((1, num_tasks, platform.num_devices))
    fill_slowdowns(*luck.law(platform), np.array([seed]), np.array([episode]), np.zeros(1, np.int64), slowdowns)
    drawn: FloatArray = slowdowns[0]
    return drawn


@kernel
def fill_slowdowns(
    law: Records, exposure: Records, seeds: IntArray, episodes: IntArray, jobs: IntArray, slowdowns: FloatArray
) -> None:
    """Writes the factors of the tasks of several (seed, episode, job), (N, T, P)."""
    for i in range(seeds.size):
        stream = task_stream(seeds[i], episodes[i], jobs[i])
        # The first task's row holds the factors of the devices until its turn, which is last.
        devices = slowdowns[i, 0]
        draw_device_factors(law, exposure, seeds[i], episodes[i], devices)
        for task in range(slowdowns.shape[1] - 1, -1, -1):
            draw_factors(law, exposure, devices, stream, task, slowdowns[i, task])


def drawn_outages(luck: Luck, platform: Platform, seed: int, episode: int, until: float) -> FloatArray:
    """Returns the outages of an episode that begin before a time, float64 (N, 3): device, begin, end.

    Args:
        luck: What may befall the devices.
        platform: Theirs.
        seed: Of the environment.
        episode: Its number.
        until: Seconds.
    """
    if luck.outages:
        return np.array(luck.outages, np.float64)
    law, _ = luck.law(platform)
    outages = []
    for device in range(platform.num_devices):
        time, count = 0.0, 0
        while True:
            up, down = _outage_of(law, seed, episode, device, count)
            if not time + up < until:
                break
            outages.append((float(device), time + up, time + up + down))
            time, count = time + up + down, count + 1
    return np.array(outages).reshape(-1, 3)


@kernel
def _outage_of(law: Records, seed: int, episode: int, device: int, count: int) -> tuple[float, float]:
    return draw_outage(law, seed, episode, device, count)
