"""Decisions per CPU second of MaskablePPO on 50 x 4 graphs, 64 environments, 4 epochs, width 32, one torch thread.

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
BATCH_SIZES = 400, 800, 1600


NETWORKS = {
    "candidate scorer alone": NetworkSettings(32, 0, pooling="value"),
    "candidate scorer, all rivals heard": NetworkSettings(32, 0, pooling="scores"),
    "candidate scorer, rivals for a node heard": NetworkSettings(32, 0),
    "graph encoder, mean": NetworkSettings(32, 2),
    "graph encoder, gin": NetworkSettings(32, 2, encoder="gin"),
    "graph encoder, gat": NetworkSettings(32, 2, encoder="gat"),
    "graph encoder, mean, hierarchy": NetworkSettings(32, 2, hierarchy=True),
}


def speed(settings: NetworkSettings, batch_size: int) -> float:
    """Returns decisions per CPU second, the best of several rollouts with their updates."""
    env = make_sb3("hetgym/TaskGraphPlan-v0", num_envs=NUM_ENVS, seed=0, num_tasks=50, num_devices=4)
    model = masked_ppo(env, env.simulator.schema, settings, n_steps=ROLLOUT, batch_size=batch_size, n_epochs=4, seed=0)
    seconds = []
    for _ in range(1 + ROLLOUTS):  # the first compiles
        before = time.process_time()
        model.learn(NUM_ENVS * ROLLOUT, reset_num_timesteps=False)
        seconds.append(time.process_time() - before)
    return NUM_ENVS * ROLLOUT / min(seconds[1:])


if __name__ == "__main__":
    torch.set_num_threads(1)
    table = Table("network", *(f"batches of {size}" for size in BATCH_SIZES))
    for name, settings in NETWORKS.items():
        table.add_row(name, *(f"{speed(settings, size):,.0f}" for size in BATCH_SIZES))
    Console(width=100).print(table)
