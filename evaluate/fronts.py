"""What a front of returns is worth: points are vectors of returns, and more of each is better."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike

from ..errors import HetgymError
from .statistics import FloatArray

MOST_WEIGHTS = 10_000

TOLERANCE = 1e-9
"""By so much the sum of a weight vector may differ from 1."""


def equally_spaced_weights(num_objectives: int, count: int) -> FloatArray:
    """Returns the points of a simplex lattice: all weight vectors of multiples of 1/h, for some whole h.

    It is the lattice of Das and Dennis (1998, doi:10.1137/S1052623496307510). Of two objectives there is one of any
    count; of three there are those of 3, 6, 10, 15, 21, ... vectors.

    Args:
        num_objectives: M, at least 2.
        count: Vectors, at least M.

    Returns:
        Float64 (count, M), in lexicographic order.

    Raises:
        HetgymError: If there is no lattice of so many vectors.
    """
    if num_objectives < 2:
        raise HetgymError(f"weights: there must be at least 2 objectives (given: {num_objectives})")
    if not num_objectives <= count <= MOST_WEIGHTS:
        raise HetgymError(f"weights: must be from {num_objectives} to {MOST_WEIGHTS:,} vectors (given: {count})")
    divisions = 1
    while _lattice_size(num_objectives, divisions) < count:
        divisions += 1
    nearest = _lattice_size(num_objectives, divisions)
    if nearest != count:
        fewer = _lattice_size(num_objectives, divisions - 1)
        raise HetgymError(
            f"weights: {num_objectives} objectives have no lattice of {count} vectors; the nearest have {fewer} "
            f"and {nearest}"
        )
    # Bars among stars: the stars between two bars are one entry.
    places = divisions + num_objectives - 1
    bars = np.array(list(combinations(range(places), num_objectives - 1)))
    entries = np.diff(bars, axis=1, prepend=-1, append=places) - 1
    return entries / divisions


def lattice(num_objectives: int, divisions: int) -> FloatArray:
    """Returns the equally spaced weights that are multiples of 1/divisions, float64 (N, M)."""
    return equally_spaced_weights(num_objectives, _lattice_size(num_objectives, divisions))


def _lattice_size(num_objectives: int, divisions: int) -> int:
    return comb(divisions + num_objectives - 1, num_objectives - 1)


def non_dominated(points: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Returns which points no other point dominates, bool (N,); of equal points the first counts.

    Args:
        points: Float64 (N, M); one dominates another if it has no less of anything, and more of something.

    Raises:
        HetgymError: If the points are not finite numbers of this shape.
    """
    points = as_points(points)
    kept: list[int] = []
    # In lexicographic order, whatever dominates a point comes before it.
    for place in np.lexsort(-points.T[::-1]):
        if not _is_covered(points[place], points[kept]):
            kept.append(place)
    mask = np.zeros(len(points), np.bool_)
    mask[kept] = True
    return mask


def _is_covered(point: FloatArray, by: FloatArray) -> bool:
    return bool((by >= point).all(axis=1).any())


