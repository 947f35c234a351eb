"""How long tasks really take: a factor for each task, as a function of (seed, episode, task)."""

from __future__ import annotations

import numpy as np
from scipy import special

from ...compilation import kernel
from ...workloads.counter_random import random_stream, random_uniform
from ...workloads.task_graph import FloatArray, IntArray

NOISES = ("none", "lognormal", "gamma", "normal")
"""Names for `draw_slowdowns`."""

_PURPOSE = 100


def draw_slowdowns(noise: str, sigma: float, seeds: IntArray, episodes: IntArray, num_tasks: int) -> FloatArray:
    """Returns realised over expected duration for each task of several episodes, float64 (episodes, T).

    Each factor is drawn by inversion from one uniform number, so what befalls a task depends on no other.

    Args:
        noise: ``none``; ``lognormal`` and ``gamma``, both of mean 1; or ``normal`` of mean 1 before it is truncated
            at zero.
        sigma: Standard deviation: of the logarithm (``lognormal``), of the factor (``gamma``), of the factor before
            truncation (``normal``).
        seeds: int64 (episodes,).
        episodes: int64 (episodes,), the number of each.
        num_tasks: T.
    """
    if noise == "none":
        return np.ones((len(seeds), num_tasks))
    uniform = np.empty((len(seeds), num_tasks))
    _fill_uniform(uniform, seeds, episodes)
    if noise == "lognormal":
        return np.asarray(np.exp(sigma * special.ndtri(uniform) - 0.5 * sigma**2), np.float64)
    if noise == "gamma":
        return np.asarray(special.gammaincinv(sigma**-2, uniform) * sigma**2, np.float64)
    below = special.ndtr(-1.0 / sigma)
    return np.asarray(np.maximum(1.0 + sigma * special.ndtri(below + uniform * (1.0 - below)), 0.0), np.float64)


@kernel
def _fill_uniform(uniform: FloatArray, seeds: IntArray, episodes: IntArray) -> None:
    """Fills with numbers uniform on (0, 1), both ends excluded."""
    for i in range(seeds.size):
        stream = random_stream(seeds[i], episodes[i], _PURPOSE)
        for task in range(uniform.shape[1]):
            uniform[i, task] = min(random_uniform(stream, task), 1.0 - 2.0**-53)
