"""Trained use predictors beside every causal rule for victims, and beside those that know more, on the same episodes.

    python benchmarks/learned_cache.py SCENARIO RUN... [--episodes 200]

Each RUN is a checkpoint of `hetgym.train.use_prediction`, or the folder of a training run. Where the routing is drawn,
all play the episodes of the seeds from 0 on. Where it is recorded, each RUN plays the requests that its training never
read (its fold), and what is shown is of the folds together.

`us` is CPU time of a replay for each decision, the simulation's included. `charged` is tokens/s where every decision
takes so long in simulated time (the scenario's `decision_time`). `share` is (hit rate - that of the
best causal rule) / (that of `latent`, or `belady` where routing is recorded, - that of the best causal rule). Brackets
are 95% intervals by a bootstrap of the episodes, the same for all policies.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hetgym.agents import make_policy
from hetgym.agents.card import find_checkpoint, load_card
from hetgym.agents.heuristics.caching.names import VICTIMS
from hetgym.agents.heuristics.caching.policy import KNOWN, CachePolicy
from hetgym.agents.use_predictor import UsePredictor
from hetgym.envs import load_scenario
from hetgym.envs.expert_cache.scenario import ExpertCacheScenario
from hetgym.evaluate import gap_closed, summarise
from hetgym.train.use_prediction import parts

CAUSAL = [name for name, (rule, _) in VICTIMS.items() if rule not in KNOWN]
BATCH = 20


def rule(name: str) -> CachePolicy:
    return CachePolicy(name, VICTIMS[name][0])


def play(
    scenario: ExpertCacheScenario, policies: Sequence[CachePolicy], episodes: int, instances: Any = None, first: int = 0
) -> pd.DataFrame:
    """Returns what policies do in the episodes of so many seeds, or in given instances."""
    tables = []
    for begin in range(0, episodes, BATCH):
        count = min(BATCH, episodes - begin)
        seeds = np.arange(first + begin, first + begin + count)
        simulator = scenario.for_single_episodes().simulator(count)
        simulator.observes = simulator.logs = False
        for policy in policies:
            simulator.reset(seeds, instances and instances[begin : begin + count])
            policy.reset(simulator)
            seconds = -time.process_time()
            policy.replay(simulator)
            seconds += time.process_time()
            decisions = simulator.state.status["evictions"] + simulator.state.status["bypasses"]
            shared = {"policy": policy.name, "clairvoyant": policy.clairvoyant, "episode": seeds, "seed": seeds}
            metrics = simulator.metrics(np.arange(count))
            tables.append(pd.DataFrame({**shared, "decision_seconds": seconds / decisions.sum(), **metrics}))
    table = pd.concat(tables, ignore_index=True)
    # What else the machine does, and compiling, makes batches slower, never faster.
    table["decision_seconds"] = table.groupby("policy")["decision_seconds"].transform("min")
    return table


def charged(
    scenario: ExpertCacheScenario, policies: Sequence[CachePolicy], table: pd.DataFrame, instances: Any = None
) -> pd.Series:
    """Returns tokens/s where decisions take their time; of drawn episodes for the best causal rule and networks."""
    result = pd.Series(np.nan, table.index)
    best = table.groupby("policy")["hit_rate"].mean()[CAUSAL].idxmax()
    for policy in policies:
        if not policy.clairvoyant and (not scenario.varies or policy.name == best or isinstance(policy, UsePredictor)):
            rows = table["policy"] == policy.name
            slower = scenario.model_copy(update={"decision_time": float(table.loc[rows, "decision_seconds"].iloc[0])})
            again = play(slower, [policy], int(rows.sum()), instances, int(table["episode"].min()))
            result[rows] = again["tokens_per_second"].to_numpy()
    return result


def table_of(scenario: ExpertCacheScenario, runs: Sequence[Path], episodes: int) -> pd.DataFrame:
    rules = [rule(name) for name in CAUSAL]
    if scenario.varies:
        policies = [
            *rules,
            *(make_policy(f"use-predictor:{run}") for run in runs),
            rule("latent"),
            rule("belady"),
            rule("belady-bypass"),
        ]
        table = play(scenario, policies, episodes)
        return table.assign(charged=charged(scenario, policies, table))
    tables, first = [], 0
    for run in runs:
        instances = parts(scenario, {load_card(find_checkpoint(run)).settings["fold"]})
        learned = make_policy(f"use-predictor:{run}")
        learned.name = "use-predictor"
        policies = [*rules, learned, rule("belady"), rule("belady-bypass")]
        table = play(scenario, policies, len(instances), instances, first)
        tables.append(table.assign(charged=charged(scenario, policies, table, instances)))
        first += len(instances)
    return pd.concat(tables, ignore_index=True)


def show(scenario: ExpertCacheScenario, table: pd.DataFrame) -> None:
    hits = table.groupby("policy")["hit_rate"].mean()
    best = hits[CAUSAL].idxmax()
    share = gap_closed(table, "hit_rate", best, "latent" if scenario.varies else "belady").set_index("policy")
    ratio = summarise(table, "charged", best, scenario=scenario).set_index("policy")
    speeds = table.groupby("policy")[["tokens_per_second", "charged", "decision_seconds"]].mean()
    print(f"{scenario.name}: {table['episode'].nunique()} episodes; the best causal rule is {best}")
    print(f"{'policy':24} {'hit rate':>8} {'share':>22} {'tokens/s':>8} {'us':>6} {'charged':>8} {'to the best':>24}")
    causal_first = hits[CAUSAL].sort_values().index.tolist()
    for name in [*causal_first, *(name for name in hits.index if name not in CAUSAL)]:
        line, speed, way = ratio.loc[name], speeds.loc[name], share.loc[name]
        print(
            f"{name[-24:]:24} {hits[name]:8.4f} {way['gap_closed']:7.3f} [{way['low']:5.3f}, {way['high']:5.3f}] "
            f"{speed['tokens_per_second']:8.2f} {speed['decision_seconds'] * 1e6:6.2f} {speed['charged']:8.2f} "
            f"{line['ratio']:8.4f} [{line['low']:.4f}, {line['high']:.4f}]"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario")
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--episodes", type=int, default=200)
    given = parser.parse_args()
    scenario = load_scenario(given.scenario)
    assert isinstance(scenario, ExpertCacheScenario)
    show(scenario, table_of(scenario, given.runs, given.episodes))


if __name__ == "__main__":
    main()
