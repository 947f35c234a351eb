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
    """Returns copies of an optimiser's moments, by the number of the parameter and the name of the moment."""
    return {
        f"{number}.{name}": tensor.clone()
        for number, moments in optimizer.state_dict()["state"].items()
        for name, tensor in moments.items()
    }


def load_optimizer_state(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Takes over the moments that `optimizer_state` gave."""
    state = optimizer.state_dict()
    state["state"] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        state["state"].setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(state)
