"""Soft actor-critic over candidates: discrete, with masks, conditioned on the weights that an observation shows."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from ..envs import ObservationSchema
from ..errors import HetgymError
from .networks import CandidateBatch, CandidateCategorical, NetworkSettings
from .off_policy import CandidateOffPolicyAlgorithm, ScorerPolicy, adam
from .replay_buffer import Transitions


def discrete_sac(env: VecEnv, schema: ObservationSchema, settings: NetworkSettings, **options: Any) -> DiscreteSAC:
    """Returns a `DiscreteSAC` with networks of a given size.

    Args:
        env: Where to learn, possibly in a ``VecNormalize`` that leaves observations as they are.
        schema: What the columns of its observations are.
        settings: The size of the actor, and of each critic.
        options: Other arguments of `DiscreteSAC`.

    Raises:
        HetgymError: If an option is not right.
    """
    return DiscreteSAC(SACPolicy, env, policy_kwargs={"schema": schema, "settings": settings}, **options)


class SACPolicy(ScorerPolicy):
    """An actor and two critics with their targets, each a `CandidateScorer` of its own; a critic's score is its Q.

    Attributes:
        critics: Two networks.
        target_critics: What follows them slowly.
        log_temperature: The logarithm of the entropy's weight, float32 ().
        critic_optimizer: Of both critics.
        temperature_optimizer: Of the temperature.
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
        self.critics = nn.ModuleList(self._network() for _ in range(2))
        self.target_critics = nn.ModuleList(self._network() for _ in range(2)).requires_grad_(False)
        self.target_critics.load_state_dict(self.critics.state_dict())
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.critic_optimizer = adam(self.critics.parameters(), lr_schedule)
        self.temperature_optimizer = adam([self.log_temperature], lr_schedule)

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        if deterministic:
            return super()._predict(observation, deterministic)
        batch = self.scorer.read(observation)
        return batch.action[self.distribution(batch).sample()]


