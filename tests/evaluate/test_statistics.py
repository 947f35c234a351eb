"""Statistics: against definitions, and against a truth that is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm, trim_mean

from hetgym.evaluate.comparison import scores
from hetgym.evaluate.statistics import (
    FloatArray,
    difference_p_values,
    holm,
    interquartile_mean,
    interval,
    profile,
    resampled,
    resampled_means,
)

COMPARISONS, EPISODES, SPREAD, BETTER = 1000, 100, 0.5, 0.05


@pytest.fixture(scope="module")
def simulated() -> FloatArray:
    """Makespans of two policies on the same instances, (comparisons, episodes, 2): log-normal, and correlated."""
    chance = np.random.default_rng(7)
    instance = chance.normal(0, SPREAD, (COMPARISONS, EPISODES, 1))
    own = chance.normal([0.0, -BETTER], 0.2, (COMPARISONS, EPISODES, 2))
    made: FloatArray = np.exp(instance + own)
    return made


def ratio_of_means(values: FloatArray, seed: int) -> FloatArray:
    means = resampled_means(values, seed, resamples=1000)
    return means[:, 1] / means[:, 0]


def interquartile(values: FloatArray, seed: int) -> FloatArray:
    score = scores(values, 0, more=False)[:, 1]
    return resampled([EPISODES], seed, lambda times: interquartile_mean(score, times), 1000)


def improvement(values: FloatArray, seed: int) -> FloatArray:
    return resampled_means((values[:, [1]] < values[:, [0]]).astype(float), seed, resamples=1000)[:, 0]


def true_interquartile_mean() -> float:
    """The interquartile mean of a log-normal score, from its quantiles."""
    middle = norm.ppf(np.linspace(0.25, 0.75, 100_001))
    return float(np.exp(BETTER + 0.2 * np.sqrt(2) * middle).mean())


@pytest.mark.parametrize(
    ("statistic", "truth"),
    [
        (ratio_of_means, np.exp(-BETTER)),
        (interquartile, true_interquartile_mean()),
        (improvement, norm.cdf(BETTER / 0.2 / np.sqrt(2))),
    ],
)
def test_intervals_cover_the_truth(
    simulated: FloatArray, statistic: Callable[[FloatArray, int], FloatArray], truth: float
) -> None:
    ends = np.array([interval(statistic(values, seed)) for seed, values in enumerate(simulated)])
    covered = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()
    assert 0.93 <= covered <= 0.97


def test_differences_are_seldom_found_where_there_is_none() -> None:
    chance = np.random.default_rng(3)
    found = [difference_p_values(chance.laplace(0.0, 1.0, (40, 100)), seed) for seed in range(4)]
    assert 0.03 <= (np.concatenate(found) < 0.05).mean() <= 0.07


def test_all_flips_are_tried_of_few_differences() -> None:
    # Of 2^4 sign patterns only that of the differences and its opposite have a mean as large.
    assert difference_p_values(np.array([[1.0], [2.0], [3.0], [4.0]]), 0)[0] == pytest.approx(2 / 16)
    assert np.isnan(difference_p_values(np.array([[1.0]]), 0)[0])
    assert difference_p_values(np.zeros((30, 1)), 0)[0] == 1.0


def test_holm_multiplies_by_how_many_are_left() -> None:
    found = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).max() == 1.0
    assert holm(np.array([])).size == 0


@pytest.mark.parametrize("count", [2, 3, 4, 7, 100])
def test_interquartile_mean_is_that_of_the_sample(count: int) -> None:
    chance = np.random.default_rng(count)
    values, drawn = chance.normal(size=count), chance.integers(0, count, (50, count))
    times = np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(float)
    expected = [trim_mean(values[row], 0.25) for row in drawn]
    assert interquartile_mean(values, times) == pytest.approx(expected)


def test_strata_keep_their_sizes() -> None:
    times = resampled([3, 5], 0, lambda times: times, resamples=200)
    assert (times[:, :3].sum(axis=1) == 3).all()
    assert (times[:, 3:].sum(axis=1) == 5).all()
    assert times[:, :3].mean(axis=0) == pytest.approx([1, 1, 1], abs=0.15)
    assert np.isnan(resampled([3, 1], 0, lambda times: times, resamples=5)).all()


def test_profile_is_the_share_that_reaches() -> None:
    assert profile(np.array([0.5, 1.0, 1.0, 2.0]), np.array([0.4, 1.0, 1.5, 3.0])).tolist() == [1.0, 0.75, 0.25, 0.0]


def test_scores_say_how_many_times_better() -> None:
    values = np.array([[2.0, 1.0, 0.0], [2.0, 2.0 * (1 + 1e-12), 4.0]])
    fewer, more = scores(values, 0, more=False), scores(values, 0, more=True)
    assert fewer[:, :2].tolist() == [[1.0, 2.0], [1.0, 1.0]]
    assert np.isnan(fewer[0, 2])
    assert more[:, 2].tolist() == [0.0, 2.0]
    assert np.isnan(scores(np.array([[0.0, 1.0]]), 0, more=True)).all()
