"""How an episode in frames is drawn: gains and arrivals as functions of (seed, episode, frame, user)."""

from __future__ import annotations

import numpy as np

from ...compilation import inner, kernel, rare
from ...workloads.counter_random import random_stream, random_uniform, substream
from ...workloads.fading import fading_power
from .frame_state import FrameWorld

_DISTANCES, _FADING, _ARRIVALS = range(131, 134)

_LIGHT = 3e8
"""Metres a second, as in the papers' programs."""


@kernel
def mean_gain(antenna_gain: float, carrier: float, exponent: float, distance: float) -> float:
    """Returns a mean power gain.

    Args:
        antenna_gain: Of the antennas, a factor.
        carrier: Frequency, Hz.
        exponent: Of the path loss.
        distance: Metres.
    """
    return float(antenna_gain * (_LIGHT / (4.0 * np.pi * carrier * distance)) ** exponent)


@inner
def draw_users(world: FrameWorld, b: int) -> None:
    """Places the users of an episode: writes their mean gains and weights."""
    state, drawn, num_users = world.state, world.drawn[0], world.weights.size
    stream = random_stream(state.status[b].seed, state.status[b].episode, _DISTANCES)
    for user in range(num_users):
        place = user / max(num_users - 1, 1) if drawn.is_even else random_uniform(stream, user)
        distance = drawn.nearest + (drawn.farthest - drawn.nearest) * place
        state.mean_gains[b, user] = mean_gain(drawn.antenna_gain, drawn.carrier, drawn.exponent, distance)
        state.weights[b, user] = world.weights[user]


@rare
def gain_of(world: FrameWorld, b: int, frame: int, user: int) -> float:
    """Returns the power gain of a user in a frame."""
    status, drawn = world.state.status[b], world.drawn[0]
    if status.is_given:
        return float(world.given_gains[b, frame, user])
    stream = substream(random_stream(status.seed, status.episode, _FADING), user)
    duration = world.frame[0].duration
    fading = fading_power(drawn.fading, drawn.k_factor, drawn.doppler, stream, frame, duration)
    return float(world.state.mean_gains[b, user] * fading)


@rare
def arrival_of(world: FrameWorld, b: int, frame: int, user: int) -> float:
    """Returns the bits of a user that arrive in a frame; exponential."""
    status = world.state.status[b]
    if status.is_given:
        return float(world.given_arrivals[b, frame, user])
    stream = substream(random_stream(status.seed, status.episode, _ARRIVALS), user)
    return float(-world.drawn[0].mean_arrival * np.log(random_uniform(stream, frame)))
