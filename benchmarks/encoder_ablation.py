"""What message passing, pooling and hierarchy are worth: PPO with each network for equal CPU time, three seeds.

    python benchmarks/encoder_ablation.py --encoder gin --seed 1      trains one cell, or says that it is finished
    python benchmarks/encoder_ablation.py --table                     the table of finished cells

A cell is a network and a seed. It trains for --budget CPU-seconds: a short run measures how many decisions fit, and
training then ends at so many, so that rate and entropy bonus fall to 0 there. A cell that was killed goes on where its
last checkpoint was written. Cells share nothing, so they can run side by side. All are compared on the same held-out
instances, which no training run evaluates on; the interval is over instances, paired, of the mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from hetgym.agents import make_policy
from hetgym.evaluate.evaluation import play
from hetgym.evaluate.summary import summarise
from hetgym.train import TrainSettings, train
from hetgym.train.recorder import HELD_OUT_SEED

ENCODERS = ("mlp", "mean", "gin", "gat")
CELL, RESULT = "cell.json", "result.csv"
MEASURED_STEPS = 20_000
FIRST_SEED, INSTANCES, BATCH = HELD_OUT_SEED + 2**20, 1000, 100


def settings_of(arguments: argparse.Namespace) -> TrainSettings:
    """Returns the settings of a cell, but for its number of steps."""
    return TrainSettings(
        scenario=arguments.scenario,
        set=tuple(arguments.set),
        seed=arguments.seed,
        decay=True,
        rounds=0 if arguments.encoder == "mlp" else arguments.rounds,
        encoder="mean" if arguments.encoder == "mlp" else arguments.encoder,
        pooling=arguments.pooling,
        hierarchy=arguments.hierarchy,
        evaluate_every=50,
        output=arguments.output / name_of(arguments) / f"seed-{arguments.seed}",
    )


def name_of(arguments: argparse.Namespace) -> str:
    """Returns what a network is called in the table."""
    parts = [arguments.encoder, arguments.pooling * (arguments.pooling != "value"), "hierarchy" * arguments.hierarchy]
    return "-".join(part for part in parts if part)


def steps_within(settings: TrainSettings, budget: float) -> int:
    """Returns how many decisions fit into so many CPU-seconds; what is compiled at first does not count."""
    with tempfile.TemporaryDirectory() as folder:
        times: list[tuple[int, float]] = []
        train(
            replace(settings, steps=MEASURED_STEPS, held_out=1, output=Path(folder)),
            lambda steps, _: times.append((steps, time.process_time())),
        )
    (first, begin), (last, end) = times[0], times[-1]
    return int((last - first) / (end - begin) * budget)


def train_cell(arguments: argparse.Namespace) -> None:
    """Trains a cell, or goes on with it, and plays what it has learned."""
    settings = settings_of(arguments)
    folder = settings.output
    if (folder / RESULT).exists():
        print(f"{folder}: finished")
        return
    if not (folder / CELL).exists():
        folder.mkdir(parents=True, exist_ok=True)
        steps = steps_within(settings, arguments.budget)
        (folder / CELL).write_text(json.dumps({"budget": arguments.budget, "steps": steps}))
    cell: dict[str, Any] = json.loads((folder / CELL).read_text())
    begin = time.process_time()
    resume = (folder / "last").exists()
    train(replace(settings, steps=cell["steps"], resume=resume))
    seconds = np.nan if resume else time.process_time() - begin
    table = played(settings, name_of(arguments), arguments.instances)
    table.assign(run=arguments.seed, steps=cell["steps"], cpu_seconds=seconds).to_csv(folder / RESULT, index=False)


def played(settings: TrainSettings, name: str, instances: int) -> pd.DataFrame:
    """Returns what the last checkpoint and the scenario's first baseline make of the test instances."""
    scenario = settings.load_scenario().for_single_episodes()
    simulator = scenario.simulator(min(BATCH, instances), settings.reward)
    seeds = FIRST_SEED + np.arange(instances // simulator.num_envs * simulator.num_envs)
    tables = []
    for player in (f"ppo:{settings.output / 'last'}", scenario.baselines[0]):
        policy = make_policy(player, scenario.family)
        rows = [play(simulator, policy, row.tolist()) for row in seeds.reshape(-1, simulator.num_envs)]
        table = pd.concat(rows, ignore_index=True)[["policy", "seed", "decision_seconds", scenario.metric]]
        tables.append(table.rename(columns={"seed": "episode", scenario.metric: "metric"}))
    tables[0]["policy"] = name
    return pd.concat(tables, ignore_index=True)


def summary(folder: Path) -> Table:
    """Returns the table of the finished cells in a folder."""
    files = sorted(folder.glob(f"*/*/{RESULT}"))
    if not files:
        raise SystemExit(f"{folder}: no cell is finished")
    played = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    reference = str(played["policy"].iloc[-1])
    over_runs = played.groupby(["policy", "episode"], as_index=False)[["metric", "decision_seconds"]].mean()
    table = Table("network", "seeds", f"ratio to {reference}", "95% interval", "each seed", "steps/CPU-s", "steps")
    for row in summarise(over_runs, "metric", reference).sort_values("ratio").itertuples():
        own = played[played["policy"] == row.policy]
        if row.policy != reference:
            baseline = over_runs.loc[over_runs["policy"] == reference, "metric"].mean()
            ratios = own.groupby("run")["metric"].mean() / baseline
            runs = own.groupby("run")[["steps", "cpu_seconds"]].first()
            table.add_row(
                str(row.policy),
                str(len(runs)),
                f"{row.ratio:.4f}",
                f"{row.low:.4f} .. {row.high:.4f}",
                " ".join(f"{ratio:.4f}" for ratio in ratios),
                f"{(runs['steps'] / runs['cpu_seconds']).mean():,.0f}",
                f"{runs['steps'].mean():,.0f}",
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", choices=ENCODERS, default="mean")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pooling", choices=("value", "scores", "nodes"), default="nodes")
    parser.add_argument("--hierarchy", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=300.0, help="CPU-seconds of a cell")
    parser.add_argument("--scenario", default="random")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the scenario, NAME=VALUE")
    parser.add_argument("--instances", type=int, default=1000, help="test instances")
    parser.add_argument("--output", type=Path, default=Path("runs/encoder-ablation"))
    parser.add_argument("--table", action="store_true", help="print what is finished; train nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        train_cell(arguments)
    Console(width=120).print(summary(arguments.output))


if __name__ == "__main__":
    main()
