"""The optimiser by itself."""

import numpy as np

from hetgym.agents.evolution import Floats, SeparableCMA


def ellipsoid(points: Floats) -> Floats:
    """Returns a sum of squares around (1, 2, ..., N) whose weights differ by up to 1000."""
    size = points.shape[1]
    values: Floats = np.square(points - np.arange(1, size + 1)) @ np.logspace(0, 3, size)
    return values


def evolved(seed: int, generations: int = 200) -> SeparableCMA:
    optimiser = SeparableCMA(np.zeros(10), 0.5, 12, seed)
    for _ in range(generations):
        optimiser.tell(ellipsoid(optimiser.ask()))
    return optimiser


def test_it_finds_the_least_value() -> None:
    optimiser = evolved(0)
    assert ellipsoid(optimiser.mean[np.newaxis])[0] < 1e-6
    assert optimiser.step < 0.05


def test_trials_lie_on_either_side_of_the_mean() -> None:
    optimiser = evolved(0, 3)
    trials = optimiser.ask()
    assert np.allclose(trials[:6] + trials[6:], 2 * optimiser.mean)


def test_only_the_order_of_costs_counts() -> None:
    one, other = SeparableCMA(np.zeros(3), 1.0, 6, 7), SeparableCMA(np.zeros(3), 1.0, 6, 7)
    for _ in range(5):
        costs = ellipsoid(one.ask())
        one.tell(costs)
        other.ask()
        other.tell(np.exp(costs / costs.max()))
    assert np.array_equal(one.mean, other.mean)


def test_same_seed_gives_the_same_bits() -> None:
    assert np.array_equal(evolved(3, 5).mean, evolved(3, 5).mean)
    assert not np.array_equal(evolved(3, 5).mean, evolved(4, 5).mean)
