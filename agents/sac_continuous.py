"""Soft actor-critic for continuous actions, on observations of candidates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import Tensor, nn

from ..envs import Simulator
from ..envs.core.simulator import Arrays
from ..errors import HetgymError
from .card import CARD, load_card
from .checkpoint import check_features, load_weights
from .learner import Learner, load_optimizer_state, optimizer_state, part
from .networks import NetworkSettings
from .networks.batch import MASKED


class CandidatePool(BaseFeaturesExtractor):
    """Reads a situation: its context beside an attention-weighted mean of its allowed candidates.

    Its size does not depend on their number.
    """

    def __init__(self, observation_space: spaces.Dict, hidden: int) -> None:
        """Makes the layers.

        Args:
            observation_space: A family's dictionary space.
            hidden: Width of a candidate's embedding.
        """
        candidate, context = (cast("tuple[int, ...]", observation_space[name].shape)[-1] for name in _READ)
        super().__init__(observation_space, hidden + context)
        self.embed = nn.Sequential(nn.Linear(candidate + context, hidden), nn.ReLU())
        self.attention = nn.Linear(hidden, 1)

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Returns features of the situations, float32 (B, hidden + Fg)."""
        candidates, context = (observation[name] for name in _READ)
        around = context.unsqueeze(1).expand(-1, candidates.shape[1], -1)
        embedded = self.embed(torch.cat([candidates, around], dim=2))
        scores = self.attention(embedded).squeeze(2).masked_fill(observation["action_mask"] == 0, MASKED)
        pooled = (scores.softmax(dim=1).unsqueeze(2) * embedded).sum(dim=1)
        return torch.cat([pooled, context], dim=1)


_READ = ("candidates", "context")


def make_actor(observation_space: spaces.Dict, action_space: spaces.Box, settings: NetworkSettings) -> Actor:
    """Returns the network that decides: it maps observations, (B, ...) each, to actions, float32 (B, ...).

    Args:
        observation_space: A family's dictionary space.
        action_space: From -1 to 1.
        settings: Its size, of which `hidden` is read.
    """
    pool = CandidatePool(observation_space, settings.hidden)
    return Actor(observation_space, action_space, [settings.hidden] * 2, pool, pool.features_dim)


def continuous_sac(env: VecEnv, settings: NetworkSettings, **options: Any) -> ContinuousSAC:
    """Returns a `ContinuousSAC` with networks of a given size.

    Args:
        env: Where to learn; its actions are a Box from -1 to 1.
        settings: The size of the actor, and of each critic, of which `hidden` is read.
        options: Other arguments of SB3's ``SAC``.
    """
    policy_kwargs = {
        "net_arch": [settings.hidden] * 2,
        "features_extractor_class": CandidatePool,
        "features_extractor_kwargs": {"hidden": settings.hidden},
    }
    return ContinuousSAC(SACPolicy, env, policy_kwargs=policy_kwargs, **options)


