"""Learns to trade delay for energy with morl-baselines' Envelope Q-learning, and compares fronts with a heuristic.

    python examples/morl.py

It needs ``pip install hetgym[morl]``.
"""

from __future__ import annotations

from typing import Any

import mo_gymnasium
import numpy as np
import torch
from morl_baselines.multi_policy.envelope.envelope import Envelope
from numpy.typing import NDArray

from hetgym.envs import Simulator
from hetgym.evaluate import evaluate_front, summarise_front

SCENARIO = "mec-gmorl"


class Learned:
    """An Envelope agent as a policy of hetgym: it decides by the weights that the observation shows."""

    name = "envelope"
    clairvoyant = False
    conditioned = True

    def __init__(self, agent: Envelope) -> None:
        """Takes an agent that has learned."""
        self.agent = agent

    def reset(self, simulator: Simulator) -> None:
        """Does nothing."""

    def act(self, observation: dict[str, NDArray[Any]], simulator: Simulator) -> NDArray[Any]:
        """Returns the allowed candidate of the highest weighted value for each episode, (B,)."""
        # What observation="flat" shows: all arrays in the order of the space.
        arrays = [observation[name].reshape(simulator.num_envs, -1) for name in simulator.single_observation_space]
        weights = torch.as_tensor(observation["context"][:, : self.agent.reward_dim])
        with torch.inference_mode():
            values = self.agent.q_net(torch.as_tensor(np.concatenate(arrays, axis=1)).float(), weights)
            scalar = (values * weights[:, None]).sum(dim=2).numpy()
        return np.where(observation["action_mask"], scalar, -np.inf).argmax(axis=1)


def train(steps: int) -> Envelope:
    """Returns an agent that has learned from so many decisions."""
    env = mo_gymnasium.make("hetgym/MOOffload-v0", scenario=SCENARIO, observation="flat")
    agent = Envelope(
        env, net_arch=[64, 64], batch_size=64, learning_rate=1e-3, gamma=0.8, buffer_size=20_000, initial_epsilon=0.5,
        final_epsilon=0.05, epsilon_decay_steps=steps // 2, per=False, log=False, seed=0, device="cpu",
    )  # fmt: skip
    agent.train(steps)
    return agent


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    policies = ["weighted-greedy", "random", Learned(train(3_000))]
    table = evaluate_front(SCENARIO, policies, weights=5, objectives=["delay", "energy"], episodes=20)
    columns = ["policy", "points", "cardinality", "hypervolume", "ratio", "expected_utility"]
    print(summarise_front(table, reference="weighted-greedy")[columns].to_string(index=False))
