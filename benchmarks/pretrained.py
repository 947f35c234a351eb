"""The checkpoints that come with hetgym: trains each with three seeds, measures them, and writes the cards.

python benchmarks/pretrained.py                     what there is
python benchmarks/pretrained.py train NAME SEED     one training run, in the working folder's runs/pretrained
python benchmarks/pretrained.py ship NAME           measures three seeds on fresh instances, and keeps the median one
"""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from scipy.stats import t as student

from hetgym.agents.checkpoint import Card, Evaluation, find_checkpoint, load_card, load_tensors, save_checkpoint
from hetgym.agents.pretrained import FOLDER
from hetgym.cli import main
from hetgym.evaluate import evaluate, summarise

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


HEADLINES: dict[str, Headline] = {}


def folder_of(name: str, seed: int) -> Path:
    """Returns the folder of a training run."""
    return Path("runs/pretrained") / name / f"seed-{seed}"


def train(name: str, seed: int) -> None:
    """Trains one agent, or goes on where it was killed."""
    run = folder_of(name, seed)
    resumed = ["--resume"] if (run / "last").exists() else []
    main([*shlex.split(HEADLINES[name].command), "--seed", str(seed), "--output", str(run), *resumed])


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
        settings={key: str(value) for key, value in headline.settings},
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
        case ["ship", name]:
            ship(name)
        case _:
            for name, headline in HEADLINES.items():
                print(f"{name}: hetgym {headline.command}")
