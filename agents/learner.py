"""What training asks of every learning algorithm, and how an optimiser's state is kept as tensors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, cast

from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn
from torch.optim import Optimizer

from ..envs.core.simulator import Arrays
from .learned import greedy
from .networks import CandidateScorer


class Learner(BaseAlgorithm):
    """An algorithm of stable-baselines3 as training needs it; by default its network scores candidates."""

    @property
    def network(self) -> nn.Module:
        """The network that decides."""
        return cast("nn.Module", self.policy.scorer)

    def decide(self, observation: Arrays) -> NDArray[Any]:
        """Returns what the network takes for best, one action for each episode, without exploration."""
        return greedy(cast("CandidateScorer", self.network), observation)

    @abstractmethod
    def training_state(self) -> dict[str, Tensor]:
        """Returns what learning depends on besides `network`, random numbers and environments."""

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


def part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with a name and a dot, without these."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in state.items() if key.startswith(f"{name}.")}
