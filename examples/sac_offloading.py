"""Learns what share of a task to offload, how loud to send it and how fast to compute the rest, with SB3's SAC."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC

from hetgym.envs import Simulator, make_sb3
from hetgym.evaluate import evaluate, summarise

SCENARIO = "mec-partial"
SETTINGS = {"num_users": 1, "num_requests": 20, "weights": (0.5, 0.5, 0.0)}


class Learned:
    """A model of stable-baselines3 as a policy of hetgym."""

    name = "sac"
    clairvoyant = False

    def __init__(self, model: SAC) -> None:
        """Takes a model that has learned."""
        self.model = model

    def reset(self, simulator: Simulator) -> None:
        """Does nothing."""

    def act(self, observation: dict[str, NDArray[Any]], simulator: Simulator) -> NDArray[Any]:
        """Returns share, power and speed for each episode, (B, 3)."""
        return self.model.predict(observation, deterministic=True)[0]


def train(steps: int) -> SAC:
    """Returns a model that has learned from so many decisions in eight environments."""
    env = make_sb3("hetgym/OffloadContinuous-v0", num_envs=8, seed=10_000, scenario=SCENARIO, **SETTINGS)
    model = SAC(
        "MultiInputPolicy", env, learning_rate=1e-3, gamma=0.9, batch_size=64, gradient_steps=4, learning_starts=500,
        policy_kwargs={"net_arch": [64, 64]}, seed=0,
    )  # fmt: skip
    return model.learn(steps)


if __name__ == "__main__":
    torch.set_num_threads(1)
    policies = ["all-edge", "all-local", "partial-split", Learned(train(4_000))]
    table = evaluate(SCENARIO, policies, episodes=100, continuous=True, **SETTINGS)
    print(summarise(table, "cost", "all-edge").to_string(index=False))
    print("Costs are those of a task, delay and energy weighed alike: less is better.")
