"""The checkpoints that come with hetgym: trains each with three seeds, measures them, and writes the cards.

python benchmarks/pretrained.py                     what there is
python benchmarks/pretrained.py train NAME SEED     one training run, in the working folder's runs/pretrained
python benchmarks/pretrained.py curve NAME          what the three came to on held-out instances while they trained
python benchmarks/pretrained.py ship NAME           measures three seeds on fresh instances, and keeps the median one
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from scipy.stats import t as student

from hetgym.agents.card import Card, Evaluation, find_checkpoint, load_card
from hetgym.agents.checkpoint import load_tensors, save_checkpoint
from hetgym.agents.pretrained import FOLDER
from hetgym.cli import main
from hetgym.evaluate import evaluate, summarise
from hetgym.evaluate.figures import CURVE

SEEDS = 0, 1, 2
FIRST_EPISODE = 1_000_000
"""Of the instances of the cards: no training, held-out or published comparison has used them."""


@dataclass(frozen=True)
class Headline:
    """A checkpoint that comes with hetgym.

    Attributes:
        command: What trains it, without seed and output.
        scenario: What it is measured on.
        settings: Of the scenario.
        metric: What is compared.
        reference: The heuristic that everything is compared with.
        episodes: How many.
        bad_at: Where it should not be used.
    """

    command: str
    scenario: str
    metric: str
    reference: str
    bad_at: str
    episodes: int = 400
    settings: tuple[tuple[str, object], ...] = ()


HEADLINES: dict[str, Headline] = {
    "random": Headline(
        "train --scenario random --set pool=4096 --rounds 0 --hidden 64 --steps 4000000 --num-envs 128 "
        "--batch-size 1024 --entropy 0.005 --decay --evaluate-every 40 --held-out 400",
        "random",
        "makespan",
        "heft",
        "Schedulers that search are ahead of one greedy pass: repair-1000:heft in a thousandth of the training's time. "
        "Trained on 20 tasks, 4 devices and CCR 1 alone.",
        episodes=1000,
    ),
    "random-noisy": Headline(
        "train --scenario random-noisy --set noise_sigma=0.5 pool=4096 --hindsight --rounds 1 --hidden 48 "
        "--steps 1000000 --num-envs 128 --learning-rate 2e-3 --entropy 0.005 --decay --evaluate-every 20 "
        "--held-out 400 --batch-size 2048",
        "random-noisy",
        "makespan",
        "re-heft",
        "Trained on lognormal noise of sigma 0.5, 20 tasks and 4 devices; streams, failures and contention are new.",
        episodes=400,
        settings=(("noise_sigma", 0.5),),
    ),
    "soc-stream-high": Headline(
        "train-rule --scenario soc-stream-high --population 24 --generations 30 --episodes 8",
        "soc-stream-high",
        "job_latency_mean",
        "lwkr",
        "Six kinds of job on one SoC. With lines on devices it gains little (queue_limit 1), nothing (4), or loses "
        "(16).",
        episodes=400,
    ),
    "v2-lite": Headline(
        "train-cache --scenario v2-lite --updates 150 --held-out 6",
        "v2-lite",
        "hit_rate",
        "lfu-tokens",
        "It knows the experts of DeepSeek-V2-Lite alone, one request at a time, and says nothing about prefetching.",
        episodes=200,
    ),
    "qwen3-30b": Headline(
        "train-cache --scenario qwen3-30b --updates 100 --batch-size 2 --traces 16 --held-out 4",
        "qwen3-30b",
        "hit_rate",
        "lfu-tokens",
        "It knows the experts of Qwen3-30B-A3B alone, one request at a time, and says nothing about prefetching.",
        episodes=200,
    ),
    "mec-partial": Headline(
        "train --scenario mec-partial --set continuous=true num_users=1 num_requests=1 block=null --algorithm sac "
        "--steps 0 --gamma 0.9 --hidden 64 --rollout 1 --num-envs 8 --imitate convex --imitation.rounds 6 "
        "--imitation.num-envs 4000 --imitation.epochs 30",
        "mec-partial",
        "cost",
        "convex",
        "It knows one request at a time, which has processor, channel and server to itself, on the continuous face; "
        "its actor imitates the optimum, and trial and error (--steps) made it no better.",
        settings=(("continuous", True), ("num_users", 1), ("num_requests", 1), ("block", None)),
    ),
    "mec-gmorl": Headline(
        "train --scenario mec-gmorl --rounds 0 --pooling value --steps 800000 --gamma 0.95 --learning-rate 3e-3 "
        "--normalise-returns --decay --evaluate-every 40 --held-out 400 --batch-size 1024",
        "mec-gmorl",
        "cost",
        "weighted-greedy",
        "Where nearly all weight is on energy it loses to every greedy rule, and so its hypervolume is no larger.",
        episodes=1000,
    ),
}


def folder_of(name: str, seed: int) -> Path:
    """Returns the folder of a training run."""
    return Path("runs/pretrained") / name / f"seed-{seed}"


def train(name: str, seed: int) -> None:
    """Trains one agent, or goes on where it was killed."""
    run = folder_of(name, seed)
    resumed = ["--resume"] if (run / "last").exists() else []
    main([*shlex.split(HEADLINES[name].command), "--seed", str(seed), "--output", str(run), *resumed])


def curve(name: str) -> pd.DataFrame:
    """Returns results on held-out instances against the steps of training, on average of the seeds."""
    curves = [pd.read_csv(folder_of(name, seed) / CURVE) for seed in SEEDS]
    return pd.concat(curves).groupby("steps").mean().reset_index()


def measured(name: str) -> pd.DataFrame:
    """Returns how the agents of all seeds do beside the reference, one row each."""
    headline = HEADLINES[name]
    folders = {seed: find_checkpoint(folder_of(name, seed)) for seed in SEEDS}
    agents = [f"{load_card(folder).algorithm}:{folder}" for folder in folders.values()]
    table = evaluate(
        headline.scenario,
        [headline.reference, *agents],
        episodes=headline.episodes,
        seed=FIRST_EPISODE,
        **dict(headline.settings),
    )
    return summarise(table, headline.metric, headline.reference, scenario=headline.scenario)


def ship(name: str) -> None:
    """Measures the agents of all seeds, and keeps the one of the median ratio with its card."""
    headline, summary = HEADLINES[name], measured(name)
    Console().print(summary.to_string(index=False))
    agents = summary.iloc[1:].reset_index(drop=True)
    ratios = agents["ratio"].to_numpy()
    # Where a further seed lands with a probability of 95 %, if seeds are normal.
    margin = student.ppf(0.975, len(ratios) - 1) * ratios.std(ddof=1) * np.sqrt(1 + 1 / len(ratios))
    median = int(np.argsort(ratios)[len(ratios) // 2])
    folder = find_checkpoint(folder_of(name, SEEDS[median]))
    card = load_card(folder)
    evaluation = Evaluation(
        scenario=headline.scenario,
        settings={key: json.dumps(value) for key, value in headline.settings},
        episodes=headline.episodes,
        seed=FIRST_EPISODE,
        metric=headline.metric,
        reference=headline.reference,
        ratio=float(agents["ratio"][median]),
        low=float(agents["low"][median]),
        high=float(agents["high"][median]),
        seeds={str(seed): float(ratio) for seed, ratio in zip(SEEDS, ratios, strict=True)},
        further_seed=(float(ratios.mean() - margin), float(ratios.mean() + margin)),
    )
    command = f"hetgym {headline.command} --seed {SEEDS[median]} --output runs/{name}"
    kept: Card = card.model_copy(update={"command": command, "evaluation": evaluation, "bad_at": headline.bad_at})
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    save_checkpoint(FOLDER / name, kept, load_tensors(folder / "policy.safetensors"))
    print(f"{name}: seed {SEEDS[median]} is shipped")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["train", name, seed]:
            train(name, int(seed))
        case ["curve", name]:
            Console().print(curve(name).to_string(index=False))
        case ["ship", name]:
            ship(name)
        case _:
            for name, headline in HEADLINES.items():
                print(f"{name}: hetgym {headline.command}")
