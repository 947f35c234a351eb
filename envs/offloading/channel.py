"""The channel of an episode: power gains and recorded rates, as functions of user, access point and block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compilation import inner, kernel
from ...hardware_models.radio import rate_of, uav_gain
from ...workloads.counter_random import random_stream, substream
from ...workloads.fading import fading_power
from .instance import FloatArray, Records
from .state import Episode

_FADING = 123


@inner
def block_at(time: float, block: float) -> int:
    """Returns the block in which a time is: the last that does not begin after it.

    Args:
        time: Seconds.
        block: Seconds; inf for one block.
    """
    if not np.isfinite(block):
        return 0
    k = int(np.floor(time / block))
    while (k + 1) * block <= time:
        k += 1
    while k * block > time:
        k -= 1
    return k


@inner
def _flying_gain(flight: Any, position: FloatArray, time: float) -> float:
    angle = flight.phase + flight.angular_speed * time
    x, y = flight.x + flight.radius * np.cos(angle), flight.y + flight.radius * np.sin(angle)
    return float(uav_gain(flight.height, np.hypot(x - position[0], y - position[1])))


@inner
def _mean(gain: float, flight: Any, position: FloatArray, block: int, seconds: float) -> float:
    """Returns the mean power gain of a cell."""
    return float(gain * _flying_gain(flight, position, block * seconds)) if flight.flies else float(gain)


@inner
def fading_stream(seed: int, episode: int) -> np.uint64:
    """Returns the key of the random numbers by which the channels of an episode fade."""
    return random_stream(seed, episode, _FADING)


@inner
def _fading(law: Any, stream: np.uint64, link: int, block: int, seconds: float) -> float:
    return float(fading_power(law.kind, law.k_factor, law.doppler, substream(stream, link), block, seconds))


@inner
def _seconds_of(block: float) -> float:
    """Returns the length of a block; a single one has no length, for nothing changes in it."""
    return float(block) if np.isfinite(block) else 0.0


@kernel
def channel_value(
    gain: FloatArray,
    fading: Records,
    flights: Records,
    positions: FloatArray,
    trace: FloatArray,
    length: NDArray[np.int64],
    offset: NDArray[np.int64],
    block_seconds: float,
    seed: int,
    episode: int,
    user: int,
    access: int,
    block: int,
    is_radio: bool,
    fades: bool,
) -> float:
    """Returns the power gain of a cell, or the rate of a line in bit/s, in a block.

    Args:
        gain: As in `Channel`, like all arrays.
        fading: (G,).
        flights: (G,).
        positions: float64 (K, 2).
        trace: float64 (G, L).
        length: int64 (G,).
        offset: int64 (K, G).
        block_seconds: Of a block.
        seed: Of the fading.
        episode: Of the fading.
        user: Which user.
        access: Which access point.
        block: Its number.
        is_radio: Whether the access point is a cell.
        fades: Whether the gain is that of the block; else it is the mean.
    """
    if not is_radio:
        return float(trace[access, (offset[user, access] + block) % length[access]])
    seconds = _seconds_of(block_seconds)
    mean = _mean(gain[user, access], flights[access], positions[user], block, seconds)
    if not fades or fading[access].kind == 0:
        return mean
    stream = fading_stream(seed, episode)
    return mean * _fading(fading[access], stream, user * gain.shape[1] + access, block, seconds)


@inner
def mean_value_at(episode: Episode, user: int, access: int, block: int) -> float:
    """Returns the mean power gain of a cell, or the rate of a line in bit/s, in a block."""
    if not episode.accesses[access].is_radio:
        return float(episode.trace[access, (episode.offset[user, access] + block) % episode.length[access]])
    seconds = _seconds_of(episode.block)
    return _mean(episode.gain[user, access], episode.flights[access], episode.positions[user], block, seconds)


@inner
def fading_at(episode: Episode, user: int, access: int, block: int) -> float:
    """Returns the factor by which a channel differs from its mean in a block."""
    law = episode.fading[access]
    if law.kind == 0 or not episode.accesses[access].is_radio:
        return 1.0
    stream, link = episode.status[0].fading_stream, user * episode.gain.shape[1] + access
    return _fading(law, stream, link, block, _seconds_of(episode.block))


@inner
def value_at(episode: Episode, user: int, access: int, block: int) -> float:
    """Returns the power gain of a cell, or the rate of a line in bit/s, in a block."""
    return mean_value_at(episode, user, access, block) * fading_at(episode, user, access, block)


@inner
def down_rate(access: Any, value: float, backhaul: float) -> float:
    """Returns the rate at which a result comes, bit/s.

    Args:
        access: An `ACCESS`.
        value: Of its channel.
        backhaul: bit/s.
    """
    if not access.is_radio:
        return float(min(value * access.down_ratio, backhaul))
    return float(min(rate_of(access.power, value, access.down_bandwidth, access.noise, 0.0), backhaul))
