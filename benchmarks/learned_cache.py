"""Trained use predictors beside every causal rule for victims, and beside those that know more, on the same episodes.

    python benchmarks/learned_cache.py SCENARIO RUN... [--episodes 200]

Each RUN is a checkpoint of `hetgym.train.use_prediction`, or the folder of a training run. Where the routing is drawn,
all play the episodes of the seeds from 0 on. Where it is recorded, each RUN plays the requests that its training never
read (its fold), and what is shown is of the folds together.

`us` is CPU time of a replay for each decision, the simulation's included. `charged` is tokens/s where every decision
takes so long in simulated time (the scenario's `decision_time`; not of oracles). `share` is (hit rate - that of the
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

from hetgym.agents.checkpoint import find_checkpoint, load_card
from hetgym.agents.heuristics.caching.names import VICTIMS
from hetgym.agents.heuristics.caching.policy import KNOWN, CachePolicy
from hetgym.agents.use_predictor import load_use_predictor
from hetgym.envs import load_scenario
from hetgym.envs.expert_cache.scenario import ExpertCacheScenario
from hetgym.evaluate import gap_closed, summarise
from hetgym.train.use_prediction import parts

CAUSAL = [name for name, (rule, _) in VICTIMS.items() if rule not in KNOWN]
BATCH = 20
TIMED = 8
"""Episodes by which a policy's time is measured, after as many that are not."""


def rule(name: str) -> CachePolicy:
    return CachePolicy(name, VICTIMS[name][0])


def replay(
    scenario: ExpertCacheScenario, policies: Sequence[CachePolicy], first: int, count: int, instances: Any
) -> tuple[pd.DataFrame, list[float]]:
    """Returns what policies do in some episodes, and the CPU seconds of each for a decision."""
    simulator = scenario.simulator(count)
    simulator.observes = simulator.logs = False
    tables, seconds = [], []
    for policy in policies:
        simulator.reset(range(first, first + count), instances)
        policy.reset(simulator)
        begin = time.process_time()
        policy.replay(simulator)
        took = time.process_time() - begin
        status = simulator.state.status
        seconds.append(took / max(int((status["evictions"] + status["bypasses"]).sum()), 1))
        tables.append(
            pd.DataFrame(
                {
                    "policy": policy.name,
                    "clairvoyant": policy.clairvoyant,
                    "episode": np.arange(first, first + count),
                    "seed": simulator.seeds.copy(),
                    "decision_seconds": seconds[-1],
                    **simulator.metrics(np.arange(count)),
                }
            )
        )
    return pd.concat(tables), seconds


def play(
    scenario: ExpertCacheScenario, policies: Sequence[CachePolicy], episodes: int, instances: Any = None, first: int = 0
) -> pd.DataFrame:
    """Returns what policies do, with ``charged``, the tokens/s where every decision takes the policy's time."""
    scenario = scenario.for_single_episodes()
    few = min(TIMED, episodes)
    for _ in range(2):
        _, seconds = replay(scenario, policies, first, few, instances and instances[:few])
    tables = []
    for begin in range(0, episodes, BATCH):
        count = min(BATCH, episodes - begin)
        batch = first + begin, count, instances and instances[begin : begin + count]
        table, _ = replay(scenario, policies, *batch)
        table["charged"] = np.nan
        for policy, took in zip(policies, seconds, strict=True):
            if not policy.clairvoyant:
                charged, _ = replay(scenario.model_copy(update={"decision_time": took}), [policy], *batch)
                table.loc[table["policy"] == policy.name, "charged"] = charged["tokens_per_second"].to_numpy()
        table["decision_seconds"] = np.repeat(seconds, count)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def table_of(scenario: ExpertCacheScenario, runs: Sequence[Path], episodes: int) -> pd.DataFrame:
    rules = [rule(name) for name in CAUSAL]
    if scenario.varies:
        oracles = [rule("latent"), rule("belady"), rule("belady-bypass")]
        return play(scenario, [*rules, *map(load_use_predictor, runs), *oracles], episodes)
    oracles, tables, first = [rule("belady"), rule("belady-bypass")], [], 0
    for run in runs:
        instances = parts(scenario, {load_card(find_checkpoint(run)).settings["fold"]})
        learned = load_use_predictor(run)
        learned.name = "use-predictor"
        tables.append(play(scenario, [*rules, learned, *oracles], len(instances), instances, first))
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
