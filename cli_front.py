"""What ``hetgym evaluate --front`` does."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_output import print_front, progress, write_csv
from .cli_suite import report_on, results_of
from .errors import HetgymError
from .evaluate import evaluate_front, front_points, summarise_front
from .evaluate.comparison import Played
from .evaluate.figures import check_figure_path, front_figure, save_figure
from .evaluate.fronts import as_reference
from .evaluate.multi_objective import (
    choose_objectives,
    default_reference_point,
    make_fronts,
    weight_vectors,
    weights_of,
)
from .evaluate.statistics import FloatArray
from .evaluate.summary import find_reference

if TYPE_CHECKING:
    from .agents import Policy
    from .envs import Scenario


def run_front(
    scenario: Scenario,
    name: str,
    changes: dict[str, Any],
    policies: Sequence[str],
    families: Sequence[str],
    *,
    objectives: str | None,
    weights: int | None,
    reference_point: str | None,
    reference: str | None,
    episodes: int,
    seed: int,
    csv: Path | None,
    plot: Path | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Plays policies, and prints and writes how their fronts compare.

    Args:
        scenario: What is played.
        name: What it was called.
        changes: Its settings that were changed.
        policies: Names of those that are compared one by one.
        families: Words ``NAME=A,B,C``.
        objectives: Comma-separated; all by default.
        weights: How many vectors.
        reference_point: Comma-separated numbers.
        reference: The policy whose hypervolume others are compared with.
        episodes: Of each point.
        seed: Of the first episode.
        csv: Where to write all episodes.
        plot: Where to draw the fronts.
        report: Folder of a report.
        as_json: Whether to print JSON.

    Raises:
        HetgymError: If the input is not valid; all but what was played is checked before anything is.
    """
    if "weights" in changes:
        raise HetgymError("set: weights is what --front varies; leave it out")
    chosen = choose_objectives(scenario, _words(objectives) if objectives else None)
    vectors = weight_vectors(weights, len(chosen))
    fronts = _fronts(policies, families, scenario)
    reference = find_reference(list(fronts), reference, scenario)
    given = _reference_point(reference_point, len(chosen)) if reference_point else None
    if plot:
        check_figure_path(plot)
    plays = sum(len(weights_of(member, vectors)) for members in fronts.values() for member in members)
    with progress("evaluating", plays * episodes) as (bar, task):
        table = evaluate_front(
            scenario, fronts, vectors, chosen, episodes, seed, progress=lambda ended: bar.advance(task, ended)
        )
    if csv:
        write_csv(table, csv)
    points = front_points(table)
    bound = default_reference_point(points) if given is None else given
    summary = summarise_front(table, bound, vectors, reference)
    if report:
        played = Played(name, scenario, table, scenario.metric, reference)
        path = report_on(results_of(name, seed, fronts=(played,)), report)
        print(f"report: {path}", file=sys.stderr if as_json else sys.stdout)
    if plot:
        save_figure(front_figure(points, scenario), plot)
    if as_json:
        content = {
            "scenario": name,
            "set": changes,
            "objectives": chosen,
            "weights": vectors.tolist(),
            "reference_point": bound.tolist(),
            "episodes": episodes,
            "seed": seed,
            "summary": json.loads(summary.to_json(orient="records", double_precision=15)),
            "points": json.loads(points.to_json(orient="records", double_precision=15)),
        }
        print(json.dumps(content, indent=1))
        return
    title = f"{name}: {', '.join(chosen)}; {len(vectors)} weight vectors, {episodes} episodes from seed {seed} for each"
    place = ", ".join(f"{objective} {value:.5g}" for objective, value in zip(chosen, bound, strict=True))
    print_front(summary, title, reference, place)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _fronts(policies: Sequence[str], families: Sequence[str], scenario: Scenario) -> dict[str, list[Policy]]:
    """Returns the policies of each front, by its name."""
    fronts = make_fronts(policies, scenario) if policies else {}
    for word in families:
        name, separator, members = word.partition("=")
        if not name or not separator:
            raise HetgymError(f"family: {word!r} is not of the form NAME=A,B,C")
        if name in fronts:
            raise HetgymError(f"family: {name!r} is compared twice")
        fronts |= make_fronts({name: members}, scenario)
    return fronts


def _reference_point(text: str, num_objectives: int) -> FloatArray:
    try:
        numbers = [float(word) for word in _words(text)]
    except ValueError as error:
        raise HetgymError(f"reference_point: must be numbers, comma-separated (given: {text!r})") from error
    return as_reference(numbers, num_objectives)
