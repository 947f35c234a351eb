"""A trained network as a policy."""

from __future__ import annotations

from pathlib import Path

import torch

from ..envs import Simulator
from ..envs.core.simulator import Arrays
from .checkpoint import find_checkpoint, load_network
from .networks import CandidateScorer
from .policy import Actions


class LearnedPolicy:
    """Takes the candidate that a trained network scores highest.

    Attributes:
        name: ``ppo:`` and the path.
    """

    clairvoyant = False

    def __init__(self, path: Path) -> None:
        """Finds the checkpoint; it is loaded when the environment is known.

        Args:
            path: A checkpoint, or the folder of a training run, whose best checkpoint is taken.

        Raises:
            HetgymError: If there is no checkpoint.
        """
        self.name = f"ppo:{path}"
        self._folder = find_checkpoint(path)
        self._network: CandidateScorer | None = None

    def reset(self, simulator: Simulator) -> None:
        """Loads the network, once.

        Raises:
            HetgymError: If it was trained on other features than the environment shows.
        """
        if self._network is None:
            self._network = load_network(self._folder, simulator.schema)

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns the best-scored candidate of each episode, int64 (B,)."""
        assert self._network is not None
        return greedy(self._network, observation)


def greedy(network: CandidateScorer, observation: Arrays) -> Actions:
    """Returns the candidate that a network scores highest, the first of equals, int64 (B,)."""
    with torch.inference_mode():
        logits, _ = network({name: torch.from_numpy(array) for name, array in observation.items()})
    actions: Actions = logits.numpy().argmax(axis=1)
    return actions
