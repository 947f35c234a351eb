"""Decisions per CPU second of the environments, through Python, with full observation and random valid actions.

Choosing the actions is not counted: it is the policy's time. Run: python benchmarks/environment_speed.py
"""

from __future__ import annotations

import time

import gymnasium
import numpy as np
from rich.console import Console
from rich.table import Table

import hetgym  # noqa: F401  (registers the environments)

PLAN, DISPATCH = "hetgym/TaskGraphPlan-v0", "hetgym/TaskGraphDispatch-v0"
REPEATS = 5


def batched(env_id: str, num_tasks: int, num_devices: int, num_envs: int, pool: int) -> float:
    """Returns decisions per CPU second of the vector environment, the best of several stretches of episodes."""
    env = gymnasium.make_vec(
        env_id,
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        num_tasks=num_tasks,
        num_devices=num_devices,
        pool=pool,
    )
    generator = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    noise = generator.random((16, *observation["action_mask"].shape), dtype=np.float32)
    # Waiting is for policies that know why; here it would only make episodes longer.
    noise[:, :, 0] = 1e-9
    speeds = []
    for _ in range(1 + REPEATS):  # the first stretch compiles
        seconds = 0.0
        for step in range(10 * num_tasks):
            actions = (observation["action_mask"] * noise[step % 16]).argmax(axis=1)
            seconds -= time.process_time()
            observation, *_ = env.step(actions)
            seconds += time.process_time()
        speeds.append(10 * num_tasks * num_envs / seconds)
    return max(speeds[1:])


def single(copy: bool) -> float:
    """Returns steps per CPU second of one environment through ``gymnasium.make``, resets included."""
    env = gymnasium.make(PLAN, num_tasks=50, num_devices=4, copy=copy)
    generator = np.random.default_rng(0)
    speeds = []
    for _ in range(1 + REPEATS):
        seconds, steps = 0.0, 0
        for episode in range(40):
            seconds -= time.process_time()
            observation, _ = env.reset(seed=0) if episode == 0 else env.reset()
            seconds += time.process_time()
            terminated = False
            while not terminated:
                action = int(generator.choice(np.flatnonzero(observation["action_mask"])))
                seconds -= time.process_time()
                observation, _, terminated, _, _ = env.step(action)
                seconds += time.process_time()
                steps += 1
        speeds.append(steps / seconds)
    return max(speeds[1:])


if __name__ == "__main__":
    table = Table("environment", "tasks x devices", "graphs", "decisions per CPU second")
    for num_tasks, num_devices in ((50, 4), (200, 8)):
        for pool, graphs in ((1, "one an environment"), (10**9, "a new one every episode")):
            if pool == 1 or num_tasks == 50:
                for env_id, mode in ((PLAN, "Plan"), (DISPATCH, "Dispatch")):
                    speed = batched(env_id, num_tasks, num_devices, 64, min(pool, 64))
                    table.add_row(f"{mode}, batch 64", f"{num_tasks} x {num_devices}", graphs, f"{speed:,.0f}")
    for copy, name in ((True, "Plan, gymnasium.make"), (False, "Plan, gymnasium.make, copy=False")):
        table.add_row(name, "50 x 4", "64 an environment", f"{single(copy):,.0f}")
    Console(width=100).print(table)
