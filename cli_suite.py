"""What ``hetgym evaluate --suite`` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from .cli_output import print_contest, print_front, print_suite, print_sweep, progress, write_csv
from .errors import replacing
from .evaluate import load_suite, run_suite, summarise_front, summarise_sweep
from .evaluate.comparison import aggregate, family_scores
from .evaluate.launchers import Launcher
from .evaluate.multi_objective import default_reference_point, front_points
from .evaluate.suite import Results

TIMES = "decision_seconds"


def run(
    name: str, episodes: int | None, seed: int, folder: Path, csv: Path | None, as_json: bool, launcher: Launcher
) -> None:
    """Plays what is not finished of a suite, and prints and writes what came of it.

    Args:
        name: The suite's name or file.
        episodes: Of each policy; by default what the suite says.
        seed: Of the first episode.
        folder: Where finished cells are kept, and results and the report are written.
        csv: Where to write one row for each comparison.
        as_json: Whether to print JSON.
        launcher: Where cells are played.

    Raises:
        HetgymError: If the suite is not right, or a file cannot be written.
    """
    suite = load_suite(name)
    with progress("evaluating", 0) as (bar, task):
        results = run_suite(
            suite, episodes, seed, lambda ended, total: bar.update(task, total=total, advance=ended), folder, launcher
        )
    write_results(results, folder)
    if csv:
        write_csv(results.comparisons, csv)
    if as_json:
        print(json.dumps({"suite": name, "episodes": episodes or suite.episodes, "seed": seed} | as_content(results)))
    else:
        print_results(results)
    print(f"results: {folder / 'results.parquet'}")


def write_results(results: Results, folder: Path) -> None:
    """Writes all episodes, and apart from them the times of decisions, which are not reproducible."""
    episodes = results.episodes
    if TIMES in episodes:
        for name, table in (("results", episodes.drop(columns=TIMES)), ("times", episodes[["contest", "seed", TIMES]])):
            with replacing(folder / f"{name}.parquet", "table") as partial:
                table.to_parquet(partial, index=False)
