"""How sure one can be of a comparison: bootstraps, robust means, tests that know how many were made, profiles.

The methods are those of rliable (Agarwal et al. 2021, arXiv:2108.13264), where policies met the same instances, so
that all is paired; the library itself needs a release of arch that pandas 3 breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

RESAMPLES = 10_000
BLOCK = 1000
"""So many resamples are drawn at a time."""

QUANTILES = 0.025, 0.975

SIGNIFICANCE = 0.05
"""Of the verdicts: how often one of several comparisons may be called a difference where there is none."""


def resampled(
    counts: Sequence[int], seed: int, statistic: Callable[[FloatArray], FloatArray], resamples: int = RESAMPLES
) -> FloatArray:
    """Returns a statistic of samples that are drawn with replacement (Efron 1979, doi:10.1214/aos/1176344552).

    Args:
        counts: How many instances there are in each stratum; one with fewer than 2 has no distribution: NaN.
        seed: Of the draws.
        statistic: Of how often each instance of each stratum was drawn, float64 (`BLOCK`, sum of counts); float64
            (`BLOCK`, ...).
        resamples: How many samples.

    Returns:
        float64 (resamples, ...).
    """
    chance = np.random.default_rng(seed)
    blocks = []
    for first in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - first)
        blocks.append(statistic(np.concatenate([_times_drawn(chance, size, count) for count in counts], axis=1)))
    values = np.concatenate(blocks)
    return np.full_like(values, np.nan) if min(counts) < 2 else values


def _times_drawn(chance: np.random.Generator, size: int, count: int) -> FloatArray:
    drawn = chance.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(float)


def resampled_means(values: FloatArray, seed: int, resamples: int = RESAMPLES) -> FloatArray:
    """Returns the means of columns over rows that are drawn with replacement, float64 (resamples, N).

    Args:
        values: float64 (instances, N).
        seed: Of the draws, which are the same for all columns.
        resamples: How many.
    """
    return resampled([len(values)], seed, lambda times: times @ values / len(values), resamples)


def interquartile_mean(values: FloatArray, times: FloatArray) -> FloatArray:
    """Returns the mean of what is neither in the lowest nor in the highest quarter (rounded down) of samples.

    Args:
        values: float64 (instances,).
        times: How often each is in a sample, float64 (samples, instances); all samples have the same size.

    Returns:
        float64 (samples,).
    """
    order = np.argsort(values)
    reached = times[:, order].cumsum(axis=1)
    size = float(times[0].sum())
    cut = np.floor(size / 4)
    kept = np.diff(np.clip(reached, cut, size - cut), axis=1, prepend=cut)
    middle: FloatArray = kept @ values[order] / (size - 2 * cut)
    return middle


def interval(samples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns the 95 % percentile interval of resampled statistics, (resamples, ...): where it begins and ends."""
    low, high = np.quantile(samples, QUANTILES, axis=0)
    return low, high


def difference_p_values(differences: FloatArray, seed: int) -> FloatArray:
    """Returns how likely mean differences as large are where there is none: a paired test that flips signs at random.

    Args:
        differences: float64 (instances, N).
        seed: Of the flips; with few instances all are tried.

    Returns:
        Two-sided p-values of Fisher's randomisation test (`scipy.stats.permutation_test`), float64 (N,); NaN for one
        instance.
    """
    if len(differences) < 2:
        return np.full(differences.shape[1], np.nan)
    found = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES - 1,
        batch=BLOCK,
        vectorized=True,
        axis=0,
        rng=np.random.default_rng(seed),
    )
    p_values: FloatArray = found.pvalue
    return p_values


def holm(p_values: FloatArray) -> FloatArray:
    """Returns p-values that take into account how many there are (Holm 1979, Scandinavian J. Statistics 6, 65-70).

    Args:
        p_values: float64 (N,).
    """
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def profile(scores: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Returns which share of scores, float64 (instances,), reach each threshold: a performance profile."""
    reached = np.sort(scores)
    shares: FloatArray = 1.0 - np.searchsorted(reached, thresholds, side="left") / len(reached)
    return shares
