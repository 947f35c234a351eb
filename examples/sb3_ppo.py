"""Stable-baselines3 in ten lines: sb3-contrib's MaskablePPO learns to schedule small graphs.

    python examples/sb3_ppo.py 100000  # decisions that it learns from

What is printed is the mean return of an episode, (lower bound - makespan) / HEFT's makespan, before and after. For
hetgym's own agents, which take graphs of any size, see ``hetgym train``.
"""

import sys

from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy

from hetgym.envs import make_sb3

env = make_sb3("hetgym/TaskGraphPlan-v0", num_envs=64, seed=2**32, scenario="random", num_tasks=10)
unseen = make_sb3("hetgym/TaskGraphPlan-v0", num_envs=64, seed=0, scenario="random", num_tasks=10)
agent = MaskablePPO("MultiInputPolicy", env, n_steps=32, batch_size=512, learning_rate=1e-3, gamma=1.0, seed=1)
print("before:", evaluate_policy(agent, unseen, n_eval_episodes=192, warn=False)[0])
agent.learn(int(sys.argv[1]) if sys.argv[1:] else 100_000)
print("after:", evaluate_policy(agent, unseen, n_eval_episodes=192, warn=False)[0])
