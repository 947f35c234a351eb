"""PPO with action masks, on the candidate scorer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor

from ..envs import ObservationSchema
from .learner import Learner, load_optimizer_state, optimizer_state
from .networks import CandidateBatch, CandidateCategorical, CandidateScorer, NetworkSettings

Masks = NDArray[np.bool_] | Tensor | None


class CandidatePPO(MaskablePPO, Learner):
    """sb3-contrib's ``MaskablePPO`` (PPO: arXiv:1707.06347, masks: doi:10.32473/flairs.v35i.130584) as a `Learner`."""

    def training_state(self) -> dict[str, Tensor]:
        """Returns the optimiser's moments."""
        return optimizer_state(self.policy.optimizer)

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `training_state` returned."""
        load_optimizer_state(self.policy.optimizer, state)


def masked_ppo(env: VecEnv, schema: ObservationSchema, settings: NetworkSettings, **options: Any) -> CandidatePPO:
    """Returns sb3-contrib's ``MaskablePPO`` with a `CandidatePolicy` and a `CandidateBuffer`.

    Args:
        env: Where to learn.
        schema: What the columns of its observations are.
        settings: The network's size.
        options: Other arguments of ``MaskablePPO``.
    """
    model = CandidatePPO(
        CandidatePolicy,
        env,
        policy_kwargs={"schema": schema, "settings": settings},
        rollout_buffer_class=CandidateBuffer,
        **options,
    )
    cast("CandidateBuffer", model.rollout_buffer).policy = cast("CandidatePolicy", model.policy)
    return model


class CandidatePolicy(MaskableActorCriticPolicy):
    """Actor and critic of sb3-contrib's ``MaskablePPO``, both read off one `CandidateScorer`.

    Attributes:
        scorer: The network.
        situations: What it decided on last.
    """

    situations: CandidateBatch

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
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr_schedule(1), eps=1e-5, fused=True)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "schema": self._schema,
            "settings": self._settings,
        }

    def _read(self, obs: Mapping[str, Tensor] | CandidateBatch, action_masks: Masks) -> CandidateBatch:
        """Returns what the network reads; masks allow no more than the observation does."""
        if isinstance(obs, CandidateBatch):
            return obs
        return self.scorer.read(obs if action_masks is None else narrowed(obs, action_masks))

    def forward(  # type: ignore[override]
        self, obs: dict[str, Tensor], deterministic: bool = False, action_masks: Masks = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns actions, values and log-probabilities."""
        batch = self.situations = self._read(obs, action_masks)
        scores, values = self.scorer(batch)
        distribution = CandidateCategorical(scores, batch)
        rows = distribution.mode() if deterministic else distribution.sample()
        return batch.action[rows], values, distribution.log_probability[rows]

    def evaluate_actions(  # type: ignore[override]
        self, obs: dict[str, Tensor] | CandidateBatch, actions: Tensor, action_masks: Masks = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns values, log-probabilities of actions, and entropies."""
        batch = self._read(obs, action_masks)
        scores, values = self.scorer(batch)
        distribution = CandidateCategorical(scores, batch)
        rows = batch.rows_of(actions)
        return values, distribution.log_probability.index_select(0, rows), distribution.entropy()

    def get_distribution(  # type: ignore[override]
        self, obs: dict[str, Tensor], action_masks: Masks = None
    ) -> MaskableDistribution:
        """Returns the distribution over all candidates, the masked ones included, as sb3-contrib has it."""
        batch = self._read(obs, action_masks)
        scores, _ = self.scorer(batch)
        num_actions = int(cast("spaces.Discrete", self.action_space).n)
        return self.action_dist.proba_distribution(batch.padded(scores, num_actions))

    def predict_values(self, obs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """Returns the values."""
        values: Tensor = self.scorer(self.scorer.read(obs))[1]
        return values


class Samples(NamedTuple):
    """Decisions for one gradient step, as ``MaskablePPO`` reads them."""

    observations: CandidateBatch
    actions: Tensor
    old_values: Tensor
    old_log_prob: Tensor
    advantages: Tensor
    returns: Tensor
    action_masks: None = None


class CandidateBuffer(MaskableDictRolloutBuffer):
    """Keeps what the network read when it decided, in place of observations and masks.

    Attributes:
        policy: Who decides.
    """

    policy: CandidatePolicy

    def reset(self) -> None:
        """Forgets the last rollout."""
        self.obs_shape = {}  # leaves no observations for the parent to keep
        super().reset()
        self.action_masks = self.action_masks[:, :, :0]
        self._steps: list[CandidateBatch] = []

    def add(self, *args: Any, action_masks: NDArray[np.bool_] | None = None, **kwargs: Any) -> None:
        """Keeps a step of all environments."""
        self._steps.append(self.policy.situations)
        super().add(*args, **kwargs)

    def get(self, batch_size: int | None = None) -> Iterator[Samples]:  # type: ignore[override]
        """Yields all decisions in random order, so many at a time."""
        if not self.generator_ready:
            # Like the parent's arrays: by environment, then by step.
            decisions = torch.arange(self.buffer_size * self.n_envs, device=self.device)
            by_environment = decisions.view(self.buffer_size, self.n_envs).T.flatten()
            self._situations = CandidateBatch.concatenate(self._steps).select(by_environment)
        yield from super().get(batch_size)  # type: ignore[misc]

    def _get_samples(  # type: ignore[override]
        self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None
    ) -> Samples:
        def chosen(numbers: NDArray[Any]) -> Tensor:
            return self.to_torch(numbers[batch_inds].flatten())

        return Samples(
            self._situations.select(self.to_torch(batch_inds)),
            chosen(self.actions),
            chosen(self.values),
            chosen(self.log_probs),
            chosen(self.advantages),
            chosen(self.returns),
        )


def narrowed(observation: Mapping[str, Tensor], masks: NDArray[Any] | Tensor) -> dict[str, Tensor]:
    """Returns an observation that allows only what masks, (B, A), allow as well."""
    mask = observation["action_mask"]
    allowed = torch.as_tensor(masks, device=mask.device).reshape(mask.shape) > 0
    return {**observation, "action_mask": (mask > 0) & allowed}
