"""PPO in one file, in the style of CleanRL, on observations that are one flat array; actions are masked.

    python examples/cleanrl_ppo.py --steps 200000

It uses hetgym's environments only, none of its agents: copy the file and change it. The form is that of CleanRL's
``ppo.py`` (Huang et al., JMLR 23(274), 2022; https://github.com/vwxyzjn/cleanrl, MIT), the algorithm is that of
Schulman et al., arXiv:1707.06347, and masks are as in Huang and Ontañón, doi:10.32473/flairs.v35i.130584.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from torch import nn
from torch.distributions import Categorical

import hetgym  # noqa: F401 (registers the environments)


@dataclass
class Args:
    """Settings."""

    env_id: str = "hetgym/TaskGraphPlan-v0"
    """what is learned"""
    scenario: str = "random"
    """which problem"""
    num_tasks: int = 10
    """tasks of a graph"""
    seed: int = 1
    """of the network and of the graphs that it learns from"""
    steps: int = 200_000
    """decisions that it learns from, in all environments together"""
    num_envs: int = 64
    """environments side by side"""
    num_steps: int = 64
    """decisions of each between two updates"""
    num_minibatches: int = 4
    """parts of what they have seen, each of which makes one step of the optimiser"""
    update_epochs: int = 4
    """times that it is gone through"""
    learning_rate: float = 1e-3
    """of Adam; falls to 0"""
    gamma: float = 1.0
    """discount: 1, for episodes are short and their sum is what counts"""
    gae_lambda: float = 0.95
    """of generalised advantage estimation"""
    clip_coef: float = 0.2
    """how far a probability may move between two rollouts, as a part"""
    ent_coef: float = 0.01
    """weight of the entropy"""
    vf_coef: float = 0.5
    """weight of the values' error"""
    max_grad_norm: float = 0.5
    """longest gradient"""
    episodes: int = 200
    """graphs that it is tested on, with seeds of their own"""


def layer_init(layer: nn.Linear, std: float = 2**0.5) -> nn.Linear:
    """Returns the layer, with orthogonal weights and no bias."""
    nn.init.orthogonal_(layer.weight, std)
    nn.init.zeros_(layer.bias)
    return layer


