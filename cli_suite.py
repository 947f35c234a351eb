"""What ``hetgym evaluate --suite`` does, and reports of what was played without one."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .cli_output import print_contest, print_front, print_suite, print_sweep, progress, write_csv
from .errors import replacing
from .evaluate import front_points, load_suite, run_suite
from .evaluate.cells import TIMES
from .evaluate.multi_objective import default_reference_point, objectives_of
from .evaluate.report import About, write_report
from .evaluate.suite import Contest, Results, Suite

if TYPE_CHECKING:
    from .evaluate.comparison import Played
    from .evaluate.launchers import Launcher


def play_suite(
    name: str,
    *,
    episodes: int | None,
    seed: int,
    folder: Path | None,
    csv: Path | None,
    as_json: bool,
    launcher: Launcher,
) -> None:
    """Plays what is not finished of a suite, prints what came of it, and writes it.

    Args:
        name: The suite's name, or a path to its file.
        episodes: Of each policy; by default what the suite says.
        seed: Of the first episode.
        folder: Where finished cells are kept and results are written; by default ``runs`` and the suite's name.
        csv: Where to write one row for each of the suite's rows.
        as_json: Whether to print JSON.
        launcher: Where cells are played.

    Raises:
        HetgymError: If the suite is not right, or a file cannot be written.
    """
    suite = load_suite(name)
    folder = folder or Path("runs") / suite.name
    with progress("evaluating", 0) as (bar, task):
        results = run_suite(
            suite, episodes, seed, lambda ended, total: bar.update(task, total=total, advance=ended), folder, launcher
        )
    count = suite.episodes if episodes is None else episodes
    _write(results, folder)
    report = write_report(results, folder, About.here(command_line(), seed, episodes), folder / "episodes")
    if csv:
        write_csv(results.comparisons, csv)
    if as_json:
        print(json.dumps({"suite": name, "episodes": count, "seed": seed, **_content(results)}, indent=1))
        return
    _print(results, count)
    print(f"results: {folder / 'results.parquet'}")
    print(f"report: {report}")


def command_line() -> str:
    """Returns the command that was given, as it can be given again."""
    program = Path(sys.argv[0]).name
    return shlex.join([*(["python", "-m", "hetgym"] if program == "__main__.py" else [program]), *sys.argv[1:]])


def report_on(results: Results, folder: Path) -> Path:
    """Writes a report of what was played without a suite, and returns its path.

    Args:
        results: What came of it; see `results_of`.
        folder: Where the report is written.

    Raises:
        HetgymError: If a file cannot be written.
    """
    return write_report(results, folder, About.here(command_line(), results.seed))


def results_of(name: str, seed: int, **played: tuple[Played, ...]) -> Results:
    """Returns what was played without a suite as one's results.

    Args:
        name: Of the scenario.
        seed: Of the first episode.
        played: Its episodes, as ``contests``, ``sweeps`` or ``fronts``.
    """
    suite = Suite(name=name, contests=(Contest(scenario=name),))
    kinds = {"contests": (), "sweeps": (), "fronts": ()} | played
    return Results(suite, seed, kinds["contests"], kinds["sweeps"], kinds["fronts"], pd.DataFrame())


def _write(results: Results, folder: Path) -> None:
    """Writes all episodes; apart from them the times of decisions, which are not reproducible."""
    episodes = results.episodes
    if TIMES not in episodes:
        return
    tables = {"results": episodes.drop(columns=TIMES), "times": episodes[["contest", "policy", "seed", TIMES]]}
    for name, table in tables.items():
        with replacing(folder / f"{name}.parquet", "table") as partial:
            table.to_parquet(partial, index=False)


def _content(results: Results) -> dict[str, Any]:
    """Returns what came of a suite, for JSON."""
    return {
        "contests": {played.name: _records(played.comparison) for played in results.contests},
        "sweeps": {played.name: _records(played.sweep_summary) for played in results.sweeps},
        "fronts": {played.name: _records(played.front_summary) for played in results.fronts},
        "rows": _records(results.comparisons),
    }


def _records(table: pd.DataFrame) -> Any:
    return json.loads(table.to_json(orient="records", double_precision=15))


def _print(results: Results, count: int) -> None:
    for played in results.contests:
        own = played.table["episode"].nunique()
        title = f"{played.name}: {played.metric}, {own} episodes from seed {results.seed}"
        print_contest(played.comparison, title, played.reference)
    for played in results.sweeps:
        print_sweep(played.sweep_summary, f"{played.name}: {played.metric}")
    for played in results.fronts:
        place = default_reference_point(front_points(played.table))
        names = zip(objectives_of(played.table), place, strict=True)
        print_front(
            played.front_summary,
            f"{played.name}: fronts",
            played.reference,
            ", ".join(f"{name} {x:.5g}" for name, x in names),
        )
    if len(results.comparisons):
        print_suite(results.comparisons, f"{results.suite.name}: {count} episodes from seed {results.seed}")
