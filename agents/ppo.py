"""PPO with action masks, on the candidate scorer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from ..envs import ObservationSchema
from .networks import CandidateScorer, NetworkSettings

Masks = NDArray[np.bool_] | Tensor | None


class CandidatePolicy(MaskableActorCriticPolicy):
    """Actor and critic of sb3-contrib's ``MaskablePPO``, both read off one `CandidateScorer`.

    Attributes:
        scorer: The network.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        schema: ObservationSchema,
        settings: NetworkSettings | None = None,
    ) -> None:
        """Makes the network.

        Args:
            observation_space: A family's dictionary space.
            action_space: Discrete, one action a candidate.
            lr_schedule: Learning rate by remaining progress.
            schema: What the columns of the observation are.
            settings: The network's size.
        """
        self._schema = schema
        self._settings = settings or NetworkSettings()
        super().__init__(observation_space, action_space, lr_schedule)

    def _build(self, lr_schedule: Schedule) -> None:
        self.scorer = CandidateScorer(self._schema, self._settings)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr_schedule(1), eps=1e-5)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "schema": self._schema,
            "settings": self._settings,
        }

    def _distribution(self, logits: Tensor, action_masks: Masks) -> MaskableDistribution:
        distribution = self.action_dist.proba_distribution(action_logits=logits)
        if action_masks is not None:
            distribution.apply_masking(action_masks)
        return distribution

    def forward(  # type: ignore[override]
        self, obs: dict[str, Tensor], deterministic: bool = False, action_masks: Masks = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns actions, values and log-probabilities."""
        logits, values = self.scorer(obs)
        distribution = self._distribution(logits, action_masks)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, values, distribution.log_prob(actions)

    def evaluate_actions(  # type: ignore[override]
        self, obs: dict[str, Tensor], actions: Tensor, action_masks: Masks = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns values, log-probabilities of actions, and entropies."""
        logits, values = self.scorer(obs)
        distribution = self._distribution(logits, action_masks)
        return values, distribution.log_prob(actions), distribution.entropy()

    def get_distribution(  # type: ignore[override]
        self, obs: dict[str, Tensor], action_masks: Masks = None
    ) -> MaskableDistribution:
        """Returns the distribution over candidates."""
        return self._distribution(self.scorer(obs)[0], action_masks)

    def predict_values(self, obs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """Returns the values."""
        values: Tensor = self.scorer(obs)[1]
        return values
