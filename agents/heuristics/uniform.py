"""The policy ``random``, for all families."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...compilation import kernel
from ...envs import Simulator
from ...envs.core.simulator import Arrays
from ...workloads.counter_random import random_integer, random_stream
from ..policy import Actions

_PURPOSE = 1_000


class RandomPolicy:
    """Takes an allowed candidate, each with the same probability.

    What it draws depends on seed, episode and decision alone, so it does not depend on the size of the batch.
    """

    name = "random"
    clairvoyant = False

    def reset(self, simulator: Simulator) -> None:
        """Does nothing: the draws need no state."""

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns one allowed candidate for each episode, int64 (B,)."""
        actions = np.empty(simulator.num_envs, np.int64)
        steps = np.ascontiguousarray(simulator.outcome["episode_length"])
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
