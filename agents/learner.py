"""What training asks of every learning algorithm, and how an optimiser's state is kept as tensors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import cast

from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor
from torch.optim import Optimizer

from .networks import CandidateScorer


class Learner(BaseAlgorithm):
    """An algorithm of stable-baselines3 whose network scores candidates."""

    @property
    def scorer(self) -> CandidateScorer:
        """The network that decides, by its scores."""
        return cast("CandidateScorer", self.policy.scorer)

    @abstractmethod
    def training_state(self) -> dict[str, Tensor]:
        """Returns what learning depends on besides `scorer`, random numbers and environments."""

    @abstractmethod
    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `training_state` returned for the same settings."""


def optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """Returns an optimiser's moments."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": tensor for index, moments in state.items() for name, tensor in moments.items()}


def load_optimizer_state(optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
    """Gives an optimiser back what `optimizer_state` returned."""
    content = optimizer.state_dict()
    for key, tensor in state.items():
        index, name = key.split(".")
        content["state"].setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(content)
