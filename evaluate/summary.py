"""Paired comparison of policies on the same episodes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from ..errors import HetgymError

RESAMPLES = 10_000


def summarise(
    table: pd.DataFrame, metric: str = "makespan", reference: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Returns one row a policy, compared with a reference on the same episodes.

    The interval is a 95% percentile bootstrap of the ratio of means, resampling episodes: both policies of a
    pair are resampled together, since they met the same instances.

    Args:
        table: What `evaluate` returned.
        metric: The column that is compared; less is better.
        reference: The policy to compare with; ``heft`` where it was played, else the first.
        seed: Of the resampling.

    Returns:
        Columns ``policy``, ``mean``, ``ratio`` (of the mean to the reference's), ``low`` and ``high`` (its interval;
        NaN where one episode or no variation gives none), ``wins`` and ``ties`` (shares of episodes),
        ``microseconds`` (the policy's own time a decision).

    Raises:
        HetgymError: If there is no such metric or reference.
    """
    policies = list(dict.fromkeys(table["policy"]))
    if metric not in table.columns:
        raise HetgymError(f"metric: {metric!r} is not among the columns {', '.join(table.columns)}")
    reference = reference or default_reference(policies)
    if reference not in policies:
        raise HetgymError(f"reference: {reference!r} was not played; choose one of {', '.join(policies)}")
    values = table.pivot(index="episode", columns="policy", values=metric)
    base = values[reference].to_numpy()
    rows = []
    for policy in policies:
        own = values[policy].to_numpy()
        low, high = ratio_interval(own, base, seed)
        # Sums in another order may differ in the last bits.
        ties = np.isclose(own, base, rtol=1e-9, atol=0.0)
        rows.append(
            {
                "policy": policy,
                "mean": own.mean(),
                "ratio": _ratio(own, base),
                "low": low,
                "high": high,
                "wins": float(((own < base) & ~ties).mean()),
                "ties": float(ties.mean()),
                "microseconds": table.loc[table["policy"] == policy, "decision_seconds"].mean() * 1e6,
            }
        )
    return pd.DataFrame(rows)


def default_reference(policies: list[str]) -> str:
    """Returns the policy that others are compared with: ``heft`` where it was played, else the first."""
    return "heft" if "heft" in policies else policies[0]


def ratio_interval(own: np.ndarray, base: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Returns the 95% bootstrap interval of mean(own) / mean(base) over paired samples; NaN for a single pair."""
    if len(own) < 2:
        return float("nan"), float("nan")
    result = bootstrap(
        (own, base),
        _ratio,
        n_resamples=RESAMPLES,
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _ratio(own: np.ndarray, base: np.ndarray, axis: int = -1) -> np.ndarray:
    mean: np.ndarray = own.mean(axis=axis) / base.mean(axis=axis)
    return mean
