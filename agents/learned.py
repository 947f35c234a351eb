"""A trained network as a policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..envs import Simulator
from ..envs.core.simulator import Arrays
from .checkpoint import load_network
from .heuristics.uniform import draw_uniform
from .networks import CandidateBatch, CandidateCategorical, CandidateScorer
from .policy import Actions

TEMPERATURE = 2.5
"""Of distributions that attempts are drawn from, of which the best counts.

A trained network is too sure of itself to make many unlike attempts. For the best of 32 schedules of `random` 2.5 is
better than 1 with 20 and 50 tasks, and level with 100; 5 is better still with 20, and worse with 50 and 100 (seeds from
2^30 on, which no result is reported on).
"""


class LearnedPolicy:
    """Takes the candidate that a trained network scores highest, or one drawn from the network's distribution.

    What it draws depends on seed, episode, decision and candidate alone, so not on the size of the batch.

    Attributes:
        name: What it is called in tables.
    """

    clairvoyant = False
    conditioned = True

    def __init__(self, name: str, folder: Path, sample: bool = False) -> None:
        """Takes a checkpoint; it is loaded when the environment is known.

        Args:
            name: What the policy is called.
            folder: The checkpoint.
            sample: Whether to draw, at `TEMPERATURE`.
        """
        self.name = name
        self._folder = folder
        self._sample = sample
        self._network: CandidateScorer | None = None

    @property
    def network(self) -> CandidateScorer:
        """Returns the network; it is known after the first `reset`."""
        assert self._network is not None
        return self._network

    def reset(self, simulator: Simulator) -> None:
        """Loads the network, once.

        Raises:
            HetgymError: If it was trained on other features than the environment shows.
        """
        if self._network is None:
            self._network = load_network(self._folder, simulator.schema)

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns one candidate for each episode, int64 (B,)."""
        return sampled(self.network, observation, simulator) if self._sample else greedy(self.network, observation)


def greedy(network: CandidateScorer, observation: Arrays) -> Actions:
    """Returns the candidate that a network scores highest, the first of equals, int64 (B,)."""
    batch, scores = judge(network, observation)
    return _best(batch, scores)


def sampled(network: CandidateScorer, observation: Arrays, simulator: Simulator) -> Actions:
    """Returns a candidate drawn from a network's distribution at `TEMPERATURE`, int64 (B,)."""
    batch, scores = judge(network, observation)
    uniform = np.empty(len(scores))
    steps = np.ascontiguousarray(simulator.outcome["episode_length"])
    draw_uniform(
        batch.situation.cpu().numpy(), batch.action.cpu().numpy(), simulator.seeds, simulator.episodes, steps, uniform
    )
    # The maximum of scores with Gumbel noise is distributed as their softmax.
    return _best(batch, scores / TEMPERATURE - torch.from_numpy(uniform).to(scores.device).log().neg().log())


def judge(network: CandidateScorer, observation: Arrays) -> tuple[CandidateBatch, Tensor]:
    """Returns what a network makes of situations.

    Args:
        network: The network.
        observation: Of B situations.

    Returns:
        What it reads, and the candidates' scores, float32 (C,).
    """
    device = next(network.parameters()).device
    with torch.inference_mode():
        batch = network.read({name: torch.from_numpy(array).to(device) for name, array in observation.items()})
        scores: Tensor = network(batch)[0]
    return batch, scores


def _best(batch: CandidateBatch, scores: Tensor) -> Actions:
    actions: Actions = batch.action[CandidateCategorical(scores, batch).mode()].cpu().numpy()
    return actions
