"""What agents that learn from a replay buffer have in common: they read candidates, and choose only allowed ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from ..envs import ObservationSchema
from ..errors import HetgymError
from .learner import Learner, load_optimizer_state, optimizer_state, part
from .networks import CandidateBatch, CandidateCategorical, CandidateScorer, NetworkSettings
from .replay_buffer import CandidateReplayBuffer, Transitions


class ScorerPolicy(BasePolicy):
    """A `CandidateScorer` that decides, and what helps it to learn.

    Attributes:
        scorer: The network that decides, greedily by its scores.
        settings: Its size.
        optimizer: The scorer's.
    """

    optimizer: torch.optim.Optimizer

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        schema: ObservationSchema,
        settings: NetworkSettings,
    ) -> None:
        """Makes the network.

        Args:
            observation_space: A family's dictionary space.
            action_space: Discrete, one action a candidate.
            lr_schedule: Learning rate by remaining progress.
            schema: What the columns of the observation are.
            settings: The network's size.
        """
        super().__init__(observation_space, action_space)
        self._schema = schema
        self.settings = settings
        self.scorer = self._network()
        self.optimizer = adam(self.scorer.parameters(), lr_schedule)

    def _network(self) -> CandidateScorer:
        return CandidateScorer(self._schema, self.settings)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "schema": self._schema,
            "settings": self.settings,
        }

    def _predict(  # type: ignore[override]
        self, observation: Mapping[str, Tensor], deterministic: bool = False
    ) -> Tensor:
        batch = self.scorer.read(observation)
        return batch.action[self.distribution(batch).mode()]

    def distribution(self, batch: CandidateBatch) -> CandidateCategorical:
        """Returns the softmax of the scores."""
        scores: Tensor = self.scorer(batch)[0]
        return CandidateCategorical(scores, batch)


class CandidateOffPolicyAlgorithm(OffPolicyAlgorithm, Learner):
    """SB3's off-policy algorithm over candidates: masked exploration, a `CandidateReplayBuffer`, exact resumption."""

    policy: ScorerPolicy
    replay_buffer: CandidateReplayBuffer
    optimizers: ClassVar[tuple[str, ...]] = ("optimizer",)
    """Names of the policy's optimisers."""

    def __init__(
        self,
        policy: type[ScorerPolicy],
        env: VecEnv,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 100_000,
        learning_starts: int = 1_000,
        max_grad_norm: float = 10.0,
        _init_setup_model: bool = True,
        **options: Any,
    ) -> None:
        """Prepares for training.

        Args:
            policy: The class of the policy.
            env: Where to learn.
            learning_rate: Of all optimisers.
            buffer_size: Decisions that the replay buffer holds.
            learning_starts: Decisions before the first update, drawn uniformly from the allowed candidates.
            max_grad_norm: Each optimiser's gradient is scaled down to this norm.
            options: Other arguments of SB3's ``OffPolicyAlgorithm``.
        """
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size,
            learning_starts,
            replay_buffer_class=CandidateReplayBuffer,
            sde_support=False,
            supported_action_spaces=(spaces.Discrete,),
            support_multi_env=True,
            **options,
        )
        self.max_grad_norm = max_grad_norm
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        if self._vec_normalize_env is not None and self._vec_normalize_env.norm_obs:
            raise HetgymError("norm_obs: must be False in VecNormalize: observations are normalised already")
        super()._setup_model()

    def _setup_learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        prepared = super()._setup_learn(total_timesteps, *args, **kwargs)
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        self._states = self._read(self._last_obs)
        return prepared

    def _read(self, observation: Any) -> CandidateBatch:
        return self.policy.scorer.read({name: self._tensor(array) for name, array in observation.items()})

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, device=self.device)

    @abstractmethod
    def _behaviour(self, states: CandidateBatch) -> CandidateCategorical:
        """Returns what decisions are drawn from in training."""

    @abstractmethod
    def _update(self, samples: Transitions) -> dict[str, Tensor]:
        """Takes one gradient step, and returns numbers to record."""

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        states = self._states
        with torch.no_grad():
            if self.num_timesteps < learning_starts:
                distribution = CandidateCategorical(states.candidates.new_zeros(len(states.candidates)), states)
            else:
                distribution = self._behaviour(states)
            actions: NDArray[np.int64] = states.action[distribution.sample()].cpu().numpy()
            self._entropy = distribution.entropy().cpu().numpy()
        return actions, actions

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: NDArray[np.int64],
        new_obs: Any,
        reward: NDArray[np.float32],
        dones: NDArray[np.bool_],
        infos: list[dict[str, Any]],
    ) -> None:
        if self._vec_normalize_env is not None:
            reward = self._vec_normalize_env.get_original_reward()
        new_states = self._read(new_obs)
        next_states = self._with_last_of_truncated(new_states, infos)
        self.replay_buffer.add(self._states, next_states, buffer_action, reward, dones, infos, self._entropy)
        self._last_obs, self._states = new_obs, new_states

    def _with_last_of_truncated(self, states: CandidateBatch, infos: list[dict[str, Any]]) -> CandidateBatch:
        """Returns the states, but where an episode was cut short its last one in place of its successor's first."""
        rows = [row for row, info in enumerate(infos) if info.get("TimeLimit.truncated", False)]
        if not rows:
            return states
        last = [infos[row]["terminal_observation"] for row in rows]
        last_states = self._read({name: np.stack([observation[name] for observation in last]) for name in last[0]})
        chosen = torch.arange(len(infos), device=self.device)
        chosen[rows] = len(infos) + torch.arange(len(rows), device=self.device)
        return CandidateBatch.concatenate([states, last_states]).select(chosen)

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Takes gradient steps, each on a batch from the replay buffer."""
        self.policy.set_training_mode(True)
        self._update_learning_rate([getattr(self.policy, name) for name in self.optimizers])
        recorded: dict[str, Tensor] = {}
        for _ in range(gradient_steps):
            samples = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            recorded = self._update(cast("Transitions", samples))
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, number in recorded.items():
            self.logger.record(f"train/{name}", float(number))

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            nn.utils.clip_grad_norm_(group["params"], self.max_grad_norm)
        optimizer.step()

    def _follow(self, target: nn.Module, followed: nn.Module) -> None:
        """Moves the parameters of a target network towards those of another."""
        polyak_update(followed.parameters(), target.parameters(), self.tau)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_states", "_entropy"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", *(f"policy.{name}" for name in self.optimizers)], []

    def training_state(self) -> dict[str, Tensor]:
        """Returns all that training needs to go on, besides the scorer, the simulator, random generators and counts."""
        state: dict[str, Tensor] = {}
        for name, tensor in self.policy.state_dict().items():
            if not name.startswith("scorer."):
                state[f"policy.{name}"] = tensor.clone()
        for optimizer in self.optimizers:
            for name, tensor in optimizer_state(getattr(self.policy, optimizer)).items():
                state[f"{optimizer}.{name}"] = tensor
        for name, tensor in self.replay_buffer.state().items():
            state[f"replay_buffer.{name}"] = tensor
        return state

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what `training_state` gave, possibly among other tensors, for an agent of equal settings."""
        self.policy.load_state_dict(part(state, "policy"), strict=False)
        for optimizer in self.optimizers:
            load_optimizer_state(getattr(self.policy, optimizer), part(state, optimizer))
        self.replay_buffer.load_state(part(state, "replay_buffer"))


def adam(parameters: Any, lr_schedule: Schedule) -> torch.optim.Adam:
    """Returns the optimiser of all networks."""
    return torch.optim.Adam(parameters, lr=lr_schedule(1), eps=1e-5, fused=True)
