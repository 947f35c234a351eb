"""Fronts: what they are worth, by hand and against pymoo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym import HetgymError
from hetgym.evaluate import (
    cardinality,
    coverage,
    equally_spaced_weights,
    expected_utility,
    hypervolume,
    maximum_utility_loss,
    non_dominated,
)
from hetgym.evaluate.fronts import dominated_volume, lattice

Points = np.ndarray[Any, np.dtype[np.float64]]

STAIRS = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])


def random_points(seed: int, num_objectives: int, on_sphere: bool) -> Points:
    """Points of which few dominate others (on a sphere), or many, some of them twice."""
    chance = np.random.default_rng(seed)
    points = chance.normal(size=(chance.integers(1, 60), num_objectives))
    if on_sphere:
        return abs(points) / np.linalg.norm(points, axis=1, keepdims=True)
    return np.vstack([points, points[:3]])


def small_points(num_objectives: int) -> st.SearchStrategy[Points]:
    """Points of small whole numbers, so with many ties."""
    point = st.lists(st.integers(0, 4), min_size=num_objectives, max_size=num_objectives)
    return st.lists(point, min_size=1, max_size=8).map(lambda rows: np.array(rows, float))


def test_weights_of_two_objectives_are_equally_far_apart() -> None:
    weights = equally_spaced_weights(2, 11)
    np.testing.assert_allclose(weights[:, 0], np.linspace(0, 1, 11), rtol=0, atol=1e-15)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-15)


def test_weights_of_three_objectives_are_a_lattice() -> None:
    assert equally_spaced_weights(3, 6).tolist() == [
        [0.0, 0.0, 1.0],
        [0.0, 0.5, 0.5],
        [0.0, 1.0, 0.0],
        [0.5, 0.0, 0.5],
        [0.5, 0.5, 0.0],
        [1.0, 0.0, 0.0],
    ]


@pytest.mark.parametrize(("num_objectives", "divisions"), [(2, 1), (2, 10), (3, 1), (3, 5), (3, 10), (4, 4)])
def test_weights_are_those_of_pymoo(num_objectives: int, divisions: int) -> None:
    directions = pytest.importorskip("pymoo.util.ref_dirs").get_reference_directions
    theirs = directions("das-dennis", num_objectives, n_partitions=divisions)
    np.testing.assert_allclose(lattice(num_objectives, divisions), theirs[np.lexsort(theirs.T[::-1])], atol=1e-12)


@pytest.mark.parametrize(
    ("num_objectives", "count", "message"),
    [
        (3, 11, "3 objectives have no lattice of 11 vectors; the nearest have 10 and 15"),
        (3, 2, "from 3 to 10,000 vectors (given: 2)"),
        (2, 10_001, "from 2 to 10,000"),
        (1, 5, "at least 2 objectives (given: 1)"),
    ],
)
def test_weights_that_are_no_lattice_are_refused(num_objectives: int, count: int, message: str) -> None:
    with pytest.raises(HetgymError) as caught:
        equally_spaced_weights(num_objectives, count)
    assert message in str(caught.value)


def test_front_by_hand() -> None:
    # (1, 1) has less of both than (2, 2), whose twin counts once; (3, 0) has less of one than (3, 1).
    points = [[1, 1], *STAIRS.tolist(), [2, 2], [3, 0]]
    assert non_dominated(points).tolist() == [False, True, True, True, False, False]
    assert cardinality(points) == 3


@given(small_points(3))
def test_front_is_what_no_point_dominates(points: Points) -> None:
    def dominates(a: Points, b: Points) -> bool:
        return bool((a >= b).all() and (a > b).any())

    front = [
        not any(dominates(other, point) for other in points) and not (points[:place] == point).all(axis=1).any()
        for place, point in enumerate(points)
    ]
    assert non_dominated(points).tolist() == front


def test_hypervolumes_by_hand() -> None:
    # Three columns, 3, 2 and 1 high.
    assert hypervolume(STAIRS, [0, 0]) == 6.0
    # (2, 0), (1, 1) and (0, 2) above the reference: one box of 1.
    assert hypervolume(-STAIRS, [-3, -3]) == 1.0
    # Two boxes of 2, which share 1.
    assert hypervolume([[1, 1, 2], [2, 1, 1]], [0, 0, 0]) == 3.0
    # What has no more than the reference of something has no volume.
    assert hypervolume([[5, 0], [1, 1]], [0, 0]) == 1.0


@pytest.mark.parametrize("on_sphere", [True, False])
@pytest.mark.parametrize("num_objectives", [2, 3, 4])
@pytest.mark.parametrize("seed", range(10))
def test_hypervolumes_are_those_of_pymoo(seed: int, num_objectives: int, on_sphere: bool) -> None:
    hv = pytest.importorskip("pymoo.indicators.hv").HV
    points = random_points(seed, num_objectives, on_sphere)
    reference = points.min(axis=0) - 0.3
    assert hypervolume(points, reference) == pytest.approx(hv(ref_point=-reference)(-points), rel=1e-9, abs=1e-9)


def test_large_returns_have_the_hypervolume_of_pymoo() -> None:
    """Seconds and joules of an episode, not normalised."""
    hv = pytest.importorskip("pymoo.indicators.hv").HV
    returns = -np.array([60.0, 400.0]) * random_points(3, 2, on_sphere=True)
    reference = np.array([-60.0, -400.0])
    assert hypervolume(returns, reference) == pytest.approx(hv(ref_point=-reference)(-returns), rel=1e-12)


def test_many_sets_have_the_hypervolumes_of_each() -> None:
    sets = np.random.default_rng(0).random((4, 5, 9, 3))
    volumes = dominated_volume(sets, np.full(3, 0.25))
    for place in np.ndindex(4, 5):
        inside = sets[place][(sets[place] >= 0.25).all(axis=1)]
        assert volumes[place] == pytest.approx(hypervolume(inside, np.full(3, 0.25)), abs=1e-12)


@settings(max_examples=settings.default.max_examples // 2)
@given(small_points(3), st.lists(st.integers(0, 4), min_size=3, max_size=3), st.randoms())
def test_hypervolume_grows_with_points_and_knows_no_order(points: Points, more: list[int], random: Any) -> None:
    reference = np.full(3, -1.0)
    volume = hypervolume(points, reference)
    assert hypervolume(random.sample(points.tolist(), len(points)), reference) == volume
    assert hypervolume(points[:, [2, 0, 1]], reference) == volume
    assert hypervolume(points[non_dominated(points)], reference) == volume
    both = hypervolume([*points.tolist(), more], reference)
    covered = coverage(points, [more]) == 1.0
    assert (both == volume) if covered else (both > volume)


def test_utilities_by_hand() -> None:
    points, weights = [[4, 0], [0, 2], [1, 1]], [[1, 0], [0.5, 0.5], [0, 1]]
    # The best of 4, 0, 1; of 2, 1, 1; of 0, 2, 1.
    assert expected_utility(points, weights) == pytest.approx((4 + 2 + 2) / 3)
    # (4, 2) has 4, 3 and 2; (3, 1) has 3, 2 and 1.
    assert maximum_utility_loss(points, [[4, 2]], weights) == 1.0
    assert maximum_utility_loss([[4, 2]], [[3, 1]], weights) == -1.0
    assert maximum_utility_loss(points, points, weights) == 0.0


def test_coverage_by_hand() -> None:
    # (1, 3) and (2, 2) are below (2, 3); nothing of the stairs is above that.
    assert coverage([[2, 3]], STAIRS) == pytest.approx(2 / 3)
    assert coverage(STAIRS, [[2, 3]]) == 0.0
    assert coverage(STAIRS, STAIRS) == 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: hypervolume(STAIRS, [0, 2]), "reference_point: must be no more than any point; 1 of 3 have less"),
        (lambda: hypervolume(STAIRS, [0, 0, 0]), "reference_point: must be 2 numbers"),
        (lambda: hypervolume(STAIRS, [0, np.nan]), "reference_point: must be finite numbers (given: nan)"),
        (lambda: hypervolume([[1, np.inf]], [0, 0]), "points: must be finite numbers (given: inf)"),
        (lambda: hypervolume([1, 2], [0, 0]), "points: must be rows of at least 2 objectives (given: the shape (2,))"),
        (lambda: non_dominated([]), "points: must be rows"),
        (lambda: cardinality([[1], [2]]), "points: must be rows"),
        (lambda: non_dominated([[1, 2], [3]]), "points: must be an array of numbers"),
        (lambda: expected_utility(STAIRS, [[0.5, 0.6]]), "add up to 1 in each vector (given: [0.5, 0.6])"),
        (lambda: expected_utility(STAIRS, [[1.5, -0.5]]), "must not be negative"),
        (lambda: expected_utility(STAIRS, [0.5, 0.5]), "weights: must be rows of 2 numbers"),
        (lambda: expected_utility(STAIRS, [["a", "b"]]), "weights: must be an array of numbers"),
        (lambda: maximum_utility_loss(STAIRS, [[1, 1, 1]], [[0.5, 0.5]]), "others: must have 2 objectives (given: 3)"),
        (lambda: coverage(STAIRS, [[np.nan, 1]]), "others: must be finite numbers"),
    ],
)
def test_wrong_arrays_are_refused_in_one_line(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(HetgymError) as caught:
        wrong()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
