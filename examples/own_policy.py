"""A policy of your own joins any comparison: an object with two attributes and two methods, and what makes it.

python examples/own_policy.py --episodes 100
PYTHONPATH=examples hetgym evaluate --scenario random --policies heft,own_policy:make_policy --episodes 100
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetgym.envs import Simulator
from hetgym.envs.task_graph.features import PLAN_SCHEMA
from hetgym.evaluate import evaluate, summarise

FEATURES = [feature.name for feature in PLAN_SCHEMA.candidates]


class UrgentFirst:
    """Puts the most urgent ready task where it, and what has to follow it, can end first."""

    name = "urgent-first"
    clairvoyant = False  # it does not read the future

    def reset(self, simulator: Simulator) -> None:
        """Prepares for the episodes that have just begun: there is nothing to prepare."""

    def act(self, observation: dict[str, NDArray[Any]], simulator: Simulator) -> NDArray[np.int64]:
        """Returns one action for each episode of the batch, (B,); ties go to the first."""
        rank_gap, path_gap = (
            observation["candidates"][:, :, FEATURES.index(name)] for name in ("rank_gap", "path_gap")
        )
        allowed = observation["action_mask"] == 1
        urgent = allowed & (rank_gap == np.where(allowed, rank_gap, np.inf).min(axis=1, keepdims=True))
        return np.where(urgent, path_gap, np.inf).argmin(axis=1)


def make_policy() -> UrgentFirst:
    """Returns the policy: what ``own_policy:make_policy`` names."""
    return UrgentFirst()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100, help="graphs that every policy schedules")
    episodes = parser.parse_args().episodes
    table = evaluate("random", ["heft", "peft", "mct", make_policy()], episodes=episodes)
    print(summarise(table, reference="heft").to_string(index=False))
