"""Plays policies for several objectives, and compares their fronts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ..agents import Policy
from ..envs import Scenario, load_scenario
from ..errors import HetgymError, unknown_name
from .evaluation import check_episodes, evaluate, make_policies
from .fronts import (
    as_reference,
    as_weights,
    coverage,
    dominated_volume,
    equally_spaced_weights,
    expected_utility,
    lattice,
    maximum_utility_loss,
    non_dominated,
)
from .statistics import FloatArray, interval, resampled_means
from .summary import find_reference, ratio_to

SINGLE = str | Policy | Sequence[str | Policy]

COST, WEIGHT, RETURN, ERROR = "_cost", "weight_", "return_", "error_"
"""An objective's metric ends in the first; its columns in tables begin with the others."""

MARGIN = 0.1
"""Share of the spread of all policies' points by which the default reference point is below the worst."""


def evaluate_front(
    scenario: str | Path | Scenario,
    policies: SINGLE | Mapping[str, SINGLE],
    weights: int | ArrayLike | None = None,
    objectives: Sequence[str] | None = None,
    episodes: int = 100,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Returns how policies do in each objective, all on the same realised instances.

    A policy with the attribute ``conditioned``, which reads the weights off the observation, plays all episodes once
    for each weight vector; every other plays them once.

    Args:
        scenario: As in `hetgym.envs.load_scenario`, of a family with objectives.
        policies: As in `evaluate`; or by the names of families, each of which is compared as one policy.
        weights: As in `weight_vectors`; objectives that are left out weigh nothing.
        objectives: At least two of the scenario's (``delay_cost``, or just ``delay``); all by default.
        episodes: How many; episode i is episode 0 of seed + i.
        seed: Of the first episode.
        progress: Called with the number of episodes that have just ended.

    Returns:
        One row for each (policy, member, weight vector, episode): ``policy`` (or family), ``member`` (who played),
        ``clairvoyant``, ``weight_delay``, ... (NaN where no weights were set), ``return_delay``, ... (minus the cost:
        more is better), then the other columns of `evaluate`.

    Raises:
        HetgymError: If an argument is not right, or the scenario has no objectives.
    """
    check_episodes(episodes, seed)
    base = load_scenario(scenario)
    chosen = choose_objectives(base, objectives)
    points = points_of(make_fronts(policies, base), base, chosen, weight_vectors(weights, len(chosen)))
    tables = [
        of_point(evaluate(point.scenario, point.member, episodes, seed, None, progress), point) for point in points
    ]
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class Point:
    """What is played for one point of a front.

    Attributes:
        front: What the front is called.
        member: Who plays.
        scenario: What is played, with the weights set.
        weights: By objective; NaN where none are set.
    """

    front: str
    member: Policy
    scenario: Scenario
    weights: dict[str, float]


def points_of(
    fronts: Mapping[str, Sequence[Policy]], scenario: Scenario, objectives: Sequence[str], vectors: FloatArray
) -> list[Point]:
    """Returns what is to be played for fronts.

    Args:
        fronts: What `make_fronts` returned.
        scenario: What is played.
        objectives: What `choose_objectives` returned, M of them.
        vectors: Weight vectors, float64 (W, M).
    """
    points = []
    for name, members in fronts.items():
        for member in members:
            for vector in weights_of(member, vectors).tolist():
                weights = dict(zip(objectives, vector, strict=True))
                setting = scenario if np.isnan(vector).any() else _weighted(scenario, weights)
                points.append(Point(name, member, setting, weights))
    return points


def of_point(played: pd.DataFrame, point: Point) -> pd.DataFrame:
    """Returns what `evaluate` returned for a point as `evaluate_front` has it."""
    played = played.rename(columns={"policy": "member"})
    columns: dict[str, Any] = {WEIGHT + objective: weight for objective, weight in point.weights.items()}
    columns |= {RETURN + objective: -played[objective + COST] for objective in point.weights}
    for place, (column, values) in enumerate(columns.items(), start=2):
        played.insert(place, column, values)
    played.insert(0, "policy", point.front)
    return played


def choose_objectives(scenario: Scenario, objectives: Sequence[str] | None = None) -> list[str]:
    """Returns the objectives that are looked at, without ``_cost``.

    Args:
        scenario: What is played.
        objectives: Their names, with or without ``_cost``; all by default.

    Raises:
        HetgymError: If the scenario has none, or they are not at least two of its own.
    """
    known = _objectives(scenario)
    if not known:
        raise HetgymError(f"scenario {scenario.name!r}: has one objective, so no front")
    chosen = known if objectives is None else [name.removesuffix(COST) for name in objectives]
    for name in chosen:
        if name not in known:
            raise unknown_name(f"objective of scenario {scenario.name!r}:", name, known)
    if len(set(chosen)) < max(len(chosen), 2):
        raise HetgymError(f"objectives: must be at least 2, each named once (given: {', '.join(chosen)})")
    return chosen


def _objectives(scenario: Scenario) -> list[str]:
    return [name.removesuffix(COST) for name in scenario.objectives]


def _weighted(scenario: Scenario, weights: Mapping[str, float]) -> Scenario:
    return scenario.override(weights=tuple(float(weights.get(name, 0.0)) for name in _objectives(scenario)))


def weight_vectors(weights: int | ArrayLike | None, num_objectives: int) -> FloatArray:
    """Returns weight vectors, float64 (W, M).

    Args:
        weights: The vectors; or how many, as in `equally_spaced_weights`; by default multiples of 0.1 for two
            objectives (11), and of 0.2 for more (21 for three).
        num_objectives: M.

    Raises:
        HetgymError: If there are no such weights.
    """
    if weights is None:
        return lattice(num_objectives, 10 if num_objectives == 2 else 5)
    if isinstance(weights, int):
        return equally_spaced_weights(num_objectives, weights)
    return as_weights(weights, num_objectives)


def make_fronts(policies: SINGLE | Mapping[str, SINGLE], scenario: Scenario) -> dict[str, list[Policy]]:
    """Returns the policies whose points make each front, by what the front is called.

    Args:
        policies: As in `evaluate_front`.
        scenario: What they are to play.

    Raises:
        HetgymError: If one cannot be had, or is named twice in one front.
    """
    if not policies:
        raise HetgymError("policies: there must be at least one")
    if isinstance(policies, Mapping):
        return {name: make_policies(members, scenario) for name, members in policies.items()}
    return {policy.name: [policy] for policy in make_policies(policies, scenario)}


def weights_of(policy: Policy, vectors: FloatArray) -> FloatArray:
    """Returns the weights that a policy is played with, float64 (W, M): one row of NaN if it does not read them."""
    return vectors if getattr(policy, "conditioned", False) else np.full((1, vectors.shape[1]), np.nan)


def front_points(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the mean returns of each policy and weight vector: the points of the fronts.

    Args:
        table: What `evaluate_front` returned.

    Returns:
        ``policy``, ``member``, ``clairvoyant``, the weights (``weight_delay``, ...), the mean returns
        (``return_delay``, ...), their standard errors (``error_delay``, ...; NaN for one episode), and ``on_front``
        (whether no other point of the policy dominates it, or is the same and comes first).

    Raises:
        HetgymError: If the policies did not all play the same episodes, once.
    """
    return _points(*_returns(table))


def _points(points: pd.DataFrame, returns: FloatArray) -> pd.DataFrame:
    """Returns what `front_points` does of what `_returns` does."""
    objectives = objectives_of(points)
    means = pd.DataFrame(returns.mean(axis=0), columns=[RETURN + name for name in objectives])
    count = len(returns)
    spread = returns.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.full(returns.shape[1:], np.nan)
    errors = pd.DataFrame(spread, columns=[ERROR + name for name in objectives])
    points = pd.concat([points, means, errors], axis=1)
    points["on_front"] = False
    for rows in _rows_by_policy(points).values():
        points.loc[rows, "on_front"] = non_dominated(means.to_numpy()[rows])
    return points


def _returns(table: pd.DataFrame) -> tuple[pd.DataFrame, FloatArray]:
    """Returns the points of a table (who played with which weights), and their returns, (episodes, points, M)."""
    objectives = objectives_of(table)
    keys = ["policy", "member", *(WEIGHT + name for name in objectives)]
    number = table.groupby(keys, sort=False, dropna=False).ngroup().rename("point")
    if pd.concat([number, table["episode"]], axis=1).duplicated().any():
        raise HetgymError("table: a policy played an episode twice with the same weights")
    columns = [RETURN + name for name in objectives]
    wide = table.assign(point=number).pivot(index="episode", columns="point", values=columns).to_numpy(dtype=float)
    if not np.isfinite(wide).all():
        raise HetgymError("table: all policies must have played the same episodes, with finite returns")
    returns = np.moveaxis(wide.reshape(len(wide), len(objectives), -1), 1, 2)
    first = table.loc[~number.duplicated(), ["policy", "member", "clairvoyant", *keys[2:]]]
    return first.reset_index(drop=True), returns


def objectives_of(table: pd.DataFrame) -> list[str]:
    """Returns the objectives that a table has weights of.

    Raises:
        HetgymError: If it has none.
    """
    objectives = [str(name).removeprefix(WEIGHT) for name in table.columns if str(name).startswith(WEIGHT)]
    if not objectives:
        raise HetgymError(f"table: must be what evaluate_front returned; no column begins with {WEIGHT!r}")
    return objectives


def _rows_by_policy(points: pd.DataFrame) -> dict[str, list[int]]:
    return {str(name): list(rows.index) for name, rows in points.groupby("policy", sort=False)}


def default_reference_point(points: pd.DataFrame) -> FloatArray:
    """Returns a point below all points in each objective, float64 (M,); it depends on who played.

    It is below the worst mean return by a tenth of their spread; by 1 where all are the same, so that such an objective
    leaves hypervolumes as they are without it.

    Args:
        points: What `front_points` returned.
    """
    means = _means(points)
    spread = np.ptp(means, axis=0)
    reference: FloatArray = means.min(axis=0) - np.where(spread > 0, MARGIN * spread, 1.0)
    return reference


def _means(points: pd.DataFrame) -> FloatArray:
    return points[[RETURN + name for name in objectives_of(points)]].to_numpy(dtype=float)


def summarise_front(
    table: pd.DataFrame,
    reference_point: ArrayLike | None = None,
    weights: int | ArrayLike | None = None,
    reference: str | None = None,
    seed: int = 0,
    scenario: str | Path | Scenario | None = None,
) -> pd.DataFrame:
    """Returns one row a policy or family: what its front is worth.

    Intervals are those of `hetgym.evaluate.summarise`: all points are resampled together, by episodes.

    Args:
        table: What `evaluate_front` returned.
        reference_point: Of the hypervolume, in returns, one for each objective; by default that of
            `default_reference_point`. Points that have less of something add nothing to it.
        weights: Of the utilities, as in `weight_vectors`.
        reference: The policy whose hypervolume others are compared with; by default the scenario's where it was
            played, else the first.
        seed: Of the resampling.
        scenario: What was played.

    Returns:
        ``policy``, ``clairvoyant``, ``points`` (played), ``cardinality`` (those that no other of its own dominates),
        ``outside`` (points that have less than the reference point of something), ``hypervolume``,
        ``hypervolume_low`` and ``hypervolume_high`` (its interval), ``ratio`` (to the reference's; NaN where that is
        0), ``low`` and ``high`` (its interval), ``expected_utility``, ``utility_loss`` (the most that is lost against
        the points of all policies), ``coverage`` (the share of the others' fronts that it equals or dominates) and
        ``covered`` (the share of its own front that they do). One episode gives no interval, one policy no coverage:
        NaN.

    Raises:
        HetgymError: If an argument is not right.
    """
    played, returns = _returns(table)
    points = _points(played, returns)
    means, rows = _means(points), _rows_by_policy(points)
    bound = default_reference_point(points) if reference_point is None else reference_point
    bound = as_reference(bound, means.shape[1])
    vectors = weight_vectors(weights, means.shape[1])
    base = list(rows).index(find_reference(list(rows), reference, load_scenario(scenario) if scenario else None))
    resampled = resampled_means(returns.reshape(len(returns), -1), seed).reshape(-1, *means.shape)
    volume = np.array([dominated_volume(means[own], bound) for own in rows.values()])
    volumes = np.stack([dominated_volume(resampled[:, own], bound) for own in rows.values()], axis=1)
    volume_low, volume_high = interval(volumes)
    low, high = interval(ratio_to(volumes, volumes[:, [base]]))
    best, policy = points["on_front"], points["policy"]
    fronts = {name: means[best & (policy == name)] for name in rows}
    others = {name: means[best & (policy != name)] for name in rows}
    return pd.DataFrame(
        {
            "policy": list(rows),
            "clairvoyant": [bool(points.loc[own, "clairvoyant"].any()) for own in rows.values()],
            "points": [len(own) for own in rows.values()],
            "cardinality": [len(front) for front in fronts.values()],
            "outside": [int((means[own] < bound).any(axis=1).sum()) for own in rows.values()],
            "hypervolume": volume,
            "hypervolume_low": volume_low,
            "hypervolume_high": volume_high,
            "ratio": ratio_to(volume, volume[base]),
            "low": low,
            "high": high,
            "expected_utility": [expected_utility(front, vectors) for front in fronts.values()],
            "utility_loss": [maximum_utility_loss(front, means, vectors) for front in fronts.values()],
            "coverage": [_coverage(fronts[name], others[name]) for name in rows],
            "covered": [_coverage(others[name], fronts[name]) for name in rows],
        }
    )


def _coverage(points: FloatArray, others: FloatArray) -> float:
    """Returns what `coverage` does; NaN where there is nobody else."""
    return coverage(points, others) if len(points) and len(others) else np.nan