class ContinuousSAC(SAC, Learner):
    """SB3's soft actor-critic (Haarnoja et al., arXiv:1812.05905), whose training can be kept as tensors."""

    policy: SACPolicy
    replay_buffer: DictReplayBuffer

    @property
    def network(self) -> nn.Module:
        """The actor."""
        return self.actor

    def decide(self, observation: Arrays) -> NDArray[np.float64]:
        """Returns what the actor does without exploration, float64 (B, ...), from -1 to 1."""
        return decide(self.actor, observation)

    def training_state(self) -> dict[str, Tensor]:
        """Returns what learning depends on besides the actor, random numbers and environments."""
        state = {f"policy.{name}": tensor.clone() for name, tensor in self._critics().items()}
        for prefix, optimizer in self._optimizers().items():
            state |= {f"{prefix}.{name}": tensor for name, tensor in optimizer_state(optimizer).items()}
        if self.ent_coef_optimizer is not None:
            state["log_ent_coef"] = cast("Tensor", self.log_ent_coef).detach().clone()
        buffer = self.replay_buffer
        kept = buffer.buffer_size if buffer.full else buffer.pos
        state["replay_buffer.place"] = torch.tensor([buffer.pos, buffer.full])
        for name, array in self._recorded().items():
            state[f"replay_buffer.{name}"] = torch.from_numpy(array[:kept].copy())
        return state

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `training_state` returned for the same settings."""
        self.policy.load_state_dict(part(state, "policy"), strict=False)
        for prefix, optimizer in self._optimizers().items():
            load_optimizer_state(optimizer, part(state, prefix))
        if self.ent_coef_optimizer is not None:
            cast("Tensor", self.log_ent_coef).data.copy_(state["log_ent_coef"])
        buffer = self.replay_buffer
        buffer.pos, buffer.full = int(state["replay_buffer.place"][0]), bool(state["replay_buffer.place"][1])
        for name, array in self._recorded().items():
            saved = state[f"replay_buffer.{name}"].numpy()
            array[: len(saved)] = saved

    def _critics(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.policy.state_dict().items() if not name.startswith("actor.")}

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        optimizers = {"actor_optimizer": self.actor.optimizer, "critic_optimizer": self.critic.optimizer}
        if self.ent_coef_optimizer is not None:
            optimizers["temperature_optimizer"] = self.ent_coef_optimizer
        return optimizers

    def _recorded(self) -> dict[str, NDArray[Any]]:
        """Returns the arrays of the replay buffer, (buffer_size, environments, ...) each."""
        buffer = self.replay_buffer
        return {
            "actions": buffer.actions,
            "rewards": buffer.rewards,
            "dones": buffer.dones,
            "timeouts": buffer.timeouts,
            **{f"observations.{name}": array for name, array in buffer.observations.items()},
            **{f"next_observations.{name}": array for name, array in buffer.next_observations.items()},
        }


def decide(actor: Actor, observation: Arrays) -> NDArray[np.float64]:
    """Returns what an actor does without exploration, float64 (B, ...), from -1 to 1."""
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(array).to(actor.device) for name, array in observation.items()}
        actions: NDArray[np.float64] = actor(tensors, deterministic=True).double().cpu().numpy()
    return actions


class LearnedContinuousPolicy:
    """Does what a trained actor does, without exploration.

    Attributes:
        name: What it is called in tables.
    """

    clairvoyant = False
    conditioned = True

    def __init__(self, name: str, folder: Path) -> None:
        """Takes a checkpoint; it is loaded when the environment is known.

        Args:
            name: What the policy is called.
            folder: The checkpoint.
        """
        self.name = name
        self._folder = folder
        self._actor: Actor | None = None

    def reset(self, simulator: Simulator) -> None:
        """Loads the actor, once.

        Raises:
            HetgymError: If the environment's actions are not continuous, or it shows other features than those that the
                actor was trained on.
        """
        if self._actor is None:
            self._actor = load_actor(self._folder, simulator)

    def act(self, observation: Arrays, simulator: Simulator) -> NDArray[np.float64]:
        """Returns an action for each episode, float64 (B, ...), from -1 to 1."""
        assert self._actor is not None
        return decide(self._actor, observation)


def load_actor(folder: Path, simulator: Simulator) -> Actor:
    """Returns the actor of a checkpoint, ready to decide.

    Args:
        folder: The checkpoint.
        simulator: Where it is to decide.

    Raises:
        HetgymError: If it was trained on other features or for other actions, or its tensors do not fit its card.
    """
    card, box = load_card(folder), simulator.single_action_space
    if not isinstance(box, spaces.Box):
        raise HetgymError(f"{folder / CARD}: decides on a continuous face: the scenario must be continuous")
    check_features(folder, card, simulator.schema)
    actor = make_actor(simulator.single_observation_space, box, card.network)
    load_weights(actor, folder)
    return actor.eval()
