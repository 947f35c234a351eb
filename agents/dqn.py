"""Q-learning over candidates: double DQN, and quantile regression where there are several quantiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.common.utils import quantile_huber_loss
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from ..envs import ObservationSchema
from .networks import CandidateBatch, CandidateCategorical, NetworkSettings
from .networks.segments import segment_argmax
from .off_policy import CandidateOffPolicyAlgorithm, ScorerPolicy
from .replay_buffer import Transitions


def candidate_dqn(
    env: VecEnv, schema: ObservationSchema, settings: NetworkSettings, quantiles: int = 1, **options: Any
) -> CandidateDQN:
    """Returns a `CandidateDQN` with a network of a given size.

    Args:
        env: Where to learn, possibly in a ``VecNormalize`` that leaves observations as they are.
        schema: What the columns of its observations are.
        settings: The size of the network.
        quantiles: Numbers that a candidate's return is described by.
        options: Other arguments of `CandidateDQN`.
    """
    networks = {"schema": schema, "settings": replace(settings, outputs=quantiles)}
    return CandidateDQN(DQNPolicy, env, policy_kwargs=networks, **options)


class DQNPolicy(ScorerPolicy):
    """A `CandidateScorer` whose score of a candidate is its Q, the mean of its quantiles.

    Attributes:
        target: What follows the scorer slowly.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        schema: ObservationSchema,
        settings: NetworkSettings,
    ) -> None:
        """Makes the networks; the arguments are those of `ScorerPolicy`."""
        super().__init__(observation_space, action_space, lr_schedule, schema, settings)
        self.target = self._network().requires_grad_(False)
        self.target.load_state_dict(self.scorer.state_dict())

    def best(self, batch: CandidateBatch) -> Tensor:
        """Returns the row of each situation's candidate of the highest score, the first of equals, int64 (B,)."""
        return segment_argmax(self.scorer(batch)[0], batch.situation, len(batch.num_candidates))


class CandidateDQN(CandidateOffPolicyAlgorithm):
    """Double DQN (doi:10.1609/aaai.v30i1.10295), masked; with quantiles QR-DQN (doi:10.1609/aaai.v32i1.11791).

    One quantile is fitted by half the Huber loss, which is DQN's. Exploration is epsilon-greedy among the allowed
    candidates.
    """

    policy: DQNPolicy

    def __init__(
        self,
        policy: type[DQNPolicy],
        env: VecEnv,
        exploration_fraction: float = 0.1,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.05,
        _init_setup_model: bool = True,
        **options: Any,
    ) -> None:
        """Prepares for training; epsilon is as in SB3's ``DQN``.

        Args:
            policy: The class of the policy.
            env: Where to learn.
            exploration_fraction: Part of the training in which epsilon falls.
            exploration_initial_eps: Epsilon at first.
            exploration_final_eps: Epsilon at last.
            options: Other arguments of `CandidateOffPolicyAlgorithm`.
        """
        self.exploration_schedule = LinearSchedule(exploration_initial_eps, exploration_final_eps, exploration_fraction)
        super().__init__(policy, env, _init_setup_model=_init_setup_model, **options)

    def _behaviour(self, states: CandidateBatch) -> CandidateCategorical:
        epsilon = self.exploration_schedule(self._current_progress_remaining)
        probability = (epsilon / states.num_candidates)[states.situation]
        probability[self.policy.best(states)] += 1 - epsilon
        return CandidateCategorical(probability.clamp(min=torch.finfo().tiny).log(), states)

    def _update(self, samples: Transitions) -> dict[str, Tensor]:
        policy = self.policy
        outputs: Tensor = policy.scorer.outputs(samples.states)[0]
        taken = outputs[samples.states.rows_of(samples.actions)]
        loss = quantile_huber_loss(taken, self.targets(samples))
        self._descend(policy.optimizer, loss)
        self._follow(policy.target, policy.scorer)
        return {"loss": loss.detach(), "value": taken.detach().mean()}

    def targets(self, samples: Transitions) -> Tensor:
        """Returns what the network should say of each decision, float32 (B, quantiles)."""
        with torch.no_grad():
            following = self.policy.target.outputs(samples.next_states)[0][self.policy.best(samples.next_states)]
            discount = self.gamma * (1 - samples.dones)
            targets: Tensor = samples.rewards.unsqueeze(1) + discount.unsqueeze(1) * following
            return targets
