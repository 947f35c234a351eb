"""How much a front can gain at all: weighted-greedy and the agent on mec-gmorl beside a search that knows the future.

    python benchmarks/front_limit.py [EPISODES] [ROUNDS]      by default 6 and 120: three minutes

For each weight vector and episode the search begins with the decisions of weighted-greedy and keeps the best of 127
changes of one to three decisions, round after round, by the weighted cost of the whole episode.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from hetgym.agents import make_policy
from hetgym.envs import Simulator, load_scenario
from hetgym.evaluate import evaluate_front, summarise_front

SCENARIO, OBJECTIVES, WEIGHTS = "mec-gmorl", ["delay", "energy"], 10
RULE, SEARCH = "weighted-greedy", "clairvoyant-search"
TRIALS, MOST_CHANGES = 128, 3
Actions = NDArray[np.int64]


def played(simulator: Simulator, seed: int, wanted: Actions | None = None) -> tuple[Actions, pd.DataFrame]:
    """Plays an episode in every row by wanted decisions, int64 (rows, requests), or by the rule.

    Returns:
        What was decided, where something was not allowed the first that is, and the metrics of each row.
    """
    rule, decided, rows = make_policy(RULE, "offloading"), [], np.arange(simulator.num_envs)
    simulator.reset([seed] * simulator.num_envs)
    rule.reset(simulator)
    while not simulator.outcome["terminated"].all():
        allowed = simulator.observation["action_mask"]
        if wanted is None:
            actions = rule.act(simulator.observation, simulator)
        else:
            actions = wanted[:, len(decided)]
            actions = np.where(allowed[rows, actions] > 0, actions, allowed.argmax(axis=1))
        decided.append(actions.copy())
        simulator.step(actions)
    return np.stack(decided, axis=1), pd.DataFrame(simulator.metrics(rows))


def searched(simulator: Simulator, seed: int, rounds: int, rng: np.random.Generator) -> pd.Series:
    """Returns the metrics of the best decisions that are found for an episode."""
    decided, metrics = played(simulator, seed)
    actions, best = decided[0], metrics.iloc[0]
    num_actions = simulator.observation["action_mask"].shape[1]
    for _ in range(rounds):
        wanted = np.tile(actions, (TRIALS, 1))
        for trial in wanted[1:]:
            changed = rng.integers(0, len(actions), rng.integers(1, MOST_CHANGES + 1))
            trial[changed] = rng.integers(0, num_actions, len(changed))
        decided, metrics = played(simulator, seed, wanted)
        row = int(metrics["cost"].argmin())
        if metrics["cost"][row] < best["cost"]:
            actions, best = decided[row], metrics.iloc[row]
    return best


def main() -> None:
    """Prints hypervolume and expected utility of the fronts."""
    episodes, rounds = (int(word) for word in [*sys.argv[1:], "6", "120"][:2])
    rng = np.random.default_rng(0)
    names = [RULE, "weighted-selfish", f"pretrained:{SCENARIO}"]
    tables = [evaluate_front(SCENARIO, name, WEIGHTS, OBJECTIVES, episodes=episodes) for name in names]
    found = tables[0].assign(policy=SEARCH, clairvoyant=True)
    for index, row in found.iterrows():
        weights = [row["weight_delay"], row["weight_energy"], 0.0]
        simulator = load_scenario(SCENARIO, weights=weights).for_single_episodes().simulator(TRIALS)
        best = searched(simulator, int(row["seed"]), rounds, rng)
        found.loc[index, "cost"] = best["cost"]
        for objective in OBJECTIVES:
            found.loc[index, f"return_{objective}"] = -best[f"{objective}_cost"]
    summary = summarise_front(pd.concat([*tables, found], ignore_index=True))
    shown = ["policy", "hypervolume", "ratio", "low", "high", "expected_utility"]
    Console().print(summary[shown].to_string(index=False))


if __name__ == "__main__":
    main()