class Agent(nn.Module):
    """Two networks: one scores actions, one values the situation."""

    def __init__(self, space: gymnasium.spaces.Box, num_actions: int) -> None:
        """Takes the space of one observation."""
        super().__init__()
        self.actor, self.critic = (
            nn.Sequential(
                layer_init(nn.Linear(space.shape[0], 128)), nn.Tanh(),
                layer_init(nn.Linear(128, 128)), nn.Tanh(),
                layer_init(nn.Linear(128, outputs), std),
            )
            for outputs, std in ((num_actions, 0.01), (1, 1.0))
        )  # fmt: skip
        self.register_buffer("scale", torch.from_numpy(np.maximum(np.abs(space.low), np.abs(space.high)).clip(1)))

    def value(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns what is still to come, (B,)."""
        return self.critic(observation / self.scale).squeeze(-1)

    def policy(self, observation: torch.Tensor, mask: torch.Tensor) -> Categorical:
        """Returns the chances of the allowed actions."""
        logits = self.actor(observation / self.scale)
        return Categorical(logits=torch.where(mask, logits, -1e8))


@dataclass
class Rollout:
    """What the environments showed and answered, (S, B, ...) each; advantages and returns come after."""

    observations: torch.Tensor
    masks: torch.Tensor
    actions: torch.Tensor
    logprobs: torch.Tensor
    rewards: torch.Tensor
    dones: torch.Tensor
    values: torch.Tensor

    @classmethod
    def empty(cls, args: Args, space: gymnasium.spaces.Box, num_actions: int) -> Rollout:
        """Returns room for a rollout."""
        shape = (args.num_steps, args.num_envs)
        numbers = [torch.zeros(shape) for _ in range(4)]
        masks = torch.zeros((*shape, num_actions), dtype=torch.bool)
        return cls(torch.zeros(shape + space.shape), masks, torch.zeros(shape, dtype=torch.int64), *numbers)

    def advantages(self, next_value: torch.Tensor, args: Args) -> torch.Tensor:
        """Returns generalised advantage estimates, (S, B)."""
        advantages = torch.zeros_like(self.rewards)
        last = torch.zeros_like(next_value)
        for step in reversed(range(args.num_steps)):
            goes_on = 1.0 - self.dones[step]
            delta = self.rewards[step] + args.gamma * next_value * goes_on - self.values[step]
            advantages[step] = last = delta + args.gamma * args.gae_lambda * goes_on * last
            next_value = self.values[step]
        return advantages


@torch.no_grad()
def collect(envs: Any, agent: Agent, rollout: Rollout, shown: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """Fills a rollout; returns what is shown after it, and the returns of the episodes that ended."""
    ended: list[float] = []
    for step in range(len(rollout.rewards)):
        mask = torch.from_numpy(envs.action_masks())
        chances = agent.policy(shown, mask)
        action = chances.sample()
        rollout.observations[step], rollout.masks[step], rollout.actions[step] = shown, mask, action
        rollout.logprobs[step], rollout.values[step] = chances.log_prob(action), agent.value(shown)
        observation, reward, terminated, _, infos = envs.step(action.numpy())
        rollout.rewards[step] = torch.from_numpy(reward)
        rollout.dones[step] = torch.from_numpy(terminated)
        shown = torch.from_numpy(observation)
        if terminated.any():
            ended.extend(relative_makespans(infos, terminated))
    return shown.clone(), ended


def relative_makespans(infos: dict[str, Any], terminated: np.ndarray) -> list[float]:
    """Returns the makespans of the episodes that ended, each over that of HEFT on the same graph."""
    metrics = infos["final_info"]["metrics"]
    return (metrics["makespan"] / metrics["heft_makespan"])[terminated].tolist()


def minibatches(args: Args) -> Iterator[torch.Tensor]:
    """Yields the places of each minibatch, epoch by epoch."""
    size = args.num_steps * args.num_envs
    for _ in range(args.update_epochs):
        yield from torch.randperm(size).split(size // args.num_minibatches)


def update(
    agent: Agent, optimizer: torch.optim.Optimizer, rollout: Rollout, advantages: torch.Tensor, args: Args
) -> None:
    """Learns from a rollout."""
    observations, masks = rollout.observations.flatten(0, 1), rollout.masks.flatten(0, 1)
    actions, logprobs = rollout.actions.flatten(), rollout.logprobs.flatten()
    returns, advantages = (advantages + rollout.values).flatten(), advantages.flatten()
    for rows in minibatches(args):
        chances = agent.policy(observations[rows], masks[rows])
        ratio = (chances.log_prob(actions[rows]) - logprobs[rows]).exp()
        gain = (advantages[rows] - advantages[rows].mean()) / (advantages[rows].std() + 1e-8)
        clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
        policy_loss = -torch.min(gain * ratio, gain * clipped).mean()
        value_loss = 0.5 * (agent.value(observations[rows]) - returns[rows]).square().mean()
        loss = policy_loss - args.ent_coef * chances.entropy().mean() + args.vf_coef * value_loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
        optimizer.step()


def make(args: Args, num_envs: int) -> Any:
    """Returns environments side by side, which show flat observations."""
    return gymnasium.make_vec(
        args.env_id, num_envs=num_envs, vectorization_mode="vector_entry_point",
        scenario=args.scenario, num_tasks=args.num_tasks, observation="flat",
    )  # fmt: skip


def train(args: Args) -> Agent:
    """Returns an agent that has learned; prints how it gets on."""
    torch.manual_seed(args.seed)
    envs = make(args, args.num_envs)
    space, num_actions = envs.single_observation_space, int(envs.single_action_space.n)
    agent = Agent(space, num_actions)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    rollout = Rollout.empty(args, space, num_actions)
    # Seeds from 2^32 on: the agent never learns from what it is tested on.
    shown = torch.from_numpy(envs.reset(seed=2**32 + args.seed)[0])
    rounds = max(1, args.steps // (args.num_steps * args.num_envs))
    for number in range(rounds):
        optimizer.param_groups[0]["lr"] = args.learning_rate * (1 - number / rounds)
        shown, ended = collect(envs, agent, rollout, shown)
        with torch.no_grad():
            advantages = rollout.advantages(agent.value(shown), args)
        update(agent, optimizer, rollout, advantages, args)
        if number % max(1, rounds // 10) == 0 or number == rounds - 1:
            decisions = (number + 1) * args.num_steps * args.num_envs
            print(f"{decisions:8d} decisions: makespan / HEFT's while learning {np.mean(ended):.3f}", flush=True)
    return agent


@torch.no_grad()
def evaluate(args: Args, agent: Agent) -> float:
    """Returns the mean makespan over HEFT's, of the likeliest actions on graphs that the agent has not seen."""
    envs = make(args, args.episodes)
    observation = envs.reset(seed=0)[0]
    ratios = np.full(args.episodes, np.nan)
    while np.isnan(ratios).any():
        chances = agent.policy(torch.from_numpy(observation), torch.from_numpy(envs.action_masks()))
        observation, _, terminated, _, infos = envs.step(chances.probs.argmax(dim=1).numpy())
        first = terminated & np.isnan(ratios)
        if first.any():
            ratios[first] = relative_makespans(infos, first)
    return float(ratios.mean())


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings = tyro.cli(Args)
    learned = train(settings)
    print(f"makespan / HEFT's on {settings.episodes} graphs that it has never seen: {evaluate(settings, learned):.3f}")