def cardinality(points: ArrayLike) -> int:
    """Returns how many different points no other point dominates; arguments and errors as in `non_dominated`."""
    return int(non_dominated(points).sum())


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Returns the volume that points dominate above a reference point, exactly.

    It is that of Zitzler and Thiele (1999, doi:10.1109/4235.797969); its unit is the product of those of the returns.

    Args:
        points: Float64 (N, M).
        reference: Float64 (M,), no more than any point in any objective.

    Raises:
        HetgymError: If these are not finite numbers of such shapes, or a point is not above the reference.
    """
    points = as_points(points)
    bound = as_reference(reference, points.shape[1])
    outside = (points < bound).any(axis=1)
    if outside.any():
        raise HetgymError(
            f"reference_point: must be no more than any point; {outside.sum()} of {len(points)} have less, such as "
            f"{points[outside][0].tolist()} (given: {bound.tolist()})"
        )
    return float(dominated_volume(points[non_dominated(points)], bound))


def dominated_volume(points: FloatArray, reference: FloatArray) -> FloatArray:
    """Returns the hypervolumes of many sets of points, float64 (...).

    Slices each set along its first objective; it takes N^(M-2) sorts of all sets together.

    Args:
        points: Float64 (..., N, M); those that have less than the reference of something add nothing.
        reference: Float64 (M,).
    """
    above = np.maximum(points - reference, 0.0)
    order = np.argsort(-above[..., 0], axis=-1, kind="stable")
    above = np.take_along_axis(above, order[..., None], axis=-2)
    depths = -np.diff(above[..., 0], axis=-1, append=0.0)
    if points.shape[-1] == 2:
        areas = np.maximum.accumulate(above[..., 1], axis=-1)
    else:
        rest = np.zeros(len(reference) - 1)
        slices = [dominated_volume(above[..., : count + 1, 1:], rest) for count in range(points.shape[-2])]
        areas = np.stack(slices, axis=-1)
    volumes: FloatArray = (depths * areas).sum(axis=-1)
    return volumes


def expected_utility(points: ArrayLike, weights: ArrayLike) -> float:
    """Returns the mean, over weight vectors, of the most that any point has of the weighted sum.

    As Zintgraf et al. (2015, "Quality assessment of MORL algorithms: a utility-based approach") propose.

    Args:
        points: Float64 (N, M).
        weights: Float64 (W, M), rows of weights that are not negative and add up to 1.

    Raises:
        HetgymError: If these are not such arrays.
    """
    points = as_points(points)
    return float(_utilities(points, as_weights(weights, points.shape[1])).mean())


def maximum_utility_loss(points: ArrayLike, others: ArrayLike, weights: ArrayLike) -> float:
    """Returns by how much, at most, the best of the others exceeds the best of the points, over weight vectors.

    From the same source as `expected_utility`. It is negative where points are better for all weights.

    Args:
        points: Float64 (N, M).
        others: Float64 (N', M), such as the best points that are known.
        weights: As in `expected_utility`.

    Raises:
        HetgymError: If these are not such arrays.
    """
    points, others = _alike(points, others)
    vectors = as_weights(weights, points.shape[1])
    return float((_utilities(others, vectors) - _utilities(points, vectors)).max())


def _utilities(points: FloatArray, weights: FloatArray) -> FloatArray:
    """Returns the most that any point has of each weighted sum, float64 (W,)."""
    utilities: FloatArray = (weights @ points.T).max(axis=1)
    return utilities


def coverage(points: ArrayLike, others: ArrayLike) -> float:
    """Returns the share of the others that some point equals or dominates.

    The measure C of Zitzler and Thiele (1999, doi:10.1109/4235.797969); C(a, b) and C(b, a) do not add up to 1.

    Args:
        points: Float64 (N, M).
        others: Float64 (N', M).

    Raises:
        HetgymError: If these are not such arrays.
    """
    points, others = _alike(points, others)
    return float(np.mean([_is_covered(other, points) for other in others]))


def _alike(points: ArrayLike, others: ArrayLike) -> tuple[FloatArray, FloatArray]:
    points, others = as_points(points), as_points(others, "others")
    if points.shape[1] != others.shape[1]:
        raise HetgymError(f"others: must have {points.shape[1]} objectives (given: {others.shape[1]})")
    return points, others


def as_points(points: ArrayLike, what: str = "points") -> FloatArray:
    """Returns points as float64 (N, M).

    Args:
        points: The points.
        what: What they are called, for the message.

    Raises:
        HetgymError: If they are not at least one row of at least two finite numbers.
    """
    array = _as_numbers(points, what)
    if array.ndim != 2 or len(array) < 1 or array.shape[1] < 2:
        raise HetgymError(f"{what}: must be rows of at least 2 objectives (given: the shape {array.shape})")
    return array


def as_reference(reference: ArrayLike, num_objectives: int) -> FloatArray:
    """Returns a reference point as float64 (M,).

    Args:
        reference: The point.
        num_objectives: M.

    Raises:
        HetgymError: If it is not M finite numbers.
    """
    array = _as_numbers(reference, "reference_point")
    if array.shape != (num_objectives,):
        raise HetgymError(f"reference_point: must be {num_objectives} numbers (given: {array.tolist()})")
    return array


def as_weights(weights: ArrayLike, num_objectives: int) -> FloatArray:
    """Returns weight vectors as float64 (W, M).

    Args:
        weights: The vectors.
        num_objectives: M.

    Raises:
        HetgymError: If they are not rows of M numbers that are not negative and add up to 1.
    """
    array = _as_numbers(weights, "weights")
    if array.ndim != 2 or len(array) < 1 or array.shape[1] != num_objectives:
        raise HetgymError(f"weights: must be rows of {num_objectives} numbers (given: the shape {array.shape})")
    wrong = (array < 0).any(axis=1) | (abs(array.sum(axis=1) - 1.0) > TOLERANCE)
    if wrong.any():
        raise HetgymError(
            f"weights: must not be negative, and add up to 1 in each vector (given: {array[wrong][0].tolist()})"
        )
    return array


def _as_numbers(values: ArrayLike, what: str) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise HetgymError(f"{what}: must be an array of numbers ({error})") from error
    if not np.isfinite(array).all():
        raise HetgymError(f"{what}: must be finite numbers (given: {array[~np.isfinite(array)].tolist()[0]})")
    return array
