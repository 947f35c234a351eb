"""Learns what share of a task to offload, how loud to send it and how fast to compute the rest.

The actor of SAC imitates `convex`, which takes milliseconds for a decision; SAC can go on from there by trial and error
(`STEPS`), which does not help here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hetgym.agents import make_policy
from hetgym.agents.networks import NetworkSettings
from hetgym.agents.sac_continuous import ContinuousSAC, continuous_sac, decide, imitate
from hetgym.envs import Simulator, load_scenario
from hetgym.envs.core.sb3 import SB3VecEnv
from hetgym.evaluate import evaluate, summarise

SCENARIO = "mec-partial"
SETTINGS: dict[str, Any] = {
    "num_users": 1, "num_requests": 1, "block": None, "weights": (0.5, 0.5, 0.0), "continuous": True
}  # fmt: skip
"""A request that has all to itself, on a channel that does not change: `convex` is its optimum."""
STEPS = 0
"""Decisions of SAC after the imitation."""
TRAINING = 2**32
"""Seeds from here are for training; `evaluate` takes lower ones."""


class Learned:
    """An actor as a policy."""

    name = "imitated" if STEPS == 0 else "sac"
    clairvoyant = False

    def __init__(self, model: ContinuousSAC) -> None:
        """Takes a model that has learned."""
        self.model = model

    def reset(self, simulator: Simulator) -> None:
        """Does nothing."""

    def act(self, observation: dict[str, NDArray[Any]], simulator: Simulator) -> NDArray[Any]:
        """Returns share, power and speed for each episode, (B, 3)."""
        return decide(self.model.actor, observation)


def train(steps: int) -> ContinuousSAC:
    """Returns a model that has imitated, and has then learned from so many decisions in eight environments."""
    scenario = load_scenario(SCENARIO, **SETTINGS)
    env = SB3VecEnv(scenario.simulator(8, None))
    env.seed(TRAINING)
    model = continuous_sac(env, NetworkSettings(64), learning_rate=1e-3, gamma=0.0, learning_starts=0, seed=0)
    classroom = scenario.simulator(1_000, None)
    classroom.reset(TRAINING + 2**16 + np.arange(1_000))
    imitate(model, make_policy("convex"), classroom, rounds=3, passes=40)
    return model.learn(steps) if steps else model


if __name__ == "__main__":
    torch.set_num_threads(1)
    policies = ["all-edge", "all-local", "partial-split", "convex", Learned(train(STEPS))]
    table = evaluate(SCENARIO, policies, episodes=100, **SETTINGS)
    print(summarise(table, "cost", "convex").to_string(index=False))
    print("Costs are those of a task, delay and energy weighed alike: less is better.")
