"""The policy ``random``, for all families."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from ...compilation import kernel
from ...envs import Simulator
from ...envs.core.simulator import Arrays
from ...workloads.counter_random import random_integer, random_stream, random_uniform
from ..policy import Actions

_PURPOSE, _PURPOSE_OF_CANDIDATES = 1_000, 1_001


class RandomPolicy:
    """Takes an allowed candidate, each with the same probability; in a continuous face, any action of its Box.

    What it draws depends on seed, episode and decision alone, so it does not depend on the size of the batch.
    """

    name = "random"
    clairvoyant = False

    def reset(self, simulator: Simulator) -> None:
        """Does nothing: the draws need no state."""

    def act(self, observation: Arrays, simulator: Simulator) -> NDArray[Any]:
        """Returns one allowed candidate for each episode, int64 (B,); in a continuous face float64 (B, ...)."""
        steps = np.ascontiguousarray(simulator.outcome["episode_length"])
        space = simulator.single_action_space
        if isinstance(space, Box):
            shares = np.empty((simulator.num_envs, *space.shape))
            _draw_shares(simulator.seeds, simulator.episodes, steps, shares)
            return space.low + (space.high - space.low) * shares
        actions = np.empty(simulator.num_envs, np.int64)
        _draw(observation["action_mask"], simulator.seeds, simulator.episodes, steps, actions)
        return actions


@kernel
def _draw(
    mask: NDArray[np.int8],
    seeds: NDArray[np.int64],
    episodes: NDArray[np.int64],
    steps: NDArray[np.int64],
    actions: Actions,
) -> None:
    for b in range(actions.size):
        allowed = 0
        for candidate in range(mask.shape[1]):
            allowed += mask[b, candidate]
        remaining = random_integer(random_stream(seeds[b], episodes[b], _PURPOSE), steps[b], allowed)
        for candidate in range(mask.shape[1]):
            if mask[b, candidate]:
                if remaining == 0:
                    actions[b] = candidate
                    break
                remaining -= 1


@kernel
def _draw_shares(
    seeds: NDArray[np.int64], episodes: NDArray[np.int64], steps: NDArray[np.int64], shares: NDArray[np.float64]
) -> None:
    for b in range(shares.shape[0]):
        stream = random_stream(seeds[b], episodes[b], _PURPOSE)
        for knob in range(shares.shape[1]):
            shares[b, knob] = random_uniform(stream, steps[b] * shares.shape[1] + knob)


@kernel
def draw_uniform(
    situation: NDArray[np.int64],
    action: NDArray[np.int64],
    seeds: NDArray[np.int64],
    episodes: NDArray[np.int64],
    steps: NDArray[np.int64],
    uniform: NDArray[np.float64],
) -> None:
    """Draws a number for each candidate, uniform on (0, 1]."""
    for candidate in range(uniform.size):
        b = situation[candidate]
        stream = random_stream(seeds[b], episodes[b], _PURPOSE_OF_CANDIDATES)
        uniform[candidate] = random_uniform(stream, steps[b] * 2**32 + action[candidate])
