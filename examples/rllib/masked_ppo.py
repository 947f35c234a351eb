"""RLlib's PPO on hetgym, with masked actions, on one machine or on a Ray cluster.

    python examples/rllib/masked_ppo.py --address auto

It needs an environment of its own, as `requirements.txt` beside this file says: ``ray[rllib]`` pins a gymnasium that is
older than hetgym's. The module scores each candidate by itself, whatever their number, and masks those that are not
allowed, as in Huang and Ontañón, doi:10.32473/flairs.v35i.130584. PPO is that of Schulman et al., arXiv:1707.06347.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import ray
import torch
import tyro
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.tune.registry import register_env
from torch import Tensor, nn


@dataclass
class Args:
    """Settings."""

    address: str | None = None
    """of a Ray cluster: HOST:PORT, or auto; by default Ray is started here"""
    env_id: str = "hetgym/TaskGraphPlan-v0"
    """what is learned"""
    scenario: str = "random"
    """which problem"""
    num_tasks: int = 10
    """tasks of a graph"""
    runners: int = 2
    """processes that play, each on a CPU of its own, anywhere in the cluster"""
    iterations: int = 10
    """how often it plays, and then learns from what it has played"""
    decisions: int = 4096
    """that are played in an iteration"""
    seed: int = 1
    """of the network and of what is played"""


class Scorer(TorchRLModule, ValueFunctionAPI):
    """Scores every allowed candidate, and values the situation by the mean of them."""

    def setup(self) -> None:
        """Makes the networks."""
        torch.set_num_threads(1)
        features = self.observation_space["candidates"].shape[1] + self.observation_space["context"].shape[0]
        self.encoder = nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.score, self.value = nn.Linear(64, 1), nn.Linear(64, 1)

    def encoded(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Returns what is known of each candidate [B, C, 64], and which are allowed [B, C]."""
        observed = batch[Columns.OBS]
        candidates, allowed = observed["candidates"], observed["action_mask"] > 0
        context = observed["context"].unsqueeze(1).expand(-1, candidates.shape[1], -1)
        return self.encoder(torch.cat([candidates, context], 2)), allowed

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        encoded, allowed = self.encoded(batch)
        scores = self.score(encoded).squeeze(2)
        return {Columns.ACTION_DIST_INPUTS: scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Returns what each situation is worth, [B]."""
        encoded, allowed = self.encoded(batch)
        share = allowed / allowed.sum(1, keepdim=True).clamp(min=1)
        return self.value((encoded * share.unsqueeze(2)).sum(1)).squeeze(1)


def make_env(config: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """Returns one environment, with the part of the observation that the module reads."""
    import hetgym  # noqa: F401 (registers the environments, in each process that plays)

    env = gymnasium.make(**config)
    return gymnasium.wrappers.FilterObservation(env, ["action_mask", "candidates", "context"])


def main() -> None:
    """Trains, and prints the mean return of each iteration's episodes."""
    args = tyro.cli(Args)
    ray.init(address=args.address, include_dashboard=False, log_to_driver=False)
    register_env("hetgym", make_env)
    config = (
        PPOConfig()
        .environment("hetgym", env_config={"id": args.env_id, "scenario": args.scenario, "num_tasks": args.num_tasks})
        .env_runners(num_env_runners=args.runners, num_envs_per_env_runner=16)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=Scorer))
        .training(
            train_batch_size_per_learner=args.decisions,
            minibatch_size=512,
            num_epochs=4,
            lr=1e-3,
            gamma=1.0,
            lambda_=0.95,
            entropy_coeff=0.01,
            use_kl_loss=False,
            grad_clip=0.5,
        )
        .debugging(seed=args.seed)
        .fault_tolerance(restart_failed_env_runners=True)
    )
    algorithm = config.build_algo()
    for iteration in range(args.iterations):
        played = algorithm.train()["env_runners"]
        print(f"iteration {iteration}: return {played['episode_return_mean']:.4f}", flush=True)
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