class DiscreteSAC(CandidateOffPolicyAlgorithm):
    """Discrete soft actor-critic, masked.

    Expectations run over the allowed candidates, of the next state as well (Christodoulou, arXiv:1910.07207). The
    target entropy of a state is a part of the logarithm of how many candidates it allows, so 0 where there is no
    choice. `combine`, `q_clip` and `entropy_penalty` are those of "Revisiting Discrete Soft Actor-Critic"
    (arXiv:2209.10081), `critic_entropy` that of "Dissecting Discrete Soft Actor-Critic" (arXiv:2509.09838).
    """

    policy: SACPolicy
    optimizers: ClassVar[tuple[str, ...]] = ("optimizer", "critic_optimizer", "temperature_optimizer")

    def __init__(
        self,
        policy: type[SACPolicy],
        env: VecEnv,
        temperature: float = 0.1,
        target_entropy: float | None = 0.5,
        combine: Literal["min", "mean"] = "min",
        critic_entropy: float | None = None,
        q_clip: float | None = None,
        entropy_penalty: float = 0.0,
        _init_setup_model: bool = True,
        **options: Any,
    ) -> None:
        """Prepares for training.

        Args:
            policy: The class of the policy.
            env: Where to learn.
            temperature: Weight of the entropy, at first or throughout. One far above the differences between returns
                takes long to fall; one far below leaves an actor stuck that was sure before the critics were right.
            target_entropy: Part of the logarithm of the number of allowed candidates that the temperature is adapted
                to, below 1; None leaves the temperature as it is.
            combine: How the values of the two critics become one.
            critic_entropy: Weight of the entropy in the critics' targets; by default the temperature.
            q_clip: How far a critic may depart from its target network before a step is no gain to it.
            entropy_penalty: Weight of the squared distance of the entropy from that of the policy that acted.
            options: Other arguments of `CandidateOffPolicyAlgorithm`.

        Raises:
            HetgymError: If one is not right.
        """
        self.temperature = temperature
        self.target_entropy = target_entropy
        self.combine = combine
        self.critic_entropy = critic_entropy
        self.q_clip = q_clip
        self.entropy_penalty = entropy_penalty
        self._check()
        super().__init__(policy, env, _init_setup_model=_init_setup_model, **options)

    def _check(self) -> None:
        for name, right, expected in (
            ("temperature", 0 < self.temperature < math.inf, "must be above 0 and finite"),
            (
                "target_entropy",
                self.target_entropy is None or 0 <= self.target_entropy < 1,
                "must be at least 0 and below 1",
            ),
            ("combine", self.combine in ("min", "mean"), "must be 'min' or 'mean'"),
            ("critic_entropy", self.critic_entropy is None or self.critic_entropy >= 0, "must be at least 0"),
            ("q_clip", self.q_clip is None or self.q_clip > 0, "must be above 0"),
            ("entropy_penalty", self.entropy_penalty >= 0, "must be at least 0"),
        ):
            if not right:
                raise HetgymError(f"{name}: {expected} (given: {getattr(self, name)!r})")

    def _setup_model(self) -> None:
        super()._setup_model()
        with torch.no_grad():
            self.policy.log_temperature.fill_(self.temperature).log_()

    def _behaviour(self, states: CandidateBatch) -> CandidateCategorical:
        return self.policy.distribution(states)

    def _update(self, samples: Transitions) -> dict[str, Tensor]:
        policy, states = self.policy, samples.states
        values = _values(policy.critics, states)
        critic_loss = self.critic_loss(samples, values, self.targets(samples))
        distribution = policy.distribution(states)
        entropy = distribution.entropy()
        actor_loss = self.actor_loss(distribution, entropy, self._combined(values.detach()), samples.entropies)
        self._descend(policy.critic_optimizer, critic_loss)
        self._descend(policy.optimizer, actor_loss)
        if self.target_entropy is not None:
            self._descend(policy.temperature_optimizer, self.temperature_loss(states, entropy.detach()))
        self._follow(policy.target_critics, policy.critics)
        return {
            "critic_loss": critic_loss.detach(),
            "actor_loss": actor_loss.detach(),
            "entropy": entropy.detach().mean(),
            "temperature": policy.log_temperature.detach().exp(),
        }

    def targets(self, samples: Transitions) -> Tensor:
        """Returns what a critic should say of each decision: reward and the soft value of what follows, (B,)."""
        with torch.no_grad():
            distribution = self.policy.distribution(samples.next_states)
            values = self._combined(_values(self.policy.target_critics, samples.next_states))
            weight = self._temperature() if self.critic_entropy is None else self.critic_entropy
            soft_values = distribution.mean(values) + weight * distribution.entropy()
            return samples.rewards + self.gamma * (1 - samples.dones) * soft_values

    def critic_loss(self, samples: Transitions, values: Tensor, targets: Tensor) -> Tensor:
        """Returns half the mean squared error, summed over the critics, ().

        Args:
            samples: Decisions.
            values: float32 (2, C), the critics' values of the candidates.
            targets: float32 (B,).
        """
        rows = samples.states.rows_of(samples.actions)
        taken = values[:, rows]
        errors = (taken - targets) ** 2
        if self.q_clip is not None:
            with torch.no_grad():
                anchors = _values(self.policy.target_critics, samples.states)[:, rows]
            near = anchors + (taken - anchors).clamp(-self.q_clip, self.q_clip)
            errors = torch.maximum(errors, (near - targets) ** 2)
        return 0.5 * errors.mean(dim=1).sum()

    def actor_loss(
        self, distribution: CandidateCategorical, entropy: Tensor, values: Tensor, old_entropy: Tensor
    ) -> Tensor:
        """Returns what the actor minimises, ().

        Args:
            distribution: What it decides by.
            entropy: float32 (B,), of the distribution.
            values: float32 (C,), of the candidates.
            old_entropy: float32 (B,), when the decisions were taken.
        """
        gains = distribution.mean(values) + self._temperature() * entropy
        return -gains.mean() + self.entropy_penalty * nn.functional.mse_loss(entropy, old_entropy)

    def temperature_loss(self, states: CandidateBatch, entropy: Tensor) -> Tensor:
        """Returns what raises the temperature where the entropy, float32 (B,), is below its target, ()."""
        assert self.target_entropy is not None
        target = self.target_entropy * states.num_candidates.log()
        return self.policy.log_temperature * (entropy - target).mean()

    def _temperature(self) -> Tensor:
        return self.policy.log_temperature.detach().exp()

    def _combined(self, values: Tensor) -> Tensor:
        return values.amin(dim=0) if self.combine == "min" else values.mean(dim=0)


def _values(critics: nn.ModuleList, states: CandidateBatch) -> Tensor:
    """Returns what each critic says of each candidate, float32 (2, C)."""
    return torch.stack([critic(states)[0] for critic in critics])
