"""Paired comparison of policies on the same episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..envs import Scenario, load_scenario
from ..errors import HetgymError
from .statistics import FloatArray, interval, resampled_means

NOT_METRICS = "policy", "clairvoyant", "episode", "seed"
"""Columns of a table that say what was played."""


def summarise(
    table: pd.DataFrame,
    metric: str | None = None,
    reference: str | None = None,
    seed: int = 0,
    scenario: str | Path | Scenario | None = None,
) -> pd.DataFrame:
    """Returns one row a policy, compared with a reference on the same episodes.

    Intervals are 95% percentile bootstraps (Efron 1979, doi:10.1214/aos/1176344552), which resample episodes; all
    policies are resampled together, since they met the same instances.

    Args:
        table: What `evaluate` returned.
        metric: The column that is compared; by default the scenario's, without a scenario ``makespan``.
        reference: The policy to compare with; by default the scenario's where it was played (``heft`` without a
            scenario), else the first.
        seed: Of the resampling.
        scenario: What was played: it says which metrics are better the more there is of them. Without it, less is
            better of all but ``return``.

    Returns:
        Columns ``policy``, ``mean``, ``mean_low`` and ``mean_high`` (its interval), ``ratio`` (of the mean to the
        reference's; NaN where that is not above 0), ``low`` and ``high`` (its interval), ``wins`` and ``ties`` (shares
        of episodes), ``microseconds`` (the policy's own time a decision). One episode gives no interval: NaN.

    Raises:
        HetgymError: If there is no such metric or reference, or an episode is there twice.
    """
    setting = None if scenario is None else load_scenario(scenario)
    metric = metric or (setting.metric if setting else "makespan")
    policies, values = by_episode(table, metric)
    reference = find_reference(policies, reference, setting)
    base = values[:, [policies.index(reference)]]
    means = resampled_means(values, seed)
    ratios = ratio_to(means, means[:, [policies.index(reference)]])
    # Sums in another order may differ in the last bits.
    ties = np.isclose(values, base, rtol=1e-9, atol=0.0)
    better = values > base if more_is_better(metric, setting) else values < base
    mean = values.mean(axis=0)
    mean_low, mean_high = interval(means)
    low, high = interval(ratios)
    return pd.DataFrame(
        {
            "policy": policies,
            "mean": mean,
            "mean_low": mean_low,
            "mean_high": mean_high,
            "ratio": ratio_to(mean, base.mean()),
            "low": low,
            "high": high,
            "wins": (better & ~ties).mean(axis=0),
            "ties": ties.mean(axis=0),
            "microseconds": table.groupby("policy")["decision_seconds"].mean()[policies].to_numpy() * 1e6,
        }
    )


def gap_closed(
    table: pd.DataFrame, metric: str = "hit_rate", reference: str = "lru", oracle: str = "belady", seed: int = 0
) -> pd.DataFrame:
    """Returns how much of the way from a reference to an oracle each policy goes: 0 as the one, 1 as the other.

    It is (policy - reference) / (oracle - reference), of means over the same episodes, as Parrot counts (Liu et al.
    2020, arXiv:2006.16239), whether more of the metric is better or less. Intervals are those of `summarise`.

    Args:
        table: What `evaluate` returned.
        metric: The column that is compared.
        reference: Where the way begins, a policy that was played.
        oracle: Where it ends.
        seed: Of the resampling.

    Returns:
        Columns ``policy``, ``gap_closed``, ``low`` and ``high`` (its interval; NaN for one episode). All are NaN where
        the oracle has what the reference has.

    Raises:
        HetgymError: If there is no such metric, or one of the two was not played.
    """
    policies, values = by_episode(table, metric)
    for role, name in (("reference", reference), ("oracle", oracle)):
        if name not in policies:
            raise HetgymError(f"{role}: {name!r} was not played; choose one of {', '.join(policies)}")
    ends = policies.index(reference), policies.index(oracle)
    mean, means = values.mean(axis=0), resampled_means(values, seed)
    low, high = interval(_way(means, *ends))
    return pd.DataFrame({"policy": policies, "gap_closed": _way(mean, *ends), "low": low, "high": high})


def _way(means: FloatArray, begin: int, end: int) -> FloatArray:
    """Returns where means stand between two of their columns, 0 and 1; NaN where these two are the same."""
    distance = means[..., [end]] - means[..., [begin]]
    way = np.full(means.shape, np.nan)
    np.divide(means - means[..., [begin]], distance, where=distance != 0.0, out=way)
    return way


def by_episode(table: pd.DataFrame, metric: str) -> tuple[list[str], FloatArray]:
    """Returns the policies of a table, and what they have of a metric, float64 (episodes, policies).

    Raises:
        HetgymError: If there is no such metric, or an episode is there twice.
    """
    check_metrics(table, [metric])
    policies = list(dict.fromkeys(table["policy"]))
    if table.duplicated(["policy", "episode"]).any():
        raise HetgymError("table: a policy played an episode twice; a sweep is for summarise_sweep")
    values = table.pivot(index="episode", columns="policy", values=metric)[policies]
    return policies, values.to_numpy(dtype=float)


def more_is_better(metric: str, scenario: Scenario | None) -> bool:
    """Returns whether more of a metric is better: of the return it is in every family."""
    return metric == "return" or (scenario is not None and metric in scenario.more_is_better)


def check_metrics(table: pd.DataFrame, metrics: Sequence[str]) -> None:
    """Checks that a table has some metrics.

    Raises:
        HetgymError: If it has not.
    """
    known = [name for name in table.columns if name not in NOT_METRICS and pd.api.types.is_numeric_dtype(table[name])]
    for metric in metrics:
        if metric not in known:
            raise HetgymError(f"metric: {metric!r} is not among the metrics {', '.join(known)}")


def find_reference(policies: Sequence[str], reference: str | None, scenario: Scenario | None) -> str:
    """Returns the policy that others are compared with.

    Args:
        policies: Who played.
        reference: A name among them; by default the scenario's reference, where it played, else the first.
        scenario: What was played; without it the reference is ``heft``, where it played.

    Raises:
        HetgymError: If the one that is named did not play.
    """
    if reference is None:
        usual = scenario.reference if scenario else "heft"
        return usual if usual in policies else policies[0]
    if reference not in policies:
        raise HetgymError(f"reference: {reference!r} was not played; choose one of {', '.join(policies)}")
    return reference


def ratio_to(means: FloatArray, base: FloatArray) -> FloatArray:
    """Returns means over those of the reference; NaN where these are not above 0."""
    ratio = np.full(means.shape, np.nan)
    np.divide(means, base, where=base > 0, out=ratio)
    return ratio
