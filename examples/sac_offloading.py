"""Learns what share of a task to offload, how loud to send it and how fast to compute the rest.

    python examples/sac_offloading.py

The actor of SAC imitates `convex`, which takes milliseconds for a decision; SAC can go on from there by trial and error
(`STEPS`), which does not help here.
"""

from __future__ import annotations

from pathlib import Path

from hetgym.evaluate import evaluate, summarise
from hetgym.train import TrainSettings, train
from hetgym.train.settings import ImitationSettings

SETTINGS = ("continuous=true", "num_users=1", "num_requests=1", "block=null", "weights=[0.5, 0.5, 0.0]")
"""A request that has all to itself, on a channel that does not change: `convex` is its optimum."""
STEPS = 0
"""Decisions of SAC after the imitation."""


def learn(output: Path, rounds: int = 3, steps: int = STEPS) -> Path:
    """Returns the folder of an agent that has imitated, and has then learned from so many decisions."""
    return train(
        TrainSettings(
            scenario="mec-partial", set=SETTINGS, output=output, algorithm="sac", steps=steps, gamma=0.9, hidden=64,
            rollout=1, num_envs=8, imitate="convex", imitation=ImitationSettings(rounds, num_envs=1_000, epochs=40),
        )
    )  # fmt: skip


if __name__ == "__main__":
    run = learn(Path("runs/partial"))
    settings = {"continuous": True, "num_users": 1, "num_requests": 1, "block": None, "weights": (0.5, 0.5, 0.0)}
    policies = ["all-edge", "all-local", "partial-split", "convex", f"sac:{run}"]
    table = evaluate("mec-partial", policies, episodes=100, **settings)
    print(summarise(table, "cost", "convex").to_string(index=False))
    print("Costs are those of a task, delay and energy weighed alike: less is better.")
