"""Random numbers as a function of what they are for, not of the order in which they are drawn.

A stream is keyed by (seed, episode, purpose), and its i-th number depends on the key and i alone. So the
luck of a task does not depend on what a policy did before, nor on the size of the batch.
"""

from __future__ import annotations

import numpy as np

from ..compilation import inner

_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


@inner
def _mix(value: np.uint64) -> np.uint64:
    """SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014, doi:10.1145/2660193.2660195)."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


@inner
def random_stream(seed: int, episode: int, purpose: int) -> np.uint64:
    """Returns the key of the stream for one purpose in one episode."""
    key = _mix(np.uint64(seed) + _INCREMENT)
    key = _mix(key ^ (np.uint64(episode) * _INCREMENT + _MIX_1))
    return _mix(key ^ (np.uint64(purpose) * _INCREMENT + _MIX_2))


@inner
def random_uniform(stream: np.uint64, index: int) -> float:
    """Returns the stream's number at an index, uniform on (0, 1]."""
    bits = _mix(stream + np.uint64(index) * _INCREMENT) >> np.uint64(11)
    return (np.float64(bits) + 1.0) * 2.0**-53


@inner
def random_integer(stream: np.uint64, index: int, count: int) -> int:
    """Returns the stream's number at an index, an integer uniform on 0 ... count - 1."""
    return min(int(random_uniform(stream, index) * count), count - 1)


@inner
def substream(stream: np.uint64, index: int) -> np.uint64:
    """Returns the key of one of the streams within a stream."""
    return _mix(stream ^ (np.uint64(index) * _INCREMENT + _MIX_1))


@inner
def random_normals(stream: np.uint64, index: int) -> tuple[float, float]:
    """Returns two independent standard normal numbers, made from the stream's numbers at an index and the next.

    Source: Box and Muller 1958, doi:10.1214/aoms/1177706645.
    """
    radius = np.sqrt(-2.0 * np.log(random_uniform(stream, index)))
    angle = 2.0 * np.pi * random_uniform(stream, index + 1)
    return float(radius * np.cos(angle)), float(radius * np.sin(angle))


@inner
def random_normal(stream: np.uint64, index: int) -> float:
    """Returns the first of the `random_normals` at an index."""
    return random_normals(stream, index)[0]
