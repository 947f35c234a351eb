"""Decisions per CPU second of MaskablePPO on 50 x 4 graphs, 64 environments, 4 epochs, one torch thread.

Run: python benchmarks/training_speed.py
"""

from __future__ import annotations

import time

import torch
from rich.console import Console
from rich.table import Table

from hetgym.agents.networks import NetworkSettings
from hetgym.agents.ppo import masked_ppo
from hetgym.envs import make_sb3

NUM_ENVS, ROLLOUT, ROLLOUTS = 64, 50, 4


def speed(rounds: int, batch_size: int) -> float:
    """Returns decisions per CPU second, the best of several rollouts with their updates."""
    env = make_sb3("hetgym/TaskGraphPlan-v0", num_envs=NUM_ENVS, seed=0, num_tasks=50, num_devices=4)
    settings = NetworkSettings(hidden=32, rounds=rounds)
    model = masked_ppo(env, env.simulator.schema, settings, n_steps=ROLLOUT, batch_size=batch_size, n_epochs=4, seed=0)
    seconds = []
    for _ in range(1 + ROLLOUTS):  # the first compiles
        before = time.process_time()
        model.learn(NUM_ENVS * ROLLOUT, reset_num_timesteps=False)
        seconds.append(time.process_time() - before)
    return NUM_ENVS * ROLLOUT / min(seconds[1:])


if __name__ == "__main__":
    torch.set_num_threads(1)
    table = Table("network", "batch size", "decisions per CPU second")
    for rounds, name in ((2, "graph encoder, 2 rounds"), (0, "candidate scorer alone")):
        for batch_size in (400, 800, 1600):
            table.add_row(name, str(batch_size), f"{speed(rounds, batch_size):,.0f}")
    Console(width=100).print(table)
